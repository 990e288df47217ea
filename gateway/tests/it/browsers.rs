//! What browsers are told: who may read an answer, and what not to do with it.

use jiff::tz::TimeZone;
use reqwest::Method;
use serde_json::json;

use crate::{
    salon::Salon,
    stand::{Answer, Stand},
};

#[tokio::test]
async fn pages_of_named_origins_may_read_answers_and_no_others() {
    let mut stand = Stand::new().await;
    stand.addresses.set("CORS_ORIGINS", "https://www.example");
    let process = stand.serve().await;
    let client = process.client();
    let preflight = async |origin: &str| {
        let request = client
            .request(Method::OPTIONS, "/api/v1/public/book")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,idempotency-key");
        Answer::of(request.send().await.unwrap()).await
    };
    let told = preflight("https://www.example").await;
    assert_eq!(told.header("access-control-allow-origin"), "https://www.example");
    assert_eq!(told.header("access-control-allow-credentials"), "true");
    assert!(told.header("access-control-allow-methods").contains("POST"));
    assert!(told.header("access-control-allow-headers").contains("idempotency-key"));
    for origin in ["https://evil.example", "null", "https://www.example.evil.example"] {
        let told = preflight(origin).await;
        assert_eq!(told.header("access-control-allow-origin"), "", "{origin}");
    }
    let request = client.request(Method::GET, "/healthz").header("origin", "https://www.example");
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://www.example");
    assert!(answer.header("access-control-expose-headers").contains("x-position"));
    assert!(answer.header("vary").contains("origin"));
    // Nor does it take the place of what else an answer depends on.
    let salon = Salon::open(&process.client(), 1).await;
    let (service, today) =
        (&salon.service_id, streams::clock::now().to_zoned(TimeZone::UTC).date());
    let slots = format!("/api/v1/public/slots?service_id={service}&date={today}");
    for origin in [None, Some("https://www.example")] {
        let mut request = client.request(Method::GET, &slots).header("accept-encoding", "gzip");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let answer = request.send().await.unwrap();
        let vary = answer.headers().get_all("vary").iter().map(|value| value.to_str().unwrap());
        let vary = vary.collect::<Vec<_>>().join(", ");
        assert!(vary.contains("origin") && vary.contains("accept-encoding"), "{vary}");
    }
}

#[tokio::test]
async fn every_answer_tells_browsers_what_not_to_do_with_it() {
    let mut stand = Stand::new().await;
    stand.addresses.public_url = Some("https://book.example".to_owned());
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let nobody = process.client();
    for (path, private) in [
        ("/healthz", false),
        ("/nothing", false),
        ("/docs/", false),
        ("/reset-password", false),
        ("/api/v1/business/profile", true),
        ("/api/v1/auth/me", true),
        ("/api/v1/nothing", true),
    ] {
        for client in [&nobody, &salon.owner] {
            let answer = client.read(path).await;
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("x-frame-options", "DENY"),
                ("strict-transport-security", "max-age=31536000; includeSubDomains"),
            ] {
                assert_eq!(answer.header(name), value, "{path}: {name}");
            }
            let policy = answer.header("content-security-policy");
            assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
            assert_eq!(answer.header("cache-control") == "no-store", private, "{path}");
            assert!(!answer.header("x-request-id").is_empty(), "{path}");
        }
    }
    // Tokens are kept by nobody on the way (RFC 6749, 5.1).
    let login = json!({"email": "nobody@example.org", "password": "x"});
    let answer = nobody.post("/api/v1/auth/login", &login).await;
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn the_pages_behind_mailed_links_have_their_scripts_in_files() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    for page in ["/reset-password", "/accept-invitation"] {
        let answer = client.read(page).await;
        assert!(answer.header("content-security-policy").starts_with("default-src 'self'"));
        let html = answer.expect(200);
        let html = html.as_str().unwrap();
        assert!(!html.contains("<script>") && !html.contains("style="), "{html}");
        for file in html.split('"').filter(|part| part.starts_with("pages/")) {
            client.read(&format!("/{file}")).await.expect(200);
        }
        let action = html.split("data-action=\"").nth(1).unwrap().split('"').next().unwrap();
        let body = json!({"token": "x", "password": "12345678"});
        client.post(&format!("/{action}"), &body).await.problem(410, "link_spent");
    }
}

#[tokio::test]
async fn a_business_is_found_by_the_name_of_the_host() {
    let mut stand = Stand::new().await;
    stand.addresses.set("BASE_DOMAIN", "book.example");
    let process = stand.serve().await;
    let ours = Salon::open(&process.client(), 1).await;
    let theirs = Salon::open(&process.client(), 1).await;
    let at = async |host: String, path: &str| {
        let request = ours.guest.request(Method::GET, path).header("host", host);
        Answer::of(request.send().await.unwrap()).await
    };
    let host = |salon: &Salon| format!("{}.book.example", salon.handle);
    let found =
        at(host(&ours).to_uppercase() + ":8443", "/api/v1/public/business").await.expect(200);
    assert_eq!(found["id"], json!(ours.business_id));
    for odd in ["book.example", "nobody.book.example", "a.b.book.example", "evil.example"] {
        at(odd.to_owned(), "/api/v1/public/business").await.problem(404, "not_found");
    }
    // Under the name of one nothing of another is found.
    let slots = format!("/api/v1/public/slots?date=2026-03-02&service_id={}", theirs.service_id);
    at(host(&theirs), &slots).await.expect(200);
    at(host(&ours), &slots).await.problem(404, "not_found");
}
