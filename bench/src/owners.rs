//! Two processes that decide, beside one. Each pair has a database and a broker of its own.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    counters,
    guests::{self, Booker},
    load::{Outcome, Until, closed},
    process::{Process, Servers},
    salon::{Calendars, Salon, Who, World},
    settings::{Bench, Wanted},
    stats::{Ratio, Sample, Series, grouped},
    table::Table,
    wire::Wire,
};

const CLIENTS: usize = 32;
/// How long processes may take to hear of each other, and how long they are given at least.
const PATIENCE: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_secs(2);

/// Gateways over one database.
struct Stand {
    world: World,
    processes: Vec<Process>,
    _servers: Servers,
}

impl Stand {
    async fn with(bench: &Bench, processes: usize) -> Result<Self> {
        let world = World::build(bench.size.businesses, bench.size.staff).await?;
        let servers = Servers::start().await?;
        let mut running = Vec::new();
        for _ in 0..processes {
            let url = world.database.app_url();
            running.push(servers.serve(&bench.binary, &url, "gateway").await?);
        }
        for process in &running {
            acquainted(process, processes - 1).await;
        }
        Ok(Self { world, processes: running, _servers: servers })
    }
}

/// Until the process has heard of so many others, where it counts them at all.
async fn acquainted(process: &Process, others: usize) {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let page = process.metrics().await;
        let count = page.lines().find_map(|line| line.strip_prefix("apptremind_peers "));
        let count = count.and_then(|count| count.trim().parse::<f64>().ok());
        if count.is_none_or(|count| count >= others as f64) && began.elapsed() > SETTLE {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) async fn run(bench: &Bench) -> Result<Table> {
    let mut table =
        Table::new(&["processes", "bookings/s", "p50 / p99", "ratio to one process", "wanted"]);
    let (alone, pair) = (Stand::with(bench, 1).await?, Stand::with(bench, 2).await?);
    let shares = owned(&pair, &mut table).await?;
    let (mut one, mut owned, mut wrong) = (Series::default(), Series::default(), Series::default());
    let everything = [Calendars::of(alone.world.salons.iter())];
    let addresses: Vec<String> = pair.processes.iter().map(Process::address).collect();
    let swapped: Vec<String> = addresses.iter().rev().cloned().collect();
    let address: Vec<String> = alone.processes.iter().map(Process::address).collect();
    for round in 0..=bench.size.rounds {
        let until = Until::Elapsed(bench.size.round);
        let samples = [
            split(&address, &everything, until).await?,
            split(&addresses, &shares, until).await?,
            split(&swapped, &shares, until).await?,
        ];
        if round == 0 {
            // For warming up.
            alone.world.analyze().await;
            pair.world.analyze().await;
        } else {
            let [a, b, c] = samples;
            one.push(a);
            owned.push(b);
            wrong.push(c);
        }
    }
    for (what, series, wanted) in [
        ("one", &one, None),
        ("two, each asked for its own businesses", &owned, Some(0.9)),
        ("two, each asked for the other's businesses", &wrong, None),
    ] {
        let ratio = Ratio::of_rates(series, &one);
        let verdict = wanted
            .map_or_else(|| "-".to_owned(), |w| bench.verdict(ratio.median, Wanted::AtLeast(w)));
        table.row(&[
            what,
            &grouped(series.rate()),
            &series.latency(),
            &ratio.to_string(),
            &verdict,
        ]);
        let (failed, refused) = (series.failed(), series.refused());
        if failed + refused > 0 {
            table.note(format!("{what}: {failed} failed, {refused} refused; wanted: none."));
        }
    }
    table.note(format!(
        "Bookings in one statement: {:.1} in the one process, {:.1} in each of the two.",
        in_one_statement(&alone.processes).await,
        in_one_statement(&pair.processes).await
    ));
    table.note(format!("{CLIENTS} clients over HTTP, half of them at each of two processes."));
    Ok(table)
}

/// How many commands a statement of these processes had, on average.
async fn in_one_statement(processes: &[Process]) -> f64 {
    let (mut commands, mut statements) = (0.0, 0.0);
    for process in processes {
        let counted = counters::read(&process.metrics().await);
        let of = |name| counted.get(name).copied().unwrap_or_default();
        commands += of("apptremind_commit_commands_sum");
        statements += of("apptremind_commit_commands_count");
    }
    commands / f64::max(statements, 1.0)
}

/// Clients at each address book in its share.
async fn split(addresses: &[String], shares: &[Calendars], until: Until) -> Result<Sample> {
    let each = CLIENTS / addresses.len().max(1);
    let clients = addresses.iter().zip(shares);
    let clients = clients.filter(|(_, share)| share.len() > 0);
    let workers = clients.flat_map(|(address, share)| Booker::many(address, share, each));
    closed(workers.collect(), until).await
}

/// The calendars of the businesses that each of the two processes decides for: learnt by booking once
/// at the first and looking whether it passed that on.
async fn owned(pair: &Stand, table: &mut Table) -> Result<[Calendars; 2]> {
    let [first, _] = pair.processes.as_slice() else { anyhow::bail!("two processes") };
    let mut wire = Wire::new(&first.address());
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for salon in &pair.world.salons {
        let before = forwarded(first).await;
        if let Some(wish) = Calendars::of([salon].into_iter()).next() {
            let request = guests::booking(wish, Who::New);
            let (outcome, _) = guests::send(&mut wire, &request).await;
            anyhow::ensure!(outcome == Outcome::Done, "a booking was not done: {outcome:?}");
        }
        let passed_on = forwarded(first).await > before;
        if passed_on { there.push(salon) } else { here.push(salon) }
    }
    if there.is_empty() {
        table.note(
            "Ownership is not available in this build: no request was passed on. The businesses are halved, and a process decides whatever it is asked.",
        );
        let halves = here.split_at(here.len() / 2);
        return Ok([shared(halves.0), shared(halves.1)]);
    }
    table.note(format!(
        "Of {} businesses {} belong to the first process.",
        here.len() + there.len(),
        here.len()
    ));
    Ok([shared(&here), shared(&there)])
}

fn shared(salons: &[&Salon]) -> Calendars {
    Calendars::of(salons.iter().copied())
}

async fn forwarded(process: &Process) -> f64 {
    let counted = counters::read(&process.metrics().await);
    counted.iter().filter(|(name, _)| name.contains("forward")).map(|(_, value)| value).sum()
}
