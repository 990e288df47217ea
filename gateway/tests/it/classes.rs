//! Classes: many guests share one visit, as many as there are seats.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    races::race,
    salon::{Salon, start_in, text},
    stand::{Answer, Process, Stand},
};

/// A class of an hour with so many seats, that needs a room.
async fn class(process: &Process, staff: usize, capacity: u32) -> Salon {
    let salon = Salon::with(&process.client(), staff, 60).await;
    let room = json!({"name": "Hall", "kind": "hall"});
    salon.owner.post("/api/v1/business/resources", &room).await.expect(201);
    let change = json!({"capacity": capacity, "resources": [{"kind": "hall", "quantity": 1}]});
    let path = format!("/api/v1/business/services/{}", salon.service_id);
    salon.owner.edit(Method::PATCH, &path, &change).await.expect(200);
    salon
}

async fn join(salon: &Salon, start: Timestamp, seats: usize) -> Answer {
    let mut wish = salon.booking(0, start);
    if seats > 1 {
        let names = (0..seats).map(|n| json!({"name": format!("Guest {n}")}));
        wish["subjects"] = names.collect::<Vec<_>>().into();
    }
    salon.guest.post("/api/v1/public/book", &wish).await
}

/// Seats that are left at a start, when it is listed.
async fn remaining(salon: &Salon, start: Timestamp, seats: u32) -> Option<u64> {
    let day = start.to_zoned(jiff::tz::TimeZone::UTC).date();
    let listed = salon.slots(&format!("&date={day}&subjects={seats}")).await;
    let own = listed.iter().find(|slot| slot["start"] == json!(start))?;
    Some(own["remaining"].as_u64().unwrap())
}

async fn why(salon: &Salon, start: Timestamp, seats: u32) -> Value {
    let (service, staff) = (&salon.service_id, &salon.staff[0]);
    let asked = format!("service_id={service}&staff_id={staff}&start={start}&subjects={seats}");
    salon.guest.read(&format!("/api/v1/public/slots/explain?{asked}")).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn seats_are_taken_shown_moved_and_given_back_one_by_one() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = class(&process, 1, 4).await;
    let start = start_in(2 * 1_440);
    assert_eq!(remaining(&salon, start, 1).await, Some(4));
    let first = join(&salon, start, 1).await.expect(201);
    let two = join(&salon, start, 2).await.expect(201);
    assert_eq!(two["price"]["amount"], 9_000, "for two");
    assert_eq!(remaining(&salon, start, 1).await, Some(1));
    assert_eq!(remaining(&salon, start, 2).await, None);
    let refused = join(&salon, start, 2).await;
    assert_eq!(refused.problem(409, "class_full")["remaining"], 1);
    let told = why(&salon, start, 2).await;
    assert_eq!(told["reasons"][0]["rule"], "class_full");
    assert!(told["reasons"][0]["event_id"].is_string(), "{told}");
    assert_eq!(why(&salon, start, 1).await["bookable"], true);
    // Nobody else has the time, not even the same class five minutes later.
    join(&salon, start + SignedDuration::from_mins(5), 1).await.problem(409, "slot_taken");

    let day = start.to_zoned(jiff::tz::TimeZone::UTC).date();
    let calendar = format!("/api/v1/calendars/{}?from={day}", salon.staff[0]);
    let shown = salon.owner.read(&calendar).await.expect(200)["items"][0].clone();
    assert_eq!((&shown["kind"], &shown["seats"]), (&json!("class"), &json!(3)), "{shown}");

    // Whoever came first leaves: the others keep the time.
    let path = |booked: &Value, how| {
        format!("/api/v1/appointments/{}/{how}", text(&booked["appointment_id"]))
    };
    salon.owner.post(&path(&first, "cancel"), &json!({})).await.expect(200);
    assert_eq!(remaining(&salon, start, 1).await, Some(2));
    // The two move to another meeting, and with the last the time and the hall are free.
    let later = start + SignedDuration::from_mins(90);
    salon.owner.post(&path(&two, "reschedule"), &json!({"start": later})).await.expect(200);
    assert_eq!(remaining(&salon, start, 1).await, Some(4));
    assert_eq!(remaining(&salon, later, 1).await, Some(2));
    let again = salon.owner.call(Method::POST, &path(&first, "reinstate"), None).await.expect(200);
    assert_eq!(again["resources"].as_array().unwrap().len(), 1, "it has to have the hall anew");
    assert_eq!(remaining(&salon, start, 1).await, Some(3));
    stand.addresses.assert_healthy();
    stand.addresses.caught_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_takes_exactly_as_many_as_it_has_seats_through_two_processes() {
    let stand = Stand::new().await;
    let first = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    let seats = 20;
    let salon = class(&first, 1, 20).await;
    let start = start_in(2 * 1_440);
    let wanted = vec![salon.booking(0, start); 10 * seats];
    let statuses = race(&[&first, &second], wanted, 64).await;
    assert_eq!(statuses, BTreeMap::from([(201, seats), (409, 9 * seats)]));
    assert_eq!(remaining(&salon, start, 1).await, None);
    stand.addresses.assert_healthy();
    stand.addresses.caught_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_counts_once_for_limits_however_many_come() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = class(&process, 1, 5).await;
    let path = format!("/api/v1/business/services/{}", salon.service_id);
    salon.owner.edit(Method::PATCH, &path, &json!({"max_per_day": 1})).await.expect(200);
    let noon = |days: i64| {
        let day = start_in(days * 1_440).as_second() / 86_400 * 86_400;
        Timestamp::from_second(day + 12 * 3_600).unwrap()
    };
    let start = noon(3);
    for _ in 0..3 {
        join(&salon, start, 1).await.expect(201);
    }
    let other = start + SignedDuration::from_mins(120);
    join(&salon, other, 1).await.problem(422, "limit_reached");
    // The last to leave makes room for another meeting, also when it is the one that moves.
    stand.addresses.caught_up().await;
    let listed = salon.owner.read("/api/v1/appointments").await.expect(200);
    let ids: Vec<String> =
        listed["items"].as_array().unwrap().iter().map(|item| text(&item["id"])).collect();
    let moved = format!("/api/v1/appointments/{}/reschedule", ids[2]);
    let refused = salon.owner.post(&moved, &json!({"start": other})).await;
    refused.problem(422, "limit_reached");
    for id in &ids[..2] {
        let path = format!("/api/v1/appointments/{id}/cancel");
        salon.owner.post(&path, &json!({})).await.expect(200);
    }
    salon.owner.post(&moved, &json!({"start": other})).await.expect(200);
    stand.addresses.assert_healthy();
}

async fn resize(salon: &Salon, capacity: u32) {
    let path = format!("/api/v1/business/services/{}", salon.service_id);
    salon.owner.edit(Method::PATCH, &path, &json!({ "capacity": capacity })).await.expect(200);
}

async fn change(salon: &Salon, booked: &Value, how: &str, body: Value) -> Answer {
    let path = format!("/api/v1/appointments/{}/{how}", text(&booked["appointment_id"]));
    salon.owner.post(&path, &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_that_grows_and_shrinks_gives_back_and_takes_what_there_is_now() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = class(&process, 1, 2).await;
    let start = start_in(2 * 1_440);
    let first = join(&salon, start, 1).await.expect(201);
    join(&salon, start, 1).await.expect(201);
    resize(&salon, 5).await;
    join(&salon, start, 3).await.expect(201);
    // More are there than there were seats when the first one came.
    change(&salon, &first, "cancel", json!({})).await.expect(200);
    assert_eq!(remaining(&salon, start, 1).await, Some(1));
    resize(&salon, 4).await;
    change(&salon, &first, "reinstate", json!(null)).await.problem(409, "class_full");
    resize(&salon, 6).await;
    change(&salon, &first, "reinstate", json!(null)).await.expect(200);
    assert_eq!(remaining(&salon, start, 1).await, Some(1));
    stand.addresses.assert_healthy();
    stand.addresses.caught_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_of_classes_moves_and_leaves_among_others() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = class(&process, 1, 3).await;
    let start = start_in(2 * 1_440);
    let week = |n: i32| start + SignedDuration::from_hours(7 * 24) * n;
    let series = async |rule: &str, at: Timestamp| {
        let mut wish = salon.booking(0, at);
        wish["recurrence"] = json!({ "rule": rule });
        let booked = salon.guest.post("/api/v1/public/book", &wish).await.expect(201);
        booked["series"]["appointments"].as_array().unwrap().clone()
    };
    // Somebody else comes to each meeting.
    for n in 0..4 {
        join(&salon, week(n), 1).await.expect(201);
    }
    let visits = series("FREQ=WEEKLY;COUNT=3", start).await;
    let on = json!({"start": week(1), "scope": "all"});
    change(&salon, &visits[0], "reschedule", on).await.expect(200);
    for (n, seats) in [(0, 2), (1, 1), (2, 1), (3, 1)] {
        assert_eq!(remaining(&salon, week(n), 1).await, Some(seats), "week {n}");
    }
    let back = json!({"start": start, "scope": "all"});
    change(&salon, &visits[0], "reschedule", back).await.expect(200);
    for (n, seats) in [(0, 1), (1, 1), (2, 1), (3, 2)] {
        assert_eq!(remaining(&salon, week(n), 1).await, Some(seats), "week {n}");
    }
    stand.addresses.assert_healthy();
    // Two visits of one series in one meeting, and nobody else: they leave together.
    let alone = start + SignedDuration::from_hours(3);
    let visits = series("FREQ=WEEKLY;COUNT=2", alone).await;
    let other = json!({"start": alone + SignedDuration::from_hours(7 * 24)});
    change(&salon, &visits[0], "reschedule", other).await.expect(200);
    change(&salon, &visits[0], "cancel", json!({"scope": "all"})).await.expect(200);
    let near = alone + SignedDuration::from_hours(7 * 24) + SignedDuration::from_mins(5);
    join(&salon, near, 1).await.expect(201);
    stand.addresses.assert_healthy();
    stand.addresses.caught_up().await;
}
