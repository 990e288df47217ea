//! Booking: what is promised to guests.

use std::collections::BTreeSet;

use futures::{StreamExt, future::join_all, stream};
use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    salon::{Salon, start_in, text},
    stand::{Answer, Client, Process, Stand},
};

const BOOK: &str = "/api/v1/public/book";

async fn with_key(client: &Client, key: &str, body: &Value) -> Answer {
    let request = client.request(Method::POST, BOOK).header("Idempotency-Key", key);
    client.send(request.json(body)).await
}

fn at(value: &Value) -> Timestamp {
    text(value).parse().unwrap()
}

#[tokio::test]
async fn a_visit_is_booked_by_instant_by_local_time_and_with_anybody_who_is_free() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    salon.set(&json!({"timezone": "Asia/Kolkata"})).await;
    let start = start_in(24 * 60);

    let request = salon.guest.request(Method::POST, BOOK).header("X-Request-Id", "my-own-id");
    let answer = Answer::of(request.json(&salon.booking(0, start)).send().await.unwrap()).await;
    assert_eq!(answer.header("x-request-id"), "my-own-id");
    let position = answer.header("x-position").to_owned();
    let location = answer.header("location").to_owned();
    let booked = answer.expect(201);
    let id = text(&booked["appointment_id"]);
    let end = start + SignedDuration::from_mins(5);
    let expected = json!({
        "appointment_id": id, "status": "booked", "start": start, "end": end,
        "staff_id": salon.staff[0], "service_id": salon.service_id,
        "price": {"amount": 4500, "currency": "USD"}, "expires_at": null, "position": position,
        "manage_url": booked["manage_url"],
    });
    assert_eq!(booked, expected);
    assert_eq!(location, format!("/api/v1/appointments/{id}"));
    let shown = salon.owner.read(&location).await.expect(200);
    assert_eq!(shown["customer"]["name"], "Ada Guest");
    assert_eq!(shown["customer"]["email"], "ada@example.com");

    let local = TimeZone::get("Asia/Kolkata").unwrap().to_datetime(end);
    let mut body = salon.booking(0, start);
    body["start"] = json!(local);
    let booked = salon.guest.post(BOOK, &body).await.expect(201);
    assert_eq!(at(&booked["start"]), end, "local time of the business");
    body["start"] = json!(format!("{}+05:30", local + SignedDuration::from_mins(5)));
    let booked = salon.guest.post(BOOK, &body).await.expect(201);
    assert_eq!(at(&booked["start"]), end + SignedDuration::from_mins(5), "an offset is obeyed");

    // Two are there: two visits at one time, then nobody is free.
    let later = start_in(48 * 60);
    let mut body = salon.booking(0, later);
    body["staff_id"] = json!("any");
    let first = salon.guest.post(BOOK, &body).await.expect(201);
    body.as_object_mut().unwrap().remove("staff_id");
    let second = salon.guest.post(BOOK, &body).await.expect(201);
    let both = BTreeSet::from([text(&first["staff_id"]), text(&second["staff_id"])]);
    assert_eq!(both, salon.staff.iter().cloned().collect());
    salon.guest.post(BOOK, &body).await.problem(409, "slot_taken");
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn the_same_key_books_once_and_repeats_the_answer() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let body = salon.booking(0, start_in(60));
    let first = with_key(&salon.guest, "key-1", &body).await;
    assert_eq!(first.header("idempotent-replayed"), "");
    let position = first.header("x-position").to_owned();
    let first = first.expect(201);
    let again = with_key(&salon.guest, "key-1", &body).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.header("x-position"), position);
    assert_eq!(again.expect(201), first);

    // The same request is the same however it is written.
    let spaced = serde_json::to_string_pretty(&body).unwrap();
    let request = salon.guest.request(Method::POST, BOOK).header("Idempotency-Key", "key-1");
    let request = request.header("Content-Type", "application/json").body(spaced);
    assert_eq!(Answer::of(request.send().await.unwrap()).await.expect(201), first);
    let mut in_body = body.clone();
    in_body["idempotency_key"] = json!("key-1");
    assert_eq!(salon.guest.post(BOOK, &in_body).await.expect(201), first);
    assert_eq!(with_key(&salon.guest, "key-1", &in_body).await.expect(201), first);

    for (member, other) in [("notes", json!("hello")), ("start", json!(start_in(90)))] {
        let mut other_body = body.clone();
        other_body[member] = other;
        let answer = with_key(&salon.guest, "key-1", &other_body).await;
        answer.problem(422, "idempotency_key_reused");
    }
    // Another business has keys of its own.
    let other = Salon::open(&process.client(), 1).await;
    let theirs = with_key(&other.guest, "key-1", &other.booking(0, start_in(60))).await;
    assert_ne!(theirs.expect(201)["appointment_id"], first["appointment_id"]);

    // A refusal is not kept: once the time is free, the same request succeeds.
    with_key(&salon.guest, "key-2", &body).await.problem(409, "slot_taken");
    let path = format!("/api/v1/appointments/{}", text(&first["appointment_id"]));
    salon.owner.call(Method::DELETE, &path, None).await.expect(204);
    let second = with_key(&salon.guest, "key-2", &body).await.expect(201);
    assert_ne!(second["appointment_id"], first["appointment_id"]);
    assert_eq!(with_key(&salon.guest, "key-1", &body).await.expect(201), first);
    stand.addresses.assert_healthy();
}

/// Sends one request many times at once, each until it is answered for good.
async fn insist_at_once(clients: &[Client], key: &str, body: &Value) -> Vec<Value> {
    let sender = |client: Client| async move {
        eventually("the request is through", async || {
            let answer = with_key(&client, key, body).await;
            if answer.status == 409 {
                answer.problem(409, "idempotency_in_progress");
                return None;
            }
            Some(answer.expect(201))
        })
        .await
    };
    join_all(clients.iter().cloned().map(sender)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_at_once_books_once_in_one_process_and_in_two() {
    let stand = Stand::new().await;
    let first = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    let salon = Salon::open(&first.client(), 2).await;
    for (round, processes) in [[&first, &first], [&first, &second]].into_iter().enumerate() {
        for n in 0..5 {
            let minutes = i64::try_from(60 + round * 30 + n * 5).unwrap();
            let mut body = salon.booking(0, start_in(minutes));
            body["staff_id"] = json!("any");
            let clients: Vec<Client> = (0..8).map(|c| processes[c % 2].client()).collect();
            let answers = insist_at_once(&clients, &format!("key-{round}-{n}"), &body).await;
            let ids: BTreeSet<String> =
                answers.iter().map(|answer| text(&answer["appointment_id"])).collect();
            assert_eq!(ids.len(), 1, "{answers:?}");
        }
    }
    stand.addresses.caught_up().await;
    let listed = salon.owner.read("/api/v1/appointments").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 10);
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_taken_slot_names_the_conflict_and_alternatives_that_can_be_booked() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 2, 60).await;
    let start = start_in(24 * 60);
    salon.book(0, start).await.expect(201);
    let late = start + SignedDuration::from_mins(30);
    let answer = salon.book(0, late).await;
    let told = answer.problem(409, "slot_taken");
    assert_eq!(told["conflict"], json!({"start": late, "staff_id": salon.staff[0]}));
    let alternatives = told["alternatives"].as_array().unwrap();
    assert_eq!(alternatives.len(), 3);
    let nearest = at(&alternatives[0]["start"]);
    assert_eq!(nearest, start + SignedDuration::from_mins(60), "the nearest comes first");
    for slot in alternatives {
        assert_eq!(slot["staff_id"], salon.staff[0]);
        assert!(at(&slot["start"]).duration_since(late).abs().as_mins() <= 90, "{slot}");
    }
    salon.book(0, nearest).await.expect(201);

    // With anybody: the answer names nobody, and whoever is free.
    salon.book(1, start).await.expect(201);
    let mut body = salon.booking(0, start);
    body["staff_id"] = json!("any");
    let answer = salon.guest.post(BOOK, &body).await;
    let told = answer.problem(409, "slot_taken");
    assert_eq!(told["conflict"], json!({"start": start}));
    let slot = &told["alternatives"][0];
    body["staff_id"] = slot["staff_id"].clone();
    body["start"] = slot["start"].clone();
    salon.guest.post(BOOK, &body).await.expect(201);
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn what_is_listed_can_be_booked_and_is_gone_from_the_list_at_once() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 2, 45).await;
    let policy = json!({"slot_grid": "packed", "slot_step_minutes": 30});
    salon.set(&json!({"timezone": "America/Los_Angeles", "booking_policy": policy})).await;
    let service = format!("/api/v1/business/services/{}", salon.service_id);
    let buffers = json!({"buffer_before_minutes": 5, "buffer_after_minutes": 10});
    salon.owner.edit(Method::PATCH, &service, &buffers).await.expect(200);
    let date = TimeZone::UTC.to_datetime(start_in(72 * 60)).date();
    let open = json!([{"start": "09:00", "end": "12:00"}, {"start": "13:00", "end": "16:10"}]);
    for staff in 0..2 {
        let hours = json!({"weekly": [], "overrides": [{"date": date, "windows": open}]});
        salon.set_hours(staff, &hours).await;
    }
    let day = format!("&date={date}");
    let mut booked = 0;
    loop {
        let listed = salon.slots(&day).await;
        // Now from the front, now from the back, now from the middle.
        let Some(slot) = listed.get(booked * 7 % listed.len().max(1)) else { break };
        let body = json!({"service_id": salon.service_id, "staff_id": slot["staff_id"],
                          "start": slot["start"], "customer": {"name": "Ada"}});
        salon.guest.post(BOOK, &body).await.expect(201);
        booked += 1;
        let left = salon.slots(&day).await;
        assert!(left.iter().all(|offered| listed.contains(offered) || *offered != *slot));
        assert!(!left.contains(slot), "{slot} is booked and still listed");
        salon.guest.post(BOOK, &body).await.problem(409, "slot_taken");
    }
    assert!((8..=14).contains(&booked), "{booked}");
    let from = format!("&from={date}&to={}", date.tomorrow().unwrap());
    assert_eq!(salon.slots(&from).await, Vec::<Value>::new());
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn what_the_rules_of_the_business_refuse_names_the_rule() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 1, 30).await;
    let day = (TimeZone::UTC.to_datetime(start_in(72 * 60))).date();
    let hour = |hours: i64| {
        let midnight = day.to_zoned(TimeZone::UTC).unwrap().timestamp();
        midnight + SignedDuration::from_hours(hours)
    };
    let half = SignedDuration::from_mins(30);
    let weekly: Vec<Value> =
        (0..7).map(|day| json!({"day": day, "start": "09:00", "end": "17:00"})).collect();
    salon.set_hours(0, &json!({ "weekly": weekly })).await;
    let away = format!("/api/v1/business/staff/{}/time-off", salon.staff[0]);
    let lunch = json!({"start": hour(12), "end": hour(13)});
    salon.owner.post(&away, &lunch).await.expect(201);
    let minutes = SignedDuration::from_mins;
    for (start, rule) in [
        (hour(3), "outside_hours"),
        (hour(9) - half, "outside_hours"),
        (hour(17), "outside_hours"),
        (hour(17) - minutes(25), "outside_hours"),
        (hour(10) + minutes(1), "off_grid"),
        (hour(10) + SignedDuration::from_secs(1), "off_grid"),
        (hour(10) + SignedDuration::from_micros(1), "off_grid"),
        (hour(12), "time_off"),
        (hour(12) - minutes(25), "time_off"),
        (hour(13) - minutes(5), "time_off"),
    ] {
        let answer = salon.book(0, start).await;
        let told = answer.problem(422, "outside_availability");
        assert_eq!(told["rule"], rule, "{start}: {told}");
    }
    let past = start_in(-10_000);
    salon.book(0, past).await.problem(422, "slot_in_past");

    salon.set_hours(0, &crate::salon::around_the_clock()).await;
    let policy = json!({"min_notice_minutes": 120, "window_days": 2});
    salon.set(&json!({"booking_policy": policy})).await;
    let answer = salon.book(0, start_in(60)).await;
    let told = answer.problem(422, "too_soon");
    let notice = at(&told["earliest"]).duration_since(streams::clock::now());
    assert!((115..=120).contains(&notice.as_mins()), "{told}");
    let answer = salon.book(0, start_in(96 * 60)).await;
    let told = answer.problem(422, "too_far");
    let before = at(&told["before"]);
    salon.book(0, before).await.problem(422, "too_far");
    salon.book(0, before - half).await.expect(201);
    salon.book(0, past).await.problem(422, "slot_in_past");
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_is_used_up_exactly_at_its_cap_however_many_book_at_once() {
    let mut stand = Stand::new().await;
    stand.addresses.free_monthly_cap = 5;
    let first = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    let salon = Salon::open(&first.client(), 4).await;
    let start = start_in(60);
    let answers: Vec<Answer> = stream::iter(0..20)
        .map(|n| {
            let client = if n % 2 == 0 { first.client() } else { second.client() };
            let mut body = salon.booking(n % 4, start);
            body["start"] = json!(start + SignedDuration::from_mins(5 * (n as i64 / 4)));
            body["customer"]["email"] = json!(format!("guest{n}@example.com"));
            async move { with_key(&client, &format!("key-{n}"), &body).await }
        })
        .buffer_unordered(20)
        .collect()
        .await;
    let booked: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(booked.len(), 5);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        refused.problem(402, "appointment_cap_reached");
    }
    // What was counted stays counted, and another business has a plan of its own.
    let path = format!("/api/v1/appointments/{}", text(&booked[0].body["appointment_id"]));
    salon.owner.call(Method::DELETE, &path, None).await.expect(204);
    salon.book(0, start_in(600)).await.problem(402, "appointment_cap_reached");
    let other = Salon::open(&second.client(), 1).await;
    other.book(0, start_in(600)).await.expect(201);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_known_by_their_address_stays_who_they_are() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 6).await;
    let start = start_in(60);
    // Six at once for an address that nobody knows yet: one guest.
    let first = join_all((0..6).map(|n| salon.book(n, start))).await;
    let ids: Vec<String> =
        first.into_iter().map(|answer| text(&answer.expect(201)["appointment_id"])).collect();
    let shown = async |id: &str| {
        let path = format!("/api/v1/appointments/{id}");
        salon.owner.read(&path).await.expect(200)["customer"].take()
    };
    let ada = shown(&ids[0]).await;
    for id in &ids {
        assert_eq!(shown(id).await, ada);
    }

    let mut body = salon.booking(0, start + SignedDuration::from_mins(5));
    body["customer"] =
        json!({"name": "Mallory", "email": "ADA@example.com", "phone": "+1 555 0100"});
    let second = text(&salon.guest.post(BOOK, &body).await.expect(201)["appointment_id"]);
    let mallory = shown(&second).await;
    assert_eq!(mallory["id"], ada["id"]);
    assert_eq!(mallory["name"], "Mallory", "as given with that appointment");
    assert_eq!(shown(&ids[0]).await, ada);
    let known =
        stand.database.texts("SELECT concat_ws('|', name, email, phone) FROM customer").await;
    assert_eq!(known, ["Ada Guest|ada@example.com"]);

    // Without an address nobody is known again; and each business knows its own guests.
    body["customer"] = json!({"name": "Ada Guest"});
    body["start"] = json!(start + SignedDuration::from_mins(10));
    let nameless = text(&salon.guest.post(BOOK, &body).await.expect(201)["appointment_id"]);
    assert_ne!(shown(&nameless).await["id"], ada["id"]);
    let other = Salon::open(&process.client(), 1).await;
    let theirs = text(&other.book(0, start).await.expect(201)["appointment_id"]);
    let theirs = other.owner.read(&format!("/api/v1/appointments/{theirs}")).await.expect(200);
    assert_ne!(theirs["customer"]["id"], ada["id"]);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_who_became_known_elsewhere_is_found_again() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let start = start_in(60);
    salon.book(0, start).await.expect(201);
    let mut body = salon.booking(0, start);
    body["customer"] = json!({"name": "Grace", "email": "grace@example.com"});
    salon.guest.post(BOOK, &body).await.expect(409);
    // The process has just seen that nobody knows her.
    let meet = "INSERT INTO customer (business_id, customer_id, name, email)
                SELECT business_id, gen_random_uuid(), 'Grace', 'Grace@Example.com' FROM customer";
    stand.database.execute(meet).await;
    body["start"] = json!(start + SignedDuration::from_mins(5));
    let id = text(&salon.guest.post(BOOK, &body).await.expect(201)["appointment_id"]);
    let shown = salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
    let known = "SELECT 'cust_' || replace(customer_id::text, '-', '')
                   FROM customer WHERE name = 'Grace'";
    assert_eq!(stand.database.texts(known).await, [text(&shown["customer"]["id"])]);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_anybody_gets_the_one_with_the_least_to_do_that_week() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 3).await;
    let mut staff = salon.staff.clone();
    staff.sort();
    let named = |id: &str| salon.staff.iter().position(|staff| staff == id).unwrap();
    // The middle of a local week, so that all of it is in one.
    let noon = start_in(10 * 1_440).to_zoned(TimeZone::UTC).with().hour(12).minute(0).build();
    let noon = noon.unwrap();
    let back = i64::from(noon.weekday().to_monday_zero_offset()) - 2;
    let start = (noon - back.days()).timestamp();
    let at = |minutes: i64| start + SignedDuration::from_mins(minutes);
    salon.book(named(&staff[0]), at(0)).await.expect(201);
    salon.book(named(&staff[0]), at(5)).await.expect(201);
    salon.book(named(&staff[1]), at(0)).await.expect(201);
    // Another week does not count.
    salon.book(named(&staff[2]), at(7 * 1_440)).await.expect(201);
    let anybody = async |minutes: i64| {
        let mut body = salon.booking(0, at(minutes));
        body["staff_id"] = json!("any");
        salon.guest.post(BOOK, &body).await.expect(201)
    };
    let first = anybody(60).await;
    assert_eq!(first["staff_id"], json!(staff[2]), "nothing to do that week");
    let second = anybody(120).await;
    assert_eq!(second["staff_id"], json!(staff[1]), "of two with as much to do, the first by id");
    let third = anybody(60).await;
    assert_eq!(third["staff_id"], json!(staff[0]), "who has least to do is not free");
    let path = format!("/api/v1/appointments/{}/history", text(&third["appointment_id"]));
    let history = salon.owner.read(&path).await.expect(200);
    let considered = &history["items"][0]["data"]["choice"]["considered"];
    let wanted = json!([
        {"staff_id": staff[2], "booked_minutes": 5},
        {"staff_id": staff[0], "booked_minutes": 10},
    ]);
    assert_eq!(considered, &wanted);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_books_for_a_guest_and_may_set_rules_aside() {
    const CREATE: &str = "/api/v1/appointments";
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 1, 30).await;
    let mut closed = crate::salon::around_the_clock();
    closed["weekly"] = json!([]);
    salon.set_hours(0, &closed).await;
    let start = start_in(2 * 1_440) + SignedDuration::from_mins(2);
    let mut body = salon.booking(0, start);
    salon.owner.post(CREATE, &body).await.problem(422, "outside_availability");
    body["override"] = json!(["outside_hours"]);
    let key = |body: &Value| {
        let request = salon.owner.request(Method::POST, CREATE).header("Idempotency-Key", "desk-1");
        request.json(body)
    };
    let booked = Answer::of(key(&body).send().await.unwrap()).await.expect(201);
    let again = Answer::of(key(&body).send().await.unwrap()).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.expect(201)["appointment_id"], booked["appointment_id"]);
    body["override"] = json!(["min_notice"]);
    let other = Answer::of(key(&body).send().await.unwrap()).await;
    other.problem(422, "idempotency_key_reused");
    // What is taken is taken for owners, too.
    body["override"] = json!(["outside_hours", "min_notice"]);
    salon.owner.post(CREATE, &body).await.problem(409, "slot_taken");
    let path = format!("{CREATE}/{}/history", text(&booked["appointment_id"]));
    let history = salon.owner.read(&path).await.expect(200);
    assert!(text(&history["items"][0]["actor"]).starts_with("user_"), "{history}");
    // Guests set nothing aside.
    let refused = salon.guest.post(BOOK, &body).await;
    refused.problem(422, "invalid_request");
    stand.addresses.assert_healthy();
}
