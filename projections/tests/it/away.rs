//! Postgres is away: that is said at once, nothing is denied, and it ends by itself.

use projections::{ReadError, availability::SlotsError};
use testkit::{eventually, postgres::PrivatePostgres};

use crate::salon::{Listed, Salon, at, catch_up, process};

fn is_unavailable<T: std::fmt::Debug>(answer: &Result<T, SlotsError>) -> bool {
    matches!(answer, Err(SlotsError::Read(ReadError::Unavailable(_))))
}

#[tokio::test]
async fn while_postgres_is_away_nothing_is_denied_and_then_all_is_as_before() {
    let mut postgres = PrivatePostgres::start().await;
    let url = postgres.app_url();
    let mut salon = Salon::open(&url, 1).await;
    let position = salon.set_hours(salon.staff[0], domain::staff_schedule::Hours::office()).await;
    catch_up(&url, position).await;
    let process = process(&url);
    let query = salon.query("2026-03-02", "2026-03-02");
    let unseen = salon.query("2026-03-03", "2026-03-03");
    let now = at("2026-03-01T08:00:00Z");
    let listed = process.answer(&query, None, now).await.unwrap();
    process.answer(&query, None, now).await.unwrap();

    postgres.pause();
    let asked = tokio::join!(
        process.answer(&query, None, now),
        process.answer(&unseen, None, now),
        process.answer(&query, Some(position), now),
    );
    assert!(is_unavailable(&asked.0) && is_unavailable(&asked.1), "{asked:?}");
    assert!(is_unavailable(&asked.2), "{asked:?}");
    postgres.resume();
    let same = async |query| {
        eventually("slots are listed again", async || {
            let answer = process.answer(query, None, now).await;
            assert!(answer.is_ok() || is_unavailable(&answer), "{answer:?}");
            answer.ok()
        })
        .await
    };
    assert_eq!(same(&query).await.body, listed.body);

    postgres.kill();
    for query in [&query, &unseen] {
        let answer = process.answer(query, None, now).await;
        assert!(is_unavailable(&answer), "{answer:?}");
    }
    postgres.start_again().await;
    let Listed(all, _) = &same(&query).await.body;
    assert_eq!(all, &listed.body.0);
    // What is written now is seen as before.
    salon.book(all[0]).await;
    assert!(!same(&query).await.body.0.contains(&all[0]));
    assert_eq!(same(&unseen).await.body.0.len(), 16);
}
