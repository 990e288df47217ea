//! Visits that are called off or moved at the very moment in which their reminders go out.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    crashes::CrashPoints,
    races::sized,
    reminders::{mails_to, only_guests_are_told, until},
    salon::{Salon, start_in, text},
    stand::Stand,
};

/// After a change was acknowledged nothing may arrive for longer than this that does not know of it.
const AFTER: SignedDuration = SignedDuration::from_secs(5);

async fn salon(stand: &Stand) -> (Salon, crate::stand::Process) {
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    (salon, process)
}

/// The reminder of a visit is due now.
async fn due(stand: &Stand, condition: &str) {
    let sql = format!(
        "UPDATE notification SET next_at = now(), due_at = now()
          WHERE kind = 'reminder' AND state = 'pending' AND version = 1 AND {condition}"
    );
    stand.database.execute(&sql).await;
}

async fn booked(salon: &Salon, start: Timestamp) -> String {
    let id = text(&salon.book(0, start).await.expect(201)["appointment_id"]);
    until(salon, &id, "confirmation", "sent").await;
    until(salon, &id, "reminder", "pending").await;
    id
}

async fn cancel(salon: &Salon, id: &str) {
    let path = format!("/api/v1/appointments/{id}/cancel");
    salon.owner.post(&path, &json!({"reason": "ill"})).await.expect(200);
}

async fn reschedule(salon: &Salon, id: &str, start: Timestamp) {
    let path = format!("/api/v1/appointments/{id}/reschedule");
    salon.owner.post(&path, &json!({ "start": start })).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_that_is_about_to_go_out_stays_when_its_visit_is_changed() {
    let mut stand = Stand::new().await;
    let points = CrashPoints::of(&mut stand.addresses);
    let (salon, _process) = salon(&stand).await;
    let start = start_in(3_000);
    for (n, moved) in [false, true].into_iter().enumerate() {
        let hours = i64::try_from(n).unwrap();
        let id = booked(&salon, start + SignedDuration::from_hours(hours)).await;
        // The server of mails has been told from whom to whom, and waits for the words.
        points.stop_at("notifier.prepared");
        due(&stand, "true").await;
        points.reached("notifier.prepared").await;
        if moved {
            reschedule(&salon, &id, start + SignedDuration::from_hours(20)).await;
        } else {
            cancel(&salon, &id).await;
        }
        points.go_on("notifier.prepared");
        let called_off = until(&salon, &id, "reminder", "cancelled").await;
        assert_eq!(mails_to(&stand, &called_off).await, []);
        until(&salon, &id, if moved { "rescheduled" } else { "cancellation" }, "sent").await;
        stand
            .database
            .execute("UPDATE notification SET next_at = 'infinity' WHERE state = 'pending'")
            .await;
    }
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_out_for_the_old_time_once_a_change_is_known() {
    let stand = Stand::new().await;
    let (salon, _process) = salon(&stand).await;
    let start = start_in(3_000);
    let visits = i64::try_from(sized(40, 400)).unwrap();
    let mut ids = vec![];
    for n in 0..visits {
        let at = start + SignedDuration::from_mins(5 * n);
        ids.push(text(&salon.book(0, at).await.expect(201)["appointment_id"]));
    }
    for id in &ids {
        until(&salon, id, "reminder", "pending").await;
    }
    due(&stand, "true").await;
    let later = start + SignedDuration::from_hours(24 * 3);
    let (salon, changing) = (&salon, ids.iter().zip(0..));
    // When each change was acknowledged.
    let known: BTreeMap<String, Timestamp> = stream::iter(changing)
        .map(|(id, n)| async move {
            // Each at another moment of its reminder's way.
            tokio::time::sleep(Duration::from_millis(n * 37 % 900)).await;
            if n % 2 == 0 {
                cancel(salon, id).await;
            } else {
                let minutes = i64::try_from(n).unwrap() * 5;
                reschedule(salon, id, later + SignedDuration::from_mins(minutes)).await;
            }
            (id.clone(), streams::clock::now())
        })
        .buffer_unordered(16)
        .collect()
        .await;
    let ended = "SELECT kind FROM notification
                  WHERE version = 1 AND state NOT IN ('sent', 'cancelled') LIMIT 1";
    eventually("every old reminder has its outcome", async || {
        stand.database.texts(ended).await.is_empty().then_some(())
    })
    .await;
    stand.addresses.caught_up().await;
    let mails = stand.mail.messages().await;
    for (id, known) in &known {
        let shown = salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
        let all: Vec<Value> = shown["reminders"].as_array().unwrap().clone();
        for message in all.iter().filter(|m| m["kind"] == "reminder") {
            let ntf = text(&message["id"]);
            let arrived = mails
                .iter()
                .filter(|mail| mail.message_id == format!("{ntf}.1@apptremind.example"));
            for mail in arrived {
                let late = mail.received_at.duration_since(*known);
                assert!(late <= AFTER, "{late:?} after the change was acknowledged: {message}");
                assert_eq!(message["status"], "sent");
            }
        }
    }
    assert!(stand.mail.counts().await.values().all(|count| *count == 1));
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}
