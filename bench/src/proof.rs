//! Every read model proven equal while guests go on booking.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::{
    guests::Booker,
    load::open,
    process::Servers,
    salon::{Calendars, World},
    settings::Bench,
    stats::{Series, grouped},
    table::Table,
};

const CLIENTS: usize = 16;
/// Bookings a second.
const RATE: f64 = 100.0;
/// Bookings go on after the end for at most this long.
const STRETCH: Duration = Duration::from_secs(1);

/// Runs `replay all --verify` while somebody books at `address`, and says what both did.
///
/// # Errors
/// When a model differs.
pub(crate) async fn beside_traffic(
    bench: &Bench,
    (servers, world): (&Servers, &World),
    (address, calendars): (&str, &Calendars),
    table: &mut Table,
) -> Result<()> {
    let done = AtomicBool::new(false);
    let booking = async {
        let mut booked = Series::default();
        while !done.load(Ordering::Relaxed) {
            let guests = Booker::many(address, calendars, CLIENTS);
            booked.push(open(guests, RATE, STRETCH).await?);
        }
        anyhow::Ok(booked)
    };
    let proving = async {
        let began = Instant::now();
        let (app, owner) = (world.database.app_url(), world.database.owner_url());
        let arguments = ["replay", "all", "--verify", "--json"];
        let ran = servers.run(&bench.binary, &app, &owner, &arguments).await;
        done.store(true, Ordering::Relaxed);
        anyhow::Ok((ran?, began.elapsed()))
    };
    let (booked, proven) = tokio::join!(booking, proving);
    let (booked, ((code, said, complaint), elapsed)) = (booked?, proven?);
    if code != 0 {
        bail!("replay all --verify ended with {code}: {complaint}{said}");
    }
    let models: Vec<String> = said.lines().filter_map(proven_model).collect();
    table.note(format!(
        "`replay all --verify` of the largest log while guests book at {RATE}/s over HTTP: equal after {:.1} s: {}. Meanwhile {} bookings, {}; {} failed, {} refused.",
        elapsed.as_secs_f64(),
        models.join(", "),
        grouped(booked.done() as f64),
        booked.latency(),
        booked.failed(),
        booked.refused(),
    ));
    Ok(())
}

/// Such as `agenda of 1,000,000 events in 7.2 s`.
fn proven_model(line: &str) -> Option<String> {
    let outcome: Value = serde_json::from_str(line).ok()?;
    let (events, seconds) = (outcome.get("events")?.as_f64()?, outcome.get("seconds")?.as_f64()?);
    let model = outcome.get("model")?.as_str()?;
    Some(format!("{model} of {} events built in {seconds:.1} s", grouped(events)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_proven_is_said() {
        let line = "{\"model\":\"agenda\",\"events\":1000,\"seconds\":1.25}";
        assert_eq!(proven_model(line).unwrap(), "agenda of 1,000 events built in 1.2 s");
        assert_eq!(proven_model("equal"), None);
    }
}
