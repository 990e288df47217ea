//! Who did what that matters.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    salon::{Salon, fresh_email, text},
    stand::{Client, Stand},
    team::{accept, invite},
};

const PASSWORDS: &str = "&action=auth.user.password_changed";

async fn listed(owner: &Client, query: &str) -> Vec<Value> {
    let found = owner.read(&format!("/api/v1/audit?limit=200{query}")).await.expect(200);
    found["items"].as_array().unwrap().clone()
}

/// What was done, the oldest first.
async fn actions(owner: &Client, query: &str) -> Vec<String> {
    let items = listed(owner, query).await;
    items.iter().rev().map(|item| text(&item["action"])).collect()
}

/// Does one of each; answers whoever did it, and a program.
async fn one_of_each(stand: &Stand, salon: &Salon) -> (Value, Client) {
    let (guest, owner) = (&salon.guest, &salon.owner);
    let me = owner.read("/api/v1/auth/me").await.expect(200);
    let email = text(&me["email"]);
    let login = |password: &str| json!({"email": email, "password": password});
    guest
        .post("/api/v1/auth/login", &login("wrong horse"))
        .await
        .problem(401, "invalid_credentials");
    let session = guest.post("/api/v1/auth/login", &login("correct horse")).await.expect(200);
    let end = json!({"refresh_token": session["refresh_token"]});
    guest.post("/api/v1/auth/logout", &end).await.expect(204);
    let invited = invite(stand, owner, &fresh_email(), "admin", None).await;
    let joined = accept(guest, &invited.token, "correct horse").await.expect(201);
    let elsewhere = Salon::open(guest, 1).await;
    let email = text(&joined["user"]["email"]);
    let there = invite(stand, &elsewhere.owner, &email, "admin", None).await;
    accept(guest, &there.token, "correct horse").await.expect(201);
    let member = format!("/api/v1/members/{}", text(&joined["user"]["id"]));
    let changed = json!({"current_password": "correct horse", "new_password": "battery staple"});
    let theirs = guest.signed_in(&text(&joined["access_token"]));
    theirs.post("/api/v1/auth/password", &changed).await.expect(204);
    stand.addresses.caught_up().await;
    assert_eq!(listed(owner, PASSWORDS).await[0]["subject_id"], joined["user"]["id"]);
    let staff = json!({"role": "staff", "staff_id": salon.staff[0]});
    owner.edit(Method::PATCH, &member, &staff).await.expect(200);
    owner.call(Method::DELETE, &member, None).await.expect(204);
    let changed = json!({"current_password": "battery staple", "new_password": "correct horse"});
    let login = json!({"email": email, "password": "battery staple"});
    let there = guest.post("/api/v1/auth/login", &login).await.expect(200);
    let there = guest.signed_in(&text(&there["access_token"]));
    there.post("/api/v1/auth/password", &changed).await.expect(204);
    let key = json!({"name": "Till", "scopes": ["audit:read"]});
    let key = owner.post("/api/v1/api-keys", &key).await.expect(201);
    let policy = json!({"booking_policy": {"window_days": 30}});
    owner.edit(Method::PATCH, "/api/v1/business/profile", &policy).await.expect(200);
    eventually("the refusal is noted", async || {
        let found = actions(owner, "&action=auth.session.refused").await;
        (found.len() == 1).then_some(())
    })
    .await;
    stand.addresses.caught_up().await;
    (me, guest.signed_in(&text(&key["key"])))
}

#[tokio::test]
async fn sign_ins_refusals_members_keys_and_edits_are_in_the_audit() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let (guest, owner) = (&salon.guest, &salon.owner);
    let (me, program) = one_of_each(&stand, &salon).await;

    let all = actions(owner, "&action=auth.").await;
    for wanted in [
        "auth.user.created.v1",
        "auth.session.opened.v1",
        "auth.session.refused.v1",
        "auth.session.ended.v1",
        "auth.invitation.sent.v1",
        "auth.invitation.accepted.v1",
        "auth.member.joined.v1",
        "auth.member.place_changed.v1",
        "auth.member.left.v1",
        "auth.api_key.created.v1",
    ] {
        assert!(all.iter().any(|action| action == wanted), "{wanted} is not in {all:?}");
    }
    // Of somebody who left nobody learns what they do about their account; what they did before stays.
    assert_eq!(actions(owner, PASSWORDS).await.len(), 1);
    let noted =
        "SELECT count(*)::text FROM audit.entry WHERE event_type LIKE 'auth.user.password%'";
    assert_eq!(stand.database.texts(noted).await, ["2"]);
    let edits = listed(owner, "&action=business.updated").await;
    assert_eq!(edits[0]["actor"], me["id"]);
    assert_eq!(edits[0]["actor_email"], me["email"]);
    assert_eq!(edits[0]["data"]["profile"]["booking_policy"]["window_days"], 30);
    // By whom, and in pages.
    let own = format!("&actor={}", text(&me["id"]));
    assert!(listed(owner, &own).await.iter().all(|item| item["actor"] == me["id"]));
    let mut paged = vec![];
    let mut cursor = String::new();
    loop {
        let page = owner.read(&format!("/api/v1/audit?limit=3{cursor}")).await.expect(200);
        paged.extend(page["items"].as_array().unwrap().iter().map(|item| text(&item["id"])));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let whole: Vec<_> = listed(owner, "").await.iter().map(|item| text(&item["id"])).collect();
    assert_eq!(paged, whole);
    // Addresses are joined for those who belong to the business; the log has none.
    let log = stand
        .database
        .texts("SELECT payload::text FROM events WHERE payload::text LIKE '%@%'")
        .await;
    assert!(log.is_empty(), "{log:?}");

    program.read("/api/v1/audit").await.expect(200);
    let other = Salon::open(guest, 1).await;
    let theirs = listed(&other.owner, "").await;
    assert!(theirs.iter().all(|item| !whole.contains(&text(&item["id"]))));
    for odd in ["cursor=x", "limit=0", "actor=%00", "from=yesterday"] {
        let answer = owner.read(&format!("/api/v1/audit?{odd}")).await;
        answer.problem(422, "invalid_request");
    }
    let (code, told) = replay(&stand);
    assert_eq!(code, 0, "{told}");
}

/// The rebuilt audit is the live one.
fn replay(stand: &Stand) -> (i32, String) {
    let mut command = stand.addresses.command(&["replay", "audit", "--verify"]);
    command.env("APPTREMIND_MIGRATE_DATABASE_URL", stand.database.owner_url());
    let output = command.output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}
