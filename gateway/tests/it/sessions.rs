//! Sessions that are seen, ended, replaced; forgotten passwords; keys that change; cookies.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    salon::{fresh_email, text},
    stand::{Answer, Client, Stand},
    team::mailed_token,
};

const LOGIN: &str = "/api/v1/auth/login";
const ME: &str = "/api/v1/auth/me";

async fn register(client: &Client, email: &str) -> Value {
    let body = json!({"email": email, "password": "correct horse", "business_name": "Salon"});
    client.post("/api/v1/auth/register", &body).await.expect(201)
}

async fn login(client: &Client, email: &str, password: &str) -> Answer {
    client.post(LOGIN, &json!({"email": email, "password": password})).await
}

async fn refresh(client: &Client, session: &Value) -> Answer {
    let body = json!({"refresh_token": session["refresh_token"]});
    client.post("/api/v1/auth/refresh", &body).await
}

fn as_(client: &Client, session: &Value) -> Client {
    client.signed_in(&text(&session["access_token"]))
}

#[tokio::test]
async fn somebody_sees_their_sessions_and_ends_them_everywhere() {
    let stand = Stand::new().await;
    let (process, elsewhere) = (stand.serve().await, stand.serve().await);
    let client = process.client();
    let email = fresh_email();
    let first = register(&client, &email).await;
    let second = login(&client, &email, "correct horse").await.expect(200);
    let third = login(&client, &email, "correct horse").await.expect(200);
    let me = as_(&client, &third);
    let listed = me.read("/api/v1/auth/sessions").await.expect(200);
    let items = listed["items"].as_array().unwrap();
    let current: Vec<_> = items.iter().map(|item| item["current"].as_bool().unwrap()).collect();
    assert_eq!(current, [true, false, false], "{listed}");
    assert_eq!(items[0]["network"], "127.0.0.0/24");
    assert!(items[0]["expires_at"].as_str() > items[0]["opened_at"].as_str());

    let end = |n: usize| format!("/api/v1/auth/sessions/{}", items[n]["id"].as_str().unwrap());
    me.call(Method::DELETE, &end(1), None).await.expect(204);
    as_(&client, &second).read(ME).await.problem(401, "unauthorized");
    refresh(&client, &second).await.problem(401, "invalid_refresh_token");
    eventually("the other process knows", async || {
        let there = as_(&client, &second).at(&elsewhere);
        (there.read(ME).await.status == 401).then_some(())
    })
    .await;
    as_(&client, &first).read(ME).await.expect(200);
    me.call(Method::DELETE, "/api/v1/auth/sessions", None).await.expect(204);
    as_(&client, &first).read(ME).await.problem(401, "unauthorized");
    me.read(ME).await.expect(200);
    // Nobody ends the session of somebody else.
    let other = register(&client, &fresh_email()).await;
    let theirs = as_(&client, &other).call(Method::DELETE, &end(0), None).await;
    theirs.problem(404, "not_found");
    me.read(ME).await.expect(200);
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_refresh_token_that_another_client_sends_again_ends_the_session() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let first = register(&client, &fresh_email()).await;
    let second = refresh(&client, &first).await.expect(200);
    // The same client may ask again for a moment; a thief comes with another program.
    let again = refresh(&client, &first).await.expect(200);
    assert_eq!(again["refresh_token"], second["refresh_token"]);
    let thief = client
        .request(Method::POST, "/api/v1/auth/refresh")
        .header("user-agent", "thief/1.0")
        .json(&json!({"refresh_token": first["refresh_token"]}));
    Answer::of(thief.send().await.unwrap()).await.problem(401, "invalid_refresh_token");
    refresh(&client, &second).await.problem(401, "invalid_refresh_token");
    as_(&client, &second).read(ME).await.problem(401, "unauthorized");
    let reason = "SELECT payload->>'reason' FROM events WHERE event_type = 'auth.session.ended.v1'";
    assert_eq!(stand.database.texts(reason).await, ["token_reused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_refreshed_and_ended_at_once_is_ended_and_nothing_fails() {
    let stand = Stand::new().await;
    let (one, two) = (stand.serve().await, stand.serve().await);
    let client = one.client();
    let email = fresh_email();
    register(&client, &email).await;
    for _ in 0..15 {
        let session = login(&client, &email, "correct horse").await.expect(200);
        let (there, body) = (client.at(&two), json!({"refresh_token": session["refresh_token"]}));
        let (refreshed, ended) =
            tokio::join!(refresh(&client, &session), there.post("/api/v1/auth/logout", &body));
        assert_eq!(ended.status, 204, "{}", ended.body);
        assert!([200, 401].contains(&refreshed.status), "{}", refreshed.body);
        if refreshed.status == 200 {
            // Whichever came first: it is over, for what was given a moment before as well.
            refresh(&client, &refreshed.body).await.problem(401, "invalid_refresh_token");
            eventually("its token is void", async || {
                (as_(&client, &refreshed.body).read(ME).await.status == 401).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_session_ends_at_its_end_whatever_is_refreshed() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let first = register(&client, &fresh_email()).await;
    let left = "SELECT round(extract(epoch FROM expires_at - opened_at) / 86400)::text FROM session
                UNION ALL SELECT round(extract(epoch FROM expires_at - now()) / 86400)::text
                  FROM refresh_token";
    assert_eq!(stand.database.texts(left).await, ["30", "14"]);
    // Two days before the end a refresh gives two days, and behind it none.
    stand.database.execute("UPDATE session SET expires_at = now() + interval '2 days'").await;
    let second = refresh(&client, &first).await.expect(200);
    assert_eq!(stand.database.texts(left).await[2], "2");
    stand.database.execute("UPDATE session SET expires_at = now()").await;
    refresh(&client, &second).await.problem(401, "invalid_refresh_token");
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_a_mailed_link_once() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let email = fresh_email();
    let before = register(&client, &email).await;
    let ask = async |email: &str| {
        client.post("/api/v1/auth/password-reset", &json!({ "email": email })).await
    };
    let (known, unknown) = (ask(&email.to_uppercase()).await, ask("nobody@example.org").await);
    assert_eq!((known.status, unknown.status), (202, 202));
    assert_eq!(known.body, unknown.body);
    let token = mailed_token(&stand, &email, "/reset-password").await;
    let stored =
        stand.database.texts("SELECT encode(token_hash, 'escape') FROM password_reset").await;
    assert!(stored.len() == 1 && !stored[0].contains(&token), "{stored:?}");

    let confirm = async |token: &str, password: &str| {
        let body = json!({"token": token, "password": password});
        client.post("/api/v1/auth/password-reset/confirm", &body).await
    };
    let short = confirm(&token, "short").await;
    assert_eq!(short.problem(422, "invalid_request")["errors"][0]["field"], "password");
    confirm(&token, "another horse").await.expect(204);
    confirm(&token, "a third horse").await.problem(410, "link_spent");
    for odd in ["", "garbage", &token[1..]] {
        confirm(odd, "a third horse").await.problem(410, "link_spent");
    }
    login(&client, &email, "correct horse").await.problem(401, "invalid_credentials");
    login(&client, &email, "another horse").await.expect(200);
    // Whoever had the old password is out.
    as_(&client, &before).read(ME).await.problem(401, "unauthorized");
    refresh(&client, &before).await.problem(401, "invalid_refresh_token");

    // One that is too old, and one that a newer password made useless.
    for spoil in [
        "UPDATE password_reset SET expires_at = now()",
        "UPDATE password_reset SET spent_at = now() WHERE expires_at > now()",
    ] {
        stand.database.execute("DELETE FROM quota").await;
        let mails = stand.mail.messages().await.len();
        ask(&email).await.expect(202);
        eventually("another mail", async || {
            (stand.mail.messages().await.len() > mails).then_some(())
        })
        .await;
        let token = mailed_token(&stand, &email, "/reset-password").await;
        stand.database.execute(spoil).await;
        confirm(&token, "a third horse").await.problem(410, "link_spent");
    }
    assert!(stand.mail.messages().await.iter().all(|mail| mail.to == [email.clone()]));
    let wishes = stand.database.texts("SELECT email FROM reset_wish").await;
    assert!(wishes.is_empty(), "what nobody can be mailed is forgotten: {wishes:?}");
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_use_one_reset_link_at_once_one_sets_the_password() {
    let stand = Stand::new().await;
    let (one, two) = (stand.serve().await, stand.serve().await);
    let client = one.client();
    let email = fresh_email();
    register(&client, &email).await;
    client.post("/api/v1/auth/password-reset", &json!({ "email": email })).await.expect(202);
    let token = mailed_token(&stand, &email, "/reset-password").await;
    let confirm = async |n: usize| {
        let body = json!({"token": token, "password": format!("the horse {n}")});
        let client = if n.is_multiple_of(2) { client.clone() } else { client.at(&two) };
        client.post("/api/v1/auth/password-reset/confirm", &body).await.status
    };
    let mut all = futures::future::join_all((0..6).map(confirm)).await;
    all.sort_unstable();
    assert_eq!(all, [204, 410, 410, 410, 410, 410]);
}

#[tokio::test]
async fn whoever_knows_the_password_changes_it_and_other_devices_are_out() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let email = fresh_email();
    let other = register(&client, &email).await;
    let mine = login(&client, &email, "correct horse").await.expect(200);
    let change = async |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        as_(&client, &mine).post("/api/v1/auth/password", &body).await
    };
    let wrong = change("wrong horse", "another horse").await;
    assert_eq!(wrong.problem(422, "invalid_request")["errors"][0]["field"], "current_password");
    let short = change("correct horse", "short").await;
    assert_eq!(short.problem(422, "invalid_request")["errors"][0]["field"], "new_password");
    change("correct horse", "another horse").await.expect(204);
    as_(&client, &mine).read(ME).await.expect(200);
    as_(&client, &other).read(ME).await.problem(401, "unauthorized");
    login(&client, &email, "correct horse").await.problem(401, "invalid_credentials");
    login(&client, &email, "another horse").await.expect(200);
}

/// The middle of how long calls take, in turns.
async fn medians(mut calls: [impl AsyncFnMut(); 2]) -> [Duration; 2] {
    let mut took = [vec![], vec![]];
    for _ in 0..15 {
        for (call, took) in calls.iter_mut().zip(&mut took) {
            let began = Instant::now();
            call().await;
            took.push(began.elapsed());
        }
    }
    took.map(|mut all| {
        all.sort_unstable();
        all[all.len() / 2]
    })
}

#[tokio::test]
async fn nobody_learns_from_the_answer_or_its_time_who_has_an_account() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let email = fresh_email();
    register(&client, &email).await;
    let stranger = fresh_email();
    let mut bodies = vec![];
    for who in [&email, &stranger] {
        let answer = login(&client, who, "wrong horse").await;
        let mut body = answer.problem(401, "invalid_credentials").clone();
        body.as_object_mut().unwrap().remove("request_id");
        bodies.push(body);
    }
    assert_eq!(bodies[0], bodies[1]);
    // Neither is much faster than the other: both compute a hash. Whoever disturbs the machine may do it once.
    eventually("both take as long", async || {
        let known = async || drop(login(&client, &email, "wrong horse").await);
        let unknown = async || drop(login(&client, &stranger, "wrong horse").await);
        let call = |known_one: bool| {
            let (known, unknown) = (&known, &unknown);
            async move || if known_one { known().await } else { unknown().await }
        };
        let [known, unknown] = medians([call(true), call(false)]).await;
        let ratio = known.as_secs_f64() / unknown.as_secs_f64();
        (0.67..1.5).contains(&ratio).then_some(())
    })
    .await;
    // That there was somebody is for them to see, and nobody was when there was nobody.
    let refused = "SELECT actor FROM events WHERE event_type = 'auth.session.refused.v1'";
    eventually("it is in the log", async || {
        let found = stand.database.texts(refused).await;
        (found.len() >= 16).then_some(())
    })
    .await;
}

#[tokio::test]
async fn keys_are_rotated_without_signing_anybody_out() {
    let stand = Stand::new().await;
    let (process, elsewhere) = (stand.serve().await, stand.serve().await);
    let client = process.client();
    let session = register(&client, &fresh_email()).await;
    let keys = async |client: &Client| {
        let jwks = client.read("/.well-known/jwks.json").await.expect(200);
        let kids = jwks["keys"].as_array().unwrap().iter().map(|key| text(&key["kid"]));
        kids.collect::<Vec<_>>()
    };
    assert_eq!(keys(&client).await.len(), 1);
    let (code, told) = stand.addresses.run(&["keys", "rotate"]);
    assert_eq!(code, 0, "{told}");
    for process in [&process, &elsewhere] {
        eventually("both keys are published", async || {
            (keys(&process.client()).await.len() == 2).then_some(())
        })
        .await;
    }
    // Half a minute later the new one signs: both processes take what either signed.
    stand
        .database
        .execute("UPDATE signing_key SET signs_from = now() WHERE retires_at IS NULL")
        .await;
    let old = kid(&session);
    let renewed = eventually("the new key signs", async || {
        let session = register(&client, &fresh_email()).await;
        (kid(&session) != old).then_some(session)
    })
    .await;
    for session in [&session, &renewed] {
        for process in [&process, &elsewhere] {
            as_(&client, session).at(process).read(ME).await.expect(200);
        }
    }
    // Retired, the old one verifies nothing any more, and the session goes on by its refresh token.
    stand
        .database
        .execute("UPDATE signing_key SET retires_at = now() WHERE retires_at IS NOT NULL")
        .await;
    eventually("the old key is retired", async || {
        (as_(&client, &session).read(ME).await.status == 401).then_some(())
    })
    .await;
    let next = refresh(&client, &session).await.expect(200);
    as_(&client, &next).at(&elsewhere).read(ME).await.expect(200);

    // By age a key is replaced without anybody.
    stand.database.execute("UPDATE signing_key SET signs_from = now() - interval '31 days'").await;
    eventually("a third key", async || (keys(&client).await.len() == 2).then_some(())).await;
    let made = "SELECT count(*)::text FROM signing_key";
    assert_eq!(stand.database.texts(made).await, ["3"], "one process made it");
    let (code, told) = stand.addresses.run(&["keys", "list"]);
    assert!(code == 0 && told.lines().count() == 3, "{told}");
}

/// Which key signed.
fn kid(session: &Value) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let token = text(&session["access_token"]);
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    text(&serde_json::from_slice::<Value>(&header).unwrap()["kid"])
}

#[tokio::test]
async fn the_secret_behind_the_keys_is_replaced_and_what_it_made_stays_good() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let client = process.client();
    let email = fresh_email();
    let session = register(&client, &email).await;
    client.post("/api/v1/auth/password-reset", &json!({ "email": email })).await.expect(202);
    let token = mailed_token(&stand, &email, "/reset-password").await;
    assert!(process.terminate().await);

    // A new secret before the old one, as the documentation says.
    let file = stand.addresses.folder.path().join("key.pem");
    let old = std::fs::read_to_string(&file).unwrap();
    let other = Stand::new().await;
    let (code, _) = other.addresses.run(&["keys", "list"]);
    assert_eq!(code, 0);
    let new = std::fs::read_to_string(other.addresses.folder.path().join("key.pem")).unwrap();
    std::fs::write(&file, format!("{new}\n{old}")).unwrap();
    process.start_again().await;
    as_(&client, &session).read(ME).await.expect(200);
    let body = json!({"token": token, "password": "another horse"});
    client.post("/api/v1/auth/password-reset/confirm", &body).await.expect(204);
    login(&client, &email, "another horse").await.expect(200);
}

#[tokio::test]
async fn a_password_is_hashed_anew_when_hashing_costs_something_else() {
    let mut stand = Stand::new().await;
    let mut process = stand.serve().await;
    let client = process.client();
    let email = fresh_email();
    register(&client, &email).await;
    let hash = "SELECT split_part(password_hash, '$', 4) FROM app_user";
    assert_eq!(stand.database.texts(hash).await, ["m=19456,t=2,p=1"]);
    assert!(process.terminate().await);
    stand.addresses.set("ARGON2_ITERATIONS", "3");
    let process = stand.serve().await;
    let client = process.client();
    login(&client, &email, "wrong horse").await.problem(401, "invalid_credentials");
    assert_eq!(stand.database.texts(hash).await, ["m=19456,t=2,p=1"]);
    login(&client, &email, "correct horse").await.expect(200);
    assert_eq!(stand.database.texts(hash).await, ["m=19456,t=3,p=1"]);
    login(&client, &email, "correct horse").await.expect(200);
}

#[tokio::test]
async fn whoever_guesses_is_stopped_whether_there_is_an_account_or_not() {
    let mut stand = Stand::new().await;
    for (name, value) in [
        ("LIMITS", "on"),
        ("SIGN_IN_TRIES_PER_ACCOUNT_AND_NETWORK", "3"),
        ("SIGN_IN_TRIES_PER_ACCOUNT", "5"),
        ("SIGN_IN_TRIES_PER_NETWORK", "9"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
    ] {
        stand.addresses.set(name, value);
    }
    let (process, elsewhere) = (stand.serve().await, stand.serve().await);
    let client = process.client();
    let email = fresh_email();
    register(&client, &email).await;
    let from = async |address: &str, client: &Client, email: &str, password: &str| {
        let body = json!({"email": email, "password": password});
        let request = client.request(Method::POST, LOGIN).header("x-forwarded-for", address);
        Answer::of(request.json(&body).send().await.unwrap()).await
    };
    let there = client.at(&elsewhere);
    let mut told = vec![];
    for who in [email.clone(), fresh_email()] {
        // Counted for both processes together, in any spelling.
        for n in 0..3 {
            let client = if n == 1 { &there } else { &client };
            let who = if n == 2 { who.to_uppercase() } else { who.clone() };
            from("203.0.113.1", client, &who, "wrong").await.problem(401, "invalid_credentials");
        }
        // The right password does not help any more.
        let answer = from("203.0.113.1", &client, &who, "correct horse").await;
        let mut body = answer.problem(429, "rate_limited").clone();
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=900).contains(&wait), "{wait}");
        body.as_object_mut().unwrap().remove("request_id");
        told.push(body);
    }
    assert_eq!(told[0], told[1], "nobody learns who has an account");
    // From elsewhere one gets in, and that clears what was counted for the account.
    from("203.0.113.2", &client, &email, "correct horse").await.expect(200);
    for n in 3..8 {
        let address = format!("203.0.113.{n}");
        from(&address, &there, &email, "wrong").await.problem(401, "invalid_credentials");
    }
    let answer = from("203.0.113.9", &client, &email, "wrong").await;
    assert_eq!(answer.problem(429, "rate_limited")["quota"], "sign_in_account");
    // One network that tries many accounts.
    for _ in 0..9 {
        let answer = from("2001:db8::1", &client, &fresh_email(), "wrong").await;
        answer.problem(401, "invalid_credentials");
    }
    let answer = from("2001:db8::2", &client, &fresh_email(), "wrong").await;
    assert_eq!(answer.problem(429, "rate_limited")["quota"], "sign_in_network");
    // When the time is over it begins anew.
    stand.database.execute("UPDATE quota SET ends_at = now() - interval '1 second'").await;
    from("203.0.113.1", &client, &email, "correct horse").await.expect(200);
    let subjects = stand.database.texts("SELECT encode(subject, 'escape') FROM quota").await;
    assert!(!subjects.is_empty());
    assert!(subjects.iter().all(|subject| !subject.contains("example")), "{subjects:?}");
}

/// Cookies as a browser keeps them.
fn cookies(answer: &Answer) -> Vec<(String, String, String)> {
    let all = answer.headers.get_all("set-cookie").iter();
    all.map(|value| {
        let text = value.to_str().unwrap();
        let (pair, attributes) = text.split_once("; ").unwrap();
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.to_owned(), attributes.to_owned())
    })
    .collect()
}

/// The same as it sends them.
fn jar(set: &[(String, String, String)]) -> String {
    set.iter().map(|(name, value, _)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn a_page_signs_in_with_cookies_that_only_pages_of_ours_can_use() {
    let mut stand = Stand::new().await;
    stand.addresses.public_url = Some("https://book.example/salons".to_owned());
    stand.addresses.set("CORS_ORIGINS", "https://www.example");
    let process = stand.serve().await;
    let client = process.client();
    let email = fresh_email();
    register(&client, &email).await;
    let body = json!({"email": email, "password": "correct horse", "cookies": true});
    let answer = client.post(LOGIN, &body).await;
    let set = cookies(&answer);
    let told = answer.expect(200);
    assert!(told.get("access_token").is_none() && told.get("refresh_token").is_none(), "{told}");
    let names: Vec<_> = set.iter().map(|(name, _, _)| name.as_str()).collect();
    assert_eq!(names, ["__Host-apptremind-access", "__Host-apptremind-refresh"]);
    for (name, _, attributes) in &set {
        for wanted in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/", "Max-Age="] {
            assert!(attributes.contains(wanted), "{name}: {attributes}");
        }
        assert!(!attributes.contains("Domain"), "{name}: {attributes}");
    }
    let call = async |method: Method, path: &str, jar: &str, origin: Option<&str>, body: Value| {
        let mut request =
            client.request(method, path).header("cookie", jar).header("if-match", "*");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        Answer::of(request.send().await.unwrap()).await
    };
    let all = jar(&set);
    call(Method::GET, ME, &all, None, json!(null)).await.expect(200);
    let profile = "/api/v1/business/profile";
    let edit = json!({"name": "New"});
    for origin in ["https://book.example", "https://www.example"] {
        call(Method::PATCH, profile, &all, Some(origin), edit.clone()).await.expect(200);
    }
    let strangers = [
        None,
        Some("https://evil.example"),
        Some("null"),
        Some("http://book.example"),
        Some("https://book.example.evil.example"),
        Some("https://book.example:8443"),
    ];
    for origin in strangers {
        let answer = call(Method::PATCH, profile, &all, origin, edit.clone()).await;
        answer.problem(403, "origin_refused");
        let answer = call(Method::POST, "/api/v1/auth/refresh", &all, origin, json!({})).await;
        answer.problem(403, "origin_refused");
    }
    // A bearer token counts before a cookie, and a wrong one is not made good by it.
    let both = client.request(Method::GET, ME).header("cookie", &all).bearer_auth("garbage");
    Answer::of(both.send().await.unwrap()).await.problem(401, "unauthorized");

    let ours = Some("https://book.example");
    let answer = call(Method::POST, "/api/v1/auth/refresh", &all, ours, json!({})).await;
    let next = cookies(&answer);
    assert!(answer.expect(200).get("refresh_token").is_none());
    call(Method::GET, ME, &jar(&next), None, json!(null)).await.expect(200);
    let answer = call(Method::POST, "/api/v1/auth/logout", &jar(&next), ours, json!({})).await;
    let gone = cookies(&answer);
    assert!(gone.iter().all(|(_, value, more)| value.is_empty() && more.contains("Max-Age=0")));
    call(Method::GET, ME, &jar(&next), None, json!(null)).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn whoever_came_by_cookie_is_told_no_token_whatever_they_ask_for() {
    let mut stand = Stand::new().await;
    stand.addresses.public_url = Some("https://book.example".to_owned());
    let process = stand.serve().await;
    let client = process.client();
    let email = fresh_email();
    register(&client, &email).await;
    let body = json!({"email": email, "password": "correct horse", "cookies": true});
    let all = jar(&cookies(&client.post(LOGIN, &body).await));
    // The password of a proxy in front is no matter of ours.
    let send = async |method: Method, path: &str, body: Value| {
        let request = client.request(method, path).header("cookie", &all).json(&body);
        let request = request.header("origin", "https://book.example");
        let request = request.header("authorization", "Basic cHJveHk6cHJveHk=");
        Answer::of(request.send().await.unwrap()).await
    };
    let me = send(Method::GET, ME, json!({})).await.expect(200);
    let switch = json!({"business_id": me["business_id"], "cookies": false});
    for (path, body) in [("/api/v1/auth/switch", switch), ("/api/v1/auth/refresh", json!({}))] {
        let answer = send(Method::POST, path, body).await;
        assert_eq!(cookies(&answer).len(), 2, "{path}");
        let told = answer.expect(200);
        let tokens = [told.get("access_token"), told.get("refresh_token")];
        assert_eq!(tokens, [None, None], "{path}: {told}");
    }
}
