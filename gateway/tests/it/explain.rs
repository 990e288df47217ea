//! Why a start can be booked, or why not.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    salon::{Salon, around_the_clock, start_in, text},
    stand::Stand,
};

async fn why(salon: &Salon, start: Timestamp) -> Value {
    let (service, staff) = (&salon.service_id, &salon.staff[0]);
    let asked = format!("service_id={service}&staff_id={staff}&start={start}");
    salon.guest.read(&format!("/api/v1/public/slots/explain?{asked}")).await.expect(200)
}

fn rules(told: &Value) -> Vec<String> {
    told["reasons"].as_array().unwrap().iter().map(|reason| text(&reason["rule"])).collect()
}

/// The ids of the events of a stream, by the operator's command.
fn events(stand: &Stand, stream: &str) -> Vec<(String, String)> {
    let (code, said) = stand.addresses.run(&["events", "show", stream, "--json"]);
    assert_eq!(code, 0, "{said}");
    let shown: Value = serde_json::from_str(&said).unwrap();
    let all = shown["events"].as_array().unwrap().clone();
    all.iter().map(|event| (text(&event["type"]), text(&event["recorded_at"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_that_refuses_is_named_with_what_made_it_so() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 1, 30).await;
    let start = start_in(2 * 1_440);
    let told = why(&salon, start).await;
    assert_eq!((&told["bookable"], rules(&told).len()), (&json!(true), 0), "{told}");

    salon.book(0, start).await.expect(201);
    let told = why(&salon, start + SignedDuration::from_mins(10)).await;
    assert_eq!((&told["bookable"], rules(&told)), (&json!(false), vec!["slot_taken".to_owned()]));
    let reason = &told["reasons"][0];
    assert!(reason["event_id"].as_str().is_some() && reason["since"].as_str().is_some(), "{told}");
    assert_eq!(told["nearest"].as_array().unwrap().len(), 3, "{told}");
    let refused = salon.book(0, start + SignedDuration::from_mins(10)).await;
    refused.problem(409, "slot_taken");

    // Everything that speaks against it, in one answer.
    let away = json!({"start": start, "end": start + SignedDuration::from_mins(60)});
    let path = format!("/api/v1/business/staff/{}/time-off", salon.staff[0]);
    salon.owner.post(&path, &away).await.expect(201);
    salon.set(&json!({"booking_policy": {"min_notice_minutes": 5 * 1_440}})).await;
    let mut closed = around_the_clock();
    closed["weekly"] = json!([]);
    salon.set_hours(0, &closed).await;
    let told = why(&salon, start).await;
    assert_eq!(rules(&told), ["too_soon", "outside_hours", "slot_taken", "time_off"], "{told}");
    let reasons = told["reasons"].as_array().unwrap();
    assert!(reasons.iter().all(|reason| reason["event_id"].is_string()), "{told}");
    assert_eq!(rules(&why(&salon, start_in(-60)).await)[0], "slot_in_past");
    let hours = events(&stand, &salon.staff[0]);
    assert_eq!(hours.last().unwrap().0, "staff.schedule.hours_set.v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_true_then_is_told_as_of_then() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 1, 30).await;
    let start = start_in(2 * 1_440);
    let before = streams::clock::now();
    let id = text(&salon.book(0, start).await.expect(201)["appointment_id"]);
    let between = streams::clock::now();
    let path = format!("/api/v1/appointments/{id}");
    salon.owner.call(Method::DELETE, &path, None).await.expect(204);
    let told = async |as_of: &str| {
        let (staff, service) = (&salon.staff[0], &salon.service_id);
        let asked = format!("service_id={service}&start={start}{as_of}");
        salon.owner.read(&format!("/api/v1/calendars/{staff}/explain?{asked}")).await
    };
    let then = told(&format!("&as_of={between}")).await.expect(200);
    assert_eq!(rules(&then), ["slot_taken"], "{then}");
    for free in [format!("&as_of={before}"), String::new()] {
        let told = told(&free).await.expect(200);
        assert_eq!(told["bookable"], json!(true), "{told}");
    }
    let ahead = start_in(60);
    told(&format!("&as_of={ahead}")).await.problem(422, "invalid_request");
}
