//! The process that owns a business stops, dies or answers oddly: whoever asked it decides, and the
//! guest is neither refused by their own booking nor booked twice.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use commands::{Commands, Policy};
use domain::BusinessId;
use futures::{StreamExt, future::join_all, stream};
use jiff::SignedDuration;
use serde_json::json;
use streams::{
    Database, Nudge,
    broker::Broker,
    clock,
    log::Log,
    peers::{Owner, Peers},
};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::{
    faults::{agenda, insist},
    ownership::{BOOK, booked_at, forwarded, keyed, met},
    races::sized,
    salon::{Salon, start_in, text},
    stand::{Process, Stand},
};

/// What another process does with a request, that ours does not.
#[derive(Debug, Clone, Copy)]
enum Odd {
    /// Books, and never says so.
    BooksAndFallsSilent,
    /// Books, and answers what only a newer build understands.
    BooksAndSpeaksAnotherTongue,
    /// Does not understand the request.
    Declines,
    /// Neither books nor answers.
    IsDeaf,
}

/// A process that takes part in a way of its own.
struct OddPeer {
    peers: Peers,
    stop: CancellationToken,
    asked: Arc<AtomicUsize>,
}

impl Drop for OddPeer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl OddPeer {
    async fn start(stand: &Stand, odd: Odd) -> Self {
        let database = Database::new(&stand.addresses.database_url, 4).unwrap();
        let policy = Policy { free_monthly_cap: stand.addresses.free_monthly_cap };
        let commands = Commands::new(Log::new(database, Nudge::default()), policy);
        let broker = Broker::connect(&stand.addresses.nats_url).await.unwrap();
        let (peers, stop) = (Peers::new(broker), CancellationToken::new());
        let asked = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&asked);
        let handler = move |wish: Vec<u8>| {
            counter.fetch_add(1, Ordering::Relaxed);
            let commands = commands.clone();
            async move {
                match odd {
                    Odd::BooksAndFallsSilent => drop(commands.book_for_another(wish).await?),
                    Odd::BooksAndSpeaksAnotherTongue => {
                        commands.book_for_another(wish).await?;
                        return Some(br#"{"BookedOnTrial":{}}"#.to_vec());
                    }
                    Odd::Declines => return commands.book_for_another(b"{}".to_vec()).await,
                    Odd::IsDeaf => {}
                }
                std::future::pending().await
            }
        };
        drop(tokio::spawn(peers.clone().answer(handler, stop.clone())));
        Self { peers, stop, asked }
    }

    /// A salon that the odd one owns, as far as everybody knows.
    async fn own(&self, process: &Process) -> Salon {
        let client = process.client();
        let shared = || {
            let any = || BusinessId::new(clock::new_id());
            (0..64).any(|_| self.peers.owner(any()) != Owner::Here)
        };
        eventually("the odd one owns a business", async || {
            let known = process.metric("apptremind_peers ").await >= 1.0;
            if !known || !shared() {
                return None;
            }
            let salon = Salon::open(&client, 3).await;
            let business = salon.business_id.parse().unwrap();
            (self.peers.owner(business) == Owner::Here).then_some(salon)
        })
        .await
    }
}

/// Books at a gateway that asks an odd owner: one booking of each kind, each exactly once.
async fn book_past(odd: Odd, outcome: &str) {
    let mut stand = Stand::new().await;
    // As many as are booked: nobody is refused by the cap that their own booking used up.
    stand.addresses.free_monthly_cap = 4;
    let process = stand.serve().await;
    let owner = OddPeer::start(&stand, odd).await;
    let salon = owner.own(&process).await;
    let start = start_in(60);
    let mut anybody = salon.booking(0, start);
    anybody["staff_id"] = json!("any");
    let bodies = [
        salon.booking(1, start),
        salon.booking(1, start + SignedDuration::from_mins(5)),
        salon.booking(2, start),
    ];
    let (plain, keyed_ones, any) = tokio::join!(
        salon.guest.post(BOOK, &bodies[0]),
        join_all((1..3).map(|n| keyed(&salon.guest, ["", "one", "two"][n], &bodies[n]))),
        salon.guest.post(BOOK, &anybody),
    );
    let mut ids = BTreeMap::new();
    for answer in keyed_ones.into_iter().chain([plain, any]) {
        assert_eq!(answer.header("idempotent-replayed"), "", "it is the first answer: {answer:?}");
        let position = answer.header("x-position").to_owned();
        ids.insert(text(&answer.expect(201)["appointment_id"]), position);
    }
    assert_eq!(ids.len(), 4);
    for (id, position) in &ids {
        booked_at(&salon.owner, id, position).await;
    }
    assert_eq!(owner.asked.load(Ordering::Relaxed), 4);
    assert!((forwarded(&process, outcome).await - 4.0).abs() < 0.5, "{outcome}");
    // What others booked is refused as ever, and a repeated request is answered as the first was.
    let again = keyed(&salon.guest, "one", &bodies[1]);
    let taken = keyed(&salon.guest, "other", &bodies[1]);
    let (again, taken) = tokio::join!(again, taken);
    assert!(ids.contains_key(&text(&again.expect(201)["appointment_id"])));
    assert_eq!(taken.code(), (409, "slot_taken"), "{taken:?}");
    stand.addresses.caught_up().await;
    assert_eq!(
        agenda(&salon).await.into_keys().collect::<Vec<_>>(),
        ids.into_keys().collect::<Vec<_>>()
    );
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_books_and_falls_silent_has_booked() {
    book_past(Odd::BooksAndFallsSilent, "unanswered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_of_a_newer_build_that_answers_oddly_has_booked() {
    book_past(Odd::BooksAndSpeaksAnotherTongue, "unreadable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_owner_does_not_understand_is_decided_by_whoever_asked() {
    book_past(Odd::Declines, "not_reached").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_owner_does_not_answer_is_decided_by_whoever_asked() {
    book_past(Odd::IsDeaf, "unanswered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_for_a_stopped_owner_are_booked_once() {
    let stand = Stand::new().await;
    let first = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    met([&first, &second]).await;
    // Each is as likely the one's as the other's: of so many the second has some.
    let salons = join_all((0..16).map(|_| async { Salon::open(&first.client(), 1).await })).await;
    let start = start_in(60);
    second.signal("-STOP");
    let booked = join_all(salons.iter().map(|salon| salon.book(0, start))).await;
    for answer in booked {
        answer.expect(201);
    }
    assert!(forwarded(&first, "unanswered").await >= 1.0, "some were asked of the stopped one");
    second.signal("-CONT");
    met([&first, &second]).await;
    // What had been sent to it is past its deadline, and everything is taken.
    for salon in &salons {
        for process in [&first, &second] {
            let answer = salon.guest.at(process).post(BOOK, &salon.booking(0, start)).await;
            answer.problem(409, "slot_taken");
        }
    }
    stand.addresses.caught_up().await;
    for salon in &salons {
        assert_eq!(agenda(salon).await.len(), 1);
    }
    stand.addresses.assert_healthy();
}

/// Guests of the first gateway, while the other one ends again and again.
#[tokio::test(flavor = "multi_thread")]
async fn bookings_go_on_without_a_failure_while_another_gateway_ends() {
    let stand = Stand::new().await;
    let first = stand.serve().await;
    let mut second = Process::start(&stand.addresses, &["gateway"]).await;
    let salons = join_all((0..4).map(|_| async { Salon::open(&first.client(), 4).await })).await;
    let (start, done) = (start_in(60), AtomicBool::new(false));
    let later = |n: usize| start + SignedDuration::from_mins(5 * i64::try_from(n).unwrap());
    let guests = stream::iter((0..).take_while(|_| !done.load(Ordering::Relaxed)))
        .map(|n| {
            let salon = &salons[n % 4];
            let body = salon.booking(n / 4 % 2, later(n / 8));
            async move { text(&salon.guest.post(BOOK, &body).await.expect(201)["appointment_id"]) }
        })
        .buffer_unordered(8)
        .collect::<Vec<_>>();
    // The other gateway has guests of its own, whose connections break: they ask again.
    let other = salons.iter().map(|salon| salon.guest.at(&second)).collect::<Vec<_>>();
    let insisting = stream::iter((0..).take_while(|_| !done.load(Ordering::Relaxed)))
        .map(|n| {
            let salon = &salons[n % 4];
            let body = salon.booking(2 + n / 4 % 2, later(n / 8));
            let client = &other[n % 4];
            async move { insist(client, &format!("key-{n}"), &body).await }
        })
        .buffer_unordered(8)
        .collect::<Vec<_>>();
    let ends = async {
        for round in 0..sized(4, 20) {
            met([&first, &second]).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            if round % 2 == 0 {
                second.kill();
            } else {
                assert!(second.terminate().await, "it ends well");
            }
            second.start_again().await;
        }
        met([&first, &second]).await;
        done.store(true, Ordering::Relaxed);
    };
    let (guests, insisting, ()) = tokio::join!(guests, insisting, ends);
    assert!(forwarded(&first, "answered").await > 0.0);
    stand.addresses.caught_up().await;
    let mut there = BTreeMap::new();
    for salon in &salons {
        there.append(&mut agenda(salon).await);
    }
    assert_eq!(there.len(), guests.len() + insisting.len(), "each exactly once");
    assert!(guests.iter().chain(&insisting).all(|id| there.contains_key(id)));
    stand.addresses.assert_healthy();
}
