//! From a command to the read model that shows it, while bookings come at a steady rate.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use projections::availability::AvailabilityProjector;
use sqlx::Row;
use streams::{Cursor, Database, consumer::Projector};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    guests,
    load::{Outcome, Worker, open},
    models,
    process::Servers,
    salon::{Calendars, Who, World},
    settings::{Bench, Wanted},
    stats::{Sample, Series, micros},
    table::Table,
    wire::Wire,
};

const RATE: f64 = 200.0;
const CLIENTS: usize = 32;
/// A booking that is not visible by then counts with this much.
const PATIENCE: Duration = Duration::from_secs(10);
/// The checkpoint is looked at so often, which the figures contain.
const LOOK: Duration = Duration::from_millis(1);

pub(crate) async fn run(bench: &Bench) -> Result<Table> {
    let mut table =
        Table::new(&["one process", "measured from", "p50", "wanted (ms)", "p99", "wanted (ms)"]);
    one(bench, "gateway,relay,projector", "gateway, relay and projector", &mut table).await?;
    one(bench, "", "all roles: each booking sends a mail as well", &mut table).await?;
    table.note("The availability model's checkpoint is looked at every millisecond.");
    Ok(table)
}

/// A process with these roles.
async fn one(bench: &Bench, roles: &str, what: &str, table: &mut Table) -> Result<()> {
    let world = World::build(bench.size.businesses, bench.size.staff).await?;
    let servers = Servers::start().await?;
    let server = servers.serve(&bench.binary, &world.database.app_url(), roles).await?;
    let database = world.commands.log().database();
    models::caught_up(database, &projections::CONSUMERS).await?;
    let calendars = world.calendars();
    let address = server.address();
    measure(database, &address, &calendars, bench.size.round).await?;
    world.analyze().await;
    let lasting = bench.size.round * bench.size.rounds;
    let seen = measure(database, &address, &calendars, lasting).await?;
    for (from, series) in [("the request", &seen.from_request), ("the answer", &seen.from_answer)] {
        let (p50, p99) = (quantile_ms(series, 0.5), quantile_ms(series, 0.99));
        let judge = |ms, most| match roles {
            "" => "-".to_owned(),
            _ => bench.verdict(ms, Wanted::AtMost(most)),
        };
        let (half, most) = (judge(p50, 5.0), judge(p99, 25.0));
        table.row(&[what, from, &format!("{p50:.1} ms"), &half, &format!("{p99:.1} ms"), &most]);
    }
    table.note(format!(
        "{what}: {} bookings over HTTP at {RATE:.0} a second; the booking itself took {}; {} failed.",
        seen.booked.done(), seen.booked.latency(), seen.booked.failed() + seen.booked.refused()
    ));
    Ok(())
}

pub(crate) fn quantile_ms(series: &Series, q: f64) -> f64 {
    series.quantile(q).map_or(0.0, |found| found.as_secs_f64() * 1e3)
}

/// What was seen of bookings at a steady rate.
pub(crate) struct Seen {
    pub(crate) from_request: Series,
    from_answer: Series,
    /// The bookings themselves.
    pub(crate) booked: Series,
}

/// Books at a steady rate and watches the checkpoint of the availability model.
pub(crate) async fn measure(
    database: &Database,
    address: &str,
    calendars: &Calendars,
    lasting: Duration,
) -> Result<Seen> {
    let (tell, told) = watch::channel(Cursor::START);
    let mut connection = database.connect().await.context("connecting")?;
    let watching: JoinHandle<Result<()>> = tokio::spawn(async move {
        let sql = "SELECT transaction_id::text::bigint AS transaction_id, position
                     FROM consumer_checkpoint WHERE consumer = $1";
        while !tell.is_closed() {
            let query = sqlx::query(sql).bind(AvailabilityProjector::NAME);
            let row = query.fetch_one(&mut connection).await?;
            let (transaction_id, position) =
                (row.try_get("transaction_id")?, row.try_get("position")?);
            tell.send_replace(Cursor { transaction_id, position });
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    });
    let waits = Arc::new(Mutex::new(Waits::default()));
    let worker = |_| Watcher {
        wire: Wire::new(address),
        calendars: calendars.clone(),
        told: told.clone(),
        waits: Arc::clone(&waits),
    };
    let booked = open((0..CLIENTS).map(worker).collect(), RATE, lasting).await?;
    // The bookings are answered; the last of them may not be visible yet.
    let began = Instant::now();
    while Arc::strong_count(&waits) > 1 && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(told);
    watching.await??;
    let waits = std::mem::take(&mut *waits.lock().unwrap_or_else(PoisonError::into_inner));
    let series = |latencies: Vec<u32>| {
        Series(vec![Sample { latencies, ..Sample::counted(booked.done, booked.elapsed) }])
    };
    Ok(Seen {
        from_request: series(waits.from_request),
        from_answer: series(waits.from_answer),
        booked: Series(vec![booked]),
    })
}

#[derive(Default)]
struct Waits {
    from_request: Vec<u32>,
    from_answer: Vec<u32>,
}

/// Books, and leaves the waiting to a task, so that the rate is kept.
struct Watcher {
    wire: Wire,
    calendars: Calendars,
    told: watch::Receiver<Cursor>,
    waits: Arc<Mutex<Waits>>,
}

impl Worker for Watcher {
    async fn once(&mut self) -> Outcome {
        let Some(wish) = self.calendars.next() else { return Outcome::Failed };
        let request = guests::booking(wish, Who::New);
        let asked = Instant::now();
        let (outcome, position) = guests::send(&mut self.wire, &request).await;
        let answered = Instant::now();
        if let Some(position) = position {
            let (mut told, waits) = (self.told.clone(), Arc::clone(&self.waits));
            tokio::spawn(async move {
                let visible = told.wait_for(|cursor| *cursor >= position);
                // Late or never: it counts with all the patience.
                drop(tokio::time::timeout(PATIENCE, visible).await);
                let mut waits = waits.lock().unwrap_or_else(PoisonError::into_inner);
                waits.from_request.push(micros(asked.elapsed()));
                waits.from_answer.push(micros(answered.elapsed()));
            });
        }
        outcome
    }
}
