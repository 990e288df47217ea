//! Personal data stays where it belongs: in its tables and in the mails.

use std::{fs::File, path::Path};

use reqwest::Method;
use serde_json::json;
use testkit::eventually;

use crate::{
    salon::{Salon, path_of, start_in, text},
    stand::{Process, Stand},
    team::{accept, invite, mailed_token},
};

/// Words that nobody else uses: names, addresses and numbers of an owner, a member, a guest.
const CANARIES: [&str; 10] = [
    "canary-owner",
    "canary-member",
    "canary-guest",
    "Canaria",
    "+1 555 0199 4711",
    "155501994711",
    "canary-notes",
    "canary-reason",
    "canary-password",
    "canary-stranger",
];

/// All files under a folder, as they are.
fn bytes_under(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes_under(&path, into);
        } else {
            into.push((path.display().to_string(), std::fs::read(&path).unwrap_or_default()));
        }
    }
}

fn assert_without_canaries(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    for canary in CANARIES {
        let found = text.find(&canary.to_lowercase());
        let near = found.map(|at| &text[text.floor_char_boundary(at.saturating_sub(200))..at]);
        assert!(found.is_none(), "{canary} is in {what}: ...{}", near.unwrap_or_default());
    }
}

/// Metrics, events, links in mails, and whatever the broker has.
async fn assert_outside_is_clean(stand: &Stand, process: &Process) {
    let metrics = process.metrics().await;
    assert!(metrics.contains("apptremind_http_request_seconds"));
    assert_without_canaries("the metrics", metrics.as_bytes());
    let events = stand.database.texts("SELECT e::text FROM events e").await;
    assert_without_canaries("the event log", events.join("\n").as_bytes());
    let urls: Vec<String> =
        stand.mail.messages().await.into_iter().filter_map(|mail| mail.text).collect();
    let urls = urls.join("\n");
    let urls: Vec<&str> = urls.split_whitespace().filter(|word| word.starts_with("http")).collect();
    assert!(urls.len() >= 3);
    assert_without_canaries("the links in mails", urls.join("\n").as_bytes());
    // All that the broker has on its disk: subjects, headers, payloads.
    let mut files = vec![];
    bytes_under(&stand.nats.store(), &mut files);
    let whole: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(whole > 1_000, "the broker has stored something");
    for (name, bytes) in &files {
        assert_without_canaries(name, bytes);
    }
}

#[tokio::test]
async fn no_name_address_or_number_is_in_logs_metrics_messages_or_urls() {
    let mut stand = Stand::new().await;
    stand.addresses.log = "trace";
    let log = stand.addresses.folder.path().join("serve.log");
    let process = stand.serve_logging_to(&File::create(&log).unwrap()).await;
    let guest = process.client();
    let owner = "canary-owner@example.com";
    let account = json!({"email": owner, "password": "canary-password", "business_name": "Salon"});
    let registered = guest.post("/api/v1/auth/register", &account).await.expect(201);
    let salon = Salon::furnish(&guest, &registered, 1).await;
    for who in [owner, "canary-stranger@example.com"] {
        let login = json!({"email": who, "password": "canary-password wrong"});
        guest.post("/api/v1/auth/login", &login).await.problem(401, "invalid_credentials");
        guest.post("/api/v1/auth/password-reset", &json!({ "email": who })).await.expect(202);
    }
    let token = mailed_token(&stand, owner, "/reset-password").await;
    let confirm = json!({"token": token, "password": "canary-password 2"});
    guest.post("/api/v1/auth/password-reset/confirm", &confirm).await.expect(204);
    let login = json!({"email": owner, "password": "canary-password 2"});
    let session = guest.post("/api/v1/auth/login", &login).await.expect(200);
    let signed_in = guest.signed_in(&text(&session["access_token"]));
    let invited = invite(&stand, &signed_in, "canary-member@example.com", "admin", None).await;
    accept(&guest, &invited.token, "canary-password 3").await.expect(201);

    let mut booking = salon.booking(0, start_in(2_000));
    booking["customer"] = json!({"name": "Canaria Guest", "email": "canary-guest@example.com",
                                 "phone": "+1 555 0199 4711"});
    booking["notes"] = json!("canary-notes");
    let booked = guest.post("/api/v1/public/book", &booking).await.expect(201);
    let link = path_of(&booked["manage_url"]);
    let told = async |to: &str| {
        let mails = stand.mail.messages().await;
        mails.iter().filter(|mail| mail.to.iter().any(|address| address == to)).count()
    };
    let guest_address = "canary-guest@example.com";
    eventually("guest and host were told", async || {
        (told(guest_address).await == 1 && told(owner).await >= 2).then_some(())
    })
    .await;
    let seen = guest.read(&link).await.expect(200);
    let cancel = json!({"nonce": seen["nonce"], "reason": "canary-reason"});
    guest.post(&format!("{link}/cancel"), &cancel).await.expect(200);
    // What is refused is as private as what is done.
    booking["customer"]["email"] = json!("canary-guest at nowhere");
    guest.post("/api/v1/public/book", &booking).await.problem(422, "invalid_request");
    let found = signed_in.read("/api/v1/customers?search=Canaria").await.expect(200);
    let customer = text(&found["items"][0]["id"]);
    let path = format!("/api/v1/customers/{customer}");
    signed_in.edit(Method::PATCH, &path, &json!({"notes": "canary-notes"})).await.expect(200);
    eventually("guest and host were told of both", async || {
        (told(guest_address).await == 2 && told(owner).await >= 3).then_some(())
    })
    .await;
    stand.addresses.caught_up().await;

    assert_outside_is_clean(&stand, &process).await;
    let mut process = process;
    assert!(process.terminate().await);
    let logged = std::fs::read(&log).unwrap();
    assert!(logged.len() > 10_000, "everything was logged");
    assert_without_canaries("the log", &logged);
}
