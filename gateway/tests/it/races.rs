//! Many guests want the same time: exactly one gets it.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use jiff::SignedDuration;
use serde_json::Value;

use crate::{
    salon::{Salon, start_in},
    stand::{Process, Stand},
};

/// `APPTREMIND_FAULTS=large` asks for the full size.
pub(crate) fn sized(small: usize, large: usize) -> usize {
    if std::env::var("APPTREMIND_FAULTS").as_deref() == Ok("large") { large } else { small }
}

/// Statuses and how often each was answered.
pub(crate) async fn race(
    processes: &[&Process],
    requests: Vec<Value>,
    at_once: usize,
) -> BTreeMap<u16, usize> {
    let clients: Vec<_> = processes.iter().map(|process| process.client()).collect();
    stream::iter(requests.into_iter().enumerate())
        .map(|(n, body)| {
            let client = &clients[n % clients.len()];
            async move { client.post("/api/v1/public/book", &body).await.status }
        })
        .buffer_unordered(at_once)
        .fold(BTreeMap::new(), async |mut statuses, status| {
            *statuses.entry(status).or_default() += 1;
            statuses
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_for_one_slot_exactly_one_books() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let (requests, at_once) = (10_000, 200);
    let body = salon.booking(0, start_in(60));
    let statuses = race(&[&process], vec![body; requests], at_once).await;
    assert_eq!(statuses, BTreeMap::from([(201, 1), (409, requests - 1)]));
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_overlapping_unequal_starts_exactly_one_books_through_two_processes() {
    let stand = Stand::new().await;
    let first = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    // Visits of an hour that begin five minutes apart: every two of the twelve overlap.
    let salon = Salon::with(&first.client(), 1, 60).await;
    let (requests, at_once) = (10_000, 200);
    let start = start_in(60);
    let wanted = (0..requests).map(|n| {
        let later = i64::try_from(n % 12).unwrap() * 5;
        salon.booking(0, start + SignedDuration::from_mins(later))
    });
    let statuses = race(&[&first, &second], wanted.collect(), at_once).await;
    assert_eq!(statuses, BTreeMap::from([(201, 1), (409, requests - 1)]));
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn racers_for_many_slots_of_one_calendar_all_get_their_own() {
    let stand = Stand::new().await;
    let first = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    let salon = Salon::open(&first.client(), 1).await;
    let start = start_in(60);
    let wanted = (0..64).map(|n| salon.booking(0, start + SignedDuration::from_mins(n * 5)));
    let statuses = race(&[&first, &second], wanted.collect(), 32).await;
    assert_eq!(statuses, BTreeMap::from([(201, 64)]));
    stand.addresses.assert_healthy();
    stand.addresses.caught_up().await;
}
