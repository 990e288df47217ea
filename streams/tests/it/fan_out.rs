//! From the log to consumers: relay, JetStream and the consumer loop, also while servers die.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cqrs_es::Aggregate;
use domain::BusinessId;
use futures::future::join_all;
use sqlx::{Connection, PgConnection, PgPool};
use streams::{
    Cursor, Database, Nudge,
    broker::Broker,
    clock,
    consumer::{self, Failure, Follower, Projecting, Projector, Reacting, Reactor},
    feed,
    log::{CommitError, Log, Recorded, StreamKey},
    relay, topology,
};
use testkit::{
    eventually,
    nats::NatsServer,
    postgres::{PrivatePostgres, TestDatabase},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::tally::{Tally, counted, log_of, stream, unit};

/// Writes down every event in the order in which it came, and cannot bear one number.
#[derive(Debug, Clone, Default)]
struct Scribe {
    refuses: Option<u64>,
    heard: Arc<Mutex<Vec<Recorded>>>,
}

impl Scribe {
    async fn write(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        for event in batch {
            let Some(counted) = event.of::<Tally>()? else { continue };
            if Some(counted.number) == self.refuses {
                return Err(Failure::Poison("an unlucky number".into()));
            }
        }
        sqlx::query("INSERT INTO scribe.seen (event_id) SELECT * FROM unnest($1::uuid[])")
            .bind(batch.iter().map(|event| event.event_id).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        self.heard.lock().unwrap().extend_from_slice(batch);
        Ok(())
    }
}

impl Projector for Scribe {
    const NAME: &'static str = "project-scribe";
    const SCHEMA: &'static str = "scribe";

    async fn project(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        self.write(connection, batch).await
    }
}

impl Reactor for Scribe {
    const NAME: &'static str = "react-scribe";

    async fn react(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        self.write(connection, batch).await
    }
}

/// A log and where its broker is.
struct World {
    log: Log,
    business: BusinessId,
    app_url: String,
    nats_url: String,
}

impl World {
    async fn new(app_url: String, owner_url: &str, nats: &NatsServer) -> Self {
        let mut owner = PgConnection::connect(owner_url).await.unwrap();
        sqlx::raw_sql(
            "CREATE SCHEMA scribe;
             CREATE TABLE scribe.seen (n bigserial PRIMARY KEY, event_id uuid NOT NULL);
             GRANT USAGE ON SCHEMA scribe TO apptremind_system;
             GRANT SELECT, INSERT ON scribe.seen TO apptremind_system;
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA scribe TO apptremind_system;",
        )
        .execute(&mut owner)
        .await
        .unwrap();
        let log = log_of(&app_url, 8).await;
        let business = BusinessId::new(clock::new_id());
        Self { log, business, app_url, nats_url: nats.url() }
    }

    async fn of(database: &TestDatabase, nats: &NatsServer) -> Self {
        Self::new(database.app_url(), &database.owner_url(), nats).await
    }

    fn pool(&self) -> &PgPool {
        self.log.database().system()
    }

    /// Starts a relay and a consumer, as one process of the product would.
    async fn process(&self, follower: impl Follower + Sync + 'static) -> Process {
        let database = Database::new(&self.app_url, 2).unwrap();
        let broker = Broker::connect(&self.nats_url).await.unwrap();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let nudge = Nudge::new(broker.clone());
        tasks.spawn(relay::run(database.clone(), broker.clone(), nudge, stop.clone()));
        tasks.spawn(consumer::run(follower, database, broker, stop.clone()));
        Process { stop, tasks }
    }

    /// Adds numbers to a stream behind whatever it holds.
    async fn count(&self, key: &StreamKey, numbers: &[u64]) -> Result<Cursor, CommitError> {
        let loaded = self.log.load(self.business, std::slice::from_ref(key)).await?;
        let mut unit = unit(self.business);
        let after = loaded.fold::<Tally>(key)?.sequence;
        unit.append_after(key, after, counted(numbers.iter().copied()))?;
        self.log.commit(&unit).await
    }

    /// The ids of all events in the order of the feed, without its watermark.
    async fn logged(&self) -> Vec<Uuid> {
        sqlx::query_scalar("SELECT event_id FROM events ORDER BY transaction_id, position")
            .fetch_all(self.pool())
            .await
            .unwrap()
    }

    /// The ids of the events that the consumer applied, in the order in which it did.
    async fn seen(&self) -> Vec<Uuid> {
        sqlx::query_scalar("SELECT event_id FROM scribe.seen ORDER BY n")
            .fetch_all(self.pool())
            .await
            .unwrap()
    }

    /// `None` when Postgres does not answer.
    async fn count_seen(&self) -> Option<usize> {
        let count: Result<i64, _> =
            sqlx::query_scalar("SELECT count(*) FROM scribe.seen").fetch_one(self.pool()).await;
        usize::try_from(count.ok()?).ok()
    }

    async fn until_seen(&self, count: usize) {
        eventually(&format!("{count} events were applied"), async || {
            (self.count_seen().await? >= count).then_some(())
        })
        .await;
    }

    /// Waits until the consumer has applied whatever was logged, and proves that it did so once and
    /// in order. Nobody appends meanwhile.
    async fn until_all_is_seen_once_in_order(&self) {
        let logged = self.logged().await;
        self.until_seen(logged.len()).await;
        let seen = self.seen().await;
        let odd = seen.iter().zip(&logged).position(|(seen, logged)| seen != logged);
        assert_eq!(odd, None, "of {}: doubled, skipped or out of order", logged.len());
        assert_eq!(seen.len(), logged.len(), "doubled at the end");
    }

    /// Waits until the relay has published all events and the broker has delivered all it holds, so
    /// that the fallback is not all that works.
    async fn until_delivered_by_the_broker(&self, consumer: &str) {
        let broker = Broker::connect(&self.nats_url).await.unwrap();
        eventually("the broker delivers all events", async || {
            let relayed: bool = sqlx::query_scalar(
                "SELECT (transaction_id, position) = (SELECT transaction_id, position FROM events
                                                       ORDER BY 1 DESC, 2 DESC LIMIT 1)
                   FROM relay_cursor",
            )
            .fetch_one(self.pool())
            .await
            .ok()?;
            let stream = broker.jetstream().get_stream(topology::EVENTS).await.ok()?;
            let held = stream.cached_info().state.messages;
            let pending = stream.consumer_info(consumer).await.ok()?.num_pending;
            (relayed && held > 0 && pending == 0).then_some(())
        })
        .await;
        self.until_acknowledged(consumer).await;
    }

    /// Waits until the consumer has acknowledged all that the broker holds.
    async fn until_acknowledged(&self, consumer: &str) {
        let broker = Broker::connect(&self.nats_url).await.unwrap();
        eventually("the consumer acknowledges all events", async || {
            let stream = broker.jetstream().get_stream(topology::EVENTS).await.ok()?;
            let held = stream.cached_info().state.last_sequence;
            let floor = stream.consumer_info(consumer).await.ok()?.ack_floor;
            (floor.stream_sequence == held).then_some(())
        })
        .await;
    }
}

/// What dies together.
struct Process {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Process {
    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }

    /// Ends it wherever it is; its connections break.
    async fn crash(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Appends to five streams, one event or two at a time, until told to stop.
async fn append_steadily(world: &World, appended: &AtomicU64, enough: &AtomicBool) {
    // Slower than the consumer, so that what is waited for is never a mere backlog.
    let mut pace = tokio::time::interval(Duration::from_millis(4));
    let mut next = 0;
    while !enough.load(Ordering::Relaxed) {
        pace.tick().await;
        let numbers: Vec<u64> = (next..=next + next % 2).collect();
        // While Postgres is away nothing is appended, or it is not known whether it was.
        if world.count(&stream(next % 5), &numbers).await.is_ok() {
            appended.fetch_add(numbers.len() as u64, Ordering::Relaxed);
        }
        next += numbers.len() as u64;
    }
}

/// Does something while events are appended, and proves that all of them were applied.
async fn while_events_are_appended(world: &World, faults: impl AsyncFnOnce(&AtomicU64)) {
    let (appended, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let all = async {
        faults(&appended).await;
        enough.store(true, Ordering::Relaxed);
    };
    tokio::join!(append_steadily(world, &appended, &enough), all);
    world.until_all_is_seen_once_in_order().await;
}

/// Waits until so many events that were appended after this moment were applied.
async fn until_more_is_seen(world: &World, appended: &AtomicU64, more: u64) {
    let wanted = appended.load(Ordering::Relaxed) + more;
    world.until_seen(usize::try_from(wanted).unwrap()).await;
}

#[tokio::test]
async fn every_event_arrives_once_in_order_and_as_it_was_recorded() {
    let (database, nats) = (TestDatabase::create().await, NatsServer::start().await);
    let world = World::of(&database, &nats).await;
    let scribe = Scribe::default();
    let process = world.process(Projecting(scribe.clone())).await;
    for number in 0..30 {
        let mut unit = unit(world.business);
        for name in ["a", "b", "c"] {
            let events = counted([number, number + 1_000]);
            unit.append_after(&stream(name), number * 2, events).unwrap();
        }
        world.log.commit(&unit).await.unwrap();
        if number % 5 == 0 {
            world.until_seen(usize::try_from(number).unwrap() * 6 + 6).await;
        }
    }
    world.until_all_is_seen_once_in_order().await;
    world.until_delivered_by_the_broker(<Scribe as Projector>::NAME).await;
    process.stop().await;

    let read = feed::after(world.pool(), Cursor::START, 1_000).await.unwrap();
    assert_eq!(read.len(), 180);
    assert_eq!(*scribe.heard.lock().unwrap(), read);
}

#[tokio::test]
async fn the_trace_context_of_a_request_arrives_at_the_consumer() {
    let (database, nats) = (TestDatabase::create().await, NatsServer::start().await);
    let world = World::of(&database, &nats).await;
    let scribe = Scribe::default();
    let _process = world.process(Projecting(scribe.clone())).await;
    world.count(&stream("a"), &[1]).await.unwrap();
    world.until_seen(1).await;

    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let cause = clock::new_id();
    let context = streams::CommandContext {
        business_id: world.business,
        actor: streams::Actor::System("test"),
        now: clock::now(),
        origin: streams::Origin {
            correlation_id: clock::new_id(),
            causation_id: Some(cause),
            traceparent: Some(traceparent.to_owned()),
        },
    };
    let mut unit = streams::log::UnitOfWork::new(context);
    unit.append_after(&stream("a"), 1, counted([2])).unwrap();
    world.log.commit(&unit).await.unwrap();
    world.until_seen(2).await;
    let heard = scribe.heard.lock().unwrap();
    assert_eq!(heard[0].traceparent, None);
    assert_eq!(heard[1].traceparent.as_deref(), Some(traceparent));
    assert_eq!(heard[1].causation_id, Some(cause));
    assert_eq!(heard[1].actor, "system:test");
}

#[tokio::test]
async fn a_broker_that_loses_all_its_data_costs_no_event() {
    let (database, mut nats) = (TestDatabase::create().await, NatsServer::start().await);
    let world = World::of(&database, &nats).await;
    let _process = world.process(Projecting(Scribe::default())).await;
    while_events_are_appended(&world, async |appended| {
        until_more_is_seen(&world, appended, 100).await;
        nats.kill();
        nats.delete_data();
        // Postgres alone has to do.
        until_more_is_seen(&world, appended, 100).await;
        nats.start_again().await;
        until_more_is_seen(&world, appended, 200).await;
    })
    .await;
    world.until_delivered_by_the_broker(<Scribe as Projector>::NAME).await;
}

#[tokio::test]
async fn a_broker_killed_again_and_again_costs_no_event() {
    let (database, mut nats) = (TestDatabase::create().await, NatsServer::start().await);
    let world = World::of(&database, &nats).await;
    let _process = world.process(Projecting(Scribe::default())).await;
    while_events_are_appended(&world, async |appended| {
        for _ in 0..3 {
            until_more_is_seen(&world, appended, 60).await;
            nats.kill();
            nats.start_again().await;
        }
        until_more_is_seen(&world, appended, 60).await;
    })
    .await;
    world.until_delivered_by_the_broker(<Scribe as Projector>::NAME).await;
}

#[tokio::test]
async fn a_stream_deleted_under_a_living_broker_is_made_again() {
    let (database, nats) = (TestDatabase::create().await, NatsServer::start().await);
    let world = World::of(&database, &nats).await;
    let _process = world.process(Projecting(Scribe::default())).await;
    while_events_are_appended(&world, async |appended| {
        until_more_is_seen(&world, appended, 60).await;
        let broker = Broker::connect(&world.nats_url).await.unwrap();
        broker.jetstream().delete_stream(topology::EVENTS).await.unwrap();
        until_more_is_seen(&world, appended, 120).await;
    })
    .await;
    world.until_delivered_by_the_broker(<Scribe as Projector>::NAME).await;
}

#[tokio::test]
async fn what_the_broker_loses_in_the_middle_is_read_from_the_log() {
    let (database, nats) = (TestDatabase::create().await, NatsServer::start().await);
    let world = World::of(&database, &nats).await;
    let _process = world.process(Projecting(Scribe::default())).await;
    world.count(&stream("a"), &[0]).await.unwrap();
    world.until_delivered_by_the_broker(<Scribe as Projector>::NAME).await;

    // From here on the stream keeps only its newest message: of a burst most are lost.
    let broker = Broker::connect(&world.nats_url).await.unwrap();
    let held = broker.jetstream().get_stream(topology::EVENTS).await.unwrap();
    let mut config = held.cached_info().config.clone();
    config.max_messages = 1;
    broker.jetstream().update_stream(config).await.unwrap();
    for burst in 0..20 {
        world.count(&stream(burst), &(0..100).collect::<Vec<_>>()).await.unwrap();
        world.until_seen(100 * usize::try_from(burst).unwrap() + 101).await;
    }
    world.until_all_is_seen_once_in_order().await;
}

#[tokio::test]
async fn events_appended_while_the_broker_never_was_there_arrive() {
    let (database, mut nats) = (TestDatabase::create().await, NatsServer::start().await);
    let world = World::of(&database, &nats).await;
    nats.kill();
    let _process = world.process(Projecting(Scribe::default())).await;
    // More than the relay takes at once, twice over.
    for batch in 0..25 {
        let numbers: Vec<u64> = (0..100).map(|n| 100 * batch + n).collect();
        world.count(&stream(format!("stream-{batch}")), &numbers).await.unwrap();
    }
    world.until_all_is_seen_once_in_order().await;
    nats.start_again().await;
    world.count(&stream("a"), &[4]).await.unwrap();
    world.until_all_is_seen_once_in_order().await;
    world.until_delivered_by_the_broker(<Scribe as Projector>::NAME).await;
}

#[tokio::test]
async fn a_postgres_that_is_killed_costs_no_committed_event() {
    let (mut postgres, nats) = (PrivatePostgres::start().await, NatsServer::start().await);
    let world = World::new(postgres.app_url(), &postgres.owner_url(), &nats).await;
    let _process = world.process(Projecting(Scribe::default())).await;
    while_events_are_appended(&world, async |appended| {
        for _ in 0..2 {
            until_more_is_seen(&world, appended, 60).await;
            postgres.kill();
            postgres.start_again().await;
        }
        until_more_is_seen(&world, appended, 60).await;
    })
    .await;
}

#[tokio::test]
async fn two_processes_apply_every_event_once_also_when_one_dies() {
    let (database, nats) = (TestDatabase::create().await, NatsServer::start().await);
    let world = World::of(&database, &nats).await;
    let first = world.process(Projecting(Scribe::default())).await;
    let second = world.process(Projecting(Scribe::default())).await;
    let mut third = None;
    while_events_are_appended(&world, async |appended| {
        until_more_is_seen(&world, appended, 60).await;
        // Whichever leads: in turn it is both.
        first.crash().await;
        until_more_is_seen(&world, appended, 60).await;
        third = Some(world.process(Projecting(Scribe::default())).await);
        second.crash().await;
        until_more_is_seen(&world, appended, 60).await;
        let others = (0..4).map(|n| {
            let key = stream(format!("other {n}"));
            let world = &world;
            async move {
                for number in 0..20 {
                    world.count(&key, &[number]).await.unwrap();
                }
            }
        });
        join_all(others).await;
    })
    .await;
    drop(third);
}

#[tokio::test]
async fn a_reactor_sets_a_poisoned_event_aside_and_goes_on() {
    let (database, nats) = (TestDatabase::create().await, NatsServer::start().await);
    let world = World::of(&database, &nats).await;
    let scribe = Scribe { refuses: Some(13), ..Scribe::default() };
    let _process = world.process(Reacting(scribe)).await;
    world.count(&stream("a"), &[1]).await.unwrap();
    world.until_seen(1).await;
    world.count(&stream("a"), &[12, 13, 14]).await.unwrap();
    let last = world.count(&stream("b"), &[2]).await.unwrap();
    world.until_seen(4).await;

    let mut logged = world.logged().await;
    let poisoned = logged.remove(2);
    assert_eq!(world.seen().await, logged);
    let letters: Vec<(Uuid, String, String, String)> =
        sqlx::query_as("SELECT business_id, consumer, subject_id, reason FROM dead_letter")
            .fetch_all(world.pool())
            .await
            .unwrap();
    let [(business, consumer, subject, reason)] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!(*business, world.business.uuid());
    assert_eq!((consumer.as_str(), subject), ("react-scribe", &poisoned.to_string()));
    assert!(reason.contains("an unlucky number") && reason.contains(Tally::TYPE), "{reason}");
    let checkpoints = consumer::checkpoints(world.pool()).await.unwrap();
    assert_eq!((checkpoints[0].cursor, &checkpoints[0].halted), (last, &None));
}

#[tokio::test]
async fn a_projector_halts_at_a_poisoned_event_until_it_is_mended() {
    let (database, nats) = (TestDatabase::create().await, NatsServer::start().await);
    let world = World::of(&database, &nats).await;
    let scribe = Scribe { refuses: Some(13), ..Scribe::default() };
    let process = world.process(Projecting(scribe)).await;
    world.count(&stream("a"), &[12, 13, 14]).await.unwrap();
    world.count(&stream("b"), &[2]).await.unwrap();
    let logged = world.logged().await;
    let events = eventually("the feed shows all events", async || {
        let read = feed::after(world.pool(), Cursor::START, 10).await.unwrap();
        (read.len() == 4).then_some(read)
    })
    .await;

    let halted = async || {
        let found = consumer::checkpoints(world.pool()).await.unwrap();
        let checkpoint = found.into_iter().next()?;
        let reason = checkpoint.halted?;
        let updated_at: String =
            sqlx::query_scalar("SELECT updated_at::text FROM consumer_checkpoint")
                .fetch_one(world.pool())
                .await
                .unwrap();
        Some((checkpoint.cursor, reason, updated_at))
    };
    let (cursor, reason, first) = eventually("the projector halts", halted).await;
    assert_eq!(cursor, events[0].cursor, "the event before the poisoned one");
    assert!(reason.contains(&logged[1].to_string()) && reason.contains("unlucky"), "{reason}");
    let (cursor, ..) = eventually("it tries again", async || {
        halted().await.filter(|(.., updated_at)| *updated_at != first)
    })
    .await;
    assert_eq!(cursor, events[0].cursor);
    assert_eq!(world.seen().await, logged[..1]);
    process.stop().await;

    let _mended = world.process(Projecting(Scribe::default())).await;
    world.until_all_is_seen_once_in_order().await;
    let checkpoints = consumer::checkpoints(world.pool()).await.unwrap();
    assert_eq!((checkpoints[0].cursor, &checkpoints[0].halted), (events[3].cursor, &None));
}
