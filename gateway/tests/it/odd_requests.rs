//! Odd queries, paths, methods, headers and bytes: refused as problems, never our fault.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    salon::{Salon, start_in, text},
    stand::{Answer, Client, Stand},
};

/// Sends bytes as they are and reads the answer to its end.
async fn wire(client: &Client, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(client.host()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    let read = String::from_utf8(read).unwrap();
    let (head, body) = read.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{read}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
    Answer { status, headers: headers.collect(), body }
}

/// A request whose path no client library would send; it is closed when answered.
async fn get(client: &Client, path: &str) -> Answer {
    wire(client, format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes()).await
}

/// The parameter that must be named, and where it is wrong.
const ODD_QUERIES: &str = "
date /api/v1/public/slots
service_id /api/v1/public/slots?date=2026-03-02
service_id /api/v1/public/slots?date=2026-03-02&service_id=
service_id /api/v1/public/slots?date=2026-03-02&service_id=svc_%00
date SLOTS
date SLOTS&date=2026-02-30
date SLOTS&date=
date SLOTS&date=%00
date SLOTS&date=%ZZ
date SLOTS&date=2026-03-02&from=2026-03-02
date SLOTS&date=2026-03-02&date=2026-03-03
date SLOTS&to=2026-03-02
date SLOTS&date=9999-12-31
date SLOTS&date=-009999-01-01&tz=Pacific/Pago_Pago
to SLOTS&from=2026-03-02&to=2026-03-01
to SLOTS&from=2026-03-02&to=2026-05-03
from SLOTS&from=-009999-01-01&to=9999-12-31
from SLOTS&from=9999-12-01&to=9999-12-31&tz=Pacific/Kiritimati
staff_id SLOTS&date=2026-03-02&staff_id=ANY
staff_id SLOTS&date=2026-03-02&staff_id=SERVICE
tz SLOTS&date=2026-03-02&tz=Nowhere
tz SLOTS&date=2026-03-02&tz=%FF
tz SLOTS&date=2026-03-02&tz=Etc/Unknown
min_position SLOTS&date=2026-03-02&min_position=soon
min_position SLOTS&date=2026-03-02&min_position=-1-1
min_position SLOTS&date=2026-03-02&min_position=ffffffffffffffff-1
duration SLOTS&date=2026-03-02&duration=5
limit LIST?limit=0
limit LIST?limit=201
limit LIST?limit=-1
limit LIST?limit=ten
limit LIST?limit=1e2
limit LIST?limit=99999999999999999999
cursor LIST?cursor=
cursor LIST?cursor=next
cursor LIST?cursor=9223372036854775807.00000000000000000000000000000000
cursor LIST?cursor=0.%00
from LIST?from=2026-03-02
from LIST?from=yesterday
from LIST?from=-009999-01-03T00:00:00Z
to LIST?to=9999-12-30T22:00:00Z
status LIST?status=BOOKED
staff_id LIST?staff_id=any
customer_id LIST?customer_id=cust_%F0%9F%92%A9
service_id LIST?service_id=STAFF
order LIST?order=desc
min_position /api/v1/business/profile?min_position=x
from /api/v1/business/staff/STAFF/time-off?from=x
limit /api/v1/business/staff/STAFF/time-off?limit=201
cursor /api/v1/business/staff/STAFF/time-off?cursor=x
cursor /api/v1/business/staff/STAFF/time-off?cursor=-009999-01-03T00:00:00Z
from /api/v1/business/staff/STAFF/time-off?from=-009999-01-03T00:00:00Z
";

#[tokio::test]
async fn odd_queries_are_refused_and_the_parameter_is_named() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let path = |path: &str| {
        path.replace("SLOTS", "/api/v1/public/slots?service_id=SERVICE")
            .replace("LIST", "/api/v1/appointments")
            .replace("SERVICE", &salon.service_id)
            .replace("STAFF", &salon.staff[0])
    };
    for line in ODD_QUERIES.lines().filter(|line| !line.is_empty()) {
        let (parameter, odd) = line.split_once(' ').unwrap();
        let answer = salon.owner.read(&path(odd)).await;
        let told = answer.problem(422, "invalid_request");
        assert_eq!(answer.fields(), [parameter], "{line}: {told}");
    }
    // Odd, but not wrong: there is nothing.
    for odd in [
        "SLOTS&date=1999-12-31",
        "SLOTS&date=9998-12-31&tz=Pacific/Kiritimati",
        "SLOTS&date=2026-03-02&min_position=0-0&&&",
        "LIST?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z",
        "LIST?cursor=253402207200000000.00000000000000000000000000000000",
        "/api/v1/business/staff/STAFF/time-off?from=9998-12-30T22:00:00Z",
    ] {
        let found = salon.owner.read(&path(odd)).await.expect(200);
        let list = if odd.starts_with("SLOTS") { "slots" } else { "items" };
        assert_eq!(found[list], json!([]), "{odd}");
    }
    let answer = salon.owner.ask(&path("LIST?min_position=7fffffffffffffff-1")).await;
    answer.problem(503, "projection_lagging");
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn a_made_up_cursor_far_from_any_date_is_refused() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 0).await;
    let cursor = format!("-377705023201000000.{}", "0".repeat(32));
    let answer = salon.owner.read(&format!("/api/v1/appointments?cursor={cursor}")).await;
    answer.problem(422, "invalid_request");
    assert_eq!(answer.fields(), ["cursor"]);
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_document_whatever_its_name() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let zeros = "0".repeat(32);
    let long = "x".repeat(8_000);
    for path in [
        "/".to_owned(),
        "/api".to_owned(),
        "/api/v1/public".to_owned(),
        "/api/v1//public/slots".to_owned(),
        "/api/v1/public/slots/".to_owned(),
        "/api/v2/public/slots".to_owned(),
        "/%00".to_owned(),
        "/%FF%FE".to_owned(),
        "/%".to_owned(),
        "/../../etc/passwd".to_owned(),
        format!("/{long}"),
        "/api/v1/public/businesses/nobody-here".to_owned(),
        "/api/v1/public/businesses/%00".to_owned(),
        "/api/v1/public/businesses/%FF".to_owned(),
        "/api/v1/public/businesses/%F0%9F%92%A9".to_owned(),
        "/api/v1/public/businesses/a%2Fb".to_owned(),
        format!("/api/v1/public/businesses/{long}"),
        "/api/v1/public/slots?date=2026-03-02&business=nobody".to_owned(),
        "/api/v1/public/slots?date=2026-03-02&business=%00".to_owned(),
        "/api/v1/public/slots?date=2026-03-02&business=%FF".to_owned(),
        "/api/v1/public/slots?date=2026-03-02&business=".to_owned(),
        format!("/api/v1/public/slots?date=2026-03-02&business=biz_{zeros}"),
        format!("/api/v1/public/slots?date=2026-03-02&business={long}"),
        format!("/api/v1/public/slots?date=2026-03-02&service_id=svc_{zeros}"),
        format!("/api/v1/public/slots?date=2026-03-02&staff_id=staff_{zeros}"),
    ] {
        let answer = get(&salon.guest, &path).await;
        assert_eq!(answer.code(), (404, "not_found"), "{path:.80}: {}", answer.body);
        answer.well_formed();
    }
}

#[tokio::test]
async fn an_id_that_is_unknown_or_no_id_is_not_found() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let zeros = "0".repeat(32);
    let staff = format!("/api/v1/business/staff/{}", salon.staff[0]);
    let odd_ids = [
        format!("appt_{zeros}"),
        format!("svc_{zeros}"),
        format!("staff_{zeros}"),
        format!("toff_{zeros}"),
        salon.service_id.clone() + "0",
        salon.staff[0].to_uppercase(),
        "1".to_owned(),
        "%00".to_owned(),
        "%FF".to_owned(),
        "a%2Fb".to_owned(),
        "x".repeat(8_000),
    ];
    for id in odd_ids {
        for path in [
            format!("/api/v1/appointments/{id}"),
            format!("/api/v1/appointments/{id}/history"),
            format!("/api/v1/business/services/{id}"),
            format!("/api/v1/business/staff/{id}"),
            format!("/api/v1/business/staff/{id}/working-hours"),
            format!("/api/v1/business/staff/{id}/time-off"),
        ] {
            let answer = salon.owner.read(&path).await;
            assert_eq!(answer.code(), (404, "not_found"), "{path:.80}: {}", answer.body);
            answer.well_formed();
        }
        for path in [
            format!("{staff}/time-off/{id}"),
            format!("/api/v1/appointments/{id}"),
            format!("/api/v1/business/services/{id}"),
        ] {
            let answer = salon.owner.call(Method::DELETE, &path, None).await;
            answer.problem(404, "not_found");
        }
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_know_is_refused_with_those_that_it_knows() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let (code, document) = stand.addresses.run(&["openapi"]);
    assert_eq!(code, 0);
    let document: Value = serde_json::from_str(&document).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.replace(['{', '}'], "");
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            if operations.get(method.as_str().to_lowercase()).is_some() {
                continue;
            }
            let answer = client.call(method.clone(), &path, None).await;
            answer.problem(405, "method_not_allowed");
            let allowed = answer.header("allow");
            for known in operations.as_object().unwrap().keys().map(|known| known.to_uppercase()) {
                assert!(allowed.contains(&known), "{method} {path}: {allowed}");
            }
            assert!(!allowed.contains(method.as_str()), "{method} {path}: {allowed}");
        }
        let answer = wire(&client, format!("BREW {path} HTTP/1.0\r\n\r\n").as_bytes()).await;
        answer.problem(405, "method_not_allowed");
    }
    let answer = client.call(Method::HEAD, "/healthz", None).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn bytes_that_are_no_text_in_headers_and_bodies_are_refused() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let client = &salon.guest;
    let body = salon.booking(0, start_in(60)).to_string();
    let post = |headers: &[u8], body: &[u8]| {
        let mut bytes = b"POST /api/v1/public/book HTTP/1.0\r\nHost: x\r\n".to_vec();
        bytes.extend_from_slice(headers);
        bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    let json = b"Content-Type: application/json\r\n".as_slice();
    let answer = wire(client, &post(b"Content-Type: \xff\r\n", body.as_bytes())).await;
    answer.problem(415, "unsupported_media_type");
    let answer = wire(client, &post(b"", body.as_bytes())).await;
    answer.problem(415, "unsupported_media_type");
    let key = [json, b"Idempotency-Key: \xff\xfe\r\n"].concat();
    let answer = wire(client, &post(&key, body.as_bytes())).await;
    answer.problem(422, "invalid_request");
    assert_eq!(answer.fields(), ["idempotency_key"]);
    let answer = wire(client, &post(json, &[0xff, 0xfe, 0x00, 0x7b])).await;
    answer.problem(400, "malformed_json");

    for id in [b"\xff".as_slice(), b"two words", b"", &[b'x'; 200]] {
        let headers = [json, b"X-Request-Id: ", id, b"\r\n"].concat();
        let answer = wire(client, &post(&headers, b"{")).await;
        answer.problem(400, "malformed_json");
        let given = answer.header("x-request-id");
        assert!(!given.is_empty() && given.as_bytes() != id, "{given}");
    }
    for token in [b"\xff".as_slice(), b"Bearer \xff", b"Bearer", b"Bearer ", b"Basic YTpi", b""] {
        let head = b"GET /api/v1/auth/me HTTP/1.0\r\nAuthorization: ".as_slice();
        let answer = wire(client, &[head, token, b"\r\n\r\n"].concat()).await;
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    // Without a length the limit is met while reading.
    let mut chunked =
        b"POST /api/v1/public/book HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".to_vec();
    chunked.extend_from_slice(json);
    chunked.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n30D40\r\n");
    chunked.extend_from_slice(&b" ".repeat(200_000));
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    wire(client, &chunked).await.problem(413, "body_too_large");
    for tag in ["5", "\"x\"", "W/\"1\"", "\"1\", \"2\"", "\"-1\"", "\u{e9}"] {
        let request = salon.owner.request(Method::PATCH, "/api/v1/business/profile");
        let request = request.header("If-Match", tag).json(&json!({"name": "Other"}));
        let answer = Answer::of(request.send().await.unwrap()).await;
        answer.problem(412, "stale");
    }
}

/// `SplitMix64`: the same requests in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    fn odd_value(&mut self) -> Value {
        let odd = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(u64::MAX),
            json!(1e300),
            json!(""),
            json!("\0"),
            json!("any"),
            json!("\u{202e}\u{feff}💇"),
            json!("2026-03-08T02:30:00"),
            json!("-009999-01-02T01:59:59Z"),
            json!("9999-12-30T22:00:00.999999999Z"),
            json!("2026-03-02T09:00:60Z"),
            json!("2026-03-02T09:00:00+25:59"),
            json!("svc_00000000000000000000000000000000"),
            json!([]),
            json!({}),
            json!([[[[{}]]]]),
            json!({"name": "Ada"}),
            json!("x".repeat(5_000)),
        ];
        odd[self.roll(odd.len())].clone()
    }

    /// Changes one place of the document.
    fn bend(&mut self, value: &mut Value) {
        match value {
            Value::Object(members) if self.roll(4) > 0 && !members.is_empty() => {
                let name = members.keys().nth(self.roll(members.len())).unwrap().clone();
                match self.roll(6) {
                    0 => drop(members.remove(&name)),
                    1 => drop(members.insert(format!("{name}_"), json!(1))),
                    _ => self.bend(&mut members[&name]),
                }
            }
            Value::Object(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => *value = self.odd_value(),
        }
    }

    /// Changes some bytes.
    fn scratch(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len().max(1));
            match self.roll(4) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.roll(8),
                1 => bytes.truncate(at),
                2 => bytes.insert(at.min(bytes.len()), u8::try_from(self.roll(256)).unwrap()),
                _ if at < bytes.len() => drop(bytes.remove(at)),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn no_bent_or_scratched_booking_is_ever_our_fault() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let mut dice = Dice(20_260_302);
    let mut refused = 0;
    for n in 0..500 {
        let mut body = salon.booking(0, start_in(60 + 5 * n));
        body["notes"] = json!("please");
        body["timezone"] = json!("Europe/London");
        body["idempotency_key"] = json!(format!("key-{n}"));
        for _ in 0..=dice.roll(2) {
            dice.bend(&mut body);
        }
        let mut bytes = body.to_string().into_bytes();
        if dice.roll(2) == 0 {
            dice.scratch(&mut bytes);
        }
        let sent = String::from_utf8_lossy(&bytes).into_owned();
        let request = salon.guest.request(Method::POST, "/api/v1/public/book");
        let request = request.header("Content-Type", "application/json").body(bytes);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert!(answer.status < 500, "{n}: {sent}: {answer:?}");
        answer.well_formed();
        refused += usize::from(answer.status >= 400);
    }
    assert!(refused > 300, "only {refused} of 500 were bad");
    stand.addresses.assert_healthy();
    let booked = salon.book(0, start_in(6_000)).await.expect(201);
    assert_eq!(text(&booked["status"]), "booked");
}
