//! Group commit: units of many businesses in one statement.

use std::{collections::HashSet, time::Duration};

use domain::BusinessId;
use futures::future::join_all;
use streams::{
    Cursor,
    log::{CommitError, Log, UnitOfWork, is_unavailable},
};
use testkit::{eventually, postgres::PrivatePostgres};

use crate::tally::{Bench, Tally, counted, log_of, stream, unit};

/// A business of its own that counts in a stream of its own.
fn counting(name: &str, after: u64, number: u64) -> UnitOfWork {
    let mut unit = unit(BusinessId::new(streams::clock::new_id()));
    unit.append_after(&stream(name), after, counted([number])).unwrap();
    unit
}

async fn together(
    log: &Log,
    units: impl IntoIterator<Item = UnitOfWork>,
) -> Result<Cursor, CommitError> {
    log.commit_together(units.into_iter().collect()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn businesses_that_wait_together_share_a_statement() {
    let bench = Bench::new(2).await;
    let committed =
        join_all((0..200).map(|n| together(&bench.log, [counting(&format!("stream-{n}"), 0, n)])))
            .await;
    let transactions: HashSet<i64> =
        committed.into_iter().map(|cursor| cursor.unwrap().transaction_id).collect();
    assert!(transactions.len() < 100, "{} statements for 200 businesses", transactions.len());
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM events")
        .fetch_one(bench.log.database().system())
        .await
        .unwrap();
    assert_eq!(events, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_that_fails_fails_alone_and_whole() {
    let bench = Bench::new(2).await;
    bench.count(&stream("taken"), 0, &[1]).await.unwrap();
    let units = |n: u64| -> Vec<UnitOfWork> {
        let good = counting(&format!("stream-{n}"), 0, n);
        // Every tenth business also expects a stream to be empty that is not.
        if n % 10 == 3 { vec![good, counting("taken", 0, n)] } else { vec![good] }
    };
    let committed = join_all((0..50).map(|n| together(&bench.log, units(n)))).await;
    for (n, committed) in (0_u64..).zip(committed) {
        let there: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE aggregate_id = $1")
            .bind(format!("stream-{n}"))
            .fetch_one(bench.log.database().system())
            .await
            .unwrap();
        if n % 10 == 3 {
            assert!(matches!(committed, Err(CommitError::Conflict)), "{n}: {committed:?}");
            assert_eq!(there, 0, "{n} was written in part");
        } else {
            committed.unwrap();
            assert_eq!(there, 1, "{n}");
        }
    }
}

#[tokio::test]
async fn a_unit_may_guard_what_another_unit_of_the_flush_writes() {
    let bench = Bench::new(2).await;
    bench.count(&stream("a"), 0, &[1]).await.unwrap();
    let key = [stream("a")];
    let before = bench.load(&key).await.fold::<Tally>(&key[0]).unwrap();
    // The first writes what the second was decided on.
    let first = bench.counting(&stream("a"), 1, &[2]);
    let mut second = bench.counting(&stream("b"), 0, &[3]);
    let mut after = before.clone();
    after.sequence = 2;
    second.guard(&after);
    together(&bench.log, [first, second]).await.unwrap();
    assert_eq!(bench.numbers(&stream("a")).await, [1, 2]);
    // What was read before that is stale now.
    let mut stale = bench.counting(&stream("c"), 0, &[4]);
    stale.guard(&before);
    let refused = together(&bench.log, [stale]).await;
    assert!(matches!(refused, Err(CommitError::Conflict)), "{refused:?}");
}

fn is_away(committed: &Result<Cursor, CommitError>) -> bool {
    matches!(committed, Err(CommitError::Store(error)) if is_unavailable(error.as_ref()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_postgres_never_answers_is_given_up_and_the_next_goes_through() {
    let server = PrivatePostgres::start().await;
    let log = log_of(&server.app_url(), 2).await;
    together(&log, [counting("before", 0, 1)]).await.unwrap();
    server.pause();
    // Whoever waits is told before the commit is given up, and only when Postgres is silent.
    let waiting = together(&log, [counting("during", 0, 1)]);
    assert!(log.database().unless_silent(waiting).await.is_none());
    assert!(is_away(&together(&log, [counting("later", 0, 1)]).await));
    server.resume();
    eventually("commits go through again", async || {
        together(&log, [counting(&streams::clock::new_id().to_string(), 0, 1)]).await.ok()
    })
    .await;
    let long =
        async || log.database().unless_silent(tokio::time::sleep(Duration::from_secs(2))).await;
    // Whoever asks whether Postgres is silent needs a connection again, which may take too long.
    eventually("it is heard again", long).await;
    assert!(long().await.is_some(), "work that only takes long was broken off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_started_again_is_found_again() {
    let mut server = PrivatePostgres::start().await;
    let log = log_of(&server.app_url(), 2).await;
    together(&log, [counting("before", 0, 1)]).await.unwrap();
    server.kill();
    assert!(is_away(&together(&log, [counting("during", 0, 1)]).await));
    server.start_again().await;
    eventually("commits go through again", async || {
        together(&log, [counting(&streams::clock::new_id().to_string(), 0, 1)]).await.ok()
    })
    .await;
}
