//! Time zones whose rules change after a visit was agreed.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    salon::{Salon, start_in, text},
    stand::Stand,
};

fn impact(stand: &Stand) -> (i32, Value) {
    let (code, text) = stand.addresses.run(&["doctor", "--time-zones", "--json"]);
    (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

async fn booked(salon: &Salon, start: Timestamp) -> String {
    text(&salon.book(0, start).await.expect(201)["appointment_id"])
}

async fn change(salon: &Salon, id: &str, how: &str, body: &Value) -> Value {
    salon.owner.post(&format!("/api/v1/appointments/{id}/{how}"), body).await.expect(200)
}

/// As if the visit had been agreed under other rules, by the event with this number.
async fn agree_otherwise(stand: &Stand, id: &str, sequence: u32, offset: &str) {
    let sql = format!(
        "UPDATE events SET payload = CASE '{offset}' WHEN '' THEN payload #- '{{visit,offset_seconds}}'
             ELSE jsonb_set(payload, '{{visit,offset_seconds}}', nullif('{offset}', '')::jsonb) END
          WHERE aggregate_id = '{id}' AND sequence = {sequence}"
    );
    stand.database.execute(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_lists_visits_whose_local_time_is_not_what_was_agreed() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    salon.set(&json!({"timezone": "Asia/Kolkata"})).await;
    let start = start_in(3 * 1_440);
    let later = |hours| start + SignedDuration::from_hours(hours);
    let stays = booked(&salon, start).await;
    let moves = booked(&salon, later(1)).await;
    let old = booked(&salon, later(2)).await;
    let off = booked(&salon, later(3)).await;
    let elsewhere = booked(&salon, later(4)).await;
    let noted = format!(
        "SELECT payload->'visit'->>'offset_seconds' FROM events WHERE aggregate_id = '{stays}'"
    );
    assert_eq!(stand.database.texts(&noted).await, ["19800"]);
    change(&salon, &off, "cancel", &json!({})).await;
    // A business that moves to another zone moves no visit.
    salon.set(&json!({"timezone": "Asia/Tokyo"})).await;
    change(&salon, &elsewhere, "reschedule", &json!({"start": later(5)})).await;
    let (code, found) = impact(&stand);
    let counts = json!([found["visits"], found["moved"], found["unknown"], found["unknown_zone"]]);
    assert_eq!((code, counts), (0, json!([4, 0, 0, 0])));
    assert!(found["tzdb"].as_str().is_some_and(|version| version.starts_with("20")), "{found}");

    agree_otherwise(&stand, &moves, 1, "16200").await;
    agree_otherwise(&stand, &off, 1, "16200").await;
    // It was moved since, under the rules of today.
    agree_otherwise(&stand, &elsewhere, 1, "16200").await;
    agree_otherwise(&stand, &old, 1, "").await;
    let (code, found) = impact(&stand);
    let counts = json!([found["visits"], found["moved"], found["unknown"], found["unknown_zone"]]);
    assert_eq!((code, counts), (5, json!([4, 1, 1, 0])));
    let local = |seconds| {
        jiff::tz::Offset::from_seconds(seconds).unwrap().to_datetime(later(1)).to_string()
    };
    let expected = json!([{
        "appointment_id": moves, "business_id": salon.business_id, "timezone": "Asia/Kolkata",
        "start": later(1), "agreed": local(16_200), "now": local(19_800), "shift_seconds": 3_600,
    }]);
    assert_eq!(found["appointments"], expected);
    let (code, table) = stand.addresses.run(&["doctor", "--time-zones"]);
    assert_eq!(code, 5, "{table}");
    assert!(table.contains(&moves) && !table.contains(&stays) && !table.contains(&off), "{table}");
    assert!(table.contains("of 4 visits to come 1 move, 1 were agreed by a build"), "{table}");

    // One without a note that is moved to where it is stays as it is; to another time, it has one.
    let same = change(&salon, &old, "reschedule", &json!({"start": later(2)})).await;
    assert_eq!(same["start"], json!(later(2)));
    assert_eq!(impact(&stand).1["unknown"], 1);
    for id in [&old, &moves] {
        change(&salon, id, "reschedule", &json!({"start": later(if id == &old { 7 } else { 8 })}))
            .await;
    }
    let (code, found) = impact(&stand);
    assert_eq!((code, &found["unknown"], &found["moved"]), (0, &json!(0), &json!(0)));
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}
