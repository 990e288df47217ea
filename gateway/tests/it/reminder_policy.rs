//! What becomes of reminders that are planned when the business wants its guests reminded otherwise.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    reminders::{only_guests_are_told, until},
    replay::replay,
    salon::{Salon, start_in, text},
    stand::{Process, Stand},
};

async fn booked(salon: &Salon, start: Timestamp) -> String {
    text(&salon.book(0, start).await.expect(201)["appointment_id"])
}

async fn reminders(salon: &Salon, id: &str) -> Vec<Value> {
    let shown = salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
    let mut all = shown["reminders"].as_array().unwrap().clone();
    all.retain(|message| message["kind"] == "reminder");
    all
}

/// Offset and status of each, once they are these.
pub(crate) async fn become_these(salon: &Salon, id: &str, wanted: &[(i64, &str)]) -> Vec<Value> {
    let mut last = vec![];
    let wanted: BTreeSet<(i64, String)> =
        wanted.iter().map(|(offset, status)| (*offset, (*status).to_owned())).collect();
    eventually(&format!("reminders are {wanted:?}"), async || {
        last = reminders(salon, id).await;
        let found = |m: &Value| (m["offset_minutes"].as_i64().unwrap(), text(&m["status"]));
        (last.iter().map(found).collect::<BTreeSet<_>>() == wanted).then_some(())
    })
    .await;
    last
}

pub(crate) fn of(all: &[Value], offset: i64, status: &str) -> Value {
    let wanted = |m: &&Value| m["offset_minutes"] == offset && m["status"] == status;
    all.iter().find(wanted).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_policy_calls_off_and_plans_what_makes_the_difference_and_leaves_the_rest() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    salon.set(&json!({"reminder_offsets_minutes": [60, 120]})).await;
    let id = booked(&salon, start_in(3_000)).await;
    let first = become_these(&salon, &id, &[(60, "pending"), (120, "pending")]).await;
    salon.set(&json!({"reminder_offsets_minutes": [60, 240, 10000]})).await;
    let told = [(60, "pending"), (120, "cancelled"), (240, "pending"), (10_000, "skipped")];
    let then = become_these(&salon, &id, &told).await;
    assert_eq!(of(&then, 60, "pending")["id"], of(&first, 60, "pending")["id"]);
    assert_eq!(of(&then, 120, "cancelled")["id"], of(&first, 120, "pending")["id"]);
    assert_eq!(of(&then, 120, "cancelled")["reason"], "other_policy");
    assert_eq!(of(&then, 10_000, "skipped")["reason"], "due_before_policy");
    // What was called off is planned once more when it is wanted again.
    salon.set(&json!({"reminder_offsets_minutes": [60, 120]})).await;
    let again = eventually("the second is planned again", async || {
        let all = reminders(&salon, &id).await;
        let pending = |m: &&Value| m["offset_minutes"] == 120 && m["status"] == "pending";
        all.iter().find(pending).cloned()
    })
    .await;
    assert_ne!(again["id"], of(&first, 120, "pending")["id"]);
    stand.database.execute("UPDATE notification SET next_at = now() WHERE state = 'pending'").await;
    eventually("both are sent", async || {
        let all = reminders(&salon, &id).await;
        (all.iter().filter(|m| m["status"] == "sent").count() == 2).then_some(())
    })
    .await;
    until(&salon, &id, "confirmation", "sent").await;
    // The confirmation and two reminders.
    assert_eq!(stand.mail.messages().await.len(), 3);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_visits_than_a_page_are_planned_again_and_what_a_service_wants_is_its_own() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    let own = json!({"name": "Colour", "duration_minutes": 30,
        "price": {"amount": 4500, "currency": "USD"}, "reminders": {"offsets_minutes": [45]}});
    let colour = salon.owner.post("/api/v1/business/services", &own).await.expect(201);
    let start = start_in(3_000);
    let after = |minutes: i64| start + SignedDuration::from_mins(minutes);
    let mut ids = vec![];
    for n in 0..130 {
        ids.push(booked(&salon, after(n * 30)).await);
    }
    let mut booking = salon.booking(0, after(200 * 30));
    booking["service_id"] = colour["id"].clone();
    let other = salon.guest.post("/api/v1/public/book", &booking).await.expect(201);
    let other = text(&other["appointment_id"]);
    become_these(&salon, &other, &[(45, "pending")]).await;
    salon.set(&json!({"reminder_offsets_minutes": [90]})).await;
    let count = |offset: i64, state: &str| {
        format!(
            "SELECT count(*)::text FROM notification WHERE kind = 'reminder'
                AND offset_minutes = {offset} AND state = '{state}'"
        )
    };
    for (offset, state) in [(60, "cancelled"), (90, "pending")] {
        eventually(&format!("all of {offset} minutes are {state}"), async || {
            (stand.database.texts(&count(offset, state)).await == ["130"]).then_some(())
        })
        .await;
    }
    let service = format!("/api/v1/business/services/{}", text(&colour["id"]));
    let all = json!({"reminders": null});
    salon.owner.edit(Method::PATCH, &service, &all).await.expect(200);
    become_these(&salon, &other, &[(45, "cancelled"), (90, "pending")]).await;
    let done = "SELECT count(*)::text FROM replan";
    eventually("nothing is left to be done", async || {
        (stand.database.texts(done).await == ["0"]).then_some(())
    })
    .await;
    // Who books after the change is reminded as it says, and a move takes what is wanted by then.
    let late = booked(&salon, after(240 * 30)).await;
    until(&salon, &late, "reminder", "pending").await;
    assert_eq!(reminders(&salon, &late).await[0]["offset_minutes"], 90);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_visits_do_not_hold_up_the_few_of_another_business_and_the_last_wish_counts() {
    let stand = Stand::new().await;
    let process = Process::start(&stand.addresses, &["gateway", "relay", "notifier"]).await;
    let mut projector = Process::start(&stand.addresses, &["projector"]).await;
    let mut scheduler = Process::start(&stand.addresses, &["scheduler"]).await;
    let client = process.client();
    let (many, few) = tokio::join!(Salon::open(&client, 1), Salon::open(&client, 1));
    let fill = async |salon: &Salon, visits: i64| {
        only_guests_are_told(salon).await;
        salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
        for n in 0..visits {
            booked(salon, start_in(3_000) + SignedDuration::from_mins(n * 30)).await;
        }
    };
    // More than two pages.
    tokio::join!(fill(&many, 230), fill(&few, 5));
    stand.addresses.caught_up().await;
    projector.kill();
    // Nothing is planned again before all that was booked earlier is known: so the tasks are there, and wait.
    for (salon, offset) in [(&many, 70), (&few, 75), (&many, 80), (&few, 85)] {
        salon.owner.set_unseen(&json!({"reminder_offsets_minutes": [offset]})).await;
    }
    let asked = "SELECT e.payload->'profile'->'reminder_offsets_minutes'->>0
                   FROM replan r JOIN events e USING (position) ORDER BY replan_id";
    eventually("whoever asks again replaces who asked before", async || {
        (stand.database.texts(asked).await == ["80", "85"]).then_some(())
    })
    .await;
    // What else the scheduler follows has come as far.
    stand.addresses.caught_up_but("project-").await;
    scheduler.kill();
    projector.start_again().await;
    stand.addresses.caught_up().await;
    scheduler.start_again().await;
    eventually("nothing is left to be done", async || {
        stand.database.texts(asked).await.is_empty().then_some(())
    })
    .await;
    let order = "SELECT offset_minutes::text FROM notification n
                   JOIN events e ON e.aggregate_id = 'ntf_' || replace(n.notification_id::text, '-', '')
                  WHERE offset_minutes IN (80, 85) AND e.sequence = 1 ORDER BY e.position";
    let mut order = stand.database.texts(order).await;
    order.dedup();
    assert_eq!(order, ["80", "85", "80"]);
    let planned = "SELECT min(offset_minutes) || ' ' || count(*) FROM notification
                    WHERE kind = 'reminder' AND state = 'pending'
                    GROUP BY business_id, offset_minutes ORDER BY offset_minutes";
    assert_eq!(stand.database.texts(planned).await, ["80 230", "85 5"]);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}
