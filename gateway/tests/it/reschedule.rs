//! Visits that are moved, and visits that are booked again.

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    reminders::mails_to_guest,
    replay::replay,
    salon::{Salon, around_the_clock, noon_of, start_in, text},
    stand::{Answer, Process, Stand},
};

async fn booked(salon: &Salon, staff: usize, start: Timestamp) -> String {
    text(&salon.book(staff, start).await.expect(201)["appointment_id"])
}

fn path(id: &str) -> String {
    format!("/api/v1/appointments/{id}")
}

async fn change(salon: &Salon, id: &str, how: &str, body: &Value) -> Answer {
    salon.owner.post(&format!("{}/{how}", path(id)), body).await
}

async fn moved(salon: &Salon, id: &str, body: Value) -> Answer {
    change(salon, id, "reschedule", &body).await
}

async fn reinstated(salon: &Salon, id: &str) -> Answer {
    salon.owner.call(reqwest::Method::POST, &format!("{}/reinstate", path(id)), None).await
}

/// The messages of an appointment to its guest as (kind, status), in the order of the kinds.
async fn messages(salon: &Salon, id: &str) -> Vec<(String, String)> {
    let shown = salon.owner.read(&path(id)).await.expect(200);
    let all = shown["reminders"].as_array().unwrap().clone();
    let all = all.iter().filter(|message| message["recipient"] == "guest");
    let mut all: Vec<_> = all.map(|m| (text(&m["kind"]), text(&m["status"]))).collect();
    all.sort();
    all
}

fn named(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(kind, status)| ((*kind).to_owned(), (*status).to_owned())).collect()
}

async fn offers(salon: &Salon, staff: usize, start: Timestamp, position: &str) -> bool {
    let day = start.to_zoned(jiff::tz::TimeZone::UTC).date();
    let more = format!("&staff_id={}&date={day}&min_position={position}", salon.staff[staff]);
    salon.slots(&more).await.iter().any(|slot| slot["start"] == json!(start))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_moves_with_its_time_its_reminders_and_its_place_in_every_list() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    let (before, after) = (start_in(3 * 1_440), start_in(13 * 1_440));
    let id = booked(&salon, 0, before).await;
    eventually("the confirmation went out", async || {
        let wanted = named(&[("confirmation", "sent"), ("reminder", "pending")]);
        (messages(&salon, &id).await == wanted).then_some(())
    })
    .await;

    let answer = moved(&salon, &id, json!({"start": after, "staff_id": salon.staff[1]})).await;
    let position = answer.header("x-position").to_owned();
    let tag = answer.header("etag").to_owned();
    let shown = answer.expect(200);
    assert_eq!((&shown["start"], &shown["staff_id"]), (&json!(after), &json!(salon.staff[1])));
    assert_eq!((&shown["status"], tag.as_str()), (&json!("booked"), "\"2\""));
    assert!(offers(&salon, 0, before, &position).await, "the old time is free");
    assert!(!offers(&salon, 1, after, &position).await, "the new time is not");
    let listed = async |staff: &str| {
        let list = format!("/api/v1/appointments?staff_id={staff}&min_position={position}");
        let items = salon.owner.read(&list).await.expect(200)["items"].take();
        items.as_array().unwrap().iter().map(|item| item["start"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&salon.staff[0]).await, Vec::<Value>::new());
    assert_eq!(listed(&salon.staff[1]).await, [json!(after)]);

    eventually("the guest is told, and the reminder is planned anew", async || {
        let wanted = named(&[
            ("confirmation", "sent"),
            ("reminder", "cancelled"),
            ("reminder", "pending"),
            ("rescheduled", "sent"),
        ]);
        (messages(&salon, &id).await == wanted).then_some(())
    })
    .await;
    let mails = stand.mail.messages().await;
    assert!(mails.iter().any(|mail| mail.subject.starts_with("Moved: Cut")), "{mails:?}");
    let history = salon.owner.read(&format!("{}/history", path(&id))).await.expect(200);
    let kinds: Vec<_> =
        history["items"].as_array().unwrap().iter().map(|e| e["type"].clone()).collect();
    assert_eq!(kinds, ["booking.appointment.booked.v1", "booking.appointment.rescheduled.v1"]);
    stand.addresses.caught_up().await;
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_a_rule_refuses_changes_nothing() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 1, 30).await;
    let start = start_in(2 * 1_440);
    let later = |minutes| start + SignedDuration::from_mins(minutes);
    let (id, other) = (booked(&salon, 0, start).await, booked(&salon, 0, later(60)).await);
    let told = moved(&salon, &id, json!({"start": later(45)})).await;
    let told = told.problem(409, "slot_taken");
    assert_eq!(told["alternatives"].as_array().unwrap().len(), 3, "{told}");
    let nobody = json!({"start": later(240), "staff_id": "staff_0198c5a2b7f07c3d8e4f5a6b7c8d9e02"});
    moved(&salon, &id, nobody).await.problem(404, "not_found");
    moved(&salon, &id, json!({"start": later(242)})).await.problem(422, "outside_availability");
    moved(&salon, &id, json!({"start": "2020-01-01T10:00:00Z"})).await.problem(422, "slot_in_past");
    moved(&salon, &id, json!({"start": start, "override": ["gravity"]}))
        .await
        .problem(422, "invalid_request");
    // To where it is already is no change.
    let answer = moved(&salon, &id, json!({"start": start})).await;
    assert_eq!(answer.header("etag"), "\"1\"");
    assert_eq!(answer.expect(200)["start"], json!(start));
    // Its own time is free for itself.
    assert_eq!(
        moved(&salon, &id, json!({"start": later(10)})).await.expect(200)["start"],
        json!(later(10))
    );
    change(&salon, &other, "cancel", &json!({})).await.expect(200);
    moved(&salon, &other, json!({"start": later(240)})).await.problem(409, "wrong_state");
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_sets_notice_and_hours_aside_but_never_another_visit() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 1, 30).await;
    let (start, soon) = (start_in(3 * 1_440), start_in(120));
    let id = booked(&salon, 0, start).await;
    let taken = start_in(2 * 1_440);
    booked(&salon, 0, taken).await;
    salon.set(&json!({"booking_policy": {"min_notice_minutes": 1_440}})).await;
    let mut closed = around_the_clock();
    closed["weekly"] = json!([]);
    salon.set_hours(0, &closed).await;
    let wish = |start: Timestamp, rules: &[&str]| json!({"start": start, "override": rules});
    moved(&salon, &id, wish(soon, &[])).await.problem(422, "too_soon");
    let notice = moved(&salon, &id, wish(soon, &["min_notice"])).await;
    notice.problem(422, "outside_availability");
    let both = ["min_notice", "outside_hours"];
    let off_grid = soon + SignedDuration::from_mins(3);
    assert_eq!(
        moved(&salon, &id, wish(off_grid, &both)).await.expect(200)["start"],
        json!(off_grid)
    );
    let into = taken + SignedDuration::from_mins(20);
    moved(&salon, &id, wish(into, &both)).await.problem(409, "slot_taken");
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_visits_that_want_one_time_one_gets_it() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 6).await;
    let (start, wanted) = (start_in(2 * 1_440), start_in(9 * 1_440));
    let ids = join_all((1..6).map(|staff| booked(&salon, staff, start))).await;
    let body = json!({"start": wanted, "staff_id": salon.staff[0]});
    let moves = ids.iter().map(|id| moved(&salon, id, body.clone()));
    let (answers, booking) = futures::join!(join_all(moves), salon.book(0, wanted));
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.push(booking.status);
    let got = statuses.iter().filter(|status| **status < 300).count();
    assert_eq!(got, 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| *status < 300 || *status == 409), "{statuses:?}");
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_called_off_is_booked_again_if_its_time_is_free() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    let start = start_in(2 * 1_440);
    let id = booked(&salon, 0, start).await;
    change(&salon, &id, "cancel", &json!({})).await.expect(200);
    let answer = reinstated(&salon, &id).await;
    let position = answer.header("x-position").to_owned();
    assert_eq!(answer.expect(200)["status"], "booked");
    assert!(!offers(&salon, 0, start, &position).await);
    assert_eq!(reinstated(&salon, &id).await.header("x-position"), position, "already so");
    eventually("a reminder is to come again", async || {
        let all = messages(&salon, &id).await;
        all.contains(&("reminder".to_owned(), "pending".to_owned())).then_some(())
    })
    .await;
    change(&salon, &id, "cancel", &json!({})).await.expect(200);
    let second = booked(&salon, 0, start).await;
    let told = reinstated(&salon, &id).await;
    assert!(told.problem(409, "slot_taken")["alternatives"].as_array().is_some());
    change(&salon, &second, "cancel", &json!({})).await.expect(200);
    reinstated(&salon, &id).await.expect(200);
    stand.addresses.caught_up().await;
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_at_once_leave_one_reminder_to_come() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    let start = start_in(2 * 1_440);
    let id = booked(&salon, 0, start).await;
    eventually("the confirmation went out", async || {
        let wanted = named(&[("confirmation", "sent"), ("reminder", "pending")]);
        (messages(&salon, &id).await == wanted).then_some(())
    })
    .await;
    // Whoever plans messages sees all of these together.
    process.kill();
    let gateway = Process::start(&stand.addresses, &["gateway"]).await;
    let at_gateway = Salon { owner: salon.owner.at(&gateway), ..salon };
    for _ in 0..2 {
        change(&at_gateway, &id, "cancel", &json!({})).await.expect(200);
        reinstated(&at_gateway, &id).await.expect(200);
    }
    let later = json!({"start": start + SignedDuration::from_mins(60)});
    moved(&at_gateway, &id, later).await.expect(200);
    drop(gateway);
    // Nothing is followed past a transaction that is still open, of other tests too.
    let seen = "SELECT 'yes' WHERE (SELECT max(transaction_id) FROM events)
                                     < pg_snapshot_xmin(pg_current_snapshot())";
    eventually("all are seen at once", async || stand.database.texts(seen).await.pop()).await;
    process.start_again().await;
    let salon = Salon { owner: at_gateway.owner.at(&process), ..at_gateway };
    eventually("what was planned before is off", async || {
        let all = messages(&salon, &id).await;
        let count = |kind: &str, status: &str| {
            all.iter().filter(|(k, s)| (k.as_str(), s.as_str()) == (kind, status)).count()
        };
        let (off, to_come) = (count("reminder", "cancelled"), count("reminder", "pending"));
        ((off, to_come, count("rescheduled", "sent")) == (3, 1, 1)).then_some(())
    })
    .await;
    // One when it was booked, and one about the last change.
    assert_eq!(mails_to_guest(&stand).await.len(), 2);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_keeps_to_the_limits_of_its_new_day_and_does_not_count_itself() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    salon.set(&json!({"booking_policy": {"max_per_day": 1}})).await;
    // Noon, so that an hour more is the same day.
    let noon = |days: i64| {
        let day = start_in(days * 1_440).to_zoned(jiff::tz::TimeZone::UTC).start_of_day().unwrap();
        day.timestamp() + SignedDuration::from_hours(12)
    };
    let (one, two) = (booked(&salon, 0, noon(3)).await, booked(&salon, 1, noon(4)).await);
    let told = moved(&salon, &one, json!({"start": noon(4)})).await;
    assert_eq!(told.problem(422, "limit_reached")["scope"], "business");
    let past_the_hours = json!({"start": noon(4), "override": ["outside_hours", "min_notice"]});
    moved(&salon, &one, past_the_hours).await.problem(422, "limit_reached");
    let later = noon(3) + SignedDuration::from_hours(1);
    moved(&salon, &one, json!({"start": later})).await.expect(200);
    change(&salon, &two, "cancel", &json!({})).await.expect(200);
    moved(&salon, &one, json!({"start": noon(4)})).await.expect(200);
    // The day that it left takes another; the one that it came to does not.
    reinstated(&salon, &two).await.problem(422, "limit_reached");
    booked(&salon, 0, later).await;
    let why = format!("service_id={}&staff_id={}", salon.service_id, salon.staff[0]);
    let full = noon(4) + SignedDuration::from_hours(2);
    let explain = format!("/api/v1/public/slots/explain?{why}&start={full}");
    let told = salon.guest.read(&explain).await.expect(200);
    assert_eq!(told["reasons"][0]["rule"], "limit_reached", "{told}");
    assert!(told["reasons"][0]["event_id"].is_string(), "{told}");
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_one_staff_member_hold_for_a_visit_that_comes_back_and_not_for_one_that_leaves() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    let member = format!("/api/v1/business/staff/{}", salon.staff[0]);
    salon.owner.edit(reqwest::Method::PATCH, &member, &json!({"max_per_day": 2})).await.expect(200);
    let day = start_in(3 * 1_440).to_zoned(jiff::tz::TimeZone::UTC).start_of_day().unwrap();
    let hour = |n: i64| day.timestamp() + SignedDuration::from_hours(n);
    let one = booked(&salon, 0, hour(8)).await;
    let to = json!({"start": hour(8), "staff_id": salon.staff[1]});
    moved(&salon, &one, to).await.expect(200);
    // Two services by one: they would be two of the three visits of that day.
    let mut wish = salon.booking(0, hour(10));
    wish["also"] = json!([{"service_id": salon.service_id, "staff_id": salon.staff[0]}]);
    let two = salon.guest.post("/api/v1/public/book", &wish).await.expect(201);
    let two = text(&two["appointment_id"]);
    change(&salon, &two, "cancel", &json!({})).await.expect(200);
    booked(&salon, 0, hour(14)).await;
    reinstated(&salon, &two).await.problem(422, "limit_reached");
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_moves_into_a_closed_day_unless_the_owner_says_so() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let (start, closed) = (start_in(3 * 1_440), noon_of(start_in(6 * 1_440)));
    let id = booked(&salon, 0, start).await;
    let date = closed.to_zoned(jiff::tz::TimeZone::UTC).date();
    let closure = json!({"date_from": date, "date_to": date, "reason": "Holiday"});
    salon.owner.post("/api/v1/business/closures", &closure).await.expect(201);
    let told = moved(&salon, &id, json!({"start": closed})).await;
    assert_eq!(told.problem(422, "outside_availability")["rule"], "closed");
    let anyway = json!({"start": closed, "override": ["outside_hours"]});
    assert_eq!(moved(&salon, &id, anyway).await.expect(200)["start"], json!(closed));
    let why = format!("service_id={}&staff_id={}", salon.service_id, salon.staff[0]);
    let asked = closed + SignedDuration::from_mins(30);
    let explain = format!("/api/v1/public/slots/explain?{why}&start={asked}");
    let told = salon.guest.read(&explain).await.expect(200);
    assert_eq!(told["reasons"][0]["rule"], "closed", "{told}");
    assert!(told["reasons"][0]["since"].is_string(), "{told}");
    stand.addresses.assert_healthy();
}
