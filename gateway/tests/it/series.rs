//! Visits that are booked, moved and called off together: all of them, or none.

use jiff::{SignedDuration, Timestamp, ToSpan, civil::time, tz::TimeZone};
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    resources,
    salon::{Salon, path_of, start_in, text},
    stand::{Answer, Stand},
};

const NEW_YORK: &str = "America/New_York";

/// Two days from now at ten in New York.
fn first() -> Timestamp {
    let zone = TimeZone::get(NEW_YORK).unwrap();
    let date = start_in(2 * 1_440).to_zoned(zone.clone()).date();
    date.to_datetime(time(10, 0, 0, 0)).to_zoned(zone).unwrap().timestamp()
}

fn weeks_later(start: Timestamp, weeks: i64) -> Timestamp {
    let zoned = start.to_zoned(TimeZone::get(NEW_YORK).unwrap());
    zoned.checked_add(weeks.weeks()).unwrap().timestamp()
}

async fn open(stand: &Stand) -> (crate::stand::Process, Salon) {
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 1, 30).await;
    let policy = json!({"timezone": NEW_YORK, "booking_policy": {"window_days": 730}});
    salon.set(&policy).await;
    (process, salon)
}

async fn book(salon: &Salon, start: Timestamp, rule: &str, key: &str) -> Answer {
    let mut wish = salon.booking(0, start);
    wish["recurrence"] = json!({"rule": rule});
    wish["idempotency_key"] = json!(key);
    salon.guest.post("/api/v1/public/book", &wish).await
}

fn starts(booked: &Value) -> Vec<Timestamp> {
    let all = booked["series"]["appointments"].as_array().unwrap().iter();
    all.map(|visit| text(&visit["start"]).parse().unwrap()).collect()
}

/// Start and status of every visit of the series, as the list has them.
async fn listed(salon: &Salon, series: &Value, position: &str) -> Vec<(Timestamp, String)> {
    let path = format!(
        "/api/v1/appointments?series_id={}&min_position={position}",
        text(&series["series_id"])
    );
    let page = salon.owner.read(&path).await.expect(200);
    let items = page["items"].as_array().unwrap().clone();
    items.iter().map(|i| (text(&i["start"]).parse().unwrap(), text(&i["status"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_is_booked_at_one_local_time_and_once_by_its_key() {
    let stand = Stand::new().await;
    let (_process, salon) = open(&stand).await;
    let start = first();
    // Long enough to meet a change of the clocks, whatever day it is.
    let booked = book(&salon, start, "FREQ=WEEKLY;COUNT=40", "weekly").await.expect(201);
    let expected: Vec<Timestamp> = (0..40).map(|n| weeks_later(start, n)).collect();
    assert_eq!(starts(&booked), expected);
    let week = SignedDuration::from_hours(7 * 24);
    let changed = expected.windows(2).any(|two| two[1].duration_since(two[0]) != week);
    assert!(changed, "the clocks changed in between");
    let again = book(&salon, start, "FREQ=WEEKLY;COUNT=40", "weekly").await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    let again = again.expect(201);
    assert_eq!(again["series"]["series_id"], booked["series"]["series_id"]);
    book(&salon, start, "FREQ=WEEKLY;COUNT=3", "weekly")
        .await
        .problem(422, "idempotency_key_reused");
    let id = text(&booked["series"]["appointments"][4]["appointment_id"]);
    let shown = salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
    assert_eq!((&shown["series"]["number"], &shown["series"]["of"]), (&json!(5), &json!(40)));
    for rule in ["FREQ=DAILY;COUNT=3", "FREQ=WEEKLY;COUNT=99", "often"] {
        let refused = book(&salon, start, rule, "bad").await;
        assert_eq!(refused.fields(), ["recurrence.rule"], "{rule}");
    }
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_with_clashes_books_nothing_and_names_each() {
    let stand = Stand::new().await;
    let (_process, salon) = open(&stand).await;
    let start = first();
    for week in [3, 7] {
        salon.book(0, weeks_later(start, week) + SignedDuration::from_mins(15)).await.expect(201);
    }
    let refused = book(&salon, start, "FREQ=WEEKLY;COUNT=10", "ten").await;
    let problem = refused.problem(409, "series_clash");
    let clashes = problem["clashes"].as_array().unwrap();
    let numbers: Vec<_> = clashes.iter().map(|clash| clash["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [4, 8], "{problem}");
    assert!(clashes.iter().all(|clash| clash["code"] == "slot_taken"), "{problem}");
    stand.addresses.caught_up().await;
    let all = salon.owner.read("/api/v1/appointments").await.expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
    // What is refused is decided anew with the same key.
    let rule = "FREQ=WEEKLY;INTERVAL=2;COUNT=5";
    let booked = book(&salon, start, rule, "ten").await.expect(201);
    assert_eq!(starts(&booked).len(), 5);
    stand.addresses.assert_healthy();
    stand.addresses.caught_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_visit_those_behind_it_or_all_are_moved_and_called_off() {
    let stand = Stand::new().await;
    let (_process, salon) = open(&stand).await;
    let start = first();
    let booked = book(&salon, start, "FREQ=WEEKLY;COUNT=6", "six").await.expect(201);
    let series = &booked["series"];
    let visit = |n: usize, how: &str| {
        format!("/api/v1/appointments/{}/{how}", text(&series["appointments"][n]["appointment_id"]))
    };
    let hour = SignedDuration::from_hours(1);

    // The third alone, then the fourth and all behind it by a day and an hour.
    let third = weeks_later(start, 2);
    let wish = json!({"start": third + hour});
    salon.owner.post(&visit(2, "reschedule"), &wish).await.expect(200);
    let fourth = weeks_later(start, 3).to_zoned(TimeZone::get(NEW_YORK).unwrap());
    let fourth = (fourth.checked_add(1.day()).unwrap()).timestamp() + hour;
    let wish = json!({"start": fourth, "scope": "following"});
    let moved = salon.owner.post(&visit(3, "reschedule"), &wish).await;
    let position = moved.header("x-position").to_owned();
    moved.expect(200);
    let now = listed(&salon, series, &position).await;
    let expected = [
        start,
        weeks_later(start, 1),
        third + hour,
        fourth,
        weeks_later(fourth, 1),
        weeks_later(fourth, 2),
    ];
    assert_eq!(now.iter().map(|(start, _)| *start).collect::<Vec<_>>(), expected);

    // A week on, each to where the next one is: they are not in each other's way.
    let wish = json!({"start": weeks_later(start, 1), "scope": "all"});
    salon.owner.post(&visit(0, "reschedule"), &wish).await.expect(200);
    // Not so where somebody else is: then nobody moves.
    let other = weeks_later(start, 9);
    salon.book(0, other).await.expect(201);
    let wish = json!({"start": weeks_later(start, 8), "scope": "all"});
    let refused = salon.owner.post(&visit(0, "reschedule"), &wish).await;
    assert_eq!(refused.problem(409, "series_clash")["clashes"][0]["number"], 2);

    // A guest calls off the last two by the link of the first of them; a nonce is good for one change.
    let link = path_of(&series["appointments"][4]["manage_url"]);
    let view = salon.guest.read(&link).await.expect(200);
    assert_eq!(view["series"]["number"], 5);
    let wish = json!({"nonce": view["nonce"], "reason": "away", "scope": "following"});
    salon.guest.post(&format!("{link}/cancel"), &wish).await.expect(200);
    let spent = salon.guest.post(&format!("{link}/cancel"), &wish).await;
    spent.problem(410, "nonce_spent");
    // The owner calls off all that are left.
    let wish = json!({"scope": "all", "reason": "closed"});
    let done = salon.owner.post(&visit(1, "cancel"), &wish).await;
    let position = done.header("x-position").to_owned();
    done.expect(200);
    let now = listed(&salon, series, &position).await;
    assert!(now.iter().all(|(_, status)| status == "cancelled"), "{now:?}");
    let reasons = async |n: usize| {
        let id = text(&series["appointments"][n]["appointment_id"]);
        salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200)["cancel_reason"]
            .clone()
    };
    assert_eq!((reasons(5).await, reasons(0).await), (json!("away"), json!("closed")));
    stand.addresses.assert_healthy();
    stand.addresses.caught_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_is_confirmed_once_and_each_visit_has_its_reminders() {
    let stand = Stand::new().await;
    let (_process, salon) = open(&stand).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    let booked = book(&salon, first(), "FREQ=WEEKLY;COUNT=3", "three").await.expect(201);
    for (n, visit) in booked["series"]["appointments"].as_array().unwrap().iter().enumerate() {
        let path = format!("/api/v1/appointments/{}", text(&visit["appointment_id"]));
        let kinds = eventually("its messages are planned", async || {
            let shown = salon.owner.read(&path).await.expect(200);
            let all = shown["reminders"].as_array().unwrap().clone();
            let mine = all.iter().filter(|m| !text(&m["kind"]).starts_with("host"));
            let mut kinds: Vec<_> = mine.map(|message| text(&message["kind"])).collect();
            kinds.sort();
            kinds.contains(&"reminder".to_owned()).then_some(kinds)
        })
        .await;
        let expected: &[&str] = if n == 0 { &["confirmation", "reminder"] } else { &["reminder"] };
        assert_eq!(kinds, expected);
    }
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_for_somebody_without_an_address_is_for_one_customer() {
    let stand = Stand::new().await;
    let (_process, salon) = open(&stand).await;
    let mut wish = salon.booking(0, first());
    wish["customer"] = json!({"name": "Walk-in"});
    wish["recurrence"] = json!({"rule": "FREQ=WEEKLY;COUNT=3"});
    let booked = salon.owner.post("/api/v1/appointments", &wish).await.expect(201);
    let mut customers = vec![];
    for visit in booked["series"]["appointments"].as_array().unwrap() {
        let path = format!("/api/v1/appointments/{}", text(&visit["appointment_id"]));
        let shown = salon.owner.read(&path).await.expect(200);
        assert_eq!(shown["customer"]["name"], "Walk-in", "{shown}");
        customers.push(text(&shown["customer"]["id"]));
    }
    customers.dedup();
    assert_eq!(customers.len(), 1, "{customers:?}");
    let known = stand.database.texts("SELECT name FROM customer").await;
    assert_eq!(known, ["Walk-in"]);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_of_visits_moves_among_many_rooms() {
    let stand = Stand::new().await;
    let (_process, salon) = open(&stand).await;
    for n in 0..11 {
        resources::add(&salon, &format!("Room {n}"), "room", 1).await;
    }
    resources::need(&salon, json!([{"kind": "room"}])).await;
    let start = first();
    let booked = book(&salon, start, "FREQ=WEEKLY;COUNT=52", "year").await.expect(201);
    let id = text(&booked["series"]["appointments"][0]["appointment_id"]);
    let on = json!({"start": start + SignedDuration::from_hours(1), "scope": "all"});
    let path = format!("/api/v1/appointments/{id}/reschedule");
    salon.owner.post(&path, &on).await.expect(200);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}
