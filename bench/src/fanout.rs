//! The relay beside plain pipelined publishing, and the projectors beside plain reading.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use async_nats::{
    HeaderMap,
    jetstream::{
        self,
        consumer::{AckPolicy, pull},
        stream::{Config, StorageType},
    },
};
use futures::TryStreamExt;
use projections::availability::AvailabilityProjector;
use streams::{
    Database, Nudge,
    broker::Broker,
    consumer::{self, Projecting, Projector},
    feed, relay, topology,
};
use testkit::nats::NatsServer;
use tokio::sync::mpsc;
use tokio_util::{bytes::Bytes, sync::CancellationToken};

use crate::{
    models,
    reading::{ALL, typed_read},
    salon::World,
    seed::{self, Past},
    settings::{Bench, Wanted},
    stats::{Ratio, Sample, Series, grouped},
    table::Table,
};

/// As many messages wait for their acknowledgement as the product allows.
const IN_FLIGHT: usize = 4_096;
const COPY: &str = "COPY";

/// A database whose log grows by so many events a round.
struct Growing {
    world: World,
    database: Database,
    week: u64,
}

impl Growing {
    async fn new(bench: &Bench) -> Result<Self> {
        let world = World::build(bench.size.businesses, bench.size.staff).await?;
        let database = world.commands.log().database().clone();
        Ok(Self { world, database, week: 1 })
    }

    /// Adds events, and says how many there are now behind the point where readers were.
    async fn grow(&mut self, events: u64) -> Result<usize> {
        let before = feed::head(self.database.system()).await?;
        let calendars = self.world.calendars().len() as u64;
        let past = Past::of_events(events, calendars, self.week);
        self.week = past.next_week();
        seed::write(&self.world.database, &self.world.salons, past).await;
        let added = feed::lag(self.database.system(), before, i64::MAX).await?;
        Ok(usize::try_from(added)?)
    }
}

pub(crate) async fn run(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(&["what", "events/s", "reference", "events/s", "ratio", "wanted"]);
    relaying(bench, &mut table).await?;
    projecting(bench, &mut table).await?;
    table.note(format!(
        "{} events a round, {} rounds. The reference of the relay publishes the same messages with ids of their own, {IN_FLIGHT} in flight, to a second stream of the same configuration.",
        bench.size.fan_out, bench.size.rounds
    ));
    Ok(table)
}

async fn relaying(bench: &Bench, table: &mut Table) -> Result<()> {
    let nats = NatsServer::start().await;
    let broker = Broker::connect(&nats.url()).await.map_err(|error| anyhow!(error))?;
    let mut growing = Growing::new(bench).await?;
    let (mut ours, mut reference) = (Series::default(), Series::default());
    // The first stretch is for warming up, and gives the messages to publish again.
    growing.grow(bench.size.fan_out.min(5_000)).await?;
    relay_once(&growing.database, &broker).await?;
    let messages = held(&broker).await?;
    let plain = Plain::new(&nats.url()).await?;
    for round in 0..bench.size.rounds {
        let added = growing.grow(bench.size.fan_out).await?;
        let elapsed = relay_once(&growing.database, &broker).await?;
        ours.push(Sample::counted(added, elapsed));
        let elapsed = plain.publish(&messages, added, round).await?;
        reference.push(Sample::counted(added, elapsed));
    }
    let ratio = Ratio::of_rates(&ours, &reference);
    table.row(&[
        "relay, from the log to acknowledged",
        &grouped(ours.rate()),
        "pipelined publishing",
        &grouped(reference.rate()),
        &ratio.to_string(),
        &bench.verdict(ratio.median, Wanted::AtLeast(0.5)),
    ]);
    Ok(())
}

/// Relays all that is in the log, and says how long it took.
async fn relay_once(database: &Database, broker: &Broker) -> Result<Duration> {
    let stop = CancellationToken::new();
    let began = Instant::now();
    let running = relay::run(database.clone(), broker.clone(), Nudge::default(), stop.clone());
    let running = tokio::spawn(running);
    let done = models::relayed(database).await;
    let elapsed = began.elapsed();
    stop.cancel();
    running.await?;
    done?;
    Ok(elapsed)
}

struct Message {
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
}

/// Messages as the relay made them.
async fn held(broker: &Broker) -> Result<Vec<Message>> {
    let stream = broker.jetstream().get_stream(topology::EVENTS).await?;
    let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer = stream.create_consumer(config).await?;
    let most = usize::try_from(stream.cached_info().state.messages)?.min(5_000);
    let fetched = consumer.fetch().max_messages(most).messages().await?;
    let message = |message: jetstream::Message| {
        let headers = message.headers.clone().context("headers")?;
        let subject = message.subject.as_str().replacen("ev.", "cp.", 1);
        Ok(Message { subject, headers, payload: message.payload.clone() })
    };
    fetched.map_err(|error| anyhow!(error)).and_then(|m| async { message(m) }).try_collect().await
}

/// A publisher that does nothing else.
struct Plain {
    jetstream: jetstream::Context,
}

impl Plain {
    async fn new(url: &str) -> Result<Self> {
        let client = async_nats::connect(url).await?;
        let jetstream = jetstream::ContextBuilder::new()
            .max_ack_inflight(IN_FLIGHT)
            .backpressure_on_inflight(true)
            .build(client);
        let config = Config {
            name: COPY.to_owned(),
            subjects: vec!["cp.>".to_owned()],
            storage: StorageType::File,
            max_age: Duration::from_secs(7 * 24 * 3_600),
            duplicate_window: Duration::from_secs(120),
            ..Config::default()
        };
        jetstream.get_or_create_stream(config).await?;
        Ok(Self { jetstream })
    }

    /// Publishes so many, each with an id that was never used, and waits for all acknowledgements.
    async fn publish(&self, messages: &[Message], count: usize, round: u32) -> Result<Duration> {
        let prepared: Vec<(&Message, HeaderMap)> = messages
            .iter()
            .cycle()
            .take(count)
            .enumerate()
            .map(|(n, message)| {
                let mut headers = message.headers.clone();
                headers.insert("Nats-Msg-Id", format!("{round:08}-0000-7000-8000-{n:012}"));
                (message, headers)
            })
            .collect();
        let began = Instant::now();
        let (sender, mut receiver) =
            mpsc::channel::<jetstream::context::PublishAckFuture>(IN_FLIGHT);
        let acknowledged = tokio::spawn(async move {
            while let Some(ack) = receiver.recv().await {
                ack.await?;
            }
            anyhow::Ok(())
        });
        for (message, headers) in prepared {
            let (subject, payload) = (message.subject.clone(), message.payload.clone());
            let ack = self.jetstream.publish_with_headers(subject, headers, payload).await?;
            sender.send(ack).await.context("the task that takes acknowledgements")?;
        }
        drop(sender);
        acknowledged.await??;
        Ok(began.elapsed())
    }
}

async fn projecting(bench: &Bench, table: &mut Table) -> Result<()> {
    let (mut one, mut all) = (Growing::new(bench).await?, Growing::new(bench).await?);
    let (mut availability, mut three, mut reads) =
        (Series::default(), Series::default(), Series::default());
    // Businesses, staff and hours are not what is measured.
    models::build(&one.database).await?;
    models::build(&all.database).await?;
    for _ in 0..bench.size.rounds {
        let from = feed::head(one.database.system()).await?;
        let added = one.grow(bench.size.fan_out).await?;
        availability.push(Sample::counted(added, project_once(&one.database).await?));
        let (read, elapsed) = typed_read(&one.database, from, ALL).await?;
        reads.push(Sample::counted(read, elapsed));
        let added = all.grow(bench.size.fan_out).await?;
        let began = Instant::now();
        models::build(&all.database).await?;
        three.push(Sample::counted(added, began.elapsed()));
    }
    for (what, series, least) in [
        ("projector of availability, from the log", &availability, Some(20_000.0)),
        ("all three projectors at once, from the log", &three, None),
    ] {
        let ratio = Ratio::of_rates(series, &reads);
        let verdict = least.map_or_else(
            || "-".to_owned(),
            |least| bench.verdict(series.rate(), Wanted::AtLeast(least)),
        );
        table.row(&[
            what,
            &grouped(series.rate()),
            "typed streamed read",
            &grouped(reads.rate()),
            &ratio.to_string(),
            &verdict,
        ]);
    }
    Ok(())
}

async fn project_once(database: &Database) -> Result<Duration> {
    let (stop, broker) = (CancellationToken::new(), models::no_broker().await?);
    let began = Instant::now();
    let running = tokio::spawn(consumer::run(
        Projecting(AvailabilityProjector),
        database.clone(),
        broker,
        stop.clone(),
    ));
    let done = models::caught_up(database, &[AvailabilityProjector::NAME]).await;
    let elapsed = began.elapsed();
    stop.cancel();
    running.await?;
    done?;
    Ok(elapsed)
}
