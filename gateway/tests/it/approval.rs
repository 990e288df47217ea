//! Services whose visits the business wants to agree to: what guests book is only asked for, and its
//! time is kept until somebody answers, or until it expires.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    ownership::{keyed, met},
    races::{race, sized},
    replay::replay,
    salon::{Salon, path_of, start_in, text},
    stand::{Answer, Process, Stand},
};

/// A salon that wants to agree to each visit, of so many minutes.
async fn careful(process: &Process, staff: usize, minutes: u32) -> Salon {
    let salon = Salon::with(&process.client(), staff, minutes).await;
    let service = format!("/api/v1/business/services/{}", salon.service_id);
    let change = json!({"requires_approval": true});
    let changed = salon.owner.edit(Method::PATCH, &service, &change).await.expect(200);
    assert_eq!(changed["requires_approval"], true);
    salon
}

fn path(id: &str) -> String {
    format!("/api/v1/appointments/{id}")
}

/// Asks for a visit.
async fn asked(salon: &Salon, start: Timestamp) -> String {
    let answer = salon.book(0, start).await.expect(201);
    assert_eq!(answer["status"], "requested");
    text(&answer["appointment_id"])
}

async fn say(salon: &Salon, id: &str, how: &str, body: &Value) -> Answer {
    salon.owner.post(&format!("{}/{how}", path(id)), body).await
}

async fn shown(salon: &Salon, id: &str) -> Value {
    salon.owner.read(&path(id)).await.expect(200)
}

/// The types of the events of an appointment.
async fn history(salon: &Salon, id: &str) -> Vec<String> {
    let entries = salon.owner.read(&format!("{}/history", path(id))).await.expect(200);
    let entries = entries["items"].as_array().unwrap().clone();
    let named = |entry: &Value| {
        let name = text(&entry["type"]);
        name.trim_start_matches("booking.appointment.").trim_end_matches(".v1").to_owned()
    };
    entries.iter().map(named).collect()
}

/// Waits until the messages of an appointment are these, as (kind, status) in the order of the kinds.
async fn messages(salon: &Salon, id: &str, wanted: &[(&str, &str)]) {
    eventually(&format!("the messages are {wanted:?}"), async || {
        let all = shown(salon, id).await["reminders"].as_array()?.clone();
        let guest = all.iter().filter(|m| m["recipient"] == "guest");
        let mut all: Vec<_> = guest.map(|m| (text(&m["kind"]), text(&m["status"]))).collect();
        all.sort();
        let same = all.len() == wanted.len()
            && all.iter().zip(wanted).all(|(a, b)| (a.0.as_str(), a.1.as_str()) == *b);
        same.then_some(())
    })
    .await;
}

async fn until_status(salon: &Salon, id: &str, status: &str) -> Value {
    eventually(&format!("it is {status}"), async || {
        Some(shown(salon, id).await).filter(|shown| shown["status"] == status)
    })
    .await
}

async fn offers(salon: &Salon, start: Timestamp, position: &str) -> bool {
    let day = start.to_zoned(TimeZone::UTC).date();
    let more = format!("&staff_id={}&date={day}&min_position={position}", salon.staff[0]);
    salon.slots(&more).await.iter().any(|slot| slot["start"] == json!(start))
}

async fn listed(salon: &Salon, status: &str, position: &str) -> Vec<String> {
    let list = format!("/api/v1/appointments?status={status}&min_position={position}");
    let items = salon.owner.read(&list).await.expect(200)["items"].take();
    items.as_array().unwrap().iter().map(|item| text(&item["id"])).collect()
}

/// The shortest patience is five minutes: as if they were over.
async fn lapse(stand: &Stand, id: &str) {
    let uuid = id.trim_start_matches("appt_");
    let at = streams::clock::now();
    let sql = format!(
        "UPDATE events SET payload = jsonb_set(payload, '{{expires_at}}', '\"{at}\"')
          WHERE aggregate_id = '{id}' AND event_type = 'booking.appointment.requested.v1';
         UPDATE pending_request SET expires_at = '{at}' WHERE appointment_id = '{uuid}'"
    );
    stand.database.execute(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_kept_until_the_business_confirms_it() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = careful(&process, 1, 30).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    let public = format!("/api/v1/public/businesses/{}", salon.handle);
    let public = salon.guest.read(&public).await.expect(200);
    assert_eq!(public["services"][0]["requires_approval"], true);

    let start = start_in(3 * 1_440);
    let answer = keyed(&salon.guest, "one", &salon.booking(0, start)).await;
    let position = answer.header("x-position").to_owned();
    let booked = answer.expect(201);
    assert_eq!(booked["status"], "requested");
    let expires_at: Timestamp = text(&booked["expires_at"]).parse().unwrap();
    let patience = expires_at.duration_since(streams::clock::now());
    assert!((1_438..=1_440).contains(&patience.as_mins()), "{patience}");
    let again = keyed(&salon.guest, "one", &salon.booking(0, start)).await;
    assert_eq!(again.expect(201), booked);
    let id = text(&booked["appointment_id"]);

    // Nobody else gets the time, and everybody sees why.
    assert!(!offers(&salon, start, &position).await);
    salon.book(0, start).await.problem(409, "slot_taken");
    assert_eq!(listed(&salon, "requested", &position).await, [id.as_str()]);
    let day = start.to_zoned(TimeZone::UTC).date();
    let calendar = format!("/api/v1/calendars/{}?from={day}", salon.staff[0]);
    let calendar = salon.owner.read(&calendar).await.expect(200);
    assert_eq!(calendar["items"][0]["status"], "requested", "{calendar}");
    let link = path_of(&booked["manage_url"]);
    let view = salon.guest.read(&link).await.expect(200);
    assert_eq!(
        (&view["status"], &view["expires_at"]),
        (&json!("requested"), &booked["expires_at"])
    );
    messages(&salon, &id, &[("requested", "sent")]).await;
    eventually("guest and host have their mails", async || {
        (stand.mail.messages().await.len() == 2).then_some(())
    })
    .await;

    let confirmed = say(&salon, &id, "confirm", &json!(null)).await;
    assert_eq!(confirmed.header("etag"), "\"2\"");
    let position = confirmed.header("x-position").to_owned();
    let body = confirmed.expect(200);
    assert_eq!((&body["status"], &body["expires_at"]), (&json!("booked"), &json!(null)));
    let again = say(&salon, &id, "confirm", &json!(null)).await;
    assert_eq!((again.status, again.header("x-position")), (200, position.as_str()));
    let declined = say(&salon, &id, "decline", &json!({})).await;
    assert_eq!(declined.problem(409, "wrong_state")["state"], "booked");
    assert_eq!(listed(&salon, "requested", &position).await, Vec::<String>::new());
    assert_eq!(listed(&salon, "booked", &position).await, [id.as_str()]);
    assert!(!offers(&salon, start, &position).await, "the time stays taken");
    let wanted = [("confirmation", "sent"), ("reminder", "pending"), ("requested", "sent")];
    messages(&salon, &id, &wanted).await;
    let mails = stand.mail.messages().await;
    let (host, mails): (Vec<_>, Vec<_>) =
        mails.into_iter().partition(|mail| mail.subject.starts_with("New request"));
    assert_eq!(host.len(), 1, "whoever is to answer is told once: {host:?}");
    let subjects: Vec<&str> = mails.iter().map(|mail| mail.subject.as_str()).collect();
    assert_eq!(subjects, ["Requested: Cut at Test Salon", "Booked: Cut at Test Salon"]);
    assert!(mails[0].calendar.is_none(), "nothing is agreed yet");
    assert!(mails[1].calendar.as_ref().is_some_and(|file| file.contains("STATUS:CONFIRMED")));
    assert_eq!(salon.guest.read(&link).await.expect(200)["expires_at"], json!(null));
    assert_eq!(history(&salon, &id).await, ["requested", "confirmed"]);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declined_gives_its_time_back_and_the_guest_reads_why() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = careful(&process, 1, 30).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    let start = start_in(3 * 1_440);
    let id = asked(&salon, start).await;
    let reason = json!({"reason": "We do not treat parrots."});
    say(&salon, &id, "decline", &json!({"reason": "x".repeat(501)}))
        .await
        .problem(422, "invalid_request");
    let declined = say(&salon, &id, "decline", &reason).await;
    let position = declined.header("x-position").to_owned();
    let body = declined.expect(200);
    assert_eq!((&body["status"], &body["expires_at"]), (&json!("declined"), &json!(null)));
    assert_eq!(body["cancel_reason"], reason["reason"]);
    say(&salon, &id, "decline", &json!({})).await.expect(200);
    for (how, body) in [
        ("confirm", json!(null)),
        ("cancel", json!({})),
        ("reinstate", json!(null)),
        ("complete", json!(null)),
        ("no-show", json!(null)),
        ("reschedule", json!({"start": start + SignedDuration::from_mins(60)})),
    ] {
        let refused = say(&salon, &id, how, &body).await;
        assert_eq!(refused.problem(409, "wrong_state")["state"], "declined", "{how}");
    }
    assert!(offers(&salon, start, &position).await, "the time is free");
    let next = asked(&salon, start).await;
    eventually("the guest reads why", async || {
        let mails = stand.mail.messages().await;
        let told = |mail: &&testkit::mailsink::Mail| mail.subject.starts_with("Declined: ");
        mails.iter().find(told)?.text.as_ref()?.contains("parrots").then_some(())
    })
    .await;
    messages(&salon, &next, &[("requested", "sent")]).await;
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_moves_and_takes_back_what_they_asked_for() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = careful(&process, 1, 30).await;
    let policy = json!({"cancel_notice_minutes": 10 * 1_440});
    salon.set(&json!({"booking_policy": policy, "reminder_offsets_minutes": [60]})).await;
    let start = start_in(3 * 1_440);
    let answer = salon.book(0, start).await.expect(201);
    let (id, link) = (text(&answer["appointment_id"]), path_of(&answer["manage_url"]));
    let view = salon.guest.read(&link).await.expect(200);
    assert_eq!(view["cancellation"]["allowed"], true, "nothing is agreed yet: {view}");
    assert_eq!(view["rescheduling"]["allowed"], true, "{view}");
    say(&salon, &id, "complete", &json!(null)).await.problem(409, "wrong_state");

    messages(&salon, &id, &[("requested", "sent")]).await;
    // To a time that comes sooner than the answer would have to.
    let sooner = start_in(300);
    let moving = json!({"start": sooner, "nonce": view["nonce"]});
    let moved = salon.guest.post(&format!("{link}/reschedule"), &moving).await;
    let position = moved.header("x-position").to_owned();
    let moved = moved.expect(200);
    assert_eq!((&moved["status"], &moved["expires_at"]), (&json!("requested"), &json!(sooner)));
    assert!(offers(&salon, start, &position).await && !offers(&salon, sooner, &position).await);
    assert_eq!(listed(&salon, "requested", &position).await, [id.as_str()]);
    messages(&salon, &id, &[("requested", "sent"), ("requested", "sent")]).await;
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();

    let off = json!({"nonce": moved["nonce"], "reason": "I am well again"});
    let off = salon.guest.post(&format!("{link}/cancel"), &off).await;
    let position = off.header("x-position").to_owned();
    assert_eq!(off.expect(200)["status"], "cancelled");
    assert!(offers(&salon, sooner, &position).await);
    // The owner may still want it: then it is agreed at once.
    let again = say(&salon, &id, "reinstate", &json!(null)).await.expect(200);
    assert_eq!((&again["status"], &again["expires_at"]), (&json!("booked"), &json!(null)));
    assert_eq!(history(&salon, &id).await, ["requested", "rescheduled", "cancelled", "reinstated"]);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
    assert_eq!(replay(&stand, &["agenda", "--verify"]).await.code, 0);
}

#[tokio::test]
async fn what_the_owner_books_is_agreed_at_once() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = careful(&process, 1, 30).await;
    let booking = salon.booking(0, start_in(300));
    let booked = salon.owner.post("/api/v1/appointments", &booking).await.expect(201);
    assert_eq!((&booked["status"], &booked["expires_at"]), (&json!("booked"), &json!(null)));
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_for_overlapping_times_one_is_kept_through_two_processes() {
    let stand = Stand::new().await;
    let first = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    met([&first, &second]).await;
    let salon = careful(&first, 1, 60).await;
    let (requests, start) = (sized(2_000, 10_000), start_in(300));
    let wanted = (0..requests).map(|n| {
        let later = i64::try_from(n % 12).unwrap() * 5;
        salon.booking(0, start + SignedDuration::from_mins(later))
    });
    let statuses = race(&[&first, &second], wanted.collect(), 100).await;
    assert_eq!(statuses, BTreeMap::from([(201, 1), (409, requests - 1)]));
    stand.addresses.caught_up().await;
    let kept = salon.owner.read("/api/v1/appointments?status=requested").await.expect(200);
    assert_eq!(kept["items"].as_array().unwrap().len(), 1);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_counts_like_a_booking_until_it_ends_and_for_the_month_for_ever() {
    let mut stand = Stand::new().await;
    stand.addresses.free_monthly_cap = 2;
    let process = stand.serve().await;
    let salon = careful(&process, 1, 30).await;
    salon.set(&json!({"booking_policy": {"max_per_day": 1}})).await;
    let start = start_in(3 * 1_440);
    let id = asked(&salon, start).await;
    salon.book(0, start).await.problem(422, "limit_reached");
    say(&salon, &id, "decline", &json!({})).await.expect(200);
    asked(&salon, start).await;
    let other_day = start + SignedDuration::from_hours(48);
    salon.book(0, other_day).await.problem(402, "appointment_cap_reached");
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_answers_expires_frees_its_time_and_the_guest_is_told() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = careful(&process, 1, 5).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    let start = start_in(3 * 1_440);
    let answer = salon.book(0, start).await.expect(201);
    let (id, link) = (text(&answer["appointment_id"]), path_of(&answer["manage_url"]));
    messages(&salon, &id, &[("requested", "sent")]).await;
    lapse(&stand, &id).await;
    until_status(&salon, &id, "expired").await;
    messages(&salon, &id, &[("expired", "sent"), ("requested", "sent")]).await;
    let view = salon.guest.read(&link).await.expect(200);
    assert_eq!((&view["status"], &view["expires_at"]), (&json!("expired"), &json!(null)));
    assert_eq!(view["cancellation"]["allowed"], false);
    for how in ["confirm", "decline"] {
        let refused = say(&salon, &id, how, &json!({})).await;
        assert_eq!(refused.problem(409, "wrong_state")["state"], "expired", "{how}");
    }
    let file = salon.guest.read(&format!("{link}/calendar.ics")).await.expect(200);
    assert!(file.as_str().unwrap().contains("METHOD:CANCEL"), "{file}");
    asked(&salon, start).await;
    assert_eq!(history(&salon, &id).await, ["requested", "expired"]);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

/// A request never outlives the start of its visit, so this one need not be made older.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_expires_within_moments_of_its_time() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = careful(&process, 1, 5).await;
    let soon = salon.begin_soon().await;
    let answer = salon.book(0, soon).await.expect(201);
    assert_eq!(answer["expires_at"], json!(soon));
    let id = text(&answer["appointment_id"]);
    let guest_told = async || {
        let shown = shown(&salon, &id).await;
        let told = |m: &Value| m["kind"] == "expired" && m["status"] == "sent";
        shown["reminders"].as_array()?.iter().any(told).then_some(())
    };
    crate::salon::wait_until(soon).await;
    // Also the visit has begun: what came of the request is worth telling nevertheless.
    eventually("the guest is told", guest_told).await;
    let entries = salon.owner.read(&format!("{}/history", path(&id))).await.expect(200);
    let ended: Timestamp = text(&entries["items"][1]["at"]).parse().unwrap();
    let late = ended.duration_since(soon);
    // A quarter of a second; more where others want the processors, too.
    assert!((0..30_000).contains(&late.as_millis()), "{late}");
    assert!(process.metric("apptremind_request_expiry_lateness_seconds_count").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_expire_once_whoever_is_killed_and_while_the_broker_is_away() {
    let mut stand = Stand::new().await;
    let roles = ["gateway", "relay", "projector", "notifier"];
    let process = Process::start(&stand.addresses, &roles).await;
    let mut first = Process::start(&stand.addresses, &["scheduler"]).await;
    let salon = careful(&process, 1, 5).await;
    let start = start_in(3 * 1_440);
    let later = |n: i64| start + SignedDuration::from_mins(5 * n);

    // Killed before it could write it, and nobody is there: the next one does.
    let id = asked(&salon, start).await;
    first.kill();
    lapse(&stand, &id).await;
    salon.book(0, start).await.problem(409, "slot_taken");
    let mut second = Process::start(&stand.addresses, &["scheduler"]).await;
    until_status(&salon, &id, "expired").await;
    asked(&salon, start).await;

    // One of two is killed while many lapse.
    first.start_again().await;
    let mut many = Vec::new();
    for n in 1..=20 {
        many.push(asked(&salon, later(n)).await);
    }
    for (n, id) in many.iter().enumerate() {
        lapse(&stand, id).await;
        if n == 10 {
            second.kill();
        }
    }
    for id in &many {
        until_status(&salon, id, "expired").await;
        assert_eq!(history(&salon, id).await, ["requested", "expired"]);
    }

    // Without the broker.
    let id = asked(&salon, later(30)).await;
    messages(&salon, &id, &[("requested", "sent")]).await;
    stand.nats.kill();
    lapse(&stand, &id).await;
    until_status(&salon, &id, "expired").await;
    asked(&salon, later(30)).await;
    stand.nats.start_again().await;
    messages(&salon, &id, &[("expired", "sent"), ("requested", "sent")]).await;
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
    assert_eq!(replay(&stand, &["all", "--verify"]).await.code, 0);
}
