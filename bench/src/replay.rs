//! A rebuild of the availability model by the real binary, beside a typed streamed read of the same
//! events.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use streams::Cursor;

use crate::{
    models,
    process::Servers,
    reading::{AVAILABILITY, typed_read},
    salon::World,
    seed::{self, Past},
    settings::{Bench, Wanted},
    stats::{Ratio, Sample, Series, grouped},
    table::Table,
};

/// What a build without the command answers to wrong usage.
const USAGE: i32 = 2;

pub(crate) async fn run(bench: &Bench) -> Result<Table> {
    let mut table =
        Table::new(&["what", "events", "events/s", "typed read, events/s", "ratio", "wanted"]);
    let world = World::build(bench.size.businesses, bench.size.staff).await?;
    let servers = Servers::start().await?;
    let (app, owner) = (world.database.app_url(), world.database.owner_url());
    let (code, _, _) = servers.run(&bench.binary, &app, &owner, &["replay", "--help"]).await?;
    if code == USAGE {
        table.note("`apptremind replay` is not available in this build.");
        return Ok(table);
    }
    let calendars = world.calendars().len() as u64;
    let past = Past::of_events(bench.size.replay, calendars, 1);
    seed::write(&world.database, &world.salons, past).await;
    let database = world.commands.log().database();
    models::build(database).await?;
    world.analyze().await;
    let mut reads = Series::default();
    let mut rebuilt =
        [Rebuild::of("replay availability"), Rebuild::of("replay availability --verify")];
    for _ in 0..bench.size.rounds {
        let (read, elapsed) = typed_read(database, Cursor::START, AVAILABILITY).await?;
        reads.push(Sample::counted(read, elapsed));
        for rebuild in &mut rebuilt {
            let mut arguments: Vec<&str> = rebuild.command.split(' ').collect();
            arguments.push("--json");
            let began = Instant::now();
            let (code, said, complaint) =
                servers.run(&bench.binary, &app, &owner, &arguments).await?;
            let whole = began.elapsed();
            if code != 0 {
                bail!("{} ended with {code}: {complaint}{said}", rebuild.command);
            }
            let built = built_in(&said).context("what replay said")?;
            rebuild.whole.push(Sample::counted(built.done, whole));
            rebuild.build.push(built);
        }
    }
    for Rebuild { command, build, whole } in &rebuilt {
        let name = format!("`{command}`, reading and building");
        row(bench, &mut table, &name, build, &reads, true);
        let name = format!("`{command}`, the whole process");
        row(bench, &mut table, &name, whole, &reads, false);
    }
    table.note("Indexes included. The whole process also starts, compares all rows with the live model, and swaps when it is not to verify only. The typed read takes the same events in the same order, decodes each into its type and drops it.");
    Ok(table)
}

/// One command, round by round.
struct Rebuild {
    command: &'static str,
    build: Series,
    whole: Series,
}

impl Rebuild {
    fn of(command: &'static str) -> Self {
        Self { command, build: Series::default(), whole: Series::default() }
    }
}

fn row(
    bench: &Bench,
    table: &mut Table,
    what: &str,
    series: &Series,
    reads: &Series,
    judged: bool,
) {
    let ratio = Ratio::of_rates(series, reads);
    let events = series.0.first().map_or(0, |sample| sample.done);
    let verdict =
        if judged { bench.verdict(ratio.median, Wanted::AtLeast(0.5)) } else { "-".to_owned() };
    table.row(&[
        what,
        &grouped(events as f64),
        &grouped(series.rate()),
        &grouped(reads.rate()),
        &ratio.to_string(),
        &verdict,
    ]);
}

/// Events and seconds of the first outcome that was printed.
fn built_in(said: &str) -> Option<Sample> {
    let outcome: Value = serde_json::from_str(said.lines().next()?).ok()?;
    let events = usize::try_from(outcome.get("events")?.as_u64()?).ok()?;
    let elapsed = Duration::try_from_secs_f64(outcome.get("seconds")?.as_f64()?).ok()?;
    Some(Sample::counted(events, elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rebuild_says_is_understood() {
        let built =
            built_in("{\"model\":\"availability\",\"events\":3,\"seconds\":1.5}\n").unwrap();
        assert_eq!((built.done, built.elapsed), (3, Duration::from_millis(1_500)));
        assert!(built_in("done").is_none());
    }
}
