//! A storm of bookings beside guests who look at slots.

use anyhow::{Context, Result};

use crate::{
    booking::weeks_of,
    guests::{self, Booker, Reader, everybodys_slots},
    load::{Outcome, Until, Worker, closed, open},
    models,
    process::Servers,
    salon::{Calendars, Who, Wish, World},
    settings::{Bench, Wanted},
    stats::{Ratio, Series, grouped},
    table::Table,
    visible::quantile_ms,
    wire::Wire,
};

/// Slots requests a second.
const RATE: f64 = 50.0;
const READERS: usize = 32;

/// Half of the guests want what is free, the others all want the same slot.
struct Guest {
    wire: Wire,
    calendars: Calendars,
    same: Option<Wish>,
}

impl Worker for Guest {
    async fn once(&mut self) -> Outcome {
        let Some(wish) = self.same.or_else(|| self.calendars.next()) else {
            return Outcome::Failed;
        };
        guests::send(&mut self.wire, &guests::booking(wish, Who::New)).await.0
    }
}

pub(crate) async fn run(bench: &Bench) -> Result<Table> {
    let world = World::build(bench.size.businesses, bench.size.staff).await?;
    let servers = Servers::start().await?;
    let server =
        servers.serve(&bench.binary, &world.database.app_url(), "gateway,relay,projector").await?;
    models::caught_up(world.commands.log().database(), &projections::CONSUMERS).await?;
    let (address, calendars) = (server.address(), world.calendars());
    let requests = everybodys_slots(&world.salons)?;
    let readers = || Reader::many(&address, requests.clone(), READERS);
    let lasting = bench.size.round;
    open(readers(), RATE, lasting / 3).await?;
    let warm = Until::Count(weeks_of(&calendars));
    closed(Booker::many(&address, &calendars, READERS), warm).await?;
    world.analyze().await;
    models::caught_up(world.commands.log().database(), &projections::CONSUMERS).await?;
    let (mut calm, mut stormy) = (Series::default(), Series::default());
    let (mut spread, mut racing, mut winners) = (Series::default(), Series::default(), Vec::new());
    for _ in 0..bench.size.rounds {
        calm.push(open(readers(), RATE, lasting).await?);
        let wanted = calendars.next().context("a free slot")?;
        let guest = |same| Guest { wire: Wire::new(&address), calendars: calendars.clone(), same };
        let half = bench.size.storm / 2;
        let until = Until::Elapsed(lasting);
        let (read, free, same) = tokio::join!(
            open(readers(), RATE, lasting),
            closed((0..half).map(|_| guest(None)).collect(), until),
            closed((0..half).map(|_| guest(Some(wanted))).collect(), until),
        );
        stormy.push(read?);
        spread.push(free?);
        let same = same?;
        winners.push(same.done);
        racing.push(same);
    }
    let mut table =
        Table::new(&["slots requests", "p50 / p99", "failed", "times the calm p99", "wanted"]);
    table.row(&["calm", &calm.latency(), &calm.failed().to_string(), "1", "-"]);
    let p99 = |series: &Series| -> Vec<f64> {
        series.0.iter().map(|round| quantile_ms(&Series(vec![round.clone()]), 0.99)).collect()
    };
    let times = Ratio::of(&p99(&stormy), &p99(&calm));
    let text = format!("beside {} clients that book", bench.size.storm);
    let (failed, verdict) =
        (stormy.failed().to_string(), bench.verdict(times.median, Wanted::AtMost(5.0)));
    table.row(&[&text, &stormy.latency(), &failed, &times.to_string(), &verdict]);
    table.note(format!(
        "{RATE:.0} slots requests a second in an open loop, of one process with the roles gateway, relay and projector. Half of the clients book what is free: {}/s, {}, {} failed, {} refused. The others all want one slot, another one in each round: {} answers/s, {} failed; booked in each round: {winners:?}.",
        grouped(spread.rate()),
        spread.latency(),
        spread.failed(),
        spread.refused(),
        grouped((racing.done() + racing.refused()) as f64 / (lasting.as_secs_f64() * f64::from(bench.size.rounds))),
        racing.failed(),
    ));
    Ok(table)
}
