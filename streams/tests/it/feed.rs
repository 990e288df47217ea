//! Reading the log in order while others write.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap, btree_map::Entry},
};

use futures::future::join_all;
use proptest::prelude::*;
use streams::{
    Cursor, feed,
    log::{CommitError, Log, Recorded, Writing},
};
use testkit::eventually;
use tokio::sync::watch;

use crate::tally::{Bench, Tally, counted, stream};

/// Reads on from a cursor until nothing more can be seen.
async fn read_on(bench: &Bench, cursor: &mut Cursor) -> Vec<Recorded> {
    let mut read = Vec::new();
    loop {
        let batch = feed::after(bench.log.database().system(), *cursor, 7).await.unwrap();
        let Some(last) = batch.last() else { return read };
        *cursor = last.cursor;
        read.extend(batch);
    }
}

/// The reader that everybody writes first: by position.
async fn read_by_position(bench: &Bench, position: &mut i64) -> Vec<i64> {
    let read: Vec<i64> =
        sqlx::query_scalar("SELECT position FROM events WHERE position > $1 ORDER BY position")
            .bind(*position)
            .fetch_all(bench.log.database().system())
            .await
            .unwrap();
    *position = read.last().copied().unwrap_or(*position);
    read
}

async fn append(bench: &Bench, writing: &mut Writing, name: &str) -> Cursor {
    writing.append(&bench.counting(&stream(name), 0, &[1])).await.unwrap()
}

/// Waits for transactions of other tests too: the feed stops below the oldest of the whole server.
async fn read_all(bench: &Bench, cursor: &mut Cursor, wanted: usize) -> Vec<Recorded> {
    let mut read = Vec::new();
    eventually("the feed shows all events", async || {
        read.extend(read_on(bench, cursor).await);
        (read.len() >= wanted).then_some(())
    })
    .await;
    read
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_not_skipped() {
    let bench = Bench::new(8).await;
    let (mut cursor, mut position) = (Cursor::START, 0);
    let mut slow = bench.log.begin(bench.business).await.unwrap();
    let mut quick = bench.log.begin(bench.business).await.unwrap();
    let first = append(&bench, &mut slow, "slow").await;
    let second = append(&bench, &mut quick, "quick").await;
    assert!(first < second && first.position < second.position);
    quick.commit().await.unwrap();

    assert_eq!(read_by_position(&bench, &mut position).await, [second.position]);
    assert_eq!(read_on(&bench, &mut cursor).await, [], "the older transaction is still open");
    slow.commit().await.unwrap();

    // Why the feed is not simply ordered by position: that reader never sees the slow one.
    assert_eq!(read_by_position(&bench, &mut position).await, [] as [i64; 0]);
    let read = read_all(&bench, &mut cursor, 2).await;
    assert_eq!(read.iter().map(|e| e.cursor).collect::<Vec<_>>(), [first, second]);
}

#[tokio::test]
async fn a_transaction_that_began_first_and_numbered_its_events_last_comes_first() {
    let bench = Bench::new(8).await;
    let mut cursor = Cursor::START;
    let mut slow = bench.log.begin(bench.business).await.unwrap();
    let mut quick = bench.log.begin(bench.business).await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()").execute(slow.connection()).await.unwrap();
    let second = append(&bench, &mut quick, "quick").await;
    quick.commit().await.unwrap();
    assert_eq!(read_on(&bench, &mut cursor).await, []);
    let first = append(&bench, &mut slow, "slow").await;
    slow.commit().await.unwrap();
    assert!(first < second && first.position > second.position);
    let read = read_all(&bench, &mut cursor, 2).await;
    assert_eq!(read.iter().map(|e| e.cursor).collect::<Vec<_>>(), [first, second]);
}

#[tokio::test]
async fn an_undone_transaction_leaves_no_trace_and_holds_nobody_up() {
    let bench = Bench::new(8).await;
    let mut cursor = Cursor::START;
    let mut undone = bench.log.begin(bench.business).await.unwrap();
    append(&bench, &mut undone, "undone").await;
    let kept = bench.count(&stream("kept"), 0, &[1]).await.unwrap();
    drop(undone);
    let read = read_all(&bench, &mut cursor, 1).await;
    assert_eq!(read.iter().map(|e| e.cursor).collect::<Vec<_>>(), [kept]);
    let pool = bench.log.database().system();
    assert_eq!(feed::head(pool).await.unwrap(), kept);
    assert_eq!(feed::lag(pool, Cursor::START, 10).await.unwrap(), 1);
    assert_eq!(feed::lag(pool, kept, 10).await.unwrap(), 0);
}

/// Adds one event to the stream, in a transaction that stays open while the reader reads on.
async fn write_slowly(log: &Log, bench: &Bench, name: usize, mut rounds: watch::Receiver<u64>) {
    let key = stream(name);
    loop {
        let loaded = bench.load(std::slice::from_ref(&key)).await.fold::<Tally>(&key).unwrap();
        let mut writing = log.begin(bench.business).await.unwrap();
        let mut unit = bench.unit();
        unit.append_after(&key, loaded.sequence, counted([1])).unwrap();
        match writing.append(&unit).await {
            Ok(_) => {
                let until = *rounds.borrow() + 2;
                rounds.wait_for(|round| *round >= until).await.unwrap();
                return writing.commit().await.unwrap();
            }
            Err(CommitError::Conflict) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Adds one event to the stream in one statement.
async fn write_quickly(bench: &Bench, name: usize) {
    let key = stream(name);
    loop {
        let loaded = bench.load(std::slice::from_ref(&key)).await.fold::<Tally>(&key).unwrap();
        match bench.count(&key, loaded.sequence, &[1]).await {
            Ok(_) => return,
            Err(CommitError::Conflict) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_concurrent_writers_a_reader_misses_nothing_and_keeps_the_order() {
    const WRITERS: usize = 12;
    const EACH: usize = 20;
    let bench = Bench::new(16).await;
    let (round, rounds) = watch::channel(0_u64);
    let (mut cursor, mut position) = (Cursor::START, 0);
    let (mut read, mut by_position) = (Vec::new(), Vec::new());
    let writing = join_all((0..WRITERS).map(|writer| {
        let (bench, rounds) = (&bench, &rounds);
        async move {
            for n in 0..EACH {
                // Six streams, shared by all; every fourth transaction is a slow one.
                let name = (writer + n) % 6;
                if (writer + n) % 4 == 0 {
                    write_slowly(&bench.log, bench, name, rounds.clone()).await;
                } else {
                    write_quickly(bench, name).await;
                }
            }
        }
    }));
    let reading = async {
        while read.len() < WRITERS * EACH {
            by_position.extend(read_by_position(&bench, &mut position).await);
            read.extend(read_on(&bench, &mut cursor).await);
            round.send_modify(|round| *round += 1);
        }
    };
    let all = async { tokio::join!(writing, reading) };
    tokio::time::timeout(std::time::Duration::from_secs(240), all).await.expect("all is read");

    assert_eq!(read.len(), WRITERS * EACH);
    assert!(read.is_sorted_by(|a, b| a.cursor < b.cursor));
    let mut sequences: HashMap<&str, u64> = HashMap::new();
    for event in &read {
        let last = sequences.entry(&event.stream.id).or_default();
        assert_eq!(event.sequence, *last + 1, "stream {}", event.stream.id);
        *last = event.sequence;
    }
    by_position.extend(read_by_position(&bench, &mut position).await);
    assert!(by_position.len() < read.len(), "a reader by position alone would have skipped events");
}

/// What happens next: somebody begins to write (if not yet), commits, or the feed is read.
#[derive(Debug, Clone, Copy)]
enum Step {
    Begin(usize),
    Commit(usize),
    Undo(usize),
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_usize..4).prop_map(Step::Begin),
        3 => (0_usize..4).prop_map(Step::Commit),
        1 => (0_usize..4).prop_map(Step::Undo),
        2 => Just(Step::Read),
    ]
}

#[test]
fn however_transactions_interleave_the_reader_sees_each_committed_event_once_in_order() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bench = runtime.block_on(Bench::new(8));
    let cursor = Cell::new(Cursor::START);
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() };
    proptest!(config, |(steps in proptest::collection::vec(step(), 1..30))| {
        let mut from = cursor.get();
        let (committed, read) = runtime.block_on(play(&bench, steps, &mut from));
        cursor.set(from);
        prop_assert_eq!(read, committed);
    });
    drop(bench);
}

/// Plays the steps; gives the committed events in the order of their cursors, and what was read.
async fn play(bench: &Bench, steps: Vec<Step>, cursor: &mut Cursor) -> (Vec<Cursor>, Vec<Cursor>) {
    let case = streams::clock::new_id();
    let mut open: BTreeMap<usize, (Writing, Cursor)> = BTreeMap::new();
    let (mut committed, mut read) = (Vec::new(), Vec::new());
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Begin(who) => {
                if let Entry::Vacant(place) = open.entry(who) {
                    let mut writing = bench.log.begin(bench.business).await.unwrap();
                    let at = append(bench, &mut writing, &format!("{case}:{n}")).await;
                    place.insert((writing, at));
                }
            }
            Step::Commit(who) => {
                if let Some((writing, at)) = open.remove(&who) {
                    writing.commit().await.unwrap();
                    committed.push(at);
                }
            }
            Step::Undo(who) => drop(open.remove(&who)),
            Step::Read => read.extend(read_on(bench, cursor).await.iter().map(|e| e.cursor)),
        }
    }
    drop(open);
    let missing = committed.len().saturating_sub(read.len());
    read.extend(read_all(bench, cursor, missing).await.iter().map(|e| e.cursor));
    committed.sort_unstable();
    (committed, read)
}
