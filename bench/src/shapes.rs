//! Bookings that need rooms and devices as well, beside plain ones.

use anyhow::Result;
use domain::{
    ResourceId,
    business::{BusinessCommand, Resource, ResourceNeed, ServiceChange},
};
use streams::clock;

use crate::{
    booking::{note_failures, storm, weeks_of},
    load::Until,
    report::say,
    salon::{Salon, Who, World, change},
    settings::{Bench, Wanted},
    stats::{Ratio, Sample, Series, grouped},
    table::Table,
};

const CLIENTS: usize = 32;
const KINDS: [&str; 2] = ["room", "device"];

pub(crate) async fn run(bench: &Bench) -> Result<Table> {
    let mut table =
        Table::new(&["booking of", "bookings/s", "p50 / p99", "ratio to plain", "wanted"]);
    let (bare, furnished) = (world(bench).await?, world(bench).await?);
    for salon in &furnished.salons {
        furnish(&furnished, salon).await?;
    }
    for world in [&bare, &furnished] {
        let warm = Until::Count(weeks_of(&world.calendars()));
        storm(&world.commands, &world.calendars(), Who::Regular, CLIENTS, warm).await?;
        world.analyze().await;
    }
    let (mut plain, mut with) = (Series::default(), Series::default());
    for round in 0..bench.size.rounds {
        for (world, series) in [(&bare, &mut plain), (&furnished, &mut with)] {
            let until = Until::Elapsed(bench.size.round);
            let calendars = world.calendars();
            series.push(storm(&world.commands, &calendars, Who::Regular, CLIENTS, until).await?);
        }
        let last = |series: &Series| series.0.last().map_or(0.0, Sample::rate);
        say(&format!(
            "    round {}: plain {:.0}, with two resources {:.0}",
            round + 1,
            last(&plain),
            last(&with)
        ));
    }
    let ratio = Ratio::of_rates(&with, &plain);
    let verdict = bench.verdict(ratio.median, Wanted::AtLeast(0.6));
    for (name, series, ratio, verdict) in [
        ("a staff member", &plain, "-".to_owned(), "-".to_owned()),
        ("a staff member and two resources", &with, ratio.to_string(), verdict),
    ] {
        table.row(&[name, &grouped(series.rate()), &series.latency(), &ratio, &verdict]);
        note_failures(&mut table, name, series);
    }
    table.note(format!(
        "{CLIENTS} clients, {} businesses with {} staff members and as many rooms and devices each. Which room and which device is chosen from what is free; each has a stream of its own, like a calendar.",
        bench.size.businesses, bench.size.staff
    ));
    Ok(table)
}

async fn world(bench: &Bench) -> Result<World> {
    World::build(bench.size.businesses, bench.size.staff).await
}

/// As many rooms and devices as staff members, and a service that needs one of each.
async fn furnish(world: &World, salon: &Salon) -> Result<()> {
    let commands = &world.commands;
    for kind in KINDS {
        for n in 0..salon.staff.len() {
            let (name, kind) = (format!("{kind} {n}"), kind.to_owned());
            let resource = Resource { name, kind, capacity: 1 };
            let resource_id = ResourceId::new(clock::new_id());
            let add = BusinessCommand::AddResource { resource_id, resource };
            change(commands, salon.business_id, add).await?;
        }
    }
    let need = |kind: &str| ResourceNeed { kind: kind.to_owned(), quantity: 1 };
    let needs =
        ServiceChange { resources: Some(KINDS.map(need).into()), ..ServiceChange::default() };
    let service_id = salon.service_id;
    let needs = BusinessCommand::ChangeService { service_id, change: needs, expected: None };
    change(commands, salon.business_id, needs).await
}
