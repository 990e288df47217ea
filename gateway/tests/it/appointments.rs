//! Appointments as their owner keeps them.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    salon::{Salon, start_in, text, wait_until},
    stand::{Answer, Stand},
};

async fn booked(salon: &Salon, staff: usize, start: Timestamp) -> String {
    text(&salon.book(staff, start).await.expect(201)["appointment_id"])
}

fn path(id: &str) -> String {
    format!("/api/v1/appointments/{id}")
}

/// Ends an appointment one way or another.
async fn end(salon: &Salon, id: &str, how: &str) -> Answer {
    let body = json!({});
    let body = (how == "cancel").then_some(&body);
    salon.owner.call(Method::POST, &format!("{}/{how}", path(id)), body).await
}

#[tokio::test]
async fn cancelling_frees_the_slot_and_ends_the_reminders() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    salon.set(&json!({"reminder_offsets_minutes": [1440, 60]})).await;
    let start = start_in(72 * 60);
    let id = booked(&salon, 0, start).await;
    let reminders = async || {
        let shown = salon.owner.read(&path(&id)).await.expect(200);
        let all = shown["reminders"].as_array().unwrap().clone();
        let ahead = all.into_iter().filter(|one| one["kind"] == "reminder");
        ahead.map(|one| (one["offset_minutes"].clone(), one["status"].clone())).collect()
    };
    let both = |status: &str| vec![(json!(1440), json!(status)), (json!(60), json!(status))];
    eventually("both reminders are planned", async || {
        let found: Vec<(Value, Value)> = reminders().await;
        (found == both("pending")).then_some(())
    })
    .await;

    let cancel = format!("{}/cancel", path(&id));
    let answer = salon.owner.post(&cancel, &json!({"reason": "the guest is ill"})).await;
    let position = answer.header("x-position").to_owned();
    let tag = answer.header("etag").to_owned();
    let cancelled = answer.expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(cancelled["cancel_reason"], "the guest is ill");
    assert_eq!(tag, "\"2\"");
    eventually("both reminders are cancelled", async || {
        (reminders().await == both("cancelled")).then_some(())
    })
    .await;

    // Again is already so, and leaves the reason.
    let again = salon.owner.post(&cancel, &json!({"reason": "another"})).await;
    assert_eq!(again.expect(200)["cancel_reason"], "the guest is ill");
    for _ in 0..2 {
        let answer = salon.owner.call(Method::DELETE, &path(&id), None).await;
        assert_eq!(answer.expect(204), "");
    }
    let day = TimeZone::UTC.to_datetime(start).date();
    let listed = salon.slots(&format!("&date={day}&min_position={position}")).await;
    assert!(listed.iter().any(|slot| slot["start"] == json!(start)), "it is free again");
    let second = booked(&salon, 0, start).await;
    for _ in 0..2 {
        salon.owner.call(Method::DELETE, &path(&second), None).await.expect(204);
    }
    booked(&salon, 0, start).await;
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_visit_is_kept_or_missed_only_once_it_has_begun_and_ends_one_way() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    let start = salon.begin_soon().await;
    let (kept, missed) = (booked(&salon, 0, start).await, booked(&salon, 1, start).await);
    let next_day = TimeZone::UTC.to_datetime(start).date().tomorrow().unwrap();
    let later: Timestamp =
        text(&salon.slots(&format!("&date={next_day}")).await[0]["start"]).parse().unwrap();
    let tomorrow = booked(&salon, 0, later).await;
    for how in ["complete", "no-show"] {
        let answer = end(&salon, &tomorrow, how).await;
        let told = answer.problem(422, "not_begun");
        assert_eq!(told["start"], json!(later));
    }
    end(&salon, &tomorrow, "cancel").await.expect(200);
    for how in ["complete", "no-show"] {
        let answer = end(&salon, &tomorrow, how).await;
        assert_eq!(answer.problem(409, "wrong_state")["state"], "cancelled");
    }

    wait_until(start).await;
    for (id, how, status, others) in [
        (&kept, "complete", "completed", ["no-show", "cancel"]),
        (&missed, "no-show", "no_show", ["complete", "cancel"]),
    ] {
        let answer = end(&salon, id, how).await;
        let position = answer.header("x-position").to_owned();
        assert_eq!(answer.expect(200)["status"], status);
        let again = end(&salon, id, how).await;
        assert_eq!(again.header("x-position"), position, "already so");
        assert_eq!(again.expect(200)["status"], status);
        for other in others {
            let answer = end(&salon, id, other).await;
            assert_eq!(answer.problem(409, "wrong_state")["state"], status);
        }
        salon.owner.call(Method::DELETE, &path(id), None).await.problem(409, "wrong_state");
    }
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn the_history_shows_every_event_with_its_place_time_and_actor() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let answer = salon.book(0, start_in(60)).await;
    let first = answer.header("x-position").to_owned();
    let id = text(&answer.expect(201)["appointment_id"]);
    let second = end(&salon, &id, "cancel").await.header("x-position").to_owned();
    end(&salon, &id, "cancel").await.expect(200);

    let history = salon.owner.read(&format!("{}/history", path(&id))).await.expect(200);
    assert_eq!(history["next"], json!(null));
    let items = history["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "already so is no event: {history}");
    let me = salon.owner.read("/api/v1/auth/me").await.expect(200);
    let expected = [
        ("booking.appointment.booked.v1", "guest"),
        ("booking.appointment.cancelled.v1", me["id"].as_str().unwrap()),
    ];
    assert_eq!(
        (&items[0]["actor_role"], &items[1]["actor_role"]),
        (&json!("guest"), &json!("owner"))
    );
    let told = [text(&items[0]["summary"]), text(&items[1]["summary"])];
    assert!(told[0].starts_with("Booked by the guest for "), "{told:?}");
    assert!(told[0].ends_with(" with Staff 0 (UTC)"), "{told:?}");
    assert_eq!(told[1], "Cancelled by the owner");
    for (item, (kind, actor)) in items.iter().zip(expected) {
        assert_eq!(item["type"], kind);
        assert!(text(&item["actor"]).contains(actor), "{item}");
        let at: Timestamp = text(&item["at"]).parse().unwrap();
        assert!(streams::clock::now().duration_since(at).as_secs() < 60);
        assert!(item["data"].is_object(), "{item}");
    }
    // A write answers the position of its last event; that of the calendar may lie behind it.
    let place = |text: &str| text.parse::<streams::Cursor>().unwrap();
    let places: Vec<_> = items.iter().map(|item| place(&text(&item["position"]))).collect();
    assert!(places[0] <= place(&first) && place(&first) < places[1], "{history}");
    assert!(places[1] <= place(&second), "{history}");
    // Who comes is personal, and events are kept for ever.
    assert!(!history.to_string().contains("Ada") && !history.to_string().contains("ada@"));
}

#[tokio::test]
async fn appointments_are_filtered_and_paged_and_never_older_than_asked() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    let start = start_in(60);
    let slot = |n: i64| start + SignedDuration::from_mins(5 * n);
    let mut ids = vec![];
    for n in 0..7 {
        // Two at the same time, so that pages cut through equal starts.
        for staff in 0..2 {
            let mut body = salon.booking(staff, slot(n));
            body["customer"]["email"] = json!(format!("guest{staff}@example.com"));
            let answer = salon.guest.post("/api/v1/public/book", &body).await;
            let position = answer.header("x-position").to_owned();
            ids.push(text(&answer.expect(201)["appointment_id"]));
            let fresh = format!("/api/v1/appointments?limit=200&min_position={position}");
            let listed = salon.owner.read(&fresh).await.expect(200);
            assert_eq!(listed["items"].as_array().unwrap().len(), ids.len());
        }
    }
    end(&salon, &ids[0], "cancel").await.expect(200);
    let position = end(&salon, &ids[3], "cancel").await.header("x-position").to_owned();

    let list = async |query: &str| -> Vec<String> {
        let path = format!("/api/v1/appointments?min_position={position}&limit=200{query}");
        let listed = salon.owner.read(&path).await.expect(200);
        assert_eq!(listed["next"], json!(null), "{listed}");
        listed["items"].as_array().unwrap().iter().map(|item| text(&item["id"])).collect()
    };
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    let every =
        |step: usize, from: usize| ids.iter().skip(from).step_by(step).cloned().collect::<Vec<_>>();
    assert_eq!(sorted(list("").await), sorted(ids.clone()));
    assert_eq!(list(&format!("&staff_id={}", salon.staff[1])).await, every(2, 1));
    assert_eq!(list(&format!("&service_id={}", salon.service_id)).await.len(), 14);
    assert_eq!(
        sorted(list("&status=cancelled").await),
        sorted(vec![ids[0].clone(), ids[3].clone()])
    );
    assert_eq!(list("&status=booked").await.len(), 12);
    assert_eq!(list("&status=no_show").await.len(), 0);
    let range = format!("&from={}&to={}", slot(2), slot(4));
    assert_eq!(sorted(list(&range).await), sorted(ids[4..8].to_vec()));
    assert_eq!(list(&format!("{range}&staff_id={}&status=booked", salon.staff[0])).await.len(), 2);
    let shown = salon.owner.read(&path(&ids[1])).await.expect(200);
    let customer = text(&shown["customer"]["id"]);
    assert_eq!(list(&format!("&customer_id={customer}")).await, every(2, 1));

    for limit in [1, 3, 7, 13] {
        let mut paged = vec![];
        let mut next = String::new();
        loop {
            let path = format!("/api/v1/appointments?limit={limit}{next}");
            let page = salon.owner.read(&path).await.expect(200);
            let items = page["items"].as_array().unwrap();
            assert!(!items.is_empty() && items.len() <= limit, "{page}");
            paged.extend(items.iter().map(|item| text(&item["id"])));
            match page["next"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(paged, list("").await, "in pages of {limit}");
    }
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_list_shows_who_comes_when_to_whom_and_for_how_much() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let start = start_in(60);
    let mut body = salon.booking(0, start);
    body["notes"] = json!("ring twice");
    body["timezone"] = json!("Europe/London");
    body["customer"]["phone"] = json!("+44 20 7946 0000");
    let answer = salon.guest.post("/api/v1/public/book", &body).await;
    let position = answer.header("x-position").to_owned();
    let id = text(&answer.expect(201)["appointment_id"]);
    let shown = salon.owner.read(&path(&id)).await;
    assert_eq!(shown.header("etag"), "\"1\"");
    let shown = shown.expect(200);
    assert_eq!(shown["notes"], "ring twice");
    assert_eq!(shown["customer"]["timezone"], "Europe/London");
    assert_eq!(shown["customer"]["phone"], "+44 20 7946 0000");
    let list = format!("/api/v1/appointments?min_position={position}");
    let listed = salon.owner.read(&list).await.expect(200);
    let expected = json!([{
        "id": id, "status": "booked", "start": start,
        "end": start + SignedDuration::from_mins(5), "staff_id": salon.staff[0],
        "service_id": salon.service_id, "customer_id": shown["customer"]["id"],
        "customer_name": "Ada Guest", "price": {"amount": 4500, "currency": "USD"},
    }]);
    assert_eq!(listed["items"], expected);
}

/// Whoever lost the first answer and asks again may wait for the position as well.
#[tokio::test]
async fn a_repeated_cancel_answers_the_position_of_the_first() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let id = booked(&salon, 0, start_in(60)).await;
    let first = end(&salon, &id, "cancel").await;
    let again = end(&salon, &id, "cancel").await;
    assert_eq!(again.header("x-position"), first.header("x-position"));
    let again = salon.owner.call(Method::DELETE, &path(&id), None).await;
    assert_eq!(again.header("x-position"), first.header("x-position"));
}

#[tokio::test]
async fn an_appointment_is_told_as_it_was_known_and_its_history_by_the_clock_of_the_business() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    salon.set(&json!({"timezone": "America/New_York"})).await;
    let before = streams::clock::now();
    let (start, later) = (start_in(72 * 60), start_in(73 * 60));
    let id = booked(&salon, 0, start).await;
    let one = streams::clock::now();
    let moved = json!({"start": later, "staff_id": salon.staff[1]});
    salon.owner.post(&format!("{}/reschedule", path(&id)), &moved).await.expect(200);
    let two = streams::clock::now();
    end(&salon, &id, "cancel").await.expect(200);
    let as_of = async |at: Timestamp| salon.owner.read(&format!("{}?as_of={at}", path(&id))).await;
    as_of(before).await.problem(404, "not_found");
    for (at, tag, status, start, staff) in [
        (one, "\"1\"", "booked", start, 0),
        (two, "\"2\"", "booked", later, 1),
        (streams::clock::now(), "\"3\"", "cancelled", later, 1),
    ] {
        let answer = as_of(at).await;
        assert_eq!(answer.header("etag"), tag);
        let shown = answer.expect(200);
        assert_eq!(
            (&shown["status"], &shown["start"], &shown["staff_id"]),
            (&json!(status), &json!(start), &json!(salon.staff[staff]))
        );
    }
    let future = as_of(streams::clock::now() + SignedDuration::from_hours(1)).await;
    future.problem(422, "invalid_request");
    assert_eq!(future.fields(), ["as_of"]);

    let zone = TimeZone::get("America/New_York").unwrap();
    let local =
        |at: Timestamp| at.to_zoned(zone.clone()).strftime("%a %-d %b %Y %H:%M").to_string();
    let (old, new) = (local(start), local(later));
    let history = salon.owner.read(&format!("{}/history", path(&id))).await.expect(200);
    let told: Vec<String> =
        history["items"].as_array().unwrap().iter().map(|item| text(&item["summary"])).collect();
    let zone = "(America/New_York)";
    assert_eq!(
        told,
        [
            format!("Booked by the guest for {old} with Staff 0 {zone}"),
            format!("Moved by the owner from {old} to {new}, from Staff 0 to Staff 1 {zone}"),
            "Cancelled by the owner".to_owned(),
        ]
    );
    // Whoever has left is not told by name, and who did it has no role any more.
    salon
        .owner
        .call(Method::DELETE, &format!("/api/v1/business/staff/{}", salon.staff[0]), None)
        .await
        .expect(204);
    stand.database.execute("UPDATE membership SET role = 'staff'").await;
    let history = salon.owner.read(&format!("{}/history", path(&id))).await.expect(200);
    assert_eq!(
        history["items"][1]["summary"],
        format!("Moved by a staff member from {old} to {new}, to Staff 1 {zone}")
    );
    assert_eq!(history["items"][1]["actor_role"], "staff");
    stand.database.execute("DELETE FROM membership").await;
    let history = salon.owner.read(&format!("{}/history", path(&id))).await.expect(200);
    assert_eq!(history["items"][2]["summary"], "Cancelled by somebody who has left");
    assert_eq!(history["items"][2]["actor_role"], json!(null));
}
