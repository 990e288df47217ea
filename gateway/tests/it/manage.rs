//! What guests see and do by the link that they were given.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use commands::identity::{Link, Links, RootKeys};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    reminders::mails_to_guest,
    salon::{Salon, path_of, start_in, text},
    stand::{Answer, Client, Process, Stand},
};

/// A booked visit and the path of its link.
struct Booked {
    id: String,
    path: String,
}

impl Booked {
    fn of(answer: &Value) -> Self {
        Self { id: text(&answer["appointment_id"]), path: path_of(&answer["manage_url"]) }
    }

    fn link(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }

    async fn view(&self, client: &Client) -> Value {
        client.read(&self.path).await.expect(200)
    }

    async fn nonce(&self, client: &Client) -> String {
        text(&self.view(client).await["nonce"])
    }

    async fn cancel(&self, client: &Client, nonce: &str) -> Answer {
        client.post(&format!("{}/cancel", self.path), &json!({ "nonce": nonce })).await
    }
}

async fn booked(salon: &Salon, start: Timestamp) -> Booked {
    Booked::of(&salon.book(0, start).await.expect(201))
}

/// The links of the process under test, made as it makes them.
fn links(stand: &Stand) -> Links {
    let key = stand.addresses.folder.path().join("key.pem");
    Links::try_new(&RootKeys::read_or_create(&key).unwrap()).unwrap()
}

/// How many events there are of an appointment.
async fn events(stand: &Stand, id: &str) -> usize {
    let sql = format!("SELECT event_type FROM events WHERE aggregate_id = '{id}'");
    stand.database.texts(&sql).await.len()
}

fn local(at: Timestamp, zone: &str) -> Value {
    let offset = TimeZone::get(zone).unwrap().to_offset(at);
    json!(at.display_with_offset(offset).to_string())
}

#[tokio::test]
async fn a_guest_sees_their_visit_by_the_link_in_the_answer() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 1, 30).await;
    let policy =
        json!({"slot_grid": "aligned", "slot_step_minutes": 5, "cancel_notice_minutes": 90});
    salon
        .set(&json!({"timezone": "America/New_York", "address": "1 Main St", "contact": "555 0100",
                      "booking_policy": policy}))
        .await;
    let (start, minutes) = (start_in(24 * 60), SignedDuration::from_mins);
    let end = start + minutes(30);
    let mut body = salon.booking(0, start);
    body["timezone"] = json!("Europe/London");
    let booked = Booked::of(&salon.guest.post("/api/v1/public/book", &body).await.expect(201));
    let answer = salon.guest.read(&booked.path).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    let mut seen = answer.expect(200);
    let nonce = text(&seen["nonce"].take());
    assert!(!nonce.is_empty());
    let expires: Timestamp = text(&seen["nonce_expires_at"].take()).parse().unwrap();
    let left = expires.duration_since(streams::clock::now());
    assert!((59..=60).contains(&left.as_mins()), "{left}");
    let expected = json!({
        "appointment_id": booked.id, "status": "booked", "expires_at": null,
        "offered": false,
        "start": start, "end": end,
        "timezone": "America/New_York",
        "local_start": local(start, "America/New_York"), "local_end": local(end, "America/New_York"),
        "guest_time": {
            "timezone": "Europe/London",
            "local_start": local(start, "Europe/London"), "local_end": local(end, "Europe/London"),
        },
        "service": {"id": salon.service_id, "name": "Cut"},
        "staff": {"id": salon.staff[0], "name": "Staff 0"},
        "price": {"amount": 4500, "currency": "USD"},
        "answers": {}, "subjects": [],
        "business": {"name": "Test Salon", "handle": salon.handle, "address": "1 Main St",
                     "contact": "555 0100"},
        "cancellation": {"allowed": true, "until": start - minutes(90), "notice_minutes": 90},
        "rescheduling": {"allowed": true, "until": start - minutes(90), "left": null},
        "nonce": null, "nonce_expires_at": null,
    });
    assert_eq!(seen, expected);
    // Looking changes nothing, and says nothing of whom the business knows.
    salon.guest.read(&booked.path).await.expect(200);
    salon.guest.call(Method::HEAD, &booked.path, None).await.expect(200);
    assert_eq!(events(&stand, &booked.id).await, 1);
    assert!(!expected.to_string().contains("Ada"), "{expected}");

    // A guest whose clock shows the same, and a visit whose service and staff are gone.
    let mut body = salon.booking(0, end);
    body["timezone"] = json!("America/Toronto");
    let near = Booked::of(&salon.guest.post("/api/v1/public/book", &body).await.expect(201));
    let service = format!("/api/v1/business/services/{}", salon.service_id);
    salon.owner.call(Method::DELETE, &service, None).await.expect(204);
    let staff = format!("/api/v1/business/staff/{}", salon.staff[0]);
    salon.owner.call(Method::DELETE, &staff, None).await.expect(204);
    let seen = near.view(&salon.guest).await;
    assert_eq!(seen["guest_time"], json!(null));
    assert_eq!((&seen["service"]["name"], &seen["staff"]["name"]), (&json!(null), &json!(null)));
    stand.addresses.assert_healthy();
}

/// What is no link of ours: cut, altered in each of its parts, put together from two, or made up.
fn forged(link: &str, other: &str) -> Vec<String> {
    let bytes = |link: &str| URL_SAFE_NO_PAD.decode(link).unwrap();
    let (ours, theirs) = (bytes(link), bytes(other));
    let tag = ours.len() - 16;
    let altered = |at: usize| {
        let mut altered = ours.clone();
        altered[at] ^= 1;
        altered
    };
    let mut all: Vec<String> = [
        altered(0),                              // the form
        altered(1),                              // the key's name
        altered(5),                              // the appointment
        altered(tag - 1),                        // its generation
        altered(tag),                            // the MAC
        altered(ours.len() - 1),                 // its end
        [&ours[..tag], &theirs[tag..]].concat(), // another appointment's MAC
        [&theirs[..tag], &ours[tag..]].concat(), // another appointment
        [&ours[..tag], &[0; 16][..]].concat(),   // no MAC
        ours[..tag].to_vec(),                    // none at all
        ours[..ours.len() - 1].to_vec(),         // a shorter one
        [&ours[..], &[0][..]].concat(),          // a longer one
    ]
    .iter()
    .map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
    .collect();
    all.extend([link[..20].to_owned(), link.to_lowercase(), format!("{link}="), "x".to_owned()]);
    all.extend(["%00".to_owned(), "%FF".to_owned(), "A".repeat(4_000)]);
    all
}

#[tokio::test]
async fn a_link_that_is_forged_cut_or_mixed_is_not_found() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let ours = booked(&salon, start_in(60)).await;
    let other = Salon::open(&process.client(), 1).await;
    let theirs = booked(&other, start_in(60)).await;
    let nonce = ours.nonce(&salon.guest).await;
    let mut links = forged(ours.link(), theirs.link());
    links.extend([ours.id.clone(), ours.id.trim_start_matches("appt_").to_owned(), nonce.clone()]);
    // Signed by us, but of another generation, or for nothing that was ever booked.
    let made = self::links(&stand);
    let appointment_id = ours.id.parse().unwrap();
    let current = Link::of(appointment_id);
    assert_eq!(made.manage(current), ours.link(), "the test makes links as the process does");
    links.push(made.manage(Link { generation: current.generation + 1, ..current }));
    links.push(made.manage(Link::of(domain::AppointmentId::new(streams::clock::new_id()))));
    for link in &links {
        let path = format!("/api/v1/public/appointments/{link}");
        let answer = salon.guest.read(&path).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{link}");
        answer.problem(404, "not_found");
        salon.guest.read(&format!("{path}/calendar.ics")).await.problem(404, "not_found");
        let cancel = format!("{path}/cancel");
        let body = json!({ "nonce": nonce });
        salon.guest.post(&cancel, &body).await.problem(404, "not_found");
        salon.owner.post(&cancel, &body).await.problem(404, "not_found");
    }
    assert!(
        process.metric("apptremind_links_refused_total").await >= 4.0 * (links.len() - 1) as f64
    );
    assert_eq!((events(&stand, &ours.id).await, events(&stand, &theirs.id).await), (1, 1));
    // A link is no password for anything else.
    salon
        .guest
        .read(&format!("/api/v1/appointments/{}", ours.id))
        .await
        .problem(401, "unauthorized");
    let signed_in = salon.guest.signed_in(ours.link());
    signed_in.read("/api/v1/appointments").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_guest_cancels_once_and_what_is_sent_again_is_gone() {
    let mut stand = Stand::new().await;
    stand.addresses.log = "trace";
    let log = stand.addresses.folder.path().join("serve.log");
    let process = stand.serve_logging_to(&std::fs::File::create(&log).unwrap()).await;
    let salon = Salon::open(&process.client(), 1).await;
    salon.set(&json!({"reminder_offsets_minutes": [10]})).await;
    let start = start_in(24 * 60);
    let visit = booked(&salon, start).await;
    let nonce = visit.nonce(&salon.guest).await;
    let cancel = format!("{}/cancel", visit.path);
    let body = json!({"nonce": nonce, "reason": "my dog is ill"});
    let answer = salon.guest.post(&cancel, &body).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!answer.header("x-position").is_empty());
    let seen = answer.expect(200);
    assert_eq!(
        (&seen["status"], &seen["cancellation"]["allowed"]),
        (&json!("cancelled"), &json!(false))
    );

    for _ in 0..3 {
        salon.guest.post(&cancel, &body).await.problem(410, "nonce_spent");
    }
    let spent = r#"apptremind_nonces_total{outcome="spent"}"#;
    assert_eq!(process.metric(spent).await, 3.0);
    let accepted = r#"apptremind_nonces_total{outcome="accepted"}"#;
    assert_eq!(process.metric(accepted).await, 1.0);
    // A nonce of the state that it is in now authorises, and there is nothing left to do.
    let fresh = visit.nonce(&salon.guest).await;
    let answer = visit.cancel(&salon.guest, &fresh).await;
    assert_eq!(answer.problem(409, "wrong_state")["state"], "cancelled");

    let path = format!("/api/v1/appointments/{}", visit.id);
    let shown = salon.owner.read(&path).await.expect(200);
    assert_eq!(
        (&shown["status"], &shown["cancel_reason"]),
        (&json!("cancelled"), &json!("my dog is ill"))
    );
    let history = salon.owner.read(&format!("{path}/history")).await.expect(200);
    let last = history["items"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["actor"], &last["data"]), (&json!("guest"), &json!({"type": "cancelled"})));
    eventually("the reminder is called off", async || {
        let shown = salon.owner.read(&path).await.expect(200);
        shown["reminders"].as_array()?.iter().find(|r| r["status"] == "cancelled").map(drop)
    })
    .await;
    salon.book(0, start).await.expect(201);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();

    // The replay is on record, and nothing that could be used or that is somebody's own words.
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains(&visit.id) && log.contains("spent"), "{log}");
    for secret in [visit.link(), &nonce, &fresh, "my dog", "Ada Guest", "ada@example.com"] {
        assert!(!log.contains(secret), "{secret} is logged");
    }
    let stored = "SELECT to_jsonb(e)::text FROM events e
                  UNION ALL SELECT to_jsonb(k)::text FROM idempotency_key k
                  UNION ALL SELECT to_jsonb(n)::text FROM notification n";
    for row in stand.database.texts(stored).await {
        assert!(!row.contains(visit.link()) && !row.contains("my dog"), "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_cancel_at_once_exactly_one_does() {
    let stand = Stand::new().await;
    let first = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    let salon = Salon::open(&first.client(), 1).await;
    for round in 0..5 {
        let visit = booked(&salon, start_in(60 + round * 5)).await;
        let nonce = visit.nonce(&salon.guest).await;
        let clients: Vec<Client> =
            (0..16).map(|n| if n % 2 == 0 { first.client() } else { second.client() }).collect();
        let answers = join_all(clients.iter().map(|client| visit.cancel(client, &nonce))).await;
        let mut codes: BTreeMap<(u16, String), usize> = BTreeMap::new();
        for answer in &answers {
            answer.well_formed();
            let (status, code) = answer.code();
            *codes.entry((status, code.to_owned())).or_default() += 1;
        }
        let expected =
            BTreeMap::from([((200, String::new()), 1), ((410, "nonce_spent".into()), 15)]);
        assert_eq!(codes, expected);
        assert_eq!(events(&stand, &visit.id).await, 2, "booked, and cancelled once");
    }
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_nonce_is_for_its_own_link_its_version_and_an_hour() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let visit = booked(&salon, start_in(60)).await;
    let other = booked(&salon, start_in(65)).await;
    let links = self::links(&stand);
    let link = Link::of(visit.id.parse().unwrap());
    let now = streams::clock::now();
    let hour = SignedDuration::from_hours(1);
    for foreign in [
        other.nonce(&salon.guest).await,
        visit.link().to_owned(),
        visit.nonce(&salon.guest).await[1..].to_owned(),
        links.nonce(Link::of(other.id.parse().unwrap()), 1, now + hour),
        String::new(),
        "\u{0}".to_owned(),
    ] {
        let answer = visit.cancel(&salon.guest, &foreign).await;
        answer.problem(422, "invalid_request");
        assert_eq!(answer.fields(), ["nonce"]);
    }
    for (expired, version) in [(now - hour, 1), (now, 1), (now - hour, 0)] {
        let nonce = links.nonce(link, version, expired);
        visit.cancel(&salon.guest, &nonce).await.problem(410, "nonce_expired");
    }
    for version in [0, 2, u64::MAX] {
        let nonce = links.nonce(link, version, now + hour);
        visit.cancel(&salon.guest, &nonce).await.problem(410, "nonce_spent");
    }
    let cancel = format!("{}/cancel", visit.path);
    for (body, field) in [
        (json!({}), "nonce"),
        (json!({"nonce": 1}), "nonce"),
        (json!({"nonce": "x", "why": "x"}), "why"),
    ] {
        let answer = salon.guest.post(&cancel, &body).await;
        answer.problem(422, "invalid_request");
        assert_eq!(answer.fields(), [field]);
    }
    let nonce = visit.nonce(&salon.guest).await;
    let body = json!({"nonce": nonce, "reason": "x".repeat(501)});
    let answer = salon.guest.post(&cancel, &body).await;
    answer.problem(422, "invalid_request");
    assert_eq!(answer.fields(), ["reason"]);
    assert_eq!(events(&stand, &visit.id).await, 1, "nothing of it did anything");

    // Whoever else changes the visit spends the nonce as well.
    let nonce = visit.nonce(&salon.guest).await;
    let path = format!("/api/v1/appointments/{}/cancel", visit.id);
    salon.owner.post(&path, &json!({})).await.expect(200);
    visit.cancel(&salon.guest, &nonce).await.problem(410, "nonce_spent");
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_guest_who_is_too_late_is_told_the_rule_and_the_time() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let notice = async |minutes: u32| {
        salon.set(&json!({"booking_policy": {"cancel_notice_minutes": minutes}})).await;
    };
    notice(240).await;
    let start = start_in(60);
    let visit = booked(&salon, start).await;
    let seen = visit.view(&salon.guest).await;
    let until = start - SignedDuration::from_mins(240);
    let expected = json!({"allowed": false, "until": until, "notice_minutes": 240});
    assert_eq!(seen["cancellation"], expected);
    let nonce = text(&seen["nonce"]);
    for _ in 0..2 {
        let answer = visit.cancel(&salon.guest, &nonce).await;
        let told = answer.problem(422, "too_late_to_cancel");
        let rule = (&told["rule"], &told["notice_minutes"], &told["deadline"]);
        assert_eq!(rule, (&json!("cancel_notice_minutes"), &json!(240), &json!(until)));
    }
    // Nothing was changed, so nothing was spent; what counts is the policy when the guest asks.
    notice(30).await;
    visit.cancel(&salon.guest, &nonce).await.expect(200);
    visit.cancel(&salon.guest, &nonce).await.problem(410, "nonce_spent");
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmation_and_reminder_carry_the_link_of_the_answer() {
    let mut stand = Stand::new().await;
    stand.addresses.public_url = Some("https://book.example/salons/".to_owned());
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    salon.set(&json!({"reminder_offsets_minutes": [10]})).await;
    let answer = salon.book(0, start_in(60)).await.expect(201);
    let url = text(&answer["manage_url"]);
    let path = url.strip_prefix("https://book.example/salons").unwrap();
    salon.guest.read(path).await.expect(200);
    let arrived = async |count: usize| {
        eventually("the mail arrives", async || {
            let mails = mails_to_guest(&stand).await;
            (mails.len() == count).then(|| mails.last().unwrap().clone())
        })
        .await
    };
    let confirmation = arrived(1).await;
    eventually("the reminder is planned", async || {
        let now = "UPDATE notification SET next_at = now() WHERE kind = 'reminder' RETURNING kind";
        stand.database.texts(now).await.pop()
    })
    .await;
    let reminder = arrived(2).await;
    assert!(reminder.subject.starts_with("Reminder"), "{reminder:?}");
    for mail in [confirmation, reminder] {
        let (text, html) = (mail.text.unwrap(), mail.html.unwrap());
        assert!(text.contains(&format!(": {url}")), "{text}");
        assert!(html.contains(&format!("href=\"{url}\"")), "{html}");
        assert!(!mail.subject.contains(&url[40..]) && !mail.message_id.contains(&url[40..]));
    }
}

#[tokio::test]
async fn a_replayed_booking_answers_the_same_link_and_stores_none() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let mut body = salon.booking(0, start_in(60));
    body["idempotency_key"] = json!("key-1");
    let book = "/api/v1/public/book";
    let first = salon.guest.post(book, &body).await.expect(201);
    let again = salon.guest.post(book, &body).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.expect(201), first);
    let stored = stand.database.texts("SELECT answer::text FROM idempotency_key").await;
    assert_eq!(stored.len(), 1);
    assert!(!stored[0].contains("manage"), "{stored:?}");
    assert_eq!(Booked::of(&first).view(&salon.guest).await["status"], "booked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_moves_their_visit_once_with_each_view() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    salon.set(&json!({"booking_policy": {"reschedule_limit": 2}})).await;
    let (start, later) = (start_in(3 * 1_440), start_in(4 * 1_440));
    let visit = booked(&salon, start).await;
    let guest = &salon.guest;
    let moving = async |nonce: &str, start: Timestamp| {
        let body = json!({ "nonce": nonce, "start": start });
        guest.post(&format!("{}/reschedule", visit.path), &body).await
    };
    let view = visit.view(guest).await;
    assert_eq!(view["rescheduling"]["left"], 2);
    let nonce = text(&view["nonce"]);
    // Of many at once one moves it; the others, and whoever comes later, hold a spent nonce.
    let all = join_all((0..6).map(|n| {
        let start = later + SignedDuration::from_mins(5 * n);
        moving(&nonce, start)
    }))
    .await;
    let moved: Vec<_> = all.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(moved.len(), 1, "{all:?}");
    for answer in all.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, &answer.body["code"]), (410, &json!("nonce_spent")));
    }
    assert_eq!(events(&stand, &visit.id).await, 2);
    assert_eq!(moved[0].body["rescheduling"]["left"], 1);

    let taken = later + SignedDuration::from_mins(120);
    salon.book(0, taken).await.expect(201);
    let nonce = visit.nonce(guest).await;
    let told = moving(&nonce, taken).await;
    assert_eq!(told.problem(409, "slot_taken")["alternatives"].as_array().unwrap().len(), 3);
    // What was refused spent nothing.
    assert_eq!(moving(&nonce, start).await.expect(200)["start"], json!(start));
    let nonce = visit.nonce(guest).await;
    moving(&nonce, later).await.problem(422, "reschedule_limit_reached");
    salon.set(&json!({"booking_policy": {"cancel_notice_minutes": 5 * 1_440}})).await;
    let told = moving(&nonce, later).await;
    assert_eq!(told.problem(422, "too_late_to_reschedule")["notice_minutes"], 5 * 1_440);
    assert_eq!(visit.view(guest).await["rescheduling"]["allowed"], false);
    // Owners are not held to what guests are held to.
    let path = format!("/api/v1/appointments/{}/reschedule", visit.id);
    salon.owner.post(&path, &json!({"start": later})).await.expect(200);
    moving(&nonce, start).await.problem(410, "nonce_spent");
    stand.addresses.assert_healthy();
}
