//! What an owner can say to a guest who was never told.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};
use testkit::{eventually, mailsink::Fault};

use crate::{
    reminders::{only_guests_are_told, until},
    salon::{Salon, start_in, text},
    stand::Stand,
};

async fn evidence(salon: &Salon, message: &Value) -> Value {
    let path = format!("/api/v1/notifications/{}", text(&message["id"]));
    salon.owner.read(&path).await.expect(200)
}

fn kinds(shown: &Value) -> Vec<String> {
    shown["steps"].as_array().unwrap().iter().map(|step| text(&step["type"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_try_of_a_message_is_there_with_its_times_and_what_was_said() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    stand.mail.fault(Fault::TryLater, 1).await;
    let id = text(&salon.book(0, start_in(300)).await.expect(201)["appointment_id"]);
    let waits = eventually("it waits for another try", async || {
        let shown = until(&salon, &id, "confirmation", "pending").await;
        (shown["attempts"] == 1).then_some(shown)
    })
    .await;
    stand
        .database
        .execute("UPDATE notification SET next_at = now() WHERE kind = 'confirmation'")
        .await;
    until(&salon, &id, "confirmation", "sent").await;
    let shown = evidence(&salon, &waits).await;
    let told = [
        "notification.requested.v1",
        "scheduler.reminder.due.v1",
        "notification.deferred.v1",
        "notification.sent.v1",
    ];
    assert_eq!(kinds(&shown), told);
    let [first, second] = &shown["tries"].as_array().unwrap()[..] else { panic!("{shown}") };
    assert_eq!((&first["outcome"], &first["reason"]), (&json!("deferred"), &json!("smtp_451")));
    assert!(text(&first["answer"]).contains("451"), "{first}");
    assert_eq!(first["handed_over_at"], Value::Null, "nothing had left");
    assert_eq!((&second["outcome"], &second["provider"]), (&json!("sent"), &json!("smtp")));
    assert!(second["handed_over_at"].is_string() && second["ended_at"].is_string(), "{second}");
    assert!(second["answer"].is_string(), "{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_listed_by_what_became_of_them_page_by_page() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    let start = start_in(3_000);
    stand.mail.fault(Fault::NoSuchMailbox, 1).await;
    let lost = text(&salon.book(0, start).await.expect(201)["appointment_id"]);
    until(&salon, &lost, "confirmation", "failed").await;
    for n in 1..4 {
        let id = salon.book(0, start + SignedDuration::from_hours(n)).await.expect(201);
        until(&salon, &text(&id["appointment_id"]), "confirmation", "sent").await;
    }
    stand.addresses.caught_up().await;
    let list = async |more: &str| {
        let path = format!("/api/v1/notifications?{more}");
        salon.owner.read(&path).await.expect(200)
    };
    let failed = list("status=failed").await["items"].take();
    let [only] = &failed.as_array().unwrap()[..] else { panic!("{failed}") };
    assert_eq!((&only["appointment_id"], &only["reason"]), (&json!(lost), &json!("smtp_550")));
    assert_eq!(list("status=sent&kind=confirmation").await["items"].as_array().unwrap().len(), 3);
    assert_eq!(list("channel=sms").await["items"], json!([]));
    let mut all: Vec<Value> = vec![];
    let mut more = "limit=3".to_owned();
    loop {
        let mut page = list(&more).await;
        all.extend(serde_json::from_value::<Vec<Value>>(page["items"].take()).unwrap());
        let Some(next) = page["next"].as_str() else { break };
        more = format!("limit=3&cursor={next}");
    }
    assert_eq!(all.len(), 8, "a confirmation and a reminder each");
    let due: Vec<String> = all.iter().map(|message| text(&message["due_at"])).collect();
    assert!(due.is_sorted_by(|one, next| one >= next), "{due:?}");
    for bad in ["status=lost", "limit=0", "cursor=1", "kind=password_reset", "channel=pigeon"] {
        let path = format!("/api/v1/notifications?{bad}");
        salon.owner.read(&path).await.problem(422, "invalid_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_whose_sender_was_killed_is_there_too() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    stand.mail.fault(Fault::StallConnect(std::time::Duration::from_secs(60)), 1).await;
    let id = text(&salon.book(0, start_in(300)).await.expect(201)["appointment_id"]);
    crate::reminders::in_the_table(&stand, "state = 'sending'").await;
    process.kill();
    // Whether the one that was killed had come as far as the server or not.
    stand.mail.fault(Fault::None, 1).await;
    stand
        .database
        .execute("UPDATE notification SET lease_until = now() WHERE state = 'sending'")
        .await;
    process.start_again().await;
    let salon = Salon { owner: salon.owner.at(&process), ..salon };
    let sent = until(&salon, &id, "confirmation", "sent").await;
    let shown = evidence(&salon, &sent).await;
    let outcomes: Vec<Value> =
        shown["tries"].as_array().unwrap().iter().map(|a| a["outcome"].clone()).collect();
    assert_eq!(outcomes, [json!("lost"), json!("sent")]);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_listed_shown_tried_again_and_dropped() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    stand.mail.fault(Fault::NoSuchMailbox, 2).await;
    let mut ids = vec![];
    for n in [300, 600] {
        let id = text(&salon.book(0, start_in(n)).await.expect(201)["appointment_id"]);
        until(&salon, &id, "confirmation", "failed").await;
        ids.push(id);
    }
    let run = |arguments: &[&str]| {
        let all: Vec<&str> = ["dead-letters"].iter().chain(arguments).copied().collect();
        stand.addresses.run(&all)
    };
    let (code, said) = run(&["list", "--json"]);
    assert_eq!(code, 0);
    let letters: Vec<Value> = serde_json::from_str(&said).unwrap();
    let [first, second] = &letters[..] else { panic!("{said}") };
    assert_eq!(first["consumer"], "notify-email");
    assert!(text(&first["reason"]).contains("550"), "{first}");
    let (first, second) = (text(&first["id"]), text(&second["id"]));
    assert!(run(&["list"]).1.contains(&first));
    assert!(run(&["show", &first]).1.contains("consumer  notify-email"));
    assert_eq!(run(&["retry", &first]).0, 0);
    let sent = until(&salon, &ids[0], "confirmation", "sent").await;
    let steps = evidence(&salon, &sent).await;
    assert!(kinds(&steps).contains(&"notification.retried.v1".to_owned()), "{steps}");
    assert_eq!(run(&["retry", &first]).0, 1, "it is gone");
    // A visit that has begun needs no confirmation.
    stand
        .database
        .execute("UPDATE notification SET expires_at = now() WHERE state = 'failed'")
        .await;
    assert_eq!(run(&["retry", &second]).0, 1);
    assert_eq!(run(&["drop", &second]).0, 0);
    assert_eq!(run(&["drop", &second]).0, 1);
    assert_eq!(run(&["list", "--json"]).1.trim(), "[]");
    until(&salon, &ids[1], "confirmation", "failed").await;
    assert_eq!(stand.mail.messages().await.len(), 1);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

/// Whether the key of a set that the signature names made it for this.
fn is_signed(jwks: &Value, evidence: &Value, signature: &str) -> bool {
    let (head, tail) = signature.split_once("..").unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    assert_eq!((&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("evidence+jws")));
    let keys = jwks["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["kid"] == header["kid"]).unwrap();
    let key = DecodingKey::from_ed_components(key["x"].as_str().unwrap()).unwrap();
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(evidence.to_string()));
    jsonwebtoken::crypto::verify(tail, signed.as_bytes(), &key, Algorithm::EdDSA).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_was_told_is_given_out_signed() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    let id = text(&salon.book(0, start_in(3_000)).await.expect(201)["appointment_id"]);
    until(&salon, &id, "confirmation", "sent").await;
    until(&salon, &id, "host_booked", "sent").await;
    let path = format!("/api/v1/appointments/{id}/evidence");
    let given = salon.owner.read(&path).await.expect(200);
    let (evidence, signature) = (&given["evidence"], text(&given["signature"]));
    let jwks = salon.guest.read("/.well-known/evidence-jwks.json").await.expect(200);
    assert!(is_signed(&jwks, evidence, &signature));
    let mut changed = evidence.clone();
    changed["messages"][0]["status"] = json!("sent twice");
    assert!(!is_signed(&jwks, &changed, &signature));
    assert_eq!(evidence["appointment_id"], json!(id));
    assert_eq!(evidence["guest"]["email"], "ada@example.com");
    assert_eq!(evidence["history"][0]["type"], "booking.appointment.booked.v1");
    let messages = evidence["messages"].as_array().unwrap();
    let of = |kind: &str| messages.iter().find(|message| message["kind"] == kind).unwrap();
    assert_eq!(messages.len(), 3);
    assert_eq!(of("confirmation")["tries"][0]["outcome"], "sent");
    assert_eq!(of("reminder")["status"], "pending");
    // The key does for nothing else, nor do others for it.
    let tokens = salon.guest.read("/.well-known/jwks.json").await.expect(200);
    assert_ne!(jwks["keys"][0]["kid"], tokens["keys"][0]["kid"]);
    // Another process shows the same key, and so does this one when it begins again.
    let other = stand.serve().await;
    let shown = other.client().read("/.well-known/evidence-jwks.json").await.expect(200);
    assert_eq!(shown, jwks);
    let nobody = "/api/v1/appointments/appt_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f/evidence";
    salon.owner.read(nobody).await.problem(404, "not_found");
}
