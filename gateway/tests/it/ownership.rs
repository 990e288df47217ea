//! Each business has one deciding process. Whoever is asked, the answer is the same.

use std::collections::BTreeMap;

use futures::{StreamExt, future::join_all, stream};
use jiff::SignedDuration;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    races::{race, sized},
    salon::{Salon, start_in, text},
    stand::{Answer, Client, Process, Stand},
};

pub(crate) const BOOK: &str = "/api/v1/public/book";

/// Both processes know each other.
pub(crate) async fn met(processes: [&Process; 2]) {
    for process in processes {
        eventually("the gateways know each other", async || {
            (process.metric("apptremind_peers ").await >= 1.0).then_some(())
        })
        .await;
    }
}

pub(crate) async fn forwarded(process: &Process, outcome: &str) -> f64 {
    let outcome =
        if outcome.is_empty() { String::new() } else { format!("{{outcome=\"{outcome}\"}}") };
    process.metric(&format!("apptremind_commands_forwarded_total{outcome}")).await
}

pub(crate) async fn keyed(client: &Client, key: &str, body: &Value) -> Answer {
    let request = client.request(Method::POST, BOOK).header("Idempotency-Key", key);
    client.send(request.json(body)).await
}

/// A read that waits for the booking's position shows it, as soon as the read model is so far.
pub(crate) async fn booked_at(owner: &Client, appointment: &str, position: &str) {
    let path = format!("/api/v1/appointments/{appointment}?min_position={position}");
    assert_eq!(owner.read(&path).await.expect(200)["status"], "booked");
}

/// What may differ between two answers to the same question: who asked.
fn without_request_id(answer: Answer) -> (u16, Value) {
    let mut body = answer.body;
    body.as_object_mut().unwrap().remove("request_id");
    (answer.status, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_gateway_is_asked_the_answer_is_the_same() {
    let stand = Stand::new().await;
    let processes = [stand.serve().await, Process::start(&stand.addresses, &["gateway"]).await];
    let [first, second] = &processes;
    met([first, second]).await;
    // Several businesses, so that each process owns some: one in 64 times all six have one owner.
    let salons = join_all((0..6).map(|_| async { Salon::open(&first.client(), 2).await })).await;
    let mut wrong_for: Vec<&Process> = vec![];
    for salon in &salons {
        let before = forwarded(first, "answered").await;
        salon.guest.at(first).post(BOOK, &salon.booking(0, start_in(55))).await.expect(201);
        let passed_on = forwarded(first, "answered").await > before;
        wrong_for.push(if passed_on { first } else { second });
    }

    // Every request goes to the wrong one.
    let before = forwarded(first, "answered").await + forwarded(second, "answered").await;
    let each = sized(40, 200);
    let first_start = start_in(60);
    let wanted = (0..each).flat_map(|n| salons.iter().zip(&wrong_for).map(move |pair| (n, pair)));
    let booked: Vec<(String, String)> = stream::iter(wanted)
        .map(|(n, (salon, process))| async move {
            let later = SignedDuration::from_mins(5 * i64::try_from(n / 2).unwrap());
            let body = salon.booking(n % 2, first_start + later);
            let client = salon.guest.at(process);
            let answer = if n % 3 == 0 {
                let key = format!("{}-{n}", salon.business_id);
                let answer = keyed(&client, &key, &body).await;
                let again = keyed(&client, &key, &body).await;
                assert_eq!(again.header("x-position"), answer.header("x-position"));
                assert_eq!(again.expect(201), answer.body);
                answer
            } else {
                client.post(BOOK, &body).await
            };
            let position = answer.header("x-position").to_owned();
            let id = text(&answer.expect(201)["appointment_id"]);
            // The position is the booking's: a read that waits for it shows it.
            booked_at(&salon.owner.at(process), &id, &position).await;
            (id, position)
        })
        .buffer_unordered(16)
        .collect()
        .await;
    let ids: BTreeMap<_, _> = booked.into_iter().collect();
    assert_eq!(ids.len(), each * salons.len());
    let repeated = (0..each).filter(|n| n % 3 == 0).count();
    let after = forwarded(first, "answered").await + forwarded(second, "answered").await;
    let all = f64::from(u32::try_from((each + repeated) * salons.len()).unwrap());
    // On a busy machine some come back too late, or are not asked.
    let answered = after - before;
    assert!((all * 0.9 - 0.5..all + 0.5).contains(&answered), "{answered} of {all}");
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_the_same_through_every_gateway() {
    let stand = Stand::new().await;
    let processes = [stand.serve().await, Process::start(&stand.addresses, &["gateway"]).await];
    let [first, second] = &processes;
    met([first, second]).await;
    for _ in 0..4 {
        let salon = Salon::open(&first.client(), 1).await;
        let start = start_in(60);
        keyed(&salon.guest, "one", &salon.booking(0, start)).await.expect(201);
        stand.addresses.caught_up().await;
        let changed = |name: &str, value: Value| {
            let mut body = salon.booking(0, start);
            body[name] = value;
            body
        };
        let cases = [
            (409, "slot_taken", salon.booking(0, start)),
            (409, "slot_taken", changed("staff_id", json!("any"))),
            (422, "outside_availability", salon.booking(0, start + SignedDuration::from_mins(31))),
            (422, "slot_in_past", salon.booking(0, start - SignedDuration::from_hours(48))),
            (422, "too_far", salon.booking(0, start + SignedDuration::from_hours(24 * 365))),
            (422, "invalid_request", changed("notes", json!("x".repeat(3_000)))),
            (422, "invalid_request", changed("customer", json!({"name": " ", "phone": "1"}))),
            (404, "not_found", changed("staff_id", json!(format!("staff_{}", "0".repeat(32))))),
        ];
        for (status, code, body) in &cases {
            let answer = salon.guest.at(first).post(BOOK, body).await;
            answer.problem(*status, code);
            let other = salon.guest.at(second).post(BOOK, body).await;
            other.well_formed();
            assert_eq!(without_request_id(answer), without_request_id(other));
        }
        let taken = salon.guest.at(second).post(BOOK, &salon.booking(0, start)).await;
        assert_eq!(taken.body["alternatives"].as_array().unwrap().len(), 3, "{taken:?}");
        for process in &processes {
            let (client, other) = (salon.guest.at(process), changed("notes", json!("no")));
            keyed(&client, "one", &other).await.problem(422, "idempotency_key_reused");
        }
    }
    let passed_on = forwarded(first, "answered").await + forwarded(second, "answered").await;
    assert!(passed_on > 30.0, "{passed_on}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_times_one_of_many_guests_at_two_gateways_gets_the_slot() {
    let stand = Stand::new().await;
    let first = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    met([&first, &second]).await;
    let salon = Salon::open(&first.client(), 1).await;
    let start = start_in(60);
    for round in 0..100 {
        let body = salon.booking(0, start + SignedDuration::from_mins(5 * round));
        let statuses = race(&[&first, &second], vec![body; 32], 32).await;
        assert_eq!(statuses, BTreeMap::from([(201, 1), (409, 31)]), "round {round}");
    }
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_broker_each_gateway_decides_by_itself() {
    let mut stand = Stand::new().await;
    let processes = [stand.serve().await, Process::start(&stand.addresses, &["gateway"]).await];
    let [first, second] = &processes;
    met([first, second]).await;
    let salons = [Salon::open(&first.client(), 1).await, Salon::open(&first.client(), 1).await];
    stand.nats.kill();
    let start = start_in(60);
    for n in 0..20 {
        for salon in &salons {
            for (process, later) in processes.iter().zip([0, 5]) {
                let start = start + SignedDuration::from_mins(n * 10 + later);
                salon.guest.at(process).post(BOOK, &salon.booking(0, start)).await.expect(201);
            }
        }
    }
    // Both think that they are alone now.
    for process in &processes {
        eventually("nobody else is known", async || {
            (process.metric("apptremind_peers ").await < 1.0).then_some(())
        })
        .await;
    }
    let before = forwarded(first, "").await + forwarded(second, "").await;
    for process in &processes {
        for salon in &salons {
            let wanted = salon.booking(0, start);
            salon.guest.at(process).post(BOOK, &wanted).await.problem(409, "slot_taken");
        }
    }
    let after = forwarded(first, "").await + forwarded(second, "").await;
    assert!((after - before).abs() < 0.5, "nobody was asked");
    stand.nats.start_again().await;
    met([first, second]).await;
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}
