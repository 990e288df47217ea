//! The faults of cqrs-es 0.5.0 and postgres-es 0.5.0 for which we do not use their write path, their
//! snapshots and their replay. Each test asserts the fault: when an upgrade mends it, the test fails,
//! and somebody should look whether code of ours has become needless.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use cqrs_es::{
    AggregateError, CqrsFramework, EventEnvelope, EventStore, Query,
    persist::{PersistedEventStore, QueryReplay},
};
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;
use testkit::postgres::TestDatabase;

use crate::tally::{Tally, counted};

const ID: &str = "one";

type Store = PersistedEventStore<PostgresEventRepository, Tally>;

struct Stock {
    pool: PgPool,
    // Dropped last.
    _database: TestDatabase,
}

impl Stock {
    /// A database with the tables that come with postgres-es, under names of their own.
    async fn new() -> Self {
        let database = TestDatabase::create().await;
        let pool = PgPool::connect(&database.owner_url()).await.unwrap();
        sqlx::raw_sql(
            "CREATE TABLE stock_events (
               aggregate_type text NOT NULL,
               aggregate_id   text NOT NULL,
               sequence       bigint CHECK (sequence >= 0) NOT NULL,
               event_type     text NOT NULL,
               event_version  text NOT NULL,
               payload        json NOT NULL,
               metadata       json NOT NULL,
               PRIMARY KEY (aggregate_type, aggregate_id, sequence)
             );
             CREATE TABLE stock_snapshots (
               aggregate_type   text NOT NULL,
               aggregate_id     text NOT NULL,
               last_sequence    bigint CHECK (last_sequence >= 0) NOT NULL,
               current_snapshot bigint CHECK (current_snapshot >= 0) NOT NULL,
               payload          json NOT NULL,
               PRIMARY KEY (aggregate_type, aggregate_id, last_sequence)
             )",
        )
        .execute(&pool)
        .await
        .unwrap();
        Self { pool, _database: database }
    }

    fn repository(&self) -> PostgresEventRepository {
        PostgresEventRepository::new(self.pool.clone())
            .with_tables("stock_events", "stock_snapshots")
    }

    /// A store that makes a snapshot every `size` events.
    fn snapshots(&self, size: usize) -> Store {
        Store::new_snapshot_store(self.repository(), size)
    }

    /// What really happened.
    async fn stored(&self) -> Vec<u64> {
        let store = Store::new_event_store(self.repository());
        store.load_aggregate(ID).await.unwrap().aggregate.numbers
    }
}

/// A framework with an event store alone is right, so the aggregate of these tests is.
#[tokio::test]
async fn without_snapshots_the_stock_store_is_right() {
    let stock = Stock::new().await;
    let framework = CqrsFramework::new(Store::new_event_store(stock.repository()), vec![], ());
    framework.execute(ID, vec![1, 2]).await.unwrap();
    framework.execute(ID, vec![3]).await.unwrap();
    assert_eq!(stock.stored().await, [1, 2, 3]);
}

/// `EventSink::write` applies the event to the aggregate, and `commit` applies it again before it
/// stores the aggregate. A balance or a seat count read from a snapshot is wrong from then on.
#[tokio::test]
async fn fault_a_snapshot_holds_every_event_twice() {
    let stock = Stock::new().await;
    let framework = CqrsFramework::new(stock.snapshots(1), vec![], ());
    framework.execute(ID, vec![7]).await.unwrap();
    assert_eq!(stock.stored().await, [7]);
    let loaded = stock.snapshots(1).load_aggregate(ID).await.unwrap();
    assert_eq!(loaded.aggregate.numbers, [7, 7], "right would be [7]");
}

/// The snapshot is taken in the middle of a commit, but stored with the sequence of the commit's
/// last event: what lies between is in neither, so it is lost to every later decision.
#[tokio::test]
async fn fault_a_snapshot_within_a_commit_of_several_events_loses_the_rest() {
    let stock = Stock::new().await;
    let store = stock.snapshots(2);
    let fresh = store.load_aggregate(ID).await.unwrap();
    store.commit(counted([1, 2, 3]), fresh, Default::default()).await.unwrap();
    assert_eq!(stock.stored().await, [1, 2, 3]);
    let loaded = store.load_aggregate(ID).await.unwrap();
    assert_eq!(loaded.aggregate.numbers, [1, 2], "right would be [1, 2, 3]");
    assert_eq!(loaded.current_sequence, 3, "right would be 2 for what it holds");
}

/// `update` commits its transaction before it looks whether the snapshot was the one it expected.
/// Whoever believes the conflict and tries again has done it twice: two bookings.
#[tokio::test]
async fn fault_a_reported_conflict_has_stored_the_events() {
    let stock = Stock::new().await;
    let store = stock.snapshots(1);
    let fresh = store.load_aggregate(ID).await.unwrap();
    store.commit(counted([1]), fresh, Default::default()).await.unwrap();

    let loaded = store.load_aggregate(ID).await.unwrap();
    // Somebody throws the snapshots away, to have them built anew.
    sqlx::query("DELETE FROM stock_snapshots").execute(&stock.pool).await.unwrap();
    let outcome = store.commit(counted([2]), loaded, Default::default()).await;
    assert!(matches!(outcome, Err(AggregateError::AggregateConflict)), "{outcome:?}");
    assert_eq!(stock.stored().await, [1, 2], "right would be [1]");

    let again = store.load_aggregate(ID).await.unwrap();
    store.commit(counted([2]), again, Default::default()).await.unwrap();
    assert_eq!(stock.stored().await, [1, 2, 2], "right would be [1, 2]");
}

struct Seen(Arc<AtomicUsize>);

#[async_trait]
impl Query<Tally> for Seen {
    async fn dispatch(&self, _: &str, events: &[EventEnvelope<Tally>]) {
        self.0.fetch_add(events.len(), Ordering::Relaxed);
    }
}

/// The query runs in a task of its own that panics when it fails; the replay sees only the end of
/// its channel. A read model rebuilt while Postgres was restarted would be swapped in half empty.
#[tokio::test]
async fn fault_a_replay_that_fails_midway_ends_as_if_complete() {
    let stock = Stock::new().await;
    let framework = CqrsFramework::new(Store::new_event_store(stock.repository()), vec![], ());
    framework.execute(ID, (0..1_000).collect()).await.unwrap();
    // Fails behind the 700th row, as a broken connection would.
    sqlx::raw_sql(
        "CREATE FUNCTION broken() RETURNS text LANGUAGE plpgsql STABLE AS
           $$ BEGIN RAISE EXCEPTION 'the connection broke'; END $$;
         CREATE VIEW broken_events AS
           SELECT aggregate_type, aggregate_id, sequence,
                  CASE WHEN sequence <= 700 THEN event_type ELSE broken() END AS event_type,
                  event_version, payload, metadata
             FROM stock_events",
    )
    .execute(&stock.pool)
    .await
    .unwrap();

    // In order of the index, row by row: sorting would read all rows before it gave the first.
    let row_by_row = ["enable_seqscan", "enable_bitmapscan", "enable_sort"].map(|way| (way, "off"));
    let options = stock.pool.connect_options().as_ref().clone().options(row_by_row);
    let pool = PgPool::connect_with(options).await.unwrap();
    let repository = PostgresEventRepository::new(pool);
    let repository = repository.with_tables("broken_events", "stock_snapshots");

    let (seen, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut replay = QueryReplay::<_, _, Tally>::new(repository, Seen(seen.clone()));
    let tell = told.clone();
    replay.use_error_handler(Box::new(move |_| tell.store(true, Ordering::Relaxed)));
    let outcome = replay.replay(ID).await;
    assert!(outcome.is_ok(), "right would be an error");
    assert!(!told.load(Ordering::Relaxed), "right would be that the handler is told");
    assert_eq!(seen.load(Ordering::Relaxed), 700, "right would be 1,000, or an error");
}
