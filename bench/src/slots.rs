//! Slots over HTTP, beside a handler that returns the same bytes.

use anyhow::{Context, Result};

use crate::{
    booking::storm,
    bytes::Bare,
    guests::{Reader, everybodys_slots, slots_path},
    load::{Until, closed, open},
    models,
    process::Servers,
    salon::{Calendars, Who, World, book},
    settings::{Bench, Wanted},
    stats::{Ratio, Series, grouped},
    table::Table,
    wire::{Wire, get},
};

const CLIENTS: usize = 8;

/// A request, and what was measured of it.
struct Page {
    name: &'static str,
    request: Vec<u8>,
    bytes: usize,
    bare: Bare,
    ours: Series,
    reference: Series,
}

impl Page {
    async fn new(name: &'static str, address: &str, path: &str, gzip: bool) -> Result<Self> {
        let request = get(path, gzip);
        let mut wire = Wire::new(address);
        let reply = wire.send(&request).await?;
        anyhow::ensure!(reply.status == 200, "{path}: {}", reply.status);
        let body = reply.body.to_vec();
        let bare = Bare::start(&body).await?;
        let (ours, reference) = (Series::default(), Series::default());
        Ok(Self { name, request, bytes: body.len(), bare, ours, reference })
    }

    async fn round(&mut self, address: &str, until: Until) -> Result<()> {
        let bare = self.bare.process.address();
        let readers = Reader::many(&bare, vec![get("/", false)], CLIENTS);
        self.reference.push(closed(readers, until).await?);
        let readers = Reader::many(address, vec![self.request.clone()], CLIENTS);
        self.ours.push(closed(readers, until).await?);
        Ok(())
    }
}

pub(crate) async fn run(bench: &Bench) -> Result<Table> {
    let world = World::build(1, bench.size.slots_staff).await?;
    let visits = bench.size.slots_staff as u64 * bench.size.slots_visits;
    let filled =
        storm(&world.commands, &world.calendars(), Who::New, 8, Until::Count(visits)).await?;
    anyhow::ensure!(filled.failed == 0, "{} bookings failed", filled.failed);
    let servers = Servers::start().await?;
    let url = world.database.app_url();
    let server = servers.serve(&bench.binary, &url, "gateway,relay,projector").await?;
    models::caught_up(world.commands.log().database(), &projections::CONSUMERS).await?;
    world.analyze().await;
    let salon = world.salons.first().context("a business")?;
    let (one, any) = (slots_path(salon, Some(0))?, slots_path(salon, None)?);
    let address = server.address();
    let mut pages = Vec::new();
    for (name, path, gzip) in [
        ("one staff member", &one, false),
        ("any of all", &any, false),
        ("one staff member, gzip", &one, true),
        ("any of all, gzip", &any, true),
    ] {
        pages.push(Page::new(name, &address, path, gzip).await?);
    }
    for _ in 0..bench.size.rounds {
        for page in &mut pages {
            page.round(&address, Until::Elapsed(bench.size.round / 3)).await?;
        }
    }
    let mut table = results(bench, &pages)?;
    let everybody = everybodys_slots(&world.salons)?;
    let readers = Reader::many(&address, everybody, CLIENTS);
    let turns = Series(vec![closed(readers, Until::Elapsed(bench.size.round)).await?]);
    table.note(format!(
        "Each staff member in turn: {} requests/s, {}.",
        grouped(turns.rate()),
        turns.latency()
    ));
    busy(bench, &world, &address, ("One staff member", &one, 0), &mut table).await?;
    let each = busy(bench, &world, &address, ("Any of all", &any, 1), &mut table).await?;
    for (what, series) in pages
        .get(1)
        .map(|page| ("nobody books", &page.ours))
        .into_iter()
        .chain([("somebody does", &each)])
    {
        let ms = series.quantile(0.5).unwrap_or_default().as_secs_f64() * 1e3;
        let verdict = bench.verdict(ms, Wanted::AtMost(10.0));
        table.note(format!("Any of all while {what}: {ms:.1} ms in the median; {verdict}."));
    }
    table.note(format!(
        "30 days of one or any of {} staff members, each with {} visits in eight weeks; {CLIENTS} clients. The bare handler is axum in a process of its own, answering the same bytes.",
        bench.size.slots_staff, bench.size.slots_visits
    ));
    Ok(table)
}

fn results(bench: &Bench, pages: &[Page]) -> Result<Table> {
    let mut table = Table::new(&[
        "slots of",
        "bytes",
        "requests/s",
        "p50 / p99",
        "bare axum/s",
        "p50 / p99",
        "ratio to bare",
        "wanted",
        "times the time of one",
        "wanted",
    ]);
    let single = pages.first().context("a page")?;
    for page in pages {
        let ratio = Ratio::of_rates(&page.ours, &page.reference);
        let reached = if std::ptr::eq(page, single) {
            bench.verdict(ratio.median, Wanted::AtLeast(0.5))
        } else {
            "-".to_owned()
        };
        let times = Ratio::of_rates(&single.ours, &page.ours);
        let (longer, bound) = if page.name.starts_with("any") {
            (times.to_string(), bench.verdict(times.median, Wanted::AtMost(3.0)))
        } else {
            ("-".to_owned(), "-".to_owned())
        };
        table.row(&[
            page.name,
            &grouped(page.bytes as f64),
            &grouped(page.ours.rate()),
            &page.ours.latency(),
            &grouped(page.reference.rate()),
            &page.reference.latency(),
            &ratio.to_string(),
            &reached,
            &longer,
            &bound,
        ]);
        if page.ours.failed() > 0 {
            table.note(format!("{}: {} requests failed.", page.name, page.ours.failed()));
        }
    }
    Ok(table)
}

/// The same while guests book at that business: whatever is kept ready has to be made anew.
async fn busy(
    bench: &Bench,
    world: &World,
    address: &str,
    (name, path, staff): (&str, &str, usize),
    table: &mut Table,
) -> Result<Series> {
    let salon = world.salons.first().context("a business")?;
    let staff_id = *salon.staff.get(staff).context("a staff member")?;
    // Behind the slots that were taken above, which went round all staff members.
    let calendar = Calendars::only_behind(salon, staff_id, bench.size.slots_visits * 4);
    let commands = world.commands.clone();
    let booker = crate::load::Each(move || {
        let (commands, wish) = (commands.clone(), calendar.next());
        async move {
            match wish {
                Some(wish) => book(&commands, wish, Who::Regular).await,
                None => crate::load::Outcome::Failed,
            }
        }
    });
    let lasting = bench.size.round;
    let readers = Reader::many(address, vec![get(path, false)], CLIENTS);
    let (read, booked) =
        tokio::join!(closed(readers, Until::Elapsed(lasting)), open(vec![booker], 20.0, lasting));
    let (read, booked) = (read?, booked?);
    let series = Series(vec![read]);
    table.note(format!(
        "{name} while {} visits a second are booked in such a calendar: {} requests/s, {}; {} requests and {} bookings failed.",
        grouped(booked.rate()),
        grouped(series.rate()),
        series.latency(),
        series.failed(),
        booked.failed + booked.refused
    ));
    Ok(series)
}
