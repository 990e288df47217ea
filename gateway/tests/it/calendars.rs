//! What the log says was known at an instant.

use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use reqwest::Method;
use serde_json::{Value, json};
use streams::clock;

use crate::{
    resources,
    salon::{Salon, start_in, text},
    stand::{Client, Stand},
};

/// The local dates around an instant, for a salon in UTC.
fn around(at: Timestamp) -> String {
    let date = TimeZone::UTC.to_datetime(at).date();
    let (from, to) = (date.checked_sub(1.day()).unwrap(), date.checked_add(12.days()).unwrap());
    format!("from={from}&to={to}")
}

async fn items(client: &Client, path: &str) -> Vec<Value> {
    let answer = client.read(path).await.expect(200);
    answer["items"].as_array().unwrap().clone()
}

fn shown(item: &Value) -> (&str, &str, Option<&str>) {
    (item["kind"].as_str().unwrap(), item["id"].as_str().unwrap(), item["status"].as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_is_shown_as_it_was_known_at_an_instant() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let staff = salon.staff[0].clone();
    let owner = &salon.owner;
    let start = start_in(1_000);
    let path = format!("/api/v1/calendars/{staff}?{}", around(start));
    let empty = clock::now();
    let first = text(&salon.book(0, start).await.expect(201)["appointment_id"]);
    let booked = clock::now();
    owner.post(&format!("/api/v1/appointments/{first}/cancel"), &json!({})).await.expect(200);
    let cancelled = clock::now();
    // Over a cut between two weeks, wherever it lies: shown once.
    let away = json!({"start": start + SignedDuration::from_mins(10),
                      "end": start + SignedDuration::from_hours(24 * 8), "reason": "ill"});
    let entered =
        owner.post(&format!("/api/v1/business/staff/{staff}/time-off"), &away).await.expect(201);
    let away = text(&entered["id"]);
    let answer = salon.book(0, start).await;
    let position = answer.header("x-position").to_owned();
    let second = text(&answer.expect(201)["appointment_id"]);

    // It does not come from a read model.
    stand.addresses.caught_up().await;
    let forget = "DELETE FROM availability.busy; DELETE FROM availability.business;
                  DELETE FROM agenda.appointment";
    stand.database.execute(forget).await;

    let at = |instant: Timestamp| format!("{path}&as_of={instant}");
    assert_eq!(items(owner, &at(empty)).await, [] as [Value; 0]);
    let then = items(owner, &at(booked)).await;
    let [visit] = then.as_slice() else { panic!("{then:?}") };
    assert_eq!(shown(visit), ("visit", first.as_str(), Some("booked")));
    assert_eq!(visit["customer_name"], "Ada Guest");
    assert_eq!(visit["service_id"], json!(salon.service_id));
    assert_eq!(visit["start"], json!(start));
    assert_eq!(
        (&visit["buffer_before_minutes"], &visit["buffer_after_minutes"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(items(owner, &at(cancelled)).await, [] as [Value; 0]);

    let now = owner.read(&path).await.expect(200);
    assert_eq!((&now["timezone"], &now["position"]), (&json!("UTC"), &json!(position)));
    assert!(now["as_of"].as_str().unwrap().parse::<Timestamp>().unwrap() > cancelled);
    let now = now["items"].as_array().unwrap();
    let listed: Vec<_> = now.iter().map(shown).collect();
    assert_eq!(
        listed,
        [("visit", second.as_str(), Some("booked")), ("time_off", away.as_str(), None)]
    );
    assert_eq!((&now[1]["customer_name"], &now[1]["service_id"]), (&Value::Null, &Value::Null));

    // Names are today's, whatever the instant.
    let uuid = first.trim_start_matches("appt_");
    let erase = format!("DELETE FROM appointment_private WHERE appointment_id = '{uuid}'");
    stand.database.execute(&erase).await;
    assert_eq!(items(owner, &at(booked)).await[0]["customer_name"], "[erased]");

    // Who left is remembered, by their own business only; before they came there was nothing.
    owner.call(Method::DELETE, &format!("/api/v1/business/staff/{staff}"), None).await.expect(204);
    assert_eq!(items(owner, &at(booked)).await.len(), 1);
    assert!(items(owner, &at("2020-01-01T00:00:00Z".parse().unwrap())).await.is_empty());
    let other = Salon::open(&process.client(), 1).await;
    other.owner.read(&path).await.problem(404, "not_found");
    owner.read(&path.replace(&staff, &other.staff[0])).await.problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_makes_no_sense_is_refused_with_its_reason() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let base = format!("/api/v1/calendars/{}", salon.staff[0]);
    for (query, field) in [
        ("", "from"),
        ("?to=2026-03-02", "from"),
        ("?from=2026-13-02", "from"),
        ("?from=0001-01-01", "from"),
        ("?from=2026-03-02&to=2026-03-01", "to"),
        ("?from=2026-03-02&to=2026-05-03", "to"),
        ("?from=2026-03-02&as_of=yesterday", "as_of"),
        ("?from=2026-03-02&as_of=9998-01-01T00:00:00Z", "as_of"),
        ("?from=2026-03-02&staff_id=x", "staff_id"),
    ] {
        let answer = salon.owner.read(&format!("{base}{query}")).await;
        answer.problem(422, "invalid_request");
        assert_eq!(answer.fields(), [field], "{query}");
    }
    // 62 days are not too many.
    salon.owner.read(&format!("{base}?from=2026-03-02&to=2026-05-02")).await.expect(200);
}

/// `apptremind events show`: exit code and what it printed as JSON.
fn show(stand: &Stand, stream: &str, more: &[&str]) -> (i32, Value) {
    let mut arguments = vec!["events", "show", stream, "--json"];
    arguments.extend(more);
    let (code, text) = stand.addresses.run(&arguments);
    (code, serde_json::from_str(&text).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_sees_a_stream_and_what_it_amounts_to() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let id = text(&salon.book(0, start_in(1_000)).await.expect(201)["appointment_id"]);
    let booked = clock::now();
    let cancel = format!("/api/v1/appointments/{id}/cancel");
    salon.owner.post(&cancel, &json!({})).await.expect(200);
    stand.addresses.caught_up().await;

    let (code, shown) = show(&stand, &id, &[]);
    assert_eq!((code, &shown["aggregate"]), (0, &json!("appointment")));
    let types: Vec<_> = shown["events"].as_array().unwrap().iter().map(|e| &e["type"]).collect();
    assert_eq!(types, ["booking.appointment.booked.v1", "booking.appointment.cancelled.v1"]);
    assert_eq!(shown["state"]["status"], "cancelled");
    let (code, then) = show(&stand, &id, &["--as-of", &booked.to_string()]);
    assert_eq!((code, &then["state"]["status"]), (0, &json!("booked")));
    assert_eq!(then["events"].as_array().unwrap().len(), 1);

    // A series that uses a resource.
    resources::add(&salon, "Room 1", "room", 1).await;
    resources::need(&salon, json!([{"kind": "room"}])).await;
    let mut wish = salon.booking(0, start_in(3_000));
    wish["recurrence"] = json!({"rule": "FREQ=WEEKLY;COUNT=2"});
    salon.guest.post("/api/v1/public/book", &wish).await.expect(201);
    let all = "SELECT DISTINCT CASE aggregate_type WHEN 'subscription' THEN 'subscription:'
                      WHEN 'team' THEN 'team:' ELSE '' END
                      || aggregate_id FROM events";
    let streams = stand.database.texts(all).await;
    assert!(streams.len() >= 12, "{streams:?}");
    for stream in streams {
        let (code, shown) = show(&stand, &stream, &[]);
        assert_eq!(code, 0, "{stream}");
        assert!(!shown["events"].as_array().unwrap().is_empty() && !shown["state"].is_null());
        let (code, words) = stand.addresses.run(&["events", "show", &stream]);
        assert!(code == 0 && words.contains("state"), "{words}");
    }
    // Nothing there, nothing yet, and no such kind of name.
    assert_eq!(show(&stand, &format!("appt_{}", "0".repeat(32)), &[]).0, 1);
    assert_eq!(show(&stand, &id, &["--as-of", "2020-01-01T00:00:00Z"]).0, 1);
    for odd in ["", "appt_x", "svc_0", "staff_1:2026-03-01", "series_", "subscription:x"] {
        assert_eq!(show(&stand, odd, &[]).0, 2, "{odd}");
    }
}
