//! Bookings through the library: the whole command, load, decide and append with every guard.

use std::time::Duration;

use anyhow::{Context, Result};
use commands::Commands;

use crate::{
    baseline::Baseline,
    load::{Each, Outcome, Until, closed},
    postgres,
    process::cpu_of,
    proxy::Proxy,
    report::say,
    salon::{Calendars, Salon, Who, World, book, hire},
    settings::{Bench, Wanted},
    stats::{Ratio, Sample, Series, grouped},
    stock::Stock,
    table::Table,
};

const WARM_UP: Duration = Duration::from_secs(1);

pub(crate) async fn run(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(&[
        "clients",
        "booking",
        "bookings/s",
        "p50 / p99",
        "(a) inserts/s",
        "p50 / p99",
        "ratio to (a)",
        "wanted",
        "stock cqrs-es/s",
        "times stock",
        "wanted",
    ]);
    let world = World::build(bench.size.businesses, bench.size.staff).await?;
    // What is taken here is free there.
    let stock = (Stock::new().await?, Calendars::of(world.salons.iter()));
    let mut baseline = Baseline::new(bench.pgbench.clone()).await?;
    let warm = Until::Count(weeks_of(&world.calendars()));
    storm(&world.commands, &world.calendars(), Who::Regular, 32, warm).await?;
    world.analyze().await;
    for clients in &bench.size.clients {
        spread(bench, &world, &stock, &mut baseline, *clients, &mut table).await?;
    }
    let clients = bench.size.clients.get(1).or(bench.size.clients.first()).copied().unwrap_or(1);
    hot(bench, &world, &mut baseline, clients, &mut table).await?;
    profile(bench, &world, clients, &mut table).await?;
    // Last: its commands are other ones, and what they write the first would have to read anew.
    round_trips(bench, &world, &mut table).await?;
    table.note(format!(
        "{} calendars of {} businesses. A booking is 6 rows in 5 tables: 2 events, the stored answer, the usage count, contact, reserved time; a new guest is looked up and one row more. A row of (a) is {} bytes in a table with the columns and indexes of `events`.",
        world.calendars().len(), world.salons.len(), baseline.row_bytes().await
    ));
    Ok(table)
}

/// So many bookings that hardly a week that guests book in is left untouched: eight of each calendar.
pub(crate) fn weeks_of(calendars: &Calendars) -> u64 {
    calendars.len() as u64 * 8 * 3
}

/// So many clients that book whatever `calendars` hands out.
pub(crate) async fn storm(
    commands: &Commands,
    calendars: &Calendars,
    who: Who,
    clients: usize,
    until: Until,
) -> Result<Sample> {
    let worker = |_| {
        let (commands, calendars) = (commands.clone(), calendars.clone());
        Each(move || {
            let (commands, wish) = (commands.clone(), calendars.next());
            async move {
                match wish {
                    Some(wish) => book(&commands, wish, who).await,
                    None => Outcome::Failed,
                }
            }
        })
    };
    closed((0..clients).map(worker).collect(), until).await
}

/// Over all calendars: pgbench, ours, stock, and again.
async fn spread(
    bench: &Bench,
    world: &World,
    (stock, theirs): &(Stock, Calendars),
    baseline: &mut Baseline,
    clients: usize,
    table: &mut Table,
) -> Result<()> {
    let (mut a, mut shelf) = (Series::default(), Series::default());
    let (mut regulars, mut strangers) = (Series::default(), Series::default());
    let (commands, calendars) = (&world.commands, world.calendars());
    let warm = Until::Elapsed(WARM_UP.min(bench.size.round));
    storm(commands, &calendars, Who::Regular, clients, warm).await?;
    for round in 0..bench.size.rounds {
        a.push(baseline.run(clients, bench.size.round).await?);
        let until = Until::Elapsed(bench.size.round);
        regulars.push(storm(commands, &calendars, Who::Regular, clients, until).await?);
        strangers.push(storm(commands, &calendars, Who::New, clients, until).await?);
        shelf.push(with_stock(stock, theirs, clients, until).await?);
        let last = |series: &Series| series.0.last().map_or(0.0, Sample::rate);
        say(&format!(
            "    {clients} clients, round {}: (a) {:.0}, ours {:.0}, for new guests {:.0}, stock {:.0}",
            round + 1,
            last(&a),
            last(&regulars),
            last(&strangers),
            last(&shelf),
        ));
    }
    let least = if clients >= 128 { 1.3 } else { 0.65 };
    for (ours, name) in [(&regulars, "known guests"), (&strangers, "new guests")] {
        let (ratio, times) = (Ratio::of_rates(ours, &a), Ratio::of_rates(ours, &shelf));
        let wanted = match clients {
            32 | 128 => bench.verdict(ratio.median, Wanted::AtLeast(least)),
            _ => "-".to_owned(),
        };
        table.row(&[
            &clients.to_string(),
            name,
            &grouped(ours.rate()),
            &ours.latency(),
            &grouped(a.rate()),
            &a.latency(),
            &ratio.to_string(),
            &wanted,
            &grouped(shelf.rate()),
            &times.to_string(),
            &bench.verdict(times.median, Wanted::AtLeast(4.0)),
        ]);
        note_failures(table, &format!("{clients} clients, {name}"), ours);
    }
    note_failures(table, &format!("stock, {clients} clients"), &shelf);
    Ok(())
}

/// Every slot was free, so a refusal is as wrong as a failure.
pub(crate) fn note_failures(table: &mut Table, what: &str, series: &Series) {
    if series.failed() + series.refused() > 0 {
        table.note(format!(
            "{what}: {} of {} bookings failed and {} were refused, although every slot was free.",
            series.failed(),
            series.done() + series.failed() + series.refused(),
            series.refused()
        ));
    }
}

async fn with_stock(
    stock: &Stock,
    calendars: &Calendars,
    clients: usize,
    until: Until,
) -> Result<Sample> {
    let worker = |_| {
        let (stock, calendars) = (stock.clone(), calendars.clone());
        Each(move || {
            let (stock, wish) = (stock.clone(), calendars.next());
            async move {
                match wish {
                    Some(wish) => stock.book(wish).await,
                    None => Outcome::Failed,
                }
            }
        })
    };
    closed((0..clients).map(worker).collect(), until).await
}

/// One calendar for everybody: a new one in each round, so that it does not fill up.
async fn hot(
    bench: &Bench,
    world: &World,
    baseline: &mut Baseline,
    clients: usize,
    table: &mut Table,
) -> Result<()> {
    let salon = world.salons.first().context("a business")?;
    let commands = &world.commands;
    let (mut a, mut ours) = (Series::default(), Series::default());
    for round in 0..bench.size.rounds {
        let calendar = fresh_calendar(commands, salon, round).await?;
        let warm = WARM_UP.min(bench.size.round) / 2;
        storm(commands, &calendar, Who::Regular, clients, Until::Elapsed(warm)).await?;
        a.push(baseline.run(clients, bench.size.round).await?);
        // Half as long: two years of one calendar are soon full.
        let until = Until::Elapsed(bench.size.round / 2);
        ours.push(storm(commands, &calendar, Who::Regular, clients, until).await?);
    }
    let ratio = Ratio::of_rates(&ours, &a);
    table.row(&[
        &clients.to_string(),
        "one hot calendar",
        &grouped(ours.rate()),
        &ours.latency(),
        &grouped(a.rate()),
        &a.latency(),
        &ratio.to_string(),
        &bench.verdict(ratio.median, Wanted::AtLeast(0.5)),
        "-",
        "-",
        "-",
    ]);
    note_failures(table, "one hot calendar", &ours);
    Ok(())
}

async fn fresh_calendar(commands: &Commands, salon: &Salon, round: u32) -> Result<Calendars> {
    let staff_id = hire(commands, salon.business_id, &format!("Hot {round}")).await?;
    Ok(Calendars::only(salon, staff_id))
}

/// Counted by a proxy in front of Postgres, on warm calendars: every week was booked in before.
async fn round_trips(bench: &Bench, world: &World, table: &mut Table) -> Result<()> {
    let url = world.database.app_url();
    let proxy = Proxy::start(&url).await?;
    let commands = crate::salon::use_cases(&proxy.url(&url)?).await?;
    let salon = world.salons.first().context("a business")?;
    let staff_id = hire(&commands, salon.business_id, "Counted").await?;
    let calendar = Calendars::only(salon, staff_id);
    let mut counts = Vec::new();
    for (who, name) in [(Who::New, "a new guest"), (Who::Regular, "a regular guest")] {
        // Eight weeks of days, and all the regulars.
        for _ in 0..120 {
            book_next(&commands, &calendar, who).await?;
        }
        let (before, bookings) = (proxy.trips(), 50);
        for _ in 0..bookings {
            book_next(&commands, &calendar, who).await?;
        }
        let each = (proxy.trips() - before) as f64 / f64::from(bookings);
        counts.push(format!("{each:.2} for {name}"));
    }
    let calendars = world.calendars();
    storm(&commands, &calendars, Who::New, 32, Until::Count(weeks_of(&calendars))).await?;
    let before = proxy.trips();
    let until = Until::Elapsed(bench.size.round);
    let sample = storm(&commands, &calendars, Who::New, 32, until).await?;
    let each = (proxy.trips() - before) as f64 / sample.done.max(1) as f64;
    table.note(format!(
        "Round trips to Postgres of a warm booking, one client: {}; with 32 clients {each:.2} each. Wanted: 1.",
        counts.join(", ")
    ));
    Ok(())
}

async fn book_next(commands: &Commands, calendar: &Calendars, who: Who) -> Result<()> {
    let wish = calendar.next().context("a free slot")?;
    let outcome = book(commands, wish, who).await;
    anyhow::ensure!(outcome == Outcome::Done, "a booking was not done: {outcome:?}");
    Ok(())
}

/// Where the time goes: processors and statements, and what the library counts of itself.
async fn profile(bench: &Bench, world: &World, clients: usize, table: &mut Table) -> Result<()> {
    let url = world.database.superuser_url();
    let (commands, calendars) = (&world.commands, world.calendars());
    let warm = Until::Elapsed(WARM_UP.min(bench.size.round));
    storm(commands, &calendars, Who::Regular, clients, warm).await?;
    let watched = postgres::watch_statements(&url).await?;
    let counted = bench.counted();
    let (server, own) = (bench.postgres_cpu()?, cpu_of(std::process::id())?);
    let until = Until::Elapsed(bench.size.round);
    let sample = storm(commands, &calendars, Who::Regular, clients, until).await?;
    let bookings = sample.done.max(1) as f64;
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / bookings;
    table.note(format!(
        "Processor time of a booking at {clients} clients: Postgres {:.0} µs, library {:.0} µs.",
        each(bench.postgres_cpu()?.saturating_sub(server)),
        each(cpu_of(std::process::id())?.saturating_sub(own)),
    ));
    for line in bench.counted_since(&counted, sample.done) {
        table.note(line);
    }
    if !watched {
        table.note("Statements: pg_stat_statements is not there.");
        return Ok(());
    }
    for statement in postgres::costly_statements(&url, 4).await? {
        table.note(statement.per("booking", sample.done));
    }
    Ok(())
}
