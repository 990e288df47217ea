//! The roles as processes of their own, and the broker as a cluster: one of either dies, and nothing
//! is lost.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::{StreamExt, future::join_all, stream};
use jiff::SignedDuration;
use serde_json::Value;
use testkit::{
    eventually,
    mailsink::MailSink,
    nats::{NatsCluster, NatsServer},
    postgres::TestDatabase,
};
use tokio::time::MissedTickBehavior;

use crate::{
    faults::agenda,
    ownership::met,
    races::sized,
    salon::{Salon, start_in, text},
    stand::{Addresses, Process, Stand},
};

/// Every role in processes of its own.
struct Processes {
    gateways: [Process; 2],
    projectors: [Process; 2],
    others: [Process; 3],
}

impl Processes {
    async fn start(addresses: &Addresses) -> Self {
        let role = async |role| Process::start(addresses, &[role]).await;
        let all = Self {
            gateways: [role("gateway").await, role("gateway").await],
            projectors: [role("projector").await, role("projector").await],
            others: [role("relay").await, role("scheduler").await, role("notifier").await],
        };
        met(all.gateways.each_ref()).await;
        all
    }
}

/// The visit's confirmation is sent, as its owner sees it.
async fn confirmed(salon: &Salon, appointment: &str) {
    let path = format!("/api/v1/appointments/{appointment}");
    eventually("the confirmation is sent", async || {
        let shown = salon.owner.read(&path).await.expect(200);
        let sent = |m: &Value| m["kind"] == "confirmation" && m["status"] == "sent";
        shown["reminders"].as_array()?.iter().any(sent).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_in_processes_of_their_own_book_project_and_mail_and_another_takes_over() {
    let stand = Stand::new().await;
    let mut processes = Processes::start(&stand.addresses).await;
    let [first, second] = &processes.gateways;
    let salons = [Salon::open(&first.client(), 1).await, Salon::open(&second.client(), 1).await];
    let start = start_in(60);
    let mut booked = 0;
    let mut book = async |gateways: [&Process; 2]| {
        for salon in &salons {
            for gateway in gateways {
                let at = start + SignedDuration::from_mins(5 * i64::from(booked));
                let body = salon.booking(0, at);
                let answer = salon.guest.at(gateway).post("/api/v1/public/book", &body).await;
                confirmed(salon, &text(&answer.expect(201)["appointment_id"])).await;
                booked += 1;
            }
        }
        stand.addresses.caught_up().await;
    };
    book([first, second]).await;
    // One of the two keeps the read models, whichever it is.
    for worker in [0, 1] {
        processes.projectors[worker].kill();
        book([first, second]).await;
        processes.projectors[worker].start_again().await;
    }
    for other in &mut processes.others {
        other.kill();
        other.start_again().await;
    }
    book([first, second]).await;
    for salon in &salons {
        assert_eq!(agenda(salon).await.len(), 8);
    }
    stand.addresses.assert_healthy();
    let ended = processes.gateways.iter_mut().chain(&mut processes.projectors);
    for process in ended.chain(&mut processes.others) {
        assert!(process.terminate().await, "it ends well");
    }
}

/// Waits for so many mails, for as long as more come, and that none comes twice.
async fn mailed_once(mail: &MailSink, wanted: usize) {
    let mut arrived = 0;
    while arrived < wanted {
        arrived = eventually("more mails come", async || {
            let counts = mail.counts().await;
            assert!(counts.values().all(|count| *count == 1), "a mail arrived twice: {counts:?}");
            (counts.len() > arrived).then_some(counts.len())
        })
        .await;
    }
    assert_eq!(arrived, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_of_three_is_killed_and_nothing_is_lost() {
    let (database, mut nats, mail) =
        tokio::join!(TestDatabase::create(), NatsCluster::start(), MailSink::start());
    let mut addresses = Addresses::new(database.app_url(), nats.url(), mail.smtp_url());
    addresses.nats_replicas = 3;
    let first = Process::start(&addresses, &[]).await;
    let second = Process::start(&addresses, &["gateway"]).await;
    met([&first, &second]).await;
    let salons = join_all((0..4).map(|_| async { Salon::open(&first.client(), 4).await })).await;
    eventually("every server has all events", async || {
        (nats.copies_of("EVENTS").await == 3).then_some(())
    })
    .await;

    // A steady stream of bookings, through both gateways.
    let done = AtomicBool::new(false);
    let start = start_in(60);
    let pause = Duration::from_secs(1) / u32::try_from(sized(20, 100)).unwrap();
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let paced = stream::unfold((ticks, 0_usize), async |(mut ticks, n)| {
        ticks.tick().await;
        (!done.load(Ordering::Relaxed)).then_some((n, (ticks, n + 1)))
    });
    let guests = paced
        .map(|n| {
            let salon = &salons[n % 4];
            let later = SignedDuration::from_mins(5 * i64::try_from(n / 16).unwrap());
            let body = salon.booking(n / 4 % 4, start + later);
            let client = salon.guest.at(if n.is_multiple_of(2) { &first } else { &second });
            async move {
                let answer = client.post("/api/v1/public/book", &body).await;
                text(&answer.expect(201)["appointment_id"])
            }
        })
        .buffer_unordered(64)
        .collect::<Vec<_>>();
    let accident = async {
        let calm = Duration::from_secs(u64::try_from(sized(1, 20)).unwrap());
        tokio::time::sleep(calm).await;
        let leader = nats.leader_of("EVENTS").await;
        nats.node(leader).kill();
        eventually("events go on over the other two", async || {
            (nats.copies_of("EVENTS").await == 2).then_some(())
        })
        .await;
        tokio::time::sleep(calm * 2).await;
        relay_goes_on(&first).await;
        nats.node(leader).start_again().await;
        tokio::time::sleep(calm).await;
        done.store(true, Ordering::Relaxed);
    };
    let (booked, ()) = tokio::join!(guests, accident);

    addresses.caught_up().await;
    let mut there = 0;
    for salon in &salons {
        there += agenda(salon).await.len();
    }
    assert_eq!(there, booked.len());
    eventually("the server that was killed has all events again", async || {
        (nats.copies_of("EVENTS").await == 3).then_some(())
    })
    .await;
    // Every guest has one mail, and their host another.
    mailed_once(&mail, 2 * booked.len()).await;
    addresses.assert_healthy();
}

/// The relay goes on publishing.
async fn relay_goes_on(process: &Process) {
    let published = async || process.metric("apptremind_relay_published_total").await;
    let before = published().await;
    eventually("the relay publishes", async || (published().await > before).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_enough_servers_delays_nothing() {
    let (database, nats, mail) =
        tokio::join!(TestDatabase::create(), NatsServer::start(), MailSink::start());
    let mut addresses = Addresses::new(database.app_url(), nats.url(), mail.smtp_url());
    // One server has the streams already: it cannot keep three copies, and goes on with one.
    let mut process = Process::start(&addresses, &[]).await;
    let salon = Salon::open(&process.client(), 1).await;
    let start = start_in(60);
    salon.book(0, start).await.expect(201);
    addresses.caught_up().await;
    process.kill();
    addresses.nats_replicas = 3;
    let process = Process::start(&addresses, &[]).await;
    let salon = Salon { guest: salon.guest.at(&process), owner: salon.owner.at(&process), ..salon };
    let booked = salon.book(0, start + SignedDuration::from_mins(5)).await.expect(201);
    confirmed(&salon, &text(&booked["appointment_id"])).await;
    eventually("the relay publishes to the one", async || {
        (process.metric("apptremind_relay_published_total").await > 0.0).then_some(())
    })
    .await;

    // Another has no streams yet, and cannot make them: Postgres has to do.
    let nats = NatsServer::start().await;
    drop(process);
    addresses.nats_url = nats.url();
    let process = Process::start(&addresses, &[]).await;
    let salon = Salon { guest: salon.guest.at(&process), owner: salon.owner.at(&process), ..salon };
    let booked = salon.book(0, start + SignedDuration::from_mins(10)).await.expect(201);
    confirmed(&salon, &text(&booked["appointment_id"])).await;
    addresses.caught_up().await;
    addresses.assert_healthy();
}
