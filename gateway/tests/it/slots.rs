//! Slots over HTTP: in which form they come, and what is said when they cannot.

use jiff::tz::TimeZone;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use testkit::{eventually, mailsink::MailSink, nats::NatsServer, postgres::PrivatePostgres};

use crate::{
    salon::{Salon, start_in, text},
    stand::{Addresses, Answer, Client, Process, Stand},
};

async fn asked(client: &Client, path: &str, name: &str, value: &str) -> Response {
    client.request(Method::GET, path).header(name, value).send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// A path to the slots of the day after tomorrow.
fn path(salon: &Salon, more: &str) -> String {
    let day = TimeZone::UTC.to_datetime(start_in(48 * 60)).date();
    format!("/api/v1/public/slots?service_id={}&date={day}{more}", salon.service_id)
}

#[tokio::test]
async fn an_answer_comes_compressed_or_plain_and_is_named_by_its_slots() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    // A second gateway names the same slots alike.
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    let salon = Salon::open(&process.client(), 3).await;
    stand.addresses.caught_up().await;
    for path in [path(&salon, ""), path(&salon, &format!("&staff_id={}", salon.staff[0]))] {
        let mut tags = vec![];
        for client in [process.client(), second.client()] {
            for _ in 0..3 {
                let plain = asked(&client, &path, "accept-encoding", "identity").await;
                let gzip = asked(&client, &path, "accept-encoding", "br, gzip").await;
                for (response, coding) in [(&plain, ""), (&gzip, "gzip")] {
                    assert_eq!(response.status(), 200);
                    assert_eq!(header(response, "content-encoding"), coding);
                    assert_eq!(header(response, "content-type"), "application/json");
                    assert_eq!(header(response, "cache-control"), "no-cache");
                    assert_eq!(header(response, "vary"), "accept-encoding");
                    tags.push(header(response, "etag").to_owned());
                }
                let (plain, gzip) = (plain.bytes().await.unwrap(), gzip.bytes().await.unwrap());
                assert!(gzip.len() < plain.len() / 4, "{} of {}", gzip.len(), plain.len());
                assert_eq!(unzip(&gzip), plain);
                let listed: Value = serde_json::from_slice(&plain).unwrap();
                assert!(listed["slots"].as_array().unwrap().len() >= 288);
            }
        }
        assert!(tags[0].starts_with("W/\""), "{tags:?}");
        assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
        let same = asked(&salon.guest, &path, "if-none-match", &tags[0]).await;
        assert_eq!(same.status(), 304);
        assert_eq!(header(&same, "etag"), tags[0]);
        assert_eq!(same.bytes().await.unwrap().len(), 0);

        let listed = salon.guest.read(&path).await.expect(200);
        let body = json!({"service_id": salon.service_id, "staff_id": salon.staff[0],
                          "start": listed["slots"][9]["start"], "customer": {"name": "Ada"}});
        let booked = salon.guest.post("/api/v1/public/book", &body).await.expect(201);
        for client in [process.client(), second.client()] {
            let other = asked(&client, &path, "if-none-match", &tags[0]).await;
            assert_ne!(header(&other, "etag"), tags[0]);
            let other = Answer::of(other).await.expect(200);
            let (old, new) = (listed["slots"].as_array().unwrap(), other["slots"].as_array());
            assert_eq!(old.len() - 1, new.unwrap().len());
        }
        let id = text(&booked["appointment_id"]);
        salon
            .owner
            .call(Method::DELETE, &format!("/api/v1/appointments/{id}"), None)
            .await
            .expect(204);
        for client in [process.client(), second.client()] {
            eventually("the time is free again, and the answer has its old name", async || {
                let again = asked(&client, &path, "if-none-match", &tags[0]).await;
                (again.status() == 304).then_some(())
            })
            .await;
        }
    }
}

fn unzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = vec![];
    std::io::copy(&mut flate2::read::GzDecoder::new(bytes), &mut plain).unwrap();
    plain
}

#[tokio::test]
async fn without_postgres_slots_are_neither_denied_nor_empty() {
    let mut postgres = PrivatePostgres::start().await;
    let (nats, mail) = (NatsServer::start().await, MailSink::start().await);
    let addresses = Addresses::new(postgres.app_url(), nats.url(), mail.smtp_url());
    let process = Process::start(&addresses, &[]).await;
    let salon = Salon::open(&process.client(), 1).await;
    let known = path(&salon, "");
    let unknown = path(&salon, "&tz=Asia/Tokyo");
    let page = format!("/api/v1/public/businesses/{}", salon.handle);
    let listed = salon.guest.read(&known).await.expect(200);
    let back = async || {
        for path in [&known, &unknown, &page] {
            eventually("Postgres is back", async || {
                let answer = salon.guest.ask(path).await;
                if answer.status == 503 {
                    answer.problem(503, "store_unavailable");
                    return None;
                }
                Some(answer.expect(200))
            })
            .await;
        }
        let slots = salon.guest.read(&known).await.expect(200)["slots"].take();
        assert_eq!(slots, listed["slots"]);
    };
    // It hangs; then it is gone. Each time several ask at once.
    for hangs in [true, false] {
        if hangs {
            postgres.pause()
        } else {
            postgres.kill()
        }
        let ask = |path: String| async {
            let path = path;
            let answer = salon.guest.ask(&path).await;
            answer.problem(503, "store_unavailable");
            assert_eq!(answer.header("retry-after"), "1");
        };
        tokio::join!(
            ask(known.clone()),
            ask(unknown.clone()),
            ask(known.clone()),
            ask(page.clone())
        );
        ask(known.clone()).await;
        if hangs {
            postgres.resume()
        } else {
            postgres.start_again().await
        }
        back().await;
    }
}
