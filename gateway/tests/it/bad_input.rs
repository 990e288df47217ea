//! Whatever is sent, the answer is a problem document that names what is wrong, and never our fault.

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::{
    salon::{Salon, start_in, text},
    stand::{Answer, Client, Stand},
};

const BOOK: &str = "/api/v1/public/book";

async fn send(client: &Client, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
    client.send(client.request(Method::POST, path).header(CONTENT_TYPE, kind).body(body)).await
}

/// The body with one member set; `to` names it, as in `/customer/name`.
fn with(body: &Value, to: &str, value: Value) -> Value {
    let mut body = body.clone();
    let (parent, name) = to.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[name] = value;
    body
}

fn without(body: &Value, name: &str) -> Value {
    let mut body = body.clone();
    body.as_object_mut().unwrap().remove(name);
    body
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let good = salon.booking(0, start_in(60)).to_string();
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let unread = [
        String::new(),
        " ".to_owned(),
        "{".to_owned(),
        "{'a': 1}".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good} x"),
        format!("{good}{good}"),
        good.replace("Ada", "\\ud800"),
        good.replace("Ada", "\\x"),
        good.replace("Ada", "A\nda"),
        good.replace("\"Ada Guest\"", "NaN"),
        format!("\u{feff}{good}"),
    ];
    for body in unread {
        let answer = send(&salon.guest, BOOK, "application/json", body.clone()).await;
        assert_eq!(answer.code(), (400, "malformed_json"), "{body}");
        answer.well_formed();
    }
    let mut latin = good.clone().into_bytes();
    let ada = good.find("Ada").unwrap();
    latin[ada] = 0xc4;
    let answer = send(&salon.guest, BOOK, "application/json", latin).await;
    answer.problem(400, "malformed_json");

    let list = json!([salon.service_id, salon.staff[0], start_in(60), ["Ada", null, null]]);
    let more = json!([salon.service_id, null, start_in(65), ["Ada", null, null], null, null, null]);
    for odd in ["null", "5", "true", "\"text\"", "[]", &list.to_string(), &more.to_string()] {
        let answer = send(&salon.guest, BOOK, "application/json", odd.to_owned()).await;
        assert_eq!(answer.code(), (422, "invalid_request"), "{odd}: {}", answer.body);
        assert_eq!(answer.fields(), ["body"], "{odd}: {}", answer.body);
    }
    for deep in [deep.clone(), good.replace("\"Ada Guest\"", &deep)] {
        let answer = send(&salon.guest, BOOK, "application/json", deep).await;
        answer.well_formed();
        assert!([400, 422].contains(&answer.status), "{answer:?}");
    }

    for kind in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp", "json"]
    {
        let answer = send(&salon.guest, BOOK, kind, good.clone()).await;
        assert_eq!(answer.code(), (415, "unsupported_media_type"), "{kind}");
        answer.well_formed();
    }
    let huge = good.replace("Ada", &"A".repeat(300_000));
    let answer = send(&salon.guest, BOOK, "application/json", huge).await;
    answer.problem(413, "body_too_large");
    let kind = "Application/JSON; charset=utf-8";
    send(&salon.guest, BOOK, kind, good).await.expect(201);
}

#[tokio::test]
async fn each_wrong_field_of_a_booking_is_named() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let good = salon.booking(0, start_in(60));
    let long = "x".repeat(100_000);
    let cases = [
        ("service_id", without(&good, "service_id")),
        ("service_id", with(&good, "/service_id", json!(5))),
        ("service_id", with(&good, "/service_id", json!(null))),
        ("service_id", with(&good, "/service_id", json!("svc_1"))),
        ("service_id", with(&good, "/service_id", json!(salon.staff[0]))),
        ("service_id", with(&good, "/service_id", json!(salon.service_id.to_uppercase()))),
        ("service_id", with(&good, "/service_id", json!(format!("{}\0", salon.service_id)))),
        ("staff_id", with(&good, "/staff_id", json!("anybody"))),
        ("staff_id", with(&good, "/staff_id", json!(""))),
        ("staff_id", with(&good, "/staff_id", json!({"id": salon.staff[0]}))),
        ("start", without(&good, "start")),
        ("start", with(&good, "/start", json!("tomorrow at nine"))),
        ("start", with(&good, "/start", json!(1_900_000_000))),
        ("start", with(&good, "/start", json!("2026-03-02"))),
        ("start", with(&good, "/start", json!("2026-02-30T10:00:00Z"))),
        ("start", with(&good, "/start", json!("2026-03-02T25:00:00"))),
        ("start", with(&good, "/start", json!("12026-03-02T10:00:00Z"))),
        ("start", with(&good, "/start", json!(""))),
        ("start", with(&good, "/start", json!(long))),
        ("customer", without(&good, "customer")),
        ("customer", with(&good, "/customer", json!("Ada"))),
        ("customer", with(&good, "/customer", json!(["Ada", null, null]))),
        ("customer.name", with(&good, "/customer", json!({}))),
        ("customer.name", with(&good, "/customer/name", json!(null))),
        ("customer.name", with(&good, "/customer/name", json!(" "))),
        ("customer.name", with(&good, "/customer/name", json!(long))),
        ("customer.email", with(&good, "/customer/email", json!("ada"))),
        ("customer.email", with(&good, "/customer/email", json!("ada@example.com\r\nBcc: x@y.z"))),
        ("customer.email", with(&good, "/customer/email", json!(format!("{long}@example.com")))),
        ("customer.phone", with(&good, "/customer/phone", json!("call me"))),
        ("customer.phone", with(&good, "/customer/phone", json!("1".repeat(400)))),
        ("customer.nickname", with(&good, "/customer/nickname", json!("Ada"))),
        ("notes", with(&good, "/notes", json!(long))),
        ("notes", with(&good, "/notes", json!(["a"]))),
        ("timezone", with(&good, "/timezone", json!("Mars/Olympus"))),
        ("timezone", with(&good, "/timezone", json!("../../etc/passwd"))),
        ("time", with(&good, "/time", json!("09:00"))),
        ("customer_info", with(&good, "/customer_info", json!({}))),
        ("override", with(&good, "/override", json!(["outside_hours"]))),
        ("idempotency_key", with(&good, "/idempotency_key", json!(""))),
        ("idempotency_key", with(&good, "/idempotency_key", json!("two words"))),
        ("idempotency_key", with(&good, "/idempotency_key", json!("a\0b"))),
        ("idempotency_key", with(&good, "/idempotency_key", json!("k".repeat(256)))),
        ("idempotency_key", with(&good, "/idempotency_key", json!("schlüssel"))),
    ];
    for (field, body) in cases {
        let answer = salon.guest.post(BOOK, &body).await;
        let told = answer.problem(422, "invalid_request");
        assert!(answer.fields().contains(&field), "{field}: {told}");
    }
    // None of it booked anything: the slot is still there.
    salon.guest.post(BOOK, &good).await.expect(201);
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_field_that_is_sent_twice_and_a_key_that_is_none_are_named() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let good = salon.booking(0, start_in(60));
    let twice = good.to_string().replacen('{', "{\"notes\": \"a\", \"notes\": \"b\", ", 1);
    let answer = send(&salon.guest, BOOK, "application/json", twice).await;
    answer.problem(422, "invalid_request");
    assert_eq!(answer.fields(), ["notes"]);

    for key in ["", " ", "two words", "\u{e9}", &"k".repeat(256)] {
        let request = salon.guest.request(Method::POST, BOOK).header("Idempotency-Key", key);
        let answer = Answer::of(request.json(&good).send().await.unwrap()).await;
        assert_eq!(answer.fields(), ["idempotency_key"], "{key}: {answer:?}");
        answer.problem(422, "invalid_request");
    }
    let request = salon.guest.request(Method::POST, BOOK).header("Idempotency-Key", "one");
    let other = with(&good, "/idempotency_key", json!("other"));
    let answer = Answer::of(request.json(&other).send().await.unwrap()).await;
    assert_eq!(answer.fields(), ["idempotency_key"]);
    salon.guest.post(BOOK, &good).await.expect(201);
}

/// Method, place, the field that must be named, and the body.
const WRONG_EDITS: &str = r#"
PUT hours weekly {}
PUT hours weekly[0].day {"weekly": [{"day": 7, "start": "09:00", "end": "10:00"}]}
PUT hours weekly[0].day {"weekly": [{"day": -1, "start": "09:00", "end": "10:00"}]}
PUT hours weekly[0].day {"weekly": [{"day": 1e300, "start": "09:00", "end": "10:00"}]}
PUT hours weekly[0].end {"weekly": [{"day": 0, "start": "09:00", "end": "24:01"}]}
PUT hours weekly[0].end {"weekly": [{"day": 0, "start": "09:00", "end": "09:00"}]}
PUT hours weekly[0].start {"weekly": [{"day": 0, "start": "9:00", "end": "10:00"}]}
PUT hours weekly[0].start {"weekly": [{"day": 0, "start": "09:00:00", "end": "10:00"}]}
PUT hours weekly[0].start {"weekly": [{"day": 0, "start": "-1:00", "end": "10:00"}]}
PUT hours weekly[0].start {"weekly": [{"day": 0, "start": "\u0000", "end": "10:00"}]}
PUT hours weekly[0] {"weekly": [[0, "09:00", "10:00"]]}
PUT hours overrides[0].date {"weekly": [], "overrides": [{"date": "2026-13-01", "windows": []}]}
PUT hours overrides[1].date {"weekly": [], "overrides": [{"date": "2026-12-24", "windows": []}, {"date": "2026-12-24", "windows": []}]}
PUT hours overrides[0].windows[0].end {"weekly": [], "overrides": [{"date": "2026-12-24", "windows": [{"start": "10:00", "end": "09:00"}]}]}
PUT hours overrides[0].windows[0].end {"weekly": [], "overrides": [{"date": "2026-12-31", "windows": [{"start": "10:00", "end": "09:00"}]}, {"date": "2026-12-24", "windows": [{"start": "09:00", "end": "10:00"}]}]}
PUT hours overrides[0].windows[0].open {"weekly": [], "overrides": [{"date": "2026-12-24", "windows": [{"open": "10:00"}]}]}
POST time-off start {"end": "SOON"}
POST time-off end {"start": "SOON", "end": "SOON"}
POST time-off end {"start": "LATER", "end": "SOON"}
POST time-off end {"start": "SOON", "end": "NEXT YEAR"}
POST time-off start {"start": "2026-12-21", "end": "SOON"}
POST time-off start {"start": "-009999-01-03T00:00:00Z", "end": "SOON"}
POST time-off end {"start": "SOON", "end": "9999-12-30T22:00:00Z"}
POST time-off why {"start": "SOON", "end": "LATER", "why": "x"}
POST closures date_to {"date_from": "2026-12-24"}
POST closures date_to {"date_from": "2026-12-24", "date_to": "2026-12-23"}
POST closures date_to {"date_from": "2026-01-01", "date_to": "2027-01-02"}
POST closures date_from {"date_from": "2026-02-30", "date_to": "2026-03-01"}
POST closures date_from {"date_from": "-009999-01-03", "date_to": "2026-12-24"}
POST closures date_to {"date_from": "2026-12-24", "date_to": "9999-12-31"}
POST closures until {"date_from": "2026-12-24", "date_to": "2026-12-24", "until": "2026-12-26"}
PATCH profile handle {"handle": "Salon Dana"}
PATCH profile timezone {"timezone": "Nowhere"}
PATCH profile currency {"currency": "usd"}
PATCH profile currency {"currency": "EUR"}
PATCH profile locale {"locale": "e"}
PATCH profile reminder_offsets_minutes {"reminder_offsets_minutes": [1, 2, 3, 4, 5, 6]}
PATCH profile reminder_offsets_minutes[1] {"reminder_offsets_minutes": [1, 1]}
PATCH profile reminder_offsets_minutes[0] {"reminder_offsets_minutes": [0]}
PATCH profile reminder_offsets_minutes[0] {"reminder_offsets_minutes": [-5]}
PATCH profile branding {"branding": ["https://salon.example/logo.png"]}
PATCH profile branding.logo_url {"branding": {"logo_url": "http://salon.example/logo.png"}}
PATCH profile branding.logo_url {"branding": {"logo_url": "https://ann:secret@salon.example/logo.png"}}
PATCH profile branding.logo_url {"branding": {"logo_url": "https://salon.example/\" onerror=\"x"}}
PATCH profile branding.logo_url {"branding": {"logo_url": "javascript:alert(1)"}}
PATCH profile branding.color {"branding": {"color": "red"}}
PATCH profile branding.color {"branding": {"color": "1d4ed8"}}
PATCH profile branding.color {"branding": {"color": "\u00231d4edg"}}
PATCH profile branding.sign_off {"branding": {"sign_off": "\u0007"}}
PATCH profile branding.slogan {"branding": {"slogan": "We cut"}}
PATCH profile host_notices {"host_notices": "no"}
PATCH profile weekly_summary {"weekly_summary": "no"}
PATCH profile booking_policy {"booking_policy": ["packed"]}
PATCH profile booking_policy.window_days {"booking_policy": {"window_days": 731}}
PATCH profile booking_policy.window_days {"booking_policy": {"window_days": 4294967296}}
PATCH profile booking_policy.min_notice_minutes {"booking_policy": {"min_notice_minutes": 4294967295}}
PATCH profile booking_policy.slot_step_minutes {"booking_policy": {"slot_step_minutes": 0}}
PATCH profile booking_policy.slot_grid {"booking_policy": {"slot_grid": "loose"}}
PATCH profile booking_policy.colour {"booking_policy": {"colour": 1}}
POST services duration_minutes {"name": "Cut", "duration_minutes": 0, "price": {"amount": 1, "currency": "USD"}}
POST services duration_minutes {"name": "Cut", "duration_minutes": 1441, "price": {"amount": 1, "currency": "USD"}}
POST services duration_minutes {"name": "Cut", "duration_minutes": 30.5, "price": {"amount": 1, "currency": "USD"}}
POST services duration_minutes {"name": "Cut", "duration_minutes": "30", "price": {"amount": 1, "currency": "USD"}}
POST services buffer_after_minutes {"name": "Cut", "duration_minutes": 30, "buffer_after_minutes": 4294967295, "price": {"amount": 1, "currency": "USD"}}
POST services price {"name": "Cut", "duration_minutes": 30, "price": [1, "USD"]}
POST services price.amount {"name": "Cut", "duration_minutes": 30, "price": {"amount": -1, "currency": "USD"}}
POST services price.amount {"name": "Cut", "duration_minutes": 30, "price": {"amount": 18446744073709551616, "currency": "USD"}}
POST services price.amount {"name": "Cut", "duration_minutes": 30, "price": {"amount": 9223372036854775807, "currency": "USD"}}
POST services price.currency {"name": "Cut", "duration_minutes": 30, "price": {"amount": 1, "currency": "EUR"}}
POST services price.currency {"name": "Cut", "duration_minutes": 30, "price": {"amount": 1, "currency": "$"}}
POST services staff_ids[0] {"name": "Cut", "duration_minutes": 30, "staff_ids": ["x"], "price": {"amount": 1, "currency": "USD"}}
POST services staff_ids[0] {"name": "Cut", "duration_minutes": 30, "staff_ids": ["staff_00000000000000000000000000000000"], "price": {"amount": 1, "currency": "USD"}}
POST services skills[1] {"name": "Cut", "duration_minutes": 30, "skills": ["a", "A"], "price": {"amount": 1, "currency": "USD"}}
POST services skills[0] {"name": "Cut", "duration_minutes": 30, "skills": [5], "price": {"amount": 1, "currency": "USD"}}
POST services skills {"name": "Cut", "duration_minutes": 30, "skills": "a", "price": {"amount": 1, "currency": "USD"}}
POST services window_days {"name": "Cut", "duration_minutes": 30, "window_days": 731, "price": {"amount": 1, "currency": "USD"}}
POST services window_days {"name": "Cut", "duration_minutes": 30, "window_days": 0, "price": {"amount": 1, "currency": "USD"}}
POST services min_notice_minutes {"name": "Cut", "duration_minutes": 30, "min_notice_minutes": 527041, "price": {"amount": 1, "currency": "USD"}}
POST services min_notice_minutes {"name": "Cut", "duration_minutes": 30, "min_notice_minutes": -1, "price": {"amount": 1, "currency": "USD"}}
POST staff skills[0] {"name": "Dana", "skills": [" "]}
POST staff max_per_day {"name": "Dana", "max_per_day": 0}
POST staff max_per_week {"name": "Dana", "max_per_week": 10001}
POST services max_per_week {"name": "Cut", "duration_minutes": 30, "max_per_week": 0, "price": {"amount": 1, "currency": "USD"}}
PATCH profile booking_policy.request_expires_minutes {"booking_policy": {"request_expires_minutes": 4}}
PATCH profile booking_policy.request_expires_minutes {"booking_policy": {"request_expires_minutes": 43201}}
POST services requires_approval {"name": "Cut", "duration_minutes": 30, "requires_approval": "yes", "price": {"amount": 1, "currency": "USD"}}
PATCH profile booking_policy.waitlist_offer_minutes {"booking_policy": {"waitlist_offer_minutes": 10081}}
PATCH profile booking_policy.max_per_day {"booking_policy": {"max_per_day": 0}}
PATCH profile booking_policy.max_per_week {"booking_policy": {"max_per_week": "many"}}
POST staff service_ids[0] {"name": "Dana", "service_ids": [""]}
POST staff service_ids {"name": "Dana", "service_ids": [501 SERVICES]}
POST staff active {"name": "Dana", "active": "yes"}
POST api-keys scopes {"name": "Till", "scopes": ["business:read", "business:read"]}
POST book override {"service_id": "SERVICE", "start": "LATER", "customer": {"name": "A"}, "override": ["min_notice", "min_notice", "min_notice"]}
POST password-reset email {"email": "250 LETTERS@example.com"}
POST refresh refresh_token {"refresh_token": "4,100 LETTERS"}
POST logout refresh_token {"refresh_token": "4,100 LETTERS"}
POST register password {"email": "a@example.com", "password": "short", "business_name": "A"}
POST register email {"email": "a", "password": "long enough", "business_name": "A"}
POST register handle {"email": "a@example.com", "password": "long enough", "business_name": "A", "handle": "-"}
"#;

#[tokio::test]
async fn each_wrong_field_of_the_owners_edits_is_named() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let staff = "/api/v1/business/staff";
    for line in WRONG_EDITS.lines().filter(|line| !line.is_empty()) {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap();
        let (method, place, field, body) = (word(), word(), word(), word());
        let path = match place {
            "hours" => format!("{staff}/{}/working-hours", salon.staff[0]),
            "time-off" => format!("{staff}/{}/time-off", salon.staff[0]),
            "register" | "password-reset" | "refresh" | "logout" => format!("/api/v1/auth/{place}"),
            "api-keys" => "/api/v1/api-keys".to_owned(),
            "book" => "/api/v1/appointments".to_owned(),
            other => format!("/api/v1/business/{other}"),
        };
        let body = body
            .replace("501 SERVICES", &vec![format!("\"{}\"", salon.service_id); 501].join(","))
            .replace("250 LETTERS", &"x".repeat(250))
            .replace("4,100 LETTERS", &"x".repeat(4_100))
            .replace("SERVICE", &salon.service_id)
            .replace("NEXT YEAR", &start_in(367 * 24 * 60).to_string())
            .replace("SOON", &start_in(60).to_string())
            .replace("LATER", &start_in(600).to_string());
        let request = salon.owner.request(method.parse().unwrap(), &path).header("If-Match", "*");
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let answer = Answer::of(request.send().await.unwrap()).await;
        let told = answer.problem(422, "invalid_request");
        assert!(answer.fields().contains(&field), "{line}: {told}");
    }
    let infinite = r#"{"name": "Cut", "duration_minutes": 1e999}"#;
    let answer =
        send(&salon.owner, "/api/v1/business/services", "application/json", infinite).await;
    answer.problem(400, "malformed_json");
}

/// JSON has one kind of number, and many programs write all of them with a point.
#[tokio::test]
async fn a_whole_number_is_one_however_it_is_written() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let path = "/api/v1/business/resources";
    let body = r#"{"capacity": 2.0, "name": "Room", "kind": "room"}"#;
    let made = send(&salon.owner, path, "application/json", body).await.expect(201);
    assert_eq!(made["capacity"], json!(2));
    let half = r#"{"capacity": 2.5, "name": "Half a room", "kind": "room"}"#;
    let answer = send(&salon.owner, path, "application/json", half).await;
    answer.problem(422, "invalid_request");
    assert_eq!(answer.fields(), ["capacity"]);
}

/// What Postgres cannot store, or what would break a mail, in every text that people type.
#[tokio::test]
async fn control_characters_and_endless_texts_are_refused_in_every_field() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let appointment = text(&salon.book(0, start_in(60)).await.expect(201)["appointment_id"]);
    let book = salon.booking(0, start_in(90));
    let register =
        json!({"email": "x@example.com", "password": "correct horse", "business_name": "X"});
    let service =
        json!({"name": "Cut", "duration_minutes": 30, "price": {"amount": 1, "currency": "USD"}});
    let away = json!({"start": start_in(600), "end": start_in(660)});
    let staff = format!("/api/v1/business/staff/{}", salon.staff[0]);
    let (time_off, hire) = (format!("{staff}/time-off"), "/api/v1/business/staff");
    let cancel = format!("/api/v1/appointments/{appointment}/cancel");
    let decline = format!("/api/v1/appointments/{appointment}/decline");
    let closed = json!({"date_from": "2026-12-24", "date_to": "2026-12-24"});
    let one = json!({"name": "Dana"});
    let profile = "/api/v1/business/profile";
    let cases = [
        (Method::POST, BOOK, &book, "/customer/name"),
        (Method::POST, BOOK, &book, "/customer/email"),
        (Method::POST, BOOK, &book, "/customer/phone"),
        (Method::POST, BOOK, &book, "/notes"),
        (Method::POST, BOOK, &book, "/timezone"),
        (Method::POST, BOOK, &book, "/idempotency_key"),
        (Method::POST, "/api/v1/auth/register", &register, "/email"),
        (Method::POST, "/api/v1/auth/register", &register, "/business_name"),
        (Method::POST, "/api/v1/auth/register", &register, "/handle"),
        (Method::PATCH, profile, &json!({}), "/name"),
        (Method::PATCH, profile, &json!({}), "/handle"),
        (Method::PATCH, profile, &json!({}), "/address"),
        (Method::PATCH, profile, &json!({}), "/contact"),
        (Method::PATCH, profile, &json!({}), "/locale"),
        (Method::POST, "/api/v1/business/services", &service, "/name"),
        (Method::POST, "/api/v1/business/services", &service, "/description"),
        (Method::POST, hire, &one, "/name"),
        (Method::POST, hire, &one, "/kind"),
        (Method::POST, hire, &one, "/email"),
        (Method::PATCH, staff.as_str(), &json!({}), "/email"),
        (Method::POST, time_off.as_str(), &away, "/reason"),
        (Method::POST, "/api/v1/business/closures", &closed, "/reason"),
        (Method::POST, cancel.as_str(), &json!({}), "/reason"),
        (Method::POST, decline.as_str(), &json!({}), "/reason"),
    ];
    for (method, path, body, to) in cases {
        let field = to[1..].replace('/', ".");
        for odd in ["a\0b", "\0", "a\u{1b}[31mb", "a\u{7f}", &"x".repeat(100_000)] {
            let body = with(body, to, json!(odd));
            let answer = salon.owner.call(method.clone(), path, Some(&body)).await;
            answer.well_formed();
            let told = format!("{odd:.20} in {field} of {path}: {}", answer.body);
            assert_eq!(answer.code(), (422, "invalid_request"), "{told}");
            assert_eq!(answer.fields(), [field.as_str()], "{told}");
        }
    }
    // Compared, never stored: nobody has such an address, password or token.
    for odd in ["a\0b", "a\0@example.com", &"x".repeat(50_000)] {
        let login = json!({"email": odd, "password": odd});
        let answer = salon.guest.post("/api/v1/auth/login", &login).await;
        assert_eq!(answer.code(), (401, "invalid_credentials"), "{odd:.20}: {}", answer.body);
        let answer = salon.guest.post("/api/v1/auth/refresh", &json!({"refresh_token": odd})).await;
        let refused = if odd.len() > 4_096 {
            (422, "invalid_request")
        } else {
            (401, "invalid_refresh_token")
        };
        assert_eq!(answer.code(), refused, "{odd:.20}");
        let answer = salon.guest.post("/api/v1/auth/logout", &json!({"refresh_token": odd})).await;
        assert_eq!(answer.status, if odd.len() > 4_096 { 422 } else { 204 }, "{odd:.20}");
    }
    stand.addresses.assert_healthy();
}

/// The middle of the next hour that New York's clocks skip, and of the next that they repeat.
fn skipped_and_repeated() -> (DateTime, DateTime) {
    let zone = TimeZone::get("America/New_York").unwrap();
    let (mut skipped, mut repeated) = (None, None);
    // Far enough ahead that nothing of that hour is past.
    let from = streams::clock::now() + SignedDuration::from_hours(3);
    for change in zone.following(from).take(2) {
        let before = zone.to_offset(change.timestamp() - SignedDuration::from_secs(1));
        let after = change.offset();
        let half = SignedDuration::from_mins(30);
        if after > before {
            skipped = Some(before.to_datetime(change.timestamp()) + half);
        } else {
            repeated = Some(after.to_datetime(change.timestamp()) + half);
        }
    }
    (skipped.unwrap(), repeated.unwrap())
}

#[tokio::test]
async fn a_local_time_that_the_clocks_skip_or_repeat_is_refused() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    salon
        .set(&json!({"timezone": "America/New_York", "booking_policy": {"window_days": 730}}))
        .await;
    let (skipped, repeated) = skipped_and_repeated();
    let mut body = salon.booking(0, start_in(60));

    body["start"] = json!(skipped);
    let answer = salon.guest.post(BOOK, &body).await;
    answer.problem(422, "nonexistent_local_time");
    let offered = salon.slots(&format!("&date={}", skipped.date())).await;
    let hour = format!("T{:02}", skipped.hour());
    let local = |slot: &Value| text(&slot["local_start"]);
    assert!(!offered.iter().any(|slot| local(slot).contains(&hour)), "{offered:?}");

    body["start"] = json!(repeated);
    let answer = salon.guest.post(BOOK, &body).await;
    let told = answer.problem(422, "ambiguous_local_time");
    let instants: Vec<Timestamp> = serde_json::from_value(told["instants"].clone()).unwrap();
    assert_eq!(instants[1].duration_since(instants[0]), SignedDuration::from_hours(1));
    let offered = salon.slots(&format!("&date={}", repeated.date())).await;
    for instant in instants {
        assert!(offered.iter().any(|slot| slot["start"] == json!(instant)), "{offered:?}");
        body["start"] = json!(instant);
        salon.guest.post(BOOK, &body).await.expect(201);
    }
    stand.addresses.assert_healthy();
}
