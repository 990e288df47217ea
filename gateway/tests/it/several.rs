//! Several services, and several guests, in one visit.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    salon::{Salon, noon_of, start_in, text},
    stand::Stand,
};

/// Another service of the salon; `change` adds to it.
async fn offer(salon: &Salon, name: &str, minutes: u32, change: Value) -> String {
    let mut service = json!({"name": name, "duration_minutes": minutes,
                             "price": {"amount": 1_000, "currency": "USD"}});
    service.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    text(&salon.owner.post("/api/v1/business/services", &service).await.expect(201)["id"])
}

fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn services_follow_one_another_with_their_staff_and_rooms_and_add_up() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 2, 30).await;
    let room = json!({"name": "Spa", "kind": "spa"});
    salon.owner.post("/api/v1/business/resources", &room).await.expect(201);
    let needs = json!({"resources": [{"kind": "spa"}], "staff_ids": [salon.staff[1]]});
    let bath = offer(&salon, "Bath", 60, needs).await;
    let start = start_in(2 * 1_440);

    let more = format!("&staff_id={}&date={}&also={bath}", salon.staff[0], day(start));
    let listed = salon.slots(&more).await;
    let own = listed.iter().find(|slot| slot["start"] == json!(start)).unwrap();
    assert_eq!(own["end"], json!(start + SignedDuration::from_mins(90)));
    let mut wish = salon.booking(0, start);
    wish["also"] = json!([{"service_id": bath}]);
    let booked = salon.guest.post("/api/v1/public/book", &wish).await.expect(201);
    assert_eq!((&booked["price"]["amount"], &booked["end"]), (&json!(5_500), &own["end"]));
    let part = |n: usize| booked["parts"][n].clone();
    assert_eq!(part(0)["staff_id"], json!(salon.staff[0]));
    assert_eq!(part(1)["staff_id"], json!(salon.staff[1]), "who alone can do it");
    assert_eq!(part(1)["start"], json!(start + SignedDuration::from_mins(30)));

    // Each has just their own time taken, and the room with the second.
    let free = async |staff: usize, at: Timestamp| {
        let more = format!("&staff_id={}&date={}", salon.staff[staff], day(at));
        salon.slots(&more).await.iter().any(|slot| slot["start"] == json!(at))
    };
    let later = start + SignedDuration::from_mins(30);
    assert!(!free(0, start).await && free(0, later).await);
    assert!(free(1, start).await && !free(1, later).await);
    let id = text(&booked["appointment_id"]);
    let path = format!("/api/v1/appointments/{id}");
    let shown = salon.owner.read(&path).await.expect(200);
    assert_eq!(shown["resources"][0]["kind"], "spa");
    // Found under both.
    for staff in &salon.staff {
        let list = format!(
            "/api/v1/appointments?staff_id={staff}&min_position={}",
            text(&booked["position"])
        );
        let listed = salon.owner.read(&list).await.expect(200);
        assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    }

    // It is refused as a whole, and explained, where one part of it cannot be had.
    let half = start + SignedDuration::from_mins(30);
    let mut again = salon.booking(0, half);
    again["also"] = json!([{"service_id": bath}]);
    salon.guest.post("/api/v1/public/book", &again).await.expect(409);
    let asked = format!(
        "service_id={}&staff_id={}&start={start}&also={bath}",
        salon.service_id, salon.staff[0]
    );
    let told = salon.guest.read(&format!("/api/v1/public/slots/explain?{asked}")).await.expect(200);
    assert_eq!(told["bookable"], false);

    // It moves as one.
    let there = start + SignedDuration::from_mins(1_440);
    let moved = salon.owner.post(&format!("{path}/reschedule"), &json!({"start": there})).await;
    let moved = moved.expect(200);
    assert_eq!(moved["parts"][1]["start"], json!(there + SignedDuration::from_mins(30)));
    assert!(free(0, start).await && free(1, later).await);
    salon.guest.post("/api/v1/public/book", &again).await.expect(201);
    salon.owner.post(&format!("{path}/cancel"), &json!({})).await.expect(200);
    salon.owner.call(Method::POST, &format!("{path}/reinstate"), None).await.expect(200);
    stand.addresses.assert_healthy();
    stand.addresses.caught_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn for_several_guests_time_and_price_add_up_and_what_cannot_be_one_visit_is_named() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 1, 30).await;
    let start = start_in(2 * 1_440);
    let dogs = json!([{"name": "Rex"}, {"name": "Fido", "notes": "bites"}]);
    let mut wish = salon.booking(0, start);
    wish["subjects"] = dogs.clone();
    let booked = salon.guest.post("/api/v1/public/book", &wish).await.expect(201);
    assert_eq!(booked["price"]["amount"], 9_000);
    assert_eq!(booked["end"], json!(start + SignedDuration::from_mins(60)));
    let class = offer(&salon, "Puppy class", 60, json!({"capacity": 4})).await;
    let mut mixed = salon.booking(0, start + SignedDuration::from_mins(120));
    mixed["also"] = json!([{"service_id": class}]);
    let refused = salon.guest.post("/api/v1/public/book", &mixed).await;
    assert_eq!(refused.fields(), ["also"]);
    mixed["also"] = json!(vec![json!({"service_id": salon.service_id}); 5]);
    let refused = salon.guest.post("/api/v1/public/book", &mixed).await;
    assert_eq!(refused.fields(), ["also"]);
    mixed["also"] = json!([{"service_id": salon.service_id, "staff_id": salon.staff[0], "x": 1}]);
    salon.guest.post("/api/v1/public/book", &mixed).await.expect(422);
    // Ids of another business mixed in are not found.
    let other = Salon::open(&process.client(), 1).await;
    mixed["also"] = json!([{"service_id": other.service_id}]);
    salon.guest.post("/api/v1/public/book", &mixed).await.expect(404);
    mixed["also"] = json!([{"service_id": salon.service_id, "staff_id": other.staff[0]}]);
    salon.guest.post("/api/v1/public/book", &mixed).await.expect(404);
    let path = format!(
        "/api/v1/public/slots?service_id={}&date={}&also={}",
        salon.service_id,
        day(start),
        other.service_id
    );
    salon.guest.read(&path).await.expect(404);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_of_any_length_can_be_asked_of_a_staff_member() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 1, 30).await;
    // At noon, so that what is before it is on the same day, whatever the time is now.
    let start = noon_of(start_in(2 * 1_440));
    salon.book(0, start).await.expect(201);
    let staff = &salon.staff[0];
    let at = async |minutes: u32| {
        let path = format!(
            "/api/v1/public/slots?staff_id={staff}&date={}&duration_minutes={minutes}",
            day(start)
        );
        let listed = salon.guest.read(&path).await.expect(200);
        let before = json!(start - SignedDuration::from_mins(20));
        listed["slots"].as_array().unwrap().iter().any(|slot| slot["start"] == before)
    };
    assert!(at(20).await && !at(25).await);
    let bad = format!("/api/v1/public/slots?duration_minutes=30&date={}", day(start));
    salon.guest.read(&bad).await.expect(422);
}
