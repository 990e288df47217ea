//! Rooms and other things that visits need besides people.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    races::race,
    salon::{Salon, start_in, text},
    stand::{Answer, Process, Stand},
};

pub(crate) async fn add(salon: &Salon, name: &str, kind: &str, capacity: u32) -> String {
    let resource = json!({"name": name, "kind": kind, "capacity": capacity});
    text(&salon.owner.post("/api/v1/business/resources", &resource).await.expect(201)["id"])
}

pub(crate) async fn need(salon: &Salon, needs: Value) {
    let path = format!("/api/v1/business/services/{}", salon.service_id);
    salon.owner.edit(Method::PATCH, &path, &json!({"resources": needs})).await.expect(200);
}

async fn offers(salon: &Salon, staff: usize, start: Timestamp) -> bool {
    let day = start.to_zoned(jiff::tz::TimeZone::UTC).date();
    let listed = salon.slots(&format!("&staff_id={}&date={day}", salon.staff[staff])).await;
    listed.iter().any(|slot| slot["start"] == json!(start))
}

async fn why(salon: &Salon, staff: usize, start: Timestamp) -> Value {
    let (service, staff) = (&salon.service_id, &salon.staff[staff]);
    let asked = format!("service_id={service}&staff_id={staff}&start={start}");
    salon.guest.read(&format!("/api/v1/public/slots/explain?{asked}")).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_booked_listed_explained_moved_and_given_back_with_its_visit() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 3, 30).await;
    add(&salon, "One", "Room", 1).await;
    let second = add(&salon, "Two", "room", 1).await;
    need(&salon, json!([{"kind": "room", "quantity": 1}])).await;
    let start = start_in(2 * 1_440);
    let mut ids = vec![];
    for staff in 0..2 {
        let booked = salon.book(staff, start).await.expect(201);
        ids.push(text(&booked["appointment_id"]));
    }
    let shown =
        async |id: &str| salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
    let used = shown(&ids[1]).await["resources"].clone();
    assert_eq!(used[0], json!({"resource_id": second, "kind": "room", "quantity": 1}));

    // The third has nobody with them, but no room.
    assert!(!offers(&salon, 2, start).await);
    let refused = salon.book(2, start).await;
    let problem = refused.problem(409, "resource_taken");
    assert_eq!(problem["kind"], "room");
    assert_eq!(problem["alternatives"].as_array().unwrap().len(), 3, "{problem}");
    let told = why(&salon, 2, start).await;
    assert_eq!(told["reasons"][0]["rule"], "resource_taken");
    assert!(told["reasons"][0]["event_id"].is_string(), "{told}");

    // Moved away, the visit takes its room along; what it leaves is free at once.
    let later = start + SignedDuration::from_mins(60);
    let path = format!("/api/v1/appointments/{}/reschedule", ids[0]);
    let moved = salon.owner.post(&path, &json!({"start": later})).await.expect(200);
    assert_eq!(moved["resources"].as_array().unwrap().len(), 1);
    assert!(offers(&salon, 2, start).await);
    salon.book(2, start).await.expect(201);
    // Back again there is none.
    let back = salon.owner.post(&path, &json!({"start": start})).await;
    back.problem(409, "resource_taken");
    // Cancelled, it is free; reinstated, it takes whichever is free now.
    let cancel = |id: &str| format!("/api/v1/appointments/{id}/cancel");
    salon.owner.post(&cancel(&ids[1]), &json!({})).await.expect(200);
    salon.owner.post(&path, &json!({"start": start})).await.expect(200);
    let reinstate = format!("/api/v1/appointments/{}/reinstate", ids[1]);
    let refused = salon.owner.call(Method::POST, &reinstate, None).await;
    refused.problem(409, "resource_taken");
    salon.owner.post(&cancel(&ids[0]), &json!({})).await.expect(200);
    salon.owner.call(Method::POST, &reinstate, None).await.expect(200);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_need_the_same_van_as_many_get_it_as_it_has_places() {
    let stand = Stand::new().await;
    let first = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    let salon = Salon::with(&first.client(), 10, 30).await;
    add(&salon, "Van", "van", 6).await;
    add(&salon, "Leash", "leash", 100).await;
    need(&salon, json!([{"kind": "van", "quantity": 2}, {"kind": "leash", "quantity": 1}])).await;
    let start = start_in(2 * 1_440);
    let wanted = (0..200).map(|n| {
        let later = start + SignedDuration::from_mins(i64::try_from(n / 10 % 2).unwrap() * 10);
        salon.booking(n % 10, later)
    });
    let statuses = race(&[&first, &second], wanted.collect(), 64).await;
    // All starts overlap: three times two places.
    assert_eq!(statuses, BTreeMap::from([(201, 3), (409, 197)]));
    stand.addresses.assert_healthy();
    stand.addresses.caught_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_keeps_the_list_of_resources_and_bad_ones_are_named() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let id = add(&salon, "One", "room", 1).await;
    let path = format!("/api/v1/business/resources/{id}");
    let bad = json!({"name": "", "kind": " room", "capacity": 0});
    let refused = salon.owner.post("/api/v1/business/resources", &bad).await;
    refused.problem(422, "invalid_request");
    assert_eq!(refused.fields(), ["name", "kind", "capacity"]);
    let changed = salon.owner.edit(Method::PATCH, &path, &json!({"capacity": 2})).await;
    assert_eq!(changed.expect(200)["capacity"], 2);
    let stale = salon.owner.request(Method::PATCH, &path).header("If-Match", "\"1\"");
    let stale = Answer::of(stale.json(&json!({"name": "Two"})).send().await.unwrap()).await;
    stale.problem(412, "stale");
    let unknown = json!({"resources": [{"kind": "van"}]});
    let service = format!("/api/v1/business/services/{}", salon.service_id);
    let refused = salon.owner.edit(Method::PATCH, &service, &unknown).await;
    refused.problem(422, "invalid_request");
    assert_eq!(refused.fields(), ["resources[0].kind"]);
    need(&salon, json!([{"kind": "room"}])).await;
    salon.owner.call(Method::DELETE, &path, None).await.expect(204);
    // What a service asks for and nobody has, can never be had.
    let start = start_in(1_440);
    assert!(!offers(&salon, 0, start).await);
    let refused = salon.book(0, start).await;
    assert_eq!(refused.problem(422, "outside_availability")["rule"], "resource_taken");
    let told = why(&salon, 0, start).await;
    assert_eq!(told["reasons"][0]["rule"], "resource_taken");
    let left = salon.owner.read("/api/v1/business/resources").await.expect(200);
    assert_eq!(left["items"], json!([]));
}
