//! Registering, signing in, staying signed in.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    salon::{fresh_email, text},
    stand::{Client, Stand},
};

fn account(email: &str) -> Value {
    json!({"email": email, "password": "correct horse", "business_name": "Salon Dana"})
}

async fn refreshed(client: &Client, token: &str) -> crate::stand::Answer {
    client.post("/api/v1/auth/refresh", &json!({ "refresh_token": token })).await
}

#[tokio::test]
async fn an_owner_registers_signs_in_and_is_who_they_are() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let mut wanted = account("  Dana@Example.com ");
    wanted["timezone"] = json!("Europe/London");
    wanted["handle"] = json!("Dana-Cuts");
    let answer = client.post("/api/v1/auth/register", &wanted).await;
    assert_eq!(answer.header("x-position"), answer.body["position"].as_str().unwrap());
    let registered = answer.expect(201);
    assert_eq!(registered["handle"], "dana-cuts");
    assert_eq!(registered["user"]["email"], "Dana@Example.com");
    assert_eq!(registered["user"]["role"], "owner");
    assert_eq!(registered["expires_in"], 900);
    let public = client.read("/api/v1/public/businesses/DANA-cuts").await.expect(200);
    assert_eq!(public["timezone"], "Europe/London");
    assert_eq!(public["id"], registered["business_id"]);
    assert!(!public.to_string().to_lowercase().contains("dana@example.com"), "{public}");

    let me = json!({"id": registered["user"]["id"], "email": "Dana@Example.com", "role": "owner",
                    "business_id": registered["business_id"], "staff_id": null});
    let same = |mut found: Value| {
        // Each sign-in is another session.
        assert!(text(&found["session_id"]).starts_with("login_"), "{found}");
        found.as_object_mut().unwrap().remove("session_id");
        assert_eq!(found, me);
    };
    let owner = client.signed_in(&text(&registered["access_token"]));
    same(owner.read("/api/v1/auth/me").await.expect(200));
    let login = json!({"email": "dana@EXAMPLE.com", "password": "correct horse"});
    let session = client.post("/api/v1/auth/login", &login).await.expect(200);
    assert_eq!(session["token_type"], "Bearer");
    let again = client.signed_in(&text(&session["access_token"]));
    same(again.read("/api/v1/auth/me").await.expect(200));

    let wrong = json!({"email": "dana@example.com", "password": "Correct horse"});
    let unknown = json!({"email": "nobody@example.com", "password": "correct horse"});
    let mut told = vec![];
    for login in [wrong, unknown] {
        let answer = client.post("/api/v1/auth/login", &login).await;
        told.push(answer.problem(401, "invalid_credentials")["detail"].clone());
    }
    assert_eq!(told[0], told[1], "nobody learns who has an account");
    let keys = client.read("/.well-known/jwks.json").await.expect(200);
    assert_eq!(keys["keys"][0]["alg"], "EdDSA");
    assert!(keys["keys"][0].get("d").is_none(), "the private key stays private");
}

#[tokio::test]
async fn an_address_and_a_handle_are_taken_in_any_case_and_made_handles_step_aside() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let register = async |body: &Value| client.post("/api/v1/auth/register", body).await;
    let mut dana = account("dana@example.com");
    dana["handle"] = json!("dana");
    register(&dana).await.expect(201);
    register(&account("DANA@Example.Com")).await.problem(409, "email_taken");
    let mut other = account("other@example.com");
    other["handle"] = json!("DANA");
    register(&other).await.problem(409, "handle_taken");
    // The refusal left nothing behind.
    other["handle"] = json!("other");
    let registered = register(&other).await.expect(201);

    let made = async || text(&register(&account(&fresh_email())).await.expect(201)["handle"]);
    assert_eq!(made().await, "salon-dana");
    assert_eq!(made().await, "salon-dana-2");
    assert_eq!(made().await, "salon-dana-3");
    let mut odd = account(&fresh_email());
    odd["business_name"] = json!("💇");
    let handle = text(&register(&odd).await.expect(201)["handle"]);
    client.read(&format!("/api/v1/public/businesses/{handle}")).await.expect(200);

    // Changing to one that is taken, and giving one up.
    let owner = client.signed_in(&text(&registered["access_token"]));
    let profile = "/api/v1/business/profile";
    let answer = owner.edit(Method::PATCH, profile, &json!({"handle": "Dana"})).await;
    answer.problem(409, "handle_taken");
    owner.edit(Method::PATCH, profile, &json!({"handle": "other-2"})).await.expect(200);
    client.read("/api/v1/public/businesses/other-2").await.expect(200);
    client.read("/api/v1/public/businesses/other").await.problem(404, "not_found");
    let mut third = account(&fresh_email());
    third["handle"] = json!("other");
    register(&third).await.expect(201);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_register_one_address_or_handle_at_once_one_succeeds() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let at_once = async |bodies: Vec<Value>| -> Vec<u16> {
        let sent = bodies.iter().map(|body| client.post("/api/v1/auth/register", body));
        let answers = futures::future::join_all(sent).await;
        answers.iter().for_each(crate::stand::Answer::well_formed);
        let mut all: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        all.sort_unstable();
        all
    };
    let same = at_once(vec![account("dana@example.com"); 5]).await;
    assert_eq!(same, [201, 409, 409, 409, 409]);
    let handle = |n: usize| {
        let mut body = account(&format!("owner-{n}@example.org"));
        body["handle"] = json!("wanted");
        body
    };
    assert_eq!(at_once((0..5).map(handle).collect()).await, [201, 409, 409, 409, 409]);
    let named = |n: usize| account(&format!("named-{n}@example.org"));
    assert_eq!(at_once((0..5).map(named).collect()).await, [201; 5], "each gets a handle");
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_a_stolen_one_ends_the_session() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let email = fresh_email();
    let registered = client.post("/api/v1/auth/register", &account(&email)).await.expect(201);
    let first = text(&registered["refresh_token"]);
    let login = json!({"email": email, "password": "correct horse"});
    let elsewhere = client.post("/api/v1/auth/login", &login).await.expect(200);

    let second = refreshed(&client, &first).await.expect(200);
    let owner = client.signed_in(&text(&second["access_token"]));
    owner.read("/api/v1/auth/me").await.expect(200);
    let third = refreshed(&client, &text(&second["refresh_token"])).await.expect(200);
    // The spent one comes back: somebody has a copy, so the whole session ends.
    refreshed(&client, &first).await.problem(401, "invalid_refresh_token");
    let last = text(&third["refresh_token"]);
    refreshed(&client, &last).await.problem(401, "invalid_refresh_token");
    // That of another device goes on.
    let other = refreshed(&client, &text(&elsewhere["refresh_token"])).await.expect(200);

    let end = json!({"refresh_token": other["refresh_token"]});
    for _ in 0..2 {
        client.post("/api/v1/auth/logout", &end).await.expect(204);
    }
    let ended = text(&other["refresh_token"]);
    refreshed(&client, &ended).await.problem(401, "invalid_refresh_token");
    refreshed(&client, "unknown").await.problem(401, "invalid_refresh_token");
    // An access token is no refresh token, and the other way round.
    let session = client.post("/api/v1/auth/login", &login).await.expect(200);
    let access = text(&session["access_token"]);
    refreshed(&client, &access).await.problem(401, "invalid_refresh_token");
    let odd = client.signed_in(&text(&session["refresh_token"]));
    odd.read("/api/v1/auth/me").await.problem(401, "unauthorized");
    let stored =
        stand.database.texts("SELECT encode(token_hash, 'escape') FROM refresh_token").await;
    let kept = text(&session["refresh_token"]);
    assert!(!stored.is_empty() && stored.iter().all(|hash| !hash.contains(&kept)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_refreshes_that_are_sent_at_once_one_wins_and_the_session_goes_on() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let registered =
        client.post("/api/v1/auth/register", &account(&fresh_email())).await.expect(201);
    let token = text(&registered["refresh_token"]);
    let answers = futures::future::join_all((0..8).map(|_| refreshed(&client, &token))).await;
    // One spends the token. The others are the same client, which asks again: they are told what it was.
    let mut given: Vec<String> =
        answers.into_iter().map(|answer| text(&answer.expect(200)["refresh_token"])).collect();
    given.dedup();
    assert_eq!(given.len(), 1, "one pair was given");
    let good = "SELECT count(*)::text FROM refresh_token WHERE spent_at IS NULL";
    assert_eq!(stand.database.texts(good).await, ["1"]);
    refreshed(&client, &given[0]).await.expect(200);
    // Whoever used the new one has read the answer: now it is somebody else who has the old one.
    refreshed(&client, &token).await.problem(401, "invalid_refresh_token");
    assert_eq!(stand.database.texts(good).await, ["0"]);
}
