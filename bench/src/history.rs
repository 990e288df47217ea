//! What years of history cost: the same work on logs of several sizes, side by side.

use std::time::Duration;

use anyhow::{Context, Result};
use streams::Database;

use crate::{
    guests::{Booker, Reader, everybodys_slots},
    load::{Until, closed},
    models,
    process::{Process, Servers},
    proof,
    salon::{Calendars, Salon, World},
    seed::{self, Past},
    settings::{Bench, Wanted},
    stats::{Series, grouped, median},
    table::Table,
    visible,
};

const CLIENTS: usize = 16;
/// Mails do not grow with history.
const PAGES: &str = "gateway,relay,projector";

/// A system whose log has a past.
struct Aged {
    events: u64,
    calendars: Calendars,
    requests: Vec<Vec<u8>>,
    database: Database,
    server: Process,
    booking: Series,
    slots: Series,
    /// Median and 99th percentile of each round, in milliseconds.
    lag: Vec<(f64, f64)>,
    servers: Servers,
    world: World,
}

impl Aged {
    async fn new(bench: &Bench, events: u64) -> Result<Self> {
        let world = World::build(bench.size.businesses, bench.size.staff).await?;
        let calendars = world.calendars();
        let past = Past::of_events(events, calendars.len() as u64, 1);
        seed::write(&world.database, &world.salons, past).await;
        let database = world.commands.log().database().clone();
        models::build(&database).await?;
        world.analyze().await;
        let servers = Servers::start().await?;
        let server = servers.serve(&bench.binary, &world.database.app_url(), PAGES).await?;
        models::relayed(&database).await?;
        Ok(Self {
            events,
            calendars,
            requests: everybodys_slots(&world.salons)?,
            database,
            server,
            booking: Series::default(),
            slots: Series::default(),
            lag: Vec::new(),
            servers,
            world,
        })
    }

    async fn round(&mut self, bench: &Bench) -> Result<()> {
        let address = self.server.address();
        let guests = Booker::many(&address, &self.calendars, CLIENTS);
        self.booking.push(closed(guests, Until::Count(bench.size.bookings)).await?);
        models::caught_up(&self.database, &projections::CONSUMERS).await?;
        let readers = Reader::many(&address, self.requests.clone(), CLIENTS);
        self.slots.push(closed(readers, Until::Count(bench.size.bookings)).await?);
        let lasting = bench.size.round / 2;
        let seen = visible::measure(&self.database, &address, &self.calendars, lasting).await?;
        let quantile = |q| visible::quantile_ms(&seen.from_request, q);
        self.lag.push((quantile(0.5), quantile(0.99)));
        Ok(())
    }

    fn lag(&self) -> f64 {
        median(self.lag.iter().map(|(p50, _)| *p50).collect())
    }

    /// Milliseconds of one piece of work, with so many clients at it.
    fn cost(series: &Series) -> f64 {
        1e3 / series.rate().max(1e-9)
    }
}

pub(crate) async fn run(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(&[
        "events",
        "a booking",
        "times the first",
        "wanted",
        "a slots request",
        "times the first",
        "wanted",
        "visible after, p50 / p99",
        "times the first",
        "wanted",
    ]);
    let mut systems = Vec::new();
    for events in &bench.size.history {
        crate::report::say(&format!("    a log of {events} events"));
        systems.push(Aged::new(bench, *events).await?);
    }
    for round in 0..=bench.size.rounds {
        for system in &mut systems {
            system.round(bench).await?;
            if round == 0 {
                // For warming up.
                (system.booking, system.slots) = (Series::default(), Series::default());
                system.lag.clear();
            }
        }
    }
    compare(bench, &systems, &mut table)?;
    table.note(format!(
        "{} bookings, then as many slots requests in each round, with {CLIENTS} clients over HTTP; the time of one is the time of all divided by their number. Visible: bookings at 200/s until the availability model shows them. Each system is a process with the roles {PAGES}.",
        bench.size.bookings
    ));
    let largest = systems.last().context("a size")?;
    let (house, address) = ((&largest.servers, &largest.world), largest.server.address());
    proof::beside_traffic(bench, house, (&address, &largest.calendars), &mut table).await?;
    drop(systems);
    one_business(bench, &mut table).await?;
    one_week(bench, &mut table).await?;
    Ok(table)
}

/// A row for each size, beside the first.
fn compare(bench: &Bench, systems: &[Aged], table: &mut Table) -> Result<()> {
    let first = systems.first().context("a size")?;
    for system in systems {
        let p99 = median(system.lag.iter().map(|(_, p99)| *p99).collect());
        let figures = [
            (Aged::cost(&system.booking), Aged::cost(&first.booking)),
            (Aged::cost(&system.slots), Aged::cost(&first.slots)),
            (system.lag(), first.lag()),
        ];
        let [booking, slots, lag] = figures.map(|(now, then)| {
            let times = now / then.max(1e-9);
            let verdict = if std::ptr::eq(system, first) {
                "-".to_owned()
            } else {
                bench.verdict(times, Wanted::AtMost(1.3))
            };
            (format!("{now:.2} ms"), format!("{times:.2}"), verdict)
        });
        let lag_text = format!("{:.1} / {p99:.1} ms", system.lag());
        table.row(&[
            &grouped(system.events as f64),
            &booking.0,
            &booking.1,
            &booking.2,
            &slots.0,
            &slots.1,
            &slots.2,
            &lag_text,
            &lag.1,
            &lag.2,
        ]);
        let failed = system.booking.failed() + system.booking.refused() + system.slots.failed();
        if failed > 0 {
            table.note(format!("{} events: {failed} requests failed.", system.events));
        }
    }
    Ok(())
}

/// A business with a long past beside one without, in the same database.
async fn one_business(bench: &Bench, table: &mut Table) -> Result<()> {
    let world = World::build(2, bench.size.staff).await?;
    let [old, new] = world.salons.as_slice() else { anyhow::bail!("two businesses") };
    let staff = u64::try_from(bench.size.staff)?;
    let past = Past::of_events(bench.size.past_bookings * 2, staff, 1);
    seed::write(&world.database, std::slice::from_ref(old), past).await;
    let database = world.commands.log().database();
    models::build(database).await?;
    world.analyze().await;
    let servers = Servers::start().await?;
    let server = servers.serve(&bench.binary, &world.database.app_url(), PAGES).await?;
    let mut figures = [Pair::of(old)?, Pair::of(new)?];
    for round in 0..=bench.size.rounds {
        for pair in &mut figures {
            pair.round(bench, &server, database).await?;
            if round == 0 {
                (pair.booking, pair.slots) = (Series::default(), Series::default());
            }
        }
    }
    let [old, new] = &figures;
    for (what, long, short) in
        [("a booking", &old.booking, &new.booking), ("a slots request", &old.slots, &new.slots)]
    {
        let times = Aged::cost(long) / Aged::cost(short).max(1e-9);
        table.note(format!(
            "A business with {} past bookings beside one with none: {what} takes {times:.2} times as long ({:.2} ms, {:.2} ms; {}).",
            grouped((past.events(staff) / 2) as f64),
            Aged::cost(long),
            Aged::cost(short),
            bench.verdict(times, Wanted::AtMost(1.3)),
        ));
    }
    Ok(())
}

/// One business, as its guests see it.
struct Pair {
    calendars: Calendars,
    requests: Vec<Vec<u8>>,
    booking: Series,
    slots: Series,
}

impl Pair {
    fn of(salon: &Salon) -> Result<Self> {
        Ok(Self {
            calendars: Calendars::of([salon].into_iter()),
            requests: everybodys_slots(std::slice::from_ref(salon))?,
            booking: Series::default(),
            slots: Series::default(),
        })
    }

    async fn round(&mut self, bench: &Bench, server: &Process, database: &Database) -> Result<()> {
        let address = server.address();
        let guests = Booker::many(&address, &self.calendars, CLIENTS);
        self.booking.push(closed(guests, Until::Count(bench.size.bookings)).await?);
        models::caught_up(database, &projections::CONSUMERS).await?;
        let readers = Reader::many(&address, self.requests.clone(), CLIENTS);
        self.slots.push(closed(readers, Until::Count(bench.size.bookings)).await?);
        Ok(())
    }
}

/// A calendar week with a long past beside one with a short one: bookings one after another, and the
/// first one of a process that has not seen the week yet.
async fn one_week(bench: &Bench, table: &mut Table) -> Result<()> {
    const AHEAD: u64 = 2;
    let world = World::build(1, 2).await?;
    let salon = world.salons.first().context("a business")?;
    seed::churn(&world.database, salon, 0, AHEAD, bench.size.week_events / 2).await?;
    seed::churn(&world.database, salon, 1, AHEAD, 5).await?;
    let ahead = i64::try_from(AHEAD)?;
    let mut wishes = [
        crate::salon::slots_of_week(salon, 0, ahead)?.into_iter(),
        crate::salon::slots_of_week(salon, 1, ahead)?.into_iter(),
    ];
    let (mut cold, mut warm) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..bench.size.rounds {
        for (n, wishes) in wishes.iter_mut().enumerate() {
            let commands = world.other_use_cases().await?;
            for turn in 0..bench.size.week_bookings {
                let wish = wishes.next().context("a free slot")?;
                let began = std::time::Instant::now();
                let outcome = crate::salon::book(&commands, wish, crate::salon::Who::New).await;
                anyhow::ensure!(outcome == crate::load::Outcome::Done, "{outcome:?}");
                let times = if turn == 0 { &mut cold } else { &mut warm };
                if let Some(times) = times.get_mut(n) {
                    times.push(began.elapsed());
                }
            }
        }
    }
    for (what, [long, short], judged) in
        [("a command", warm, true), ("the first command of a process", cold, false)]
    {
        let (long, short) = (median_ms(&long), median_ms(&short));
        let times = long / short.max(1e-9);
        let verdict = if judged {
            format!("; {}", bench.verdict(times, Wanted::AtMost(1.5)))
        } else {
            String::new()
        };
        table.note(format!(
            "A calendar week with {} past events beside one with 10: {what} takes {times:.2} times as long ({long:.2} ms, {short:.2} ms{verdict}).",
            grouped(bench.size.week_events as f64),
        ));
    }
    Ok(())
}

fn median_ms(times: &[Duration]) -> f64 {
    median(times.iter().map(|time| time.as_secs_f64() * 1e3).collect())
}
