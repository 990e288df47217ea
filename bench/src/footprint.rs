//! What a process with all roles uses: memory with many appointments, and processor time when nobody
//! asks.

use anyhow::Result;

use crate::{
    guests::{Booker, Reader, everybodys_slots},
    load::{Until, closed},
    models,
    process::Servers,
    salon::World,
    seed::{self, Past},
    settings::{Bench, Wanted},
    stats::grouped,
    table::Table,
};

const CLIENTS: usize = 16;

pub(crate) async fn run(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(&["what", "measured", "wanted"]);
    let world = World::build(bench.size.businesses, bench.size.staff).await?;
    let calendars = world.calendars();
    let past = Past::of_events(bench.size.appointments * 2, calendars.len() as u64, 1);
    seed::write(&world.database, &world.salons, past).await;
    let servers = Servers::start().await?;
    let server = servers.serve(&bench.binary, &world.database.app_url(), "").await?;
    let database = world.commands.log().database();
    models::caught_up(database, &projections::CONSUMERS).await?;
    models::relayed(database).await?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let built = megabytes(server.resident_bytes()?);
    // Whatever is kept ready is there once everybody was asked for.
    let address = server.address();
    let readers = Reader::many(&address, everybodys_slots(&world.salons)?, CLIENTS);
    let read = closed(readers, Until::Count(bench.size.bookings)).await?;
    let guests = Booker::many(&address, &calendars, CLIENTS);
    let booked = closed(guests, Until::Count(bench.size.bookings)).await?;
    anyhow::ensure!(read.failed + booked.failed == 0, "requests failed");
    models::settled(database).await?;
    models::relayed(database).await?;
    tokio::time::sleep(bench.size.idle / 4).await;
    let used = megabytes(server.resident_bytes()?);
    let (idle, postgres) = bench.at_rest(&server).await?;
    let appointments = grouped((past.events(calendars.len() as u64) / 2) as f64);
    table.row(&[
        &format!(
            "resident memory with {appointments} appointments, after all were projected and relayed"
        ),
        &format!("{built:.0} MB"),
        &bench.verdict(built, Wanted::AtMost(150.0)),
    ]);
    table.row(&[
        &format!("resident memory after {0} slots requests and {0} bookings", bench.size.bookings),
        &format!("{used:.0} MB"),
        &bench.verdict(used, Wanted::AtMost(150.0)),
    ]);
    table.row(&[
        "idle, percent of a core",
        &format!("{idle:.2} %"),
        &bench.verdict(idle, Wanted::AtMost(1.0)),
    ]);
    table.row(&["Postgres meanwhile, percent of a core", &format!("{postgres:.2} %"), "-"]);
    table.note(format!(
        "One process with all roles; idle over {} s, after all read models had every event and all mails were sent.",
        bench.size.idle.as_secs()
    ));
    Ok(table)
}
