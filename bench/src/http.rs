//! Bookings through HTTP, by the real binary, beside the library's.

use anyhow::Result;

use crate::{
    booking::{storm, weeks_of},
    guests::Booker,
    load::{Until, closed},
    models,
    process::Servers,
    salon::{Calendars, Who, World},
    seed,
    settings::{Bench, Wanted},
    stats::{Ratio, Series, grouped},
    table::Table,
};

const CLIENTS: usize = 16;

/// Library and server have businesses of their own: what one decides would be a conflict to the other.
pub(crate) async fn run(bench: &Bench) -> Result<Table> {
    let mut table =
        Table::new(&["how", "bookings/s", "p50 / p99", "ratio to the library", "wanted"]);
    let world = World::build(bench.size.businesses, bench.size.staff).await?;
    let part = |wanted: usize| {
        let salons = world.salons.iter().enumerate();
        Calendars::of(salons.filter(|(n, _)| n % 2 == wanted).map(|(_, salon)| salon))
    };
    let (inside, outside) = (part(0), part(1));
    let servers = Servers::start().await?;
    let url = world.database.app_url();
    let commands = world.other_use_cases().await?;
    let round = Until::Elapsed(bench.size.round);
    let warm = Until::Count(weeks_of(&inside));
    let gateway = servers.serve(&bench.binary, &url, "gateway").await?;
    let (mut library, mut http) = (Series::default(), Series::default());
    storm(&commands, &inside, Who::New, CLIENTS, warm).await?;
    closed(Booker::many(&gateway.address(), &outside, CLIENTS), warm).await?;
    world.analyze().await;
    for _ in 0..bench.size.rounds {
        library.push(storm(&commands, &inside, Who::New, CLIENTS, round).await?);
        let guests = Booker::many(&gateway.address(), &outside, CLIENTS);
        http.push(closed(guests, round).await?);
    }
    drop(gateway);
    let database = world.commands.log().database();
    let mut with_more = Vec::new();
    for roles in ["gateway,relay,projector", ""] {
        // Nobody is told today what was booked before.
        world.database.execute(seed::MAILED).await;
        let server = servers.serve(&bench.binary, &url, roles).await?;
        closed(Booker::many(&server.address(), &outside, CLIENTS), warm).await?;
        // Not while it makes up for what the others booked.
        models::relayed(database).await?;
        models::caught_up(database, &projections::CONSUMERS).await?;
        let mut series = Series::default();
        for _ in 0..bench.size.rounds {
            let guests = Booker::many(&server.address(), &outside, CLIENTS);
            series.push(closed(guests, round).await?);
        }
        with_more.push(series);
    }
    let [models, everything] = with_more.as_slice() else { anyhow::bail!("two processes") };
    table.row(&["library", &grouped(library.rate()), &library.latency(), "1", "-"]);
    for (how, series, wanted) in [
        ("HTTP, a process that is a gateway", &http, true),
        ("HTTP, a process that is relay and projector as well", models, false),
        ("HTTP, a process with all roles: each booking sends a mail", everything, false),
    ] {
        let ratio = Ratio::of_rates(series, &library);
        let verdict =
            if wanted { bench.verdict(ratio.median, Wanted::AtLeast(0.6)) } else { "-".to_owned() };
        table.row(&[how, &grouped(series.rate()), &series.latency(), &ratio.to_string(), &verdict]);
        if series.failed() + series.refused() > 0 {
            let (failed, refused) = (series.failed(), series.refused());
            table.note(format!("{how}: {failed} failed, {refused} refused."));
        }
    }
    table.note(format!("{CLIENTS} clients; the client shares the cores with server and Postgres."));
    Ok(table)
}
