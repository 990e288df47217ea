//! Each limit, set low: what is beyond it is refused, says when to come back, and ends.

use jiff::SignedDuration;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    salon::{Salon, fresh_email, start_in, text},
    stand::{Answer, Client, Process, Stand},
};

/// A process where this alone is limited.
async fn limited(settings: &[(&'static str, &str)]) -> (Stand, Process) {
    let mut stand = Stand::new().await;
    for name in [
        "RATE_SIGN_IN",
        "RATE_PUBLIC",
        "RATE_ACCOUNT",
        "RATE_TENANT",
        "REGISTRATIONS_PER_NETWORK",
        "BOOKINGS_PER_NETWORK",
        "OPEN_VISITS_PER_GUEST",
        "RESETS_PER_ACCOUNT",
        "RESETS_PER_NETWORK",
        "INVITATIONS_PER_BUSINESS",
        "TEMPLATE_CHANGES_PER_BUSINESS",
        "TEMPLATE_TESTS_PER_BUSINESS",
    ] {
        stand.addresses.set(name, "0");
    }
    stand.addresses.set("LIMITS", "on");
    for (name, value) in settings {
        stand.addresses.set(name, value);
    }
    let process = stand.serve().await;
    (stand, process)
}

fn retry_after(answer: &Answer) -> u64 {
    answer.problem(429, "rate_limited");
    let wait = answer.header("retry-after").parse().unwrap();
    assert!(wait >= 1, "{wait}");
    wait
}

#[tokio::test]
async fn requests_are_counted_by_class_and_network_account_and_tenant() {
    let classes = [
        ("RATE_SIGN_IN", Method::POST, "/api/v1/auth/login", "sign_in", 415),
        ("RATE_PUBLIC", Method::GET, "/api/v1/public/businesses/nobody", "public", 404),
        ("RATE_PUBLIC", Method::POST, "/api/v1/auth/refresh", "public", 415),
    ];
    for (setting, method, path, class, usual) in classes {
        let (_stand, process) = limited(&[(setting, "3"), ("TRUSTED_PROXIES", "127.0.0.1")]).await;
        let client = process.client();
        let from = async |address: &str| {
            let request = client.request(method.clone(), path).header("x-forwarded-for", address);
            Answer::of(request.send().await.unwrap()).await
        };
        for left in [2, 1, 0] {
            let answer = from("203.0.113.1").await;
            assert_eq!(answer.status, usual, "{}", answer.body);
            assert_eq!(answer.header("ratelimit-policy"), format!("\"{class}\";q=3;w=60"));
            let limit = answer.header("ratelimit");
            assert!(limit.starts_with(&format!("\"{class}\";r={left};t=")), "{limit}");
        }
        let answer = from("203.0.113.1").await;
        assert!(retry_after(&answer) <= 60);
        assert_eq!(answer.body["limit"], class);
        // Others are not concerned, nor other classes.
        assert_eq!(from("203.0.113.2").await.status, usual);
        client.read("/healthz").await.expect(200);
        assert!(process.metric("apptremind_rate_limited_total").await >= 1.0);
    }

    // So few that none comes back while the test goes on.
    let (stand, process) = limited(&[("RATE_ACCOUNT", "2"), ("RATE_TENANT", "3")]).await;
    let register = |client: Client| async move {
        let account =
            json!({"email": fresh_email(), "password": "correct horse", "business_name": "S"});
        let new = client.post("/api/v1/auth/register", &account).await.expect(201);
        client.signed_in(&text(&new["access_token"]))
    };
    let owner = register(process.client()).await;
    let other = register(process.client()).await;
    let key = json!({"name": "Till", "scopes": ["business:read"]});
    let key = owner.post("/api/v1/api-keys", &key).await.expect(201);
    let program = owner.signed_in(&text(&key["key"]));
    let profile = "/api/v1/business/profile";
    stand.addresses.caught_up().await;
    owner.read(profile).await.expect(200);
    let refused = owner.read(profile).await;
    retry_after(&refused);
    assert_eq!(refused.body["limit"], "account");
    // The program is somebody else in the same business, which has one left: what was refused took none.
    program.read(profile).await.expect(200);
    let refused = program.read(profile).await;
    retry_after(&refused);
    assert_eq!(refused.body["limit"], "tenant");
    other.read(profile).await.expect(200);
}

#[tokio::test]
async fn whoever_guesses_keys_is_stopped_and_neither_those_who_sign_in_nor_those_who_have_one() {
    let (stand, process) = limited(&[("RATE_SIGN_IN", "3")]).await;
    let client = process.client();
    let account =
        json!({"email": fresh_email(), "password": "correct horse", "business_name": "S"});
    let owner = client.post("/api/v1/auth/register", &account).await.expect(201);
    let owner = client.signed_in(&text(&owner["access_token"]));
    let key = json!({"name": "Till", "scopes": ["business:read"]});
    let key = text(&owner.post("/api/v1/api-keys", &key).await.expect(201)["key"]);
    let profile = "/api/v1/business/profile";
    stand.addresses.caught_up().await;
    client.signed_in(&key).read(profile).await.expect(200);
    // 43 letters of base64 for 32 bytes: none of these can be the last one.
    let guess = |letter: char| format!("{}{letter}", &key[..key.len() - 1]);
    for letter in ['1', '2'] {
        client.signed_in(&guess(letter)).read(profile).await.problem(401, "unauthorized");
    }
    let refused = client.signed_in(&guess('3')).read(profile).await;
    retry_after(&refused);
    assert_eq!(refused.body["limit"], "guesses");
    client.signed_in(&key).read(profile).await.expect(200);
    let login = json!({"email": account["email"], "password": "correct horse"});
    client.post("/api/v1/auth/login", &login).await.expect(200);
}

#[tokio::test]
async fn the_address_of_a_caller_is_believed_from_trusted_proxies_only() {
    let (_stand, process) = limited(&[("RATE_PUBLIC", "2")]).await;
    let client = process.client();
    let path = "/api/v1/public/businesses/nobody";
    for (n, status) in [404, 404, 429].into_iter().enumerate() {
        let request = client.request(Method::GET, path);
        let request = request.header("x-forwarded-for", format!("203.0.113.{n}"));
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.status, status, "whatever it says of itself");
    }
}

#[tokio::test]
async fn what_all_processes_share_is_counted_for_all() {
    let (stand, one) = limited(&[
        ("REGISTRATIONS_PER_NETWORK", "3"),
        ("INVITATIONS_PER_BUSINESS", "2"),
        ("RESETS_PER_NETWORK", "2"),
    ])
    .await;
    let two = stand.serve().await;
    let clients = [one.client(), two.client(), one.client(), two.client()];
    let account =
        || json!({"email": fresh_email(), "password": "correct horse", "business_name": "S"});
    let mut owner = None;
    for client in &clients[..3] {
        let new = client.post("/api/v1/auth/register", &account()).await.expect(201);
        owner = Some(client.signed_in(&text(&new["access_token"])));
    }
    retry_after(&clients[3].post("/api/v1/auth/register", &account()).await);
    let owner = owner.unwrap();
    let invite = || json!({"email": fresh_email(), "role": "admin"});
    for process in [&one, &two] {
        owner.at(process).post("/api/v1/auth/invitations", &invite()).await.expect(201);
    }
    let refused = owner.post("/api/v1/auth/invitations", &invite()).await;
    assert_eq!(refused.problem(429, "rate_limited")["quota"], "invitations");
    let ask = json!({"email": "nobody@example.org"});
    for client in &clients[..2] {
        client.post("/api/v1/auth/password-reset", &ask).await.expect(202);
    }
    retry_after(&clients[2].post("/api/v1/auth/password-reset", &ask).await);
}

#[tokio::test]
async fn an_address_is_mailed_so_often_and_nobody_who_asks_learns_of_it() {
    let (stand, process) = limited(&[("RESETS_PER_ACCOUNT", "1")]).await;
    let client = process.client();
    let email = fresh_email();
    let account = json!({"email": email, "password": "correct horse", "business_name": "S"});
    client.post("/api/v1/auth/register", &account).await.expect(201);
    for _ in 0..3 {
        client.post("/api/v1/auth/password-reset", &json!({ "email": email })).await.expect(202);
    }
    crate::team::mailed_token(&stand, &email, "/reset-password").await;
    stand.addresses.caught_up().await;
    let made = stand.database.texts("SELECT reset_id::text FROM password_reset").await;
    assert_eq!(made.len(), 1, "{made:?}");
}

#[tokio::test]
async fn nobody_holds_a_whole_day() {
    let (stand, process) =
        limited(&[("BOOKINGS_PER_NETWORK", "9"), ("OPEN_VISITS_PER_GUEST", "3")]).await;
    let salon = Salon::open(&process.client(), 1).await;
    let first = start_in(600);
    let booking = |n: i64, email: &str| {
        let mut body = salon.booking(0, first + SignedDuration::from_mins(60 * n));
        body["customer"]["email"] = json!(email);
        body["idempotency_key"] = json!(format!("{n}-{email}"));
        body
    };
    let book = async |body: Value| salon.guest.post("/api/v1/public/book", &body).await;
    for n in 0..3 {
        book(booking(n, "ada@example.com")).await.expect(201);
    }
    stand.addresses.caught_up().await;
    let refused = book(booking(3, "ADA@example.com")).await;
    assert_eq!(refused.problem(422, "too_many_open_visits")["max"], 3);
    // What was booked is answered again, whatever is counted by now.
    let again = book(booking(2, "ada@example.com")).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    again.expect(201);
    // A series counts as what it is; who gives a number only is counted by that.
    let mut series = booking(20, "zoe@example.com");
    series["recurrence"] = json!({"rule": "FREQ=WEEKLY;COUNT=4"});
    book(series).await.problem(422, "too_many_open_visits");
    // Another guest may, and the owner may for the same.
    book(booking(4, "eve@example.com")).await.expect(201);
    let by_owner = booking(5, "ada@example.com");
    salon.owner.post("/api/v1/appointments", &by_owner).await.expect(201);
    for n in 6..9 {
        book(booking(n, &fresh_email())).await.expect(201);
    }
    let refused = book(booking(9, &fresh_email())).await;
    assert_eq!(refused.problem(429, "rate_limited")["quota"], "book_network");
    assert!(retry_after(&refused) <= 3_600);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_can_be_answered_at_once_is_told_to_come_back() {
    let mut stand = Stand::new().await;
    stand.addresses.set("HTTP_REQUESTS", "2");
    let process = stand.serve().await;
    let client = process.client();
    // Hashing takes its time, and few are hashed at once.
    let login = || async {
        let body = json!({"email": "nobody@example.org", "password": "wrong horse"});
        client.post("/api/v1/auth/login", &body).await
    };
    let answers = futures::future::join_all((0..40).map(|_| login())).await;
    let shed: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!shed.is_empty() && shed.len() < 40, "{}", shed.len());
    for answer in shed {
        answer.problem(503, "overloaded");
        assert_eq!(answer.header("retry-after"), "1");
    }
    // Whoever watches over the process is answered, and so is everybody afterwards.
    client.read("/healthz").await.expect(200);
    eventually("it is free again", async || (login().await.status == 401).then_some(())).await;
}
