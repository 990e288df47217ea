//! Numbers of the messages of a business, day by day.

use jiff::{SignedDuration, tz::TimeZone};
use serde_json::{Value, json};
use testkit::mailsink::Fault;

use crate::{
    reminders::{only_guests_are_told, until},
    replay::replay,
    salon::{Salon, start_in, text},
    stand::Stand,
};

/// Where no day ends while the test runs.
fn where_it_is_noon() -> String {
    let hour = i64::from(streams::clock::now().to_zoned(TimeZone::UTC).hour());
    // The sign of these names says how far west they are.
    format!("Etc/GMT{:+}", hour - 12)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_counted_by_day_channel_and_what_became_of_them() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let other = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    only_guests_are_told(&other).await;
    let path = "/api/v1/analytics";
    let empty = salon.owner.read(path).await.expect(200);
    let nothing = (&json!([]), &json!(null));
    assert_eq!((&empty["notifications"], &empty["reminder_success_rate"]), nothing);
    let zone = where_it_is_noon();
    salon.set(&json!({"reminder_offsets_minutes": [60], "timezone": zone})).await;
    let start = start_in(3_000);
    let mut ids = vec![];
    for n in 0..4 {
        let at = start + SignedDuration::from_hours(n);
        let id = text(&salon.book(0, at).await.expect(201)["appointment_id"]);
        until(&salon, &id, "confirmation", "sent").await;
        until(&salon, &id, "reminder", "pending").await;
        ids.push(id);
    }
    stand.mail.fault(Fault::NoSuchMailbox, 1).await;
    let due =
        "UPDATE notification SET next_at = now() WHERE kind = 'reminder' AND state = 'pending'";
    stand.database.execute(due).await;
    let ended = "SELECT kind FROM notification WHERE state IN ('pending', 'offered', 'sending')";
    testkit::eventually("all have their outcome", async || {
        stand.database.texts(ended).await.is_empty().then_some(())
    })
    .await;
    stand.addresses.caught_up().await;
    let shown = salon.owner.read(&format!("{path}?period=7d")).await.expect(200);
    assert_eq!(shown["timezone"], zone);
    // Confirmations were due today; the reminders, which were sent ahead of their time here, are due later.
    let today = json!({"date": shown["to"], "channel": "email", "sent": 4, "delivered": 0,
                       "failed": 0, "uncertain": 0});
    assert_eq!(shown["notifications"], json!([today]));
    let back = "UPDATE notifications.notification SET due_at = due_at - interval '3 days'
                 WHERE kind = 'reminder'";
    stand.database.execute(back).await;
    let shown = salon.owner.read(&format!("{path}?period=7d")).await.expect(200);
    assert_eq!(shown["reminder_success_rate"], json!(0.75));
    let days: Vec<Value> = serde_json::from_value(shown["notifications"].clone()).unwrap();
    let sum = |what: &str| days.iter().map(|day| day[what].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("sent"), sum("failed")), (7, 1));
    assert!(days.is_sorted_by_key(|day| text(&day["date"])));
    let theirs = other.owner.read(path).await.expect(200);
    assert_eq!(theirs["notifications"], json!([]));
    for odd in ["?period=8d", "?period=", "?from=2026-01-01"] {
        salon.owner.read(&format!("{path}{odd}")).await.problem(422, "invalid_request");
    }
    // The model is as the events have it again.
    replay(&stand, &["notifications"]).await;
    let shown = salon.owner.read(&format!("{path}?period=7d")).await.expect(200);
    assert_eq!(shown["notifications"], json!([today]));
}
