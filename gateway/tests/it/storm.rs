//! Many bookings at once, and a Postgres that stops answering in the middle of it.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{join, join_all};
use jiff::SignedDuration;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::{eventually, mailsink::MailSink, nats::NatsServer, postgres::PrivatePostgres};

use crate::{
    races::sized,
    salon::{Salon, start_in, text},
    stand::{Addresses, Answer, Client, Process, Stand},
};

async fn book_with_key(client: &Client, key: &str, body: &Value) -> Answer {
    let request = client.request(reqwest::Method::POST, "/api/v1/public/book");
    let response = request.header("Idempotency-Key", key).json(body).send().await.unwrap();
    Answer::of(response).await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_storm_of_bookings_every_list_of_slots_is_answered_and_whole() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 8).await;
    let (clients, each) = (128, sized(4, 40));
    let start = start_in(60);
    let over = AtomicBool::new(false);
    let storm = async {
        let booked = join_all((0..clients).map(|client| {
            let salon = &salon;
            async move {
                let mut statuses = Vec::new();
                for n in 0..each {
                    // Half of them want one slot, the others each their own.
                    let (staff, later) = if client % 2 == 0 {
                        (0, 0)
                    } else {
                        (1 + client % 7, 5 * i64::try_from(client / 7 * each + n).unwrap())
                    };
                    let at = start + SignedDuration::from_mins(later);
                    statuses.push(salon.book(staff, at).await.status);
                }
                statuses
            }
        }))
        .await;
        over.store(true, Ordering::Relaxed);
        booked.into_iter().flatten().collect::<Vec<_>>()
    };
    let listing = async {
        let mut lists = 0;
        while !over.load(Ordering::Relaxed) {
            // The last staff member keeps most of the day free.
            let listed =
                salon.slots(&format!("&staff_id={}&date={}", salon.staff[7], date(start))).await;
            assert!(!listed.is_empty(), "an empty list in a storm");
            lists += 1;
        }
        lists
    };
    let (statuses, lists) = join(storm, listing).await;
    assert!(lists > 0);
    let booked = statuses.iter().filter(|status| **status == 201).count();
    assert!(statuses.iter().all(|status| matches!(status, 201 | 409)), "{statuses:?}");
    assert_eq!(booked, clients / 2 * each + 1);
    stand.addresses.assert_healthy();
}

fn date(at: jiff::Timestamp) -> jiff::civil::Date {
    jiff::tz::TimeZone::UTC.to_datetime(at + SignedDuration::from_hours(24)).date()
}

/// Calls of every kind: with Postgres away none of them may find nothing.
fn calls(salon: &Salon, appointment: &str) -> Vec<(Client, String)> {
    let day = date(start_in(60));
    vec![
        (
            salon.guest.clone(),
            format!("/api/v1/public/slots?service_id={}&date={day}", salon.service_id),
        ),
        (
            salon.guest.clone(),
            format!(
                "/api/v1/public/slots?business={}&service_id={}&date={day}",
                salon.handle, salon.service_id
            ),
        ),
        (salon.guest.clone(), format!("/api/v1/public/businesses/{}", salon.handle)),
        (salon.owner.clone(), format!("/api/v1/appointments/{appointment}")),
        (salon.owner.clone(), "/api/v1/appointments".to_owned()),
        (salon.owner.clone(), "/api/v1/business/services".to_owned()),
    ]
}

async fn nothing_answers(salon: &Salon, appointment: &str, booking: &Value) {
    for (client, path) in calls(salon, appointment) {
        let answer = client.ask(&path).await;
        answer.problem(503, "store_unavailable");
        assert!(!answer.header("retry-after").is_empty(), "{path}");
    }
    let answer = book_with_key(&salon.guest, "while-away", booking).await;
    answer.problem(503, "store_unavailable");
}

async fn all_is_well(salon: &Salon, appointment: &str) {
    for (client, path) in calls(salon, appointment) {
        eventually(&format!("{path} is answered again"), async || {
            let response = client.get(&path).await.ok()?;
            // Nothing else may come in between: no empty list, no "not found".
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                return None;
            }
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            let body: Value = response.json().await.unwrap();
            if let Some(list) = body["slots"].as_array().or(body["items"].as_array()) {
                assert!(!list.is_empty(), "{path}: {body}");
            }
            Some(())
        })
        .await;
    }
}

/// Bookings, each repeated with its key until it is answered.
async fn book_through(salon: &Salon, clients: usize, each: usize) -> Vec<String> {
    let start = start_in(120);
    let booked = join_all((0..clients).map(|client| async move {
        let mut ids = Vec::new();
        for n in 0..each {
            let later = 5 * i64::try_from(n).unwrap();
            let body = salon.booking(client, start + SignedDuration::from_mins(later));
            let key = format!("through-{client}-{n}");
            let booked = eventually("a booking is answered", async || {
                let answer = book_with_key(&salon.guest, &key, &body).await;
                if answer.status == 503 {
                    answer.well_formed();
                    return None;
                }
                Some(answer.expect(201))
            })
            .await;
            ids.push(text(&booked["appointment_id"]));
        }
        ids
    }))
    .await;
    booked.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_every_call_is_503_and_afterwards_all_is_as_it_was() {
    let mut postgres = PrivatePostgres::start().await;
    let (nats, mail) = tokio::join!(NatsServer::start(), MailSink::start());
    let addresses = Addresses::new(postgres.app_url(), nats.url(), mail.smtp_url());
    let process = Process::start(&addresses, &[]).await;
    let salon = Salon::open(&process.client(), 6).await;
    let first = text(&salon.book(0, start_in(60)).await.expect(201)["appointment_id"]);
    let later = salon.booking(1, start_in(60));
    addresses.caught_up().await;

    // Stopped with its connections open: it takes what is sent, and never answers.
    let (booked, ()) = join(book_through(&salon, 4, sized(10, 50)), async {
        salon.book(2, start_in(60)).await.expect(201);
        postgres.pause();
        nothing_answers(&salon, &first, &later).await;
        postgres.resume();
        all_is_well(&salon, &first).await;
    })
    .await;
    let mut distinct = booked.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), booked.len());

    postgres.kill();
    nothing_answers(&salon, &first, &later).await;
    postgres.start_again().await;
    all_is_well(&salon, &first).await;
    // Whether it was done while nobody could tell or is done now: once.
    let again = eventually("the booking is answered", async || {
        let answer = book_with_key(&salon.guest, "while-away", &later).await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    again.expect(201);
    addresses.caught_up().await;
    addresses.assert_healthy();
    let all = salon.owner.read("/api/v1/appointments?limit=200").await.expect(200);
    let ids: Vec<String> =
        all["items"].as_array().unwrap().iter().map(|a| text(&a["id"])).collect();
    for id in &booked {
        assert_eq!(ids.iter().filter(|there| *there == id).count(), 1, "{id}");
    }
    assert_eq!(ids.len(), booked.len() + 3, "{}", json!(ids));
}
