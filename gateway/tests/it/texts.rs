//! Text messages, by providers that misbehave.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use sha1::Sha1;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;

use crate::{
    reminders::{mails_to_guest, only_guests_are_told, until},
    salon::{Salon, start_in, text},
    stand::{Process, Stand},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ACCOUNT: &str = "AC00000000000000000000000000000000";
const TOKEN: &str = "an-auth-token";

/// A request as it came.
#[derive(Clone)]
struct Asked {
    headers: HeaderMap,
    body: String,
}

impl Asked {
    fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Whoever sends text messages: takes all of them, but for what it is told to answer first.
#[derive(Clone, Default)]
struct Provider {
    asked: Arc<Mutex<Vec<Asked>>>,
    faults: Arc<Mutex<VecDeque<Fault>>>,
}

#[derive(Clone, Copy)]
enum Fault {
    Status(u16, &'static str),
    /// Takes it and never says so.
    Silence,
    /// Takes it and hangs up.
    HangUp,
}

impl Provider {
    /// Starts one and says where it is.
    async fn start() -> (Self, String) {
        let provider = Self::default();
        let router = Router::new().fallback(take).with_state(provider.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (provider, address)
    }

    fn fails(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn take(
    State(provider): State<Provider>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    let number = {
        let mut asked = provider.asked.lock().unwrap();
        asked.push(Asked { headers, body });
        asked.len()
    };
    let fault = provider.faults.lock().unwrap().pop_front();
    match fault {
        Some(Fault::Status(status, words)) => {
            (StatusCode::from_u16(status).unwrap(), words.to_owned())
        }
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::HangUp) => panic!("the provider hangs up"),
        None => {
            let said = json!({"id": format!("m{number}"), "sid": format!("SM{number}")});
            (StatusCode::CREATED, said.to_string())
        }
    }
}

async fn by_webhook() -> (Stand, Provider) {
    let mut stand = Stand::new().await;
    let (provider, address) = Provider::start().await;
    stand.addresses.set("SMS_PROVIDER", "webhook");
    stand.addresses.set("SMS_WEBHOOK_URL", &address);
    stand.addresses.set("SMS_WEBHOOK_SECRET", SECRET);
    (stand, provider)
}

async fn by_twilio() -> (Stand, Provider) {
    let mut stand = Stand::new().await;
    let (provider, address) = Provider::start().await;
    stand.addresses.set("SMS_PROVIDER", "twilio");
    stand.addresses.set("TWILIO_API_URL", &address);
    stand.addresses.set("TWILIO_ACCOUNT_SID", ACCOUNT);
    stand.addresses.set("TWILIO_AUTH_TOKEN", TOKEN);
    stand.addresses.set("TWILIO_FROM", "+15005550006");
    (stand, provider)
}

/// A salon that reminds by text an hour before.
async fn salon(process: &Process) -> Salon {
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    let policy = json!({"reminder_offsets_minutes": [60], "reminder_channels": ["sms"]});
    salon.set(&policy).await;
    salon
}

async fn book(salon: &Salon, start: Timestamp, customer: &Value) -> String {
    let mut booking = salon.booking(0, start);
    booking["customer"] = customer.clone();
    text(&salon.guest.post("/api/v1/public/book", &booking).await.expect(201)["appointment_id"])
}

/// Of a guest who can be reached by phone alone, so that a booking is confirmed by text.
fn by_phone() -> Value {
    json!({"name": "Ada Guest", "phone": "+15550100"})
}

/// The confirmation, once it waits for another try, for this reason.
async fn deferred(salon: &Salon, id: &str, reason: &str) -> Value {
    testkit::eventually(&format!("a confirmation waits for {reason}"), async || {
        let shown = salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
        let all = shown["reminders"].as_array()?.clone();
        let wanted = (json!("confirmation"), json!("pending"), json!(reason));
        let of = |m: &Value| (m["kind"].clone(), m["status"].clone(), m["reason"].clone());
        all.into_iter().find(|message| of(message) == wanted)
    })
    .await
}

async fn now(stand: &Stand) {
    stand.database.execute("UPDATE notification SET next_at = now() WHERE state = 'pending'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_are_reminded_by_text_where_the_business_wants_it() {
    let (stand, provider) = by_webhook().await;
    let process = stand.serve().await;
    let salon = salon(&process).await;
    let both = json!({"name": "Ada Guest", "email": "ada@example.com", "phone": "+15550100"});
    let start = start_in(300);
    let id = book(&salon, start, &both).await;
    let confirmed = until(&salon, &id, "confirmation", "sent").await;
    assert_eq!((&confirmed["channel"], &confirmed["provider"]), (&json!("email"), &json!("smtp")));
    until(&salon, &id, "reminder", "pending").await;
    assert!(provider.asked().is_empty());
    now(&stand).await;
    let reminded = until(&salon, &id, "reminder", "sent").await;
    assert_eq!(reminded["channel"], "sms");
    assert_eq!(
        (&reminded["provider"], &reminded["provider_id"]),
        (&json!("webhook"), &json!("m1"))
    );
    let [asked] = &provider.asked()[..] else { panic!("asked once") };
    Webhook::new(SECRET).unwrap().verify(asked.body.as_bytes(), &asked.headers).unwrap();
    let said = asked.json();
    assert_eq!(said["to"], "+15550100");
    assert_eq!(asked.headers["webhook-id"], text(&said["id"]));
    assert!(text(&said["id"]).starts_with(&text(&reminded["id"])));
    let words = text(&said["body"]);
    assert!(words.contains("Reminder: Cut with Staff 0"), "{words}");
    assert!(words.contains("/b/") || words.contains("/api/v1/public/appointments/"), "{words}");
    assert_eq!(mails_to_guest(&stand).await.len(), 1);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gave_a_number_alone_is_told_everything_by_text() {
    let (stand, provider) = by_webhook().await;
    let process = stand.serve().await;
    let salon = salon(&process).await;
    let id = book(&salon, start_in(300), &by_phone()).await;
    let confirmed = until(&salon, &id, "confirmation", "sent").await;
    assert_eq!(confirmed["channel"], "sms");
    let cancel = format!("/api/v1/appointments/{id}/cancel");
    salon.owner.post(&cancel, &json!({"reason": "Dana is ill"})).await.expect(200);
    until(&salon, &id, "cancellation", "sent").await;
    until(&salon, &id, "reminder", "cancelled").await;
    let words: Vec<String> = provider.asked().iter().map(|a| text(&a.json()["body"])).collect();
    let [booked, cancelled] = &words[..] else { panic!("{words:?}") };
    assert!(booked.contains("Booked: Cut"), "{booked}");
    assert!(
        cancelled.contains("Cancelled: Cut") && cancelled.contains("Dana is ill"),
        "{cancelled}"
    );
    assert!(stand.mail.messages().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_refuses_for_now_comes_again_under_the_same_id() {
    let (stand, provider) = by_webhook().await;
    let process = stand.serve().await;
    let salon = salon(&process).await;
    for (fault, reason) in [(429, "sms_429"), (500, "sms_500")] {
        provider.fails(Fault::Status(fault, "not now"));
        let id = book(&salon, start_in(300 + i64::from(fault)), &by_phone()).await;
        let waits = deferred(&salon, &id, reason).await;
        assert_eq!(waits["attempts"], 1);
        now(&stand).await;
        until(&salon, &id, "confirmation", "sent").await;
        let own = text(&waits["id"]);
        let ids = provider.asked().into_iter().map(|asked| text(&asked.json()["id"]));
        let own: Vec<String> = ids.filter(|id| id.starts_with(&own)).collect();
        assert_eq!(own.len(), 2);
        assert_eq!(own[0], own[1]);
    }
    provider.fails(Fault::Status(400, "no such number"));
    let id = book(&salon, start_in(2_000), &by_phone()).await;
    let failed = until(&salon, &id, "confirmation", "failed").await;
    assert_eq!(failed["reason"], "sms_400");
    let sql = "SELECT consumer || ' ' || reason FROM dead_letter";
    assert_eq!(stand.database.texts(sql).await, ["notify-sms 400 no such number"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_leaves_open_comes_again_and_is_uncertain_in_the_end() {
    let (stand, provider) = by_webhook().await;
    let process = stand.serve().await;
    let salon = salon(&process).await;
    (0..2).for_each(|_| provider.fails(Fault::HangUp));
    let id = book(&salon, start_in(300), &by_phone()).await;
    deferred(&salon, &id, "sms_timeout").await;
    // As if it had been tried as often as it may.
    let tries = "INSERT INTO notification_attempt (notification_id, attempt, business_id, taken_at,
                                                   outcome, reason)
                 SELECT notification_id, n, business_id, now(), 'deferred', 'sms_timeout'
                   FROM notification, generate_series(101, 104) AS n WHERE kind = 'confirmation'";
    stand.database.execute(tries).await;
    let again = "UPDATE notification SET next_at = now() WHERE kind = 'confirmation'";
    stand.database.execute(again).await;
    let open = until(&salon, &id, "confirmation", "uncertain").await;
    assert_eq!(open["reason"], "sms_timeout");
    assert_eq!(provider.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twilio_leaves_open_stays_open_and_is_not_sent_again() {
    let (stand, provider) = by_twilio().await;
    let process = stand.serve().await;
    let salon = salon(&process).await;
    provider.fails(Fault::Status(500, r#"{"code": 20500, "message": "Internal Server Error"}"#));
    let id = book(&salon, start_in(300), &by_phone()).await;
    let open = until(&salon, &id, "confirmation", "uncertain").await;
    assert_eq!(open["reason"], "twilio_20500");
    provider.fails(Fault::Status(429, r#"{"code": 20429, "message": "Too Many Requests"}"#));
    let id = book(&salon, start_in(400), &by_phone()).await;
    deferred(&salon, &id, "twilio_20429").await;
    stand
        .database
        .execute("UPDATE notification SET next_at = now() WHERE state = 'pending' AND kind = 'confirmation'")
        .await;
    until(&salon, &id, "confirmation", "sent").await;
    provider
        .fails(Fault::Status(400, r#"{"code": 21211, "message": "Invalid 'To' Phone Number"}"#));
    let id = book(&salon, start_in(500), &by_phone()).await;
    assert_eq!(until(&salon, &id, "confirmation", "failed").await["reason"], "twilio_21211");
    assert_eq!(provider.asked().len(), 4);
    let form = provider.asked()[0].form();
    assert_eq!((form["To"].as_str(), form["From"].as_str()), ("+15550100", "+15005550006"));
    let account = format!("Basic {}", BASE64_STANDARD.encode(format!("{ACCOUNT}:{TOKEN}")));
    assert_eq!(provider.asked()[0].headers["authorization"], account);
}

/// Twilio tells what became of a message.
async fn tell(asked: &Asked, token: &str, said: &[(&str, &str)]) -> u16 {
    let url = asked.form()["StatusCallback"].clone();
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).unwrap();
    mac.update(url.as_bytes());
    let form: BTreeMap<&str, &str> = said.iter().copied().collect();
    form.iter().for_each(|(name, value)| mac.update(format!("{name}{value}").as_bytes()));
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let body = form
        .iter()
        .fold(url::form_urlencoded::Serializer::new(String::new()), |mut form, (name, value)| {
            form.append_pair(name, value);
            form
        })
        .finish();
    let request = testkit::client().build().unwrap().request(Method::POST, url);
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
    request.header("x-twilio-signature", signature).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn twilio_alone_says_whether_a_message_arrived() {
    let (stand, provider) = by_twilio().await;
    let process = stand.serve().await;
    let salon = salon(&process).await;
    let first = book(&salon, start_in(300), &by_phone()).await;
    until(&salon, &first, "confirmation", "sent").await;
    let asked = provider.asked()[0].clone();
    let delivered = [("MessageSid", "SM1"), ("MessageStatus", "delivered")];
    assert_eq!(tell(&asked, "another-token", &delivered).await, 403);
    until(&salon, &first, "confirmation", "sent").await;
    assert_eq!(tell(&asked, TOKEN, &[("MessageStatus", "sent")]).await, 204);
    assert_eq!(tell(&asked, TOKEN, &delivered).await, 204);
    let shown = until(&salon, &first, "confirmation", "delivered").await;
    assert!(shown["delivered_at"].is_string());
    // Told twice, and the other way round: the first word stands.
    assert_eq!(tell(&asked, TOKEN, &delivered).await, 204);
    assert_eq!(tell(&asked, TOKEN, &[("MessageStatus", "failed")]).await, 204);
    let second = book(&salon, start_in(400), &by_phone()).await;
    until(&salon, &second, "confirmation", "sent").await;
    let lost = [("MessageStatus", "undelivered"), ("ErrorCode", "30006")];
    assert_eq!(tell(&provider.asked()[1], TOKEN, &lost).await, 204);
    assert_eq!(until(&salon, &second, "confirmation", "failed").await["reason"], "twilio_30006");
    until(&salon, &first, "confirmation", "delivered").await;
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_of_texts_that_is_silent_holds_up_no_mail() {
    let (stand, provider) = by_webhook().await;
    let process = stand.serve().await;
    let salon = salon(&process).await;
    for n in 0..20 {
        provider.fails(Fault::Silence);
        book(&salon, start_in(300 + n * 60), &by_phone()).await;
    }
    testkit::eventually("texts are stuck", async || (provider.asked().len() >= 16).then_some(()))
        .await;
    let id = text(&salon.book(0, start_in(3_000)).await.expect(201)["appointment_id"]);
    until(&salon, &id, "confirmation", "sent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_and_what_a_service_wants_decide_when_and_how_guests_are_reminded() {
    let (stand, _provider) = by_webhook().await;
    let process = stand.serve().await;
    let salon = salon(&process).await;
    // Whatever the time is: the two hours around the reminder are quiet.
    let start = start_in(3_000);
    let due = start - SignedDuration::from_mins(60);
    let minutes = |at: Timestamp| (at.as_second() / 60).rem_euclid(1_440);
    let clock = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
    let from = (minutes(due) + 1_440 - 60) % 1_440;
    let to = (minutes(due) + 60) % 1_440;
    let quiet = json!({"quiet_hours": {"start": clock(from), "end": clock(to)}});
    salon.set(&quiet).await;
    let id = book(&salon, start, &by_phone()).await;
    let reminder = until(&salon, &id, "reminder", "pending").await;
    let at = |field: &str| text(&reminder[field]).parse::<Timestamp>().unwrap();
    assert_eq!(at("moved_from"), due);
    assert_eq!(at("due_at"), due - SignedDuration::from_mins(61));
    salon.set(&json!({"quiet_hours": null})).await;
    let service = format!("/api/v1/business/services/{}", salon.service_id);
    let own = json!({"reminders": {"offsets_minutes": [30], "channels": ["email"]}});
    let shown = salon.owner.edit(Method::PATCH, &service, &own).await.expect(200);
    assert_eq!(shown["reminders"], own["reminders"]);
    let id = text(&salon.book(0, start_in(3_100)).await.expect(201)["appointment_id"]);
    let reminder = until(&salon, &id, "reminder", "pending").await;
    assert_eq!((&reminder["offset_minutes"], &reminder["channel"]), (&json!(30), &json!("email")));
    assert_eq!(reminder["moved_from"], Value::Null);
    tokio::time::timeout(Duration::from_secs(60), stand.addresses.caught_up()).await.unwrap();
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_that_is_late_wakes_nobody() {
    let (stand, provider) = by_webhook().await;
    let process = stand.serve().await;
    let salon = salon(&process).await;
    // Whatever the time is: it is quiet from an hour ago until in two hours.
    let now = streams::clock::now();
    let clock = |at: Timestamp| {
        let minute = (at.as_second() / 60).rem_euclid(1_440);
        format!("{:02}:{:02}", minute / 60, minute % 60)
    };
    let hours = |n: i64| now + SignedDuration::from_hours(n);
    salon.set(&json!({"quiet_hours": {"start": clock(hours(-1)), "end": clock(hours(2))}})).await;
    let id = book(&salon, start_in(600), &by_phone()).await;
    until(&salon, &id, "confirmation", "sent").await;
    until(&salon, &id, "reminder", "pending").await;
    // As if nobody had sent anything for half an hour.
    let late = "UPDATE notification SET due_at = now() - interval '30 minutes', next_at = now()
                 WHERE kind = 'reminder' AND state = 'pending'";
    stand.database.execute(late).await;
    let reminder = testkit::eventually("it waits for the end of the quiet", async || {
        let reminder = until(&salon, &id, "reminder", "pending").await;
        (reminder["reason"] == "quiet_hours").then_some(reminder)
    })
    .await;
    let next = "SELECT extract(epoch FROM next_at)::bigint::text FROM notification
                 WHERE kind = 'reminder' AND state = 'pending'";
    let until_then: i64 = stand.database.texts(next).await[0].parse().unwrap();
    assert_eq!(until_then / 60, hours(2).as_second() / 60);
    assert_eq!(reminder["attempts"], 1);
    assert_eq!(provider.asked().len(), 1);
    // Behind the start of the visit nobody needs it any more: rather now than then.
    let near = "UPDATE notification SET next_at = now(), expires_at = now() + interval '1 hour'
                 WHERE kind = 'reminder' AND state = 'pending'";
    stand.database.execute(near).await;
    until(&salon, &id, "reminder", "sent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_everything_is_left_alone_and_no_try_is_spent_on_it() {
    let (stand, provider) = by_webhook().await;
    let process = stand.serve().await;
    let salon = salon(&process).await;
    let start = start_in(300);
    let at = |n: i64| start + SignedDuration::from_mins(n * 5);
    let waits = book(&salon, at(6), &by_phone()).await;
    until(&salon, &waits, "confirmation", "sent").await;
    let reminder = until(&salon, &waits, "reminder", "pending").await;
    for n in 0..5 {
        provider.fails(Fault::Status(500, "out of order"));
        let id = book(&salon, at(n), &by_phone()).await;
        deferred(&salon, &id, "sms_500").await;
        // None of them comes again and takes the next one's answer.
        let later =
            "UPDATE notification SET next_at = now() + interval '1 hour' WHERE state = 'pending'";
        stand.database.execute(later).await;
    }
    let due = format!(
        "UPDATE notification SET next_at = now() WHERE notification_id = '{}'::uuid",
        text(&reminder["id"]).trim_start_matches("ntf_")
    );
    stand.database.execute(&due).await;
    let postponed = "apptremind_notifications_postponed_total";
    testkit::eventually("it waits", async || (process.metric(postponed).await > 0.0).then_some(()))
        .await;
    assert_eq!(provider.asked().len(), 6);
    // After a while one sees whether it works, and it does.
    let sent = until(&salon, &waits, "reminder", "sent").await;
    assert_eq!(sent["attempts"], 1);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_business_sends_more_texts_in_a_minute_than_the_operator_allows() {
    let (mut stand, provider) = by_webhook().await;
    // So few that none comes back while the test goes on.
    stand.addresses.set("SMS_PER_MINUTE_EACH", "1");
    let process = stand.serve().await;
    let (salon, other) = (salon(&process).await, salon(&process).await);
    let start = start_in(300);
    for n in 0..2 {
        book(&salon, start + SignedDuration::from_mins(n * 5), &by_phone()).await;
    }
    let id = book(&other, start, &by_phone()).await;
    until(&other, &id, "confirmation", "sent").await;
    testkit::eventually("one and the other's", async || {
        (provider.asked().len() == 2).then_some(())
    })
    .await;
    let waiting = "SELECT kind FROM notification WHERE state = 'pending' AND kind = 'confirmation'
                      AND next_at > now()";
    testkit::eventually("the second waits", async || stand.database.texts(waiting).await.pop())
        .await;
}
