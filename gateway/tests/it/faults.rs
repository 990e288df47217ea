//! Processes die at the worst moment: nothing is lost, nothing is there twice.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{eventually, mailsink::MailSink, nats::NatsServer, postgres::PrivatePostgres};

use crate::{
    races::sized,
    salon::{Salon, start_in, text},
    stand::{Addresses, Answer, Client, Process, Stand},
};

/// Sends a booking with its key until it is answered, as a client in the field would.
pub(crate) async fn insist(client: &Client, key: &str, body: &Value) -> String {
    loop {
        let request = client.request(Method::POST, "/api/v1/public/book");
        let sent = request.header("Idempotency-Key", key).json(body).send().await;
        if let Ok(response) = sent {
            let answer = Answer::of(response).await;
            match answer.status {
                201 => return text(&answer.body["appointment_id"]),
                // In progress, or the store is away: try again.
                409 if answer.code().1 == "idempotency_in_progress" => {}
                503 => {}
                _ => panic!("{answer:?}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All appointments of the salon, page by page: id to start.
pub(crate) async fn agenda(salon: &Salon) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut next = String::new();
    loop {
        let page =
            salon.owner.read(&format!("/api/v1/appointments?limit=200{next}")).await.expect(200);
        for item in page["items"].as_array().unwrap() {
            all.insert(text(&item["id"]), text(&item["start"]));
        }
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return all,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_serve_and_postgres_during_bookings_loses_and_doubles_nothing() {
    let mut postgres = PrivatePostgres::start().await;
    let (nats, mail) = (NatsServer::start().await, MailSink::start().await);
    let addresses = Addresses::new(postgres.app_url(), nats.url(), mail.smtp_url());
    let mut process = Process::start(&addresses, &[]).await;
    let salon = Salon::open(&process.client(), 4).await;
    let (rounds, bookings) = (sized(4, 20), sized(60, 200));
    let first = start_in(60);
    let mut acknowledged: BTreeMap<String, String> = BTreeMap::new();
    for round in 0..rounds {
        let wanted: Vec<(String, Value)> = (0..bookings)
            .map(|n| {
                let slot = i64::try_from(round * bookings / 4 + n / 4).unwrap();
                let start = first + SignedDuration::from_mins(5 * slot);
                (format!("round-{round}-{n}"), salon.booking(n % 4, start))
            })
            .collect();
        let client = process.client();
        let clients = stream::iter(wanted)
            .map(|(key, body)| {
                let client = client.clone();
                async move { (insist(&client, &key, &body).await, key) }
            })
            .buffer_unordered(16)
            .collect::<Vec<_>>();
        let crash = async {
            // A different moment each round.
            let moment = 20 + u64::from(u8::try_from(round * 37 % 200).unwrap());
            tokio::time::sleep(Duration::from_millis(moment)).await;
            process.kill();
            if round % 2 == 1 {
                postgres.kill();
                postgres.start_again().await;
            }
            process.start_again().await;
        };
        let (answered, ()) = tokio::join!(clients, crash);
        assert_eq!(answered.len(), bookings);
        for (appointment, key) in answered {
            assert_eq!(acknowledged.insert(appointment, key), None, "two keys, one appointment");
        }
    }
    addresses.assert_healthy();
    addresses.caught_up().await;
    let there = agenda(&salon).await;
    assert_eq!(there.len(), rounds * bookings, "each booking exactly once");
    for appointment in acknowledged.keys() {
        assert!(there.contains_key(appointment), "{appointment} was acknowledged and is not there");
    }
}

/// A salon whose guests are all expected at the same time, so that their reminders are too.
struct Crowd {
    salon: Salon,
    start: Timestamp,
    appointments: Vec<String>,
}

/// A salon with so many staff, hired in parallel.
async fn hire(client: &Client, size: usize) -> Salon {
    let mut salon = Salon::open(client, 0).await;
    let hours = crate::salon::around_the_clock();
    salon.staff = stream::iter(0..size)
        .map(|n| {
            let owner = salon.owner.clone();
            let hours = &hours;
            async move {
                let name = json!({"name": format!("Staff {n}")});
                let hired = owner.post("/api/v1/business/staff", &name).await.expect(201);
                let id = text(&hired["id"]);
                let path = format!("/api/v1/business/staff/{id}/working-hours");
                owner.edit(Method::PUT, &path, hours).await.expect(200);
                id
            }
        })
        .buffer_unordered(4)
        .collect()
        .await;
    salon
}

/// Books every staff member at `start`; the reminders fall due at `due`.
async fn crowd(salon: Salon, start: Timestamp, due: Timestamp) -> Crowd {
    let offset = start.duration_since(due).as_mins();
    salon.set(&json!({"reminder_offsets_minutes": [offset]})).await;
    let appointments = stream::iter(0..salon.staff.len())
        .map(|n| {
            let salon = &salon;
            async move {
                let mut body = salon.booking(n, start);
                body["customer"]["email"] = json!(format!("guest{n}@example.com"));
                let booked = salon.guest.post("/api/v1/public/book", &body).await.expect(201);
                text(&booked["appointment_id"])
            }
        })
        .buffer_unordered(8)
        .collect::<Vec<_>>()
        .await;
    Crowd { salon, start, appointments }
}

/// The reminder of an appointment, as the owner sees it.
async fn reminder(salon: &Salon, appointment: &str) -> Value {
    let shown = salon.owner.read(&format!("/api/v1/appointments/{appointment}")).await.expect(200);
    let reminders = shown["reminders"].as_array().unwrap().clone();
    reminders.into_iter().find(|r| r["kind"] == "reminder").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_the_broker_and_its_data_while_reminders_fall_due_loses_and_doubles_none() {
    let mut stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let per_salon = sized(100, 500);
    let salons = [hire(&client, per_salon).await, hire(&client, per_salon).await];
    // Reminders fall due on the minute: time enough to book them all, on a loaded machine too.
    let ahead = i64::try_from(sized(60, 240)).unwrap();
    let due_second = (streams::clock::now().as_second() + ahead) / 60 * 60 + 60;
    let due = Timestamp::from_second(due_second).unwrap();
    let start = start_in(15);
    let [one, other] = salons;
    let crowds = [crowd(one, start, due).await, crowd(other, start, due).await];
    assert!(streams::clock::now() < due, "booking took longer than planned for");
    eventually("all guests and hosts were told", async || {
        (stand.mail.counts().await.len() == 4 * per_salon).then_some(())
    })
    .await;

    let wait = due.duration_since(streams::clock::now()).as_millis() - 1_000;
    tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or_default())).await;
    stand.nats.kill();
    stand.nats.delete_data();
    // Bookings go on without the broker.
    let later = crowds[0].start + SignedDuration::from_mins(5);
    for n in 0..5 {
        crowds[0].salon.book(n, later).await.expect(201);
    }
    let half = 5 * per_salon;
    eventually("reminders go out without the broker", async || {
        (stand.mail.counts().await.len() >= half).then_some(())
    })
    .await;
    stand.nats.start_again().await;
    crowds[0].salon.book(0, later + SignedDuration::from_mins(5)).await.expect(201);

    for crowd in &crowds {
        for appointment in &crowd.appointments {
            eventually("a reminder has its outcome", async || {
                let shown = reminder(&crowd.salon, appointment).await;
                matches!(shown["status"].as_str(), Some("sent" | "uncertain")).then_some(())
            })
            .await;
        }
    }
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
    agrees_with_the_sink(&stand, &crowds).await;
}

/// Each reminder is in the inbox once if it is shown as sent, and at most once if uncertain.
async fn agrees_with_the_sink(stand: &Stand, crowds: &[Crowd]) {
    let counts = stand.mail.counts().await;
    assert!(counts.values().all(|count| *count == 1), "a mail arrived twice: {counts:?}");
    for crowd in crowds {
        for appointment in &crowd.appointments {
            let shown = reminder(&crowd.salon, appointment).await;
            let id = text(&shown["id"]);
            let arrived = counts.keys().filter(|message| message.starts_with(&id)).count();
            match shown["status"].as_str() {
                Some("sent") => assert_eq!(arrived, 1, "{shown}"),
                Some("uncertain") => assert!(arrived <= 1, "{shown}"),
                _ => panic!("{shown}"),
            }
        }
    }
}
