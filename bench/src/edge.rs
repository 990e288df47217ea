//! What stands between the network and a handler: verifying a token, the layers around every answer, and
//! connections that rest.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use commands::identity::{Identity, Register};
use domain::Zone;
use streams::Origin;

use crate::{
    guests::Reader,
    load::{Until, closed},
    process::{Process, Servers},
    salon::{self, World},
    settings::{Bench, Wanted},
    stats::{Ratio, Series, grouped},
    table::Table,
    wire::{Wire, get},
};

const CLIENTS: usize = 16;
/// Connections that rest.
const RESTING: usize = 5_000;
/// Tokens in one measurement.
const TOKENS: u32 = 500;

pub(crate) async fn run(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(&["what", "measured", "reference", "ratio", "wanted"]);
    let world = World::build(1, 1).await?;
    let micros = verification(&salon::identity(&world.commands).await?, bench.size.rounds).await?;
    table.row(&[
        "verifying an access token, one thread",
        &format!("{micros:.0} us"),
        "-",
        "-",
        &bench.verdict(micros, Wanted::AtMost(100.0)),
    ]);

    let mut servers = Servers::start().await?;
    // Counted for each request, and never reached.
    servers.set("APPTREMIND_LIMITS", "on");
    servers.set("APPTREMIND_RATE_PUBLIC", "1000000000");
    let server = servers.serve(&bench.binary, &world.database.app_url(), "gateway").await?;
    let round = Until::Elapsed(bench.size.round);
    let asked = |address: String, path: &str| {
        closed(Reader::many(&address, vec![get(path, false)], CLIENTS), round)
    };
    let (mut bare, mut whole, mut limited) =
        (Series::default(), Series::default(), Series::default());
    for _ in 0..bench.size.rounds {
        bare.push(asked(server.admin_address(), "/healthz").await?);
        whole.push(asked(server.address(), "/healthz").await?);
        limited.push(asked(server.address(), "/.well-known/jwks.json").await?);
    }
    ensure!(bare.failed() + whole.failed() + limited.failed() == 0, "requests failed");
    for (what, series, wanted) in [
        ("a handler behind all layers", &whole, true),
        ("another one, whose requests are counted for a limit as well", &limited, false),
    ] {
        let ratio = Ratio::of_rates(series, &bare);
        let verdict = if wanted {
            bench.verdict(ratio.median, Wanted::AtLeast(0.75))
        } else {
            "-".to_owned()
        };
        table.row(&[
            what,
            &format!("{}/s", grouped(series.rate())),
            &format!("bare: {}/s", grouped(bare.rate())),
            &ratio.to_string(),
            &verdict,
        ]);
    }

    rest(&mut table, bench, &server).await?;
    table.note(format!(
        "{CLIENTS} clients, who share the cores with the server. Bare: the same handler at the admin port, with no layer \
         around it, in the same process and through the same listener. Layers: request ids, tracing, limits, headers, CORS, \
         compression, time limits, problems, metrics."
    ));
    Ok(table)
}

/// What connections cost that nobody uses.
async fn rest(table: &mut Table, bench: &Bench, server: &Process) -> Result<()> {
    let before = server.resident_bytes()?;
    let mut resting = Vec::with_capacity(RESTING);
    for _ in 0..RESTING {
        let mut wire = Wire::new(&server.address());
        ensure!(wire.send(&get("/healthz", false)).await?.status == 200, "not answered");
        resting.push(wire);
    }
    // Longer than any of them keeps its buffers.
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(resting.iter_mut().all(Wire::is_open), "the server closed connections");
    let all = server.resident_bytes()?;
    let megabytes = all.saturating_sub(before) as f64 / 1e6;
    table.row(&[
        &format!("{} connections that rest after a request", grouped(RESTING as f64)),
        &format!("{megabytes:.0} MB more"),
        "-",
        "-",
        &bench.verdict(megabytes, Wanted::AtMost(100.0)),
    ]);
    table.note(format!("With all of them the process has {:.0} MB.", all as f64 / 1e6));
    Ok(())
}

/// Microseconds for one, in the middle of several rounds.
async fn verification(identity: &Identity, rounds: u32) -> Result<f64> {
    let register = Register {
        email: "tokens@bench.example".to_owned(),
        password: "correct horse battery".to_owned(),
        business_name: "Tokens".to_owned(),
        timezone: Some(Zone::UTC),
        handle: None,
    };
    let origin = Origin::of_our_own();
    let registered = identity.register(&register, &salon::nobody(), &origin).await?;
    let token = registered.value.session.access_token;
    let mut took = Vec::new();
    for _ in 0..rounds.max(3) {
        let began = Instant::now();
        for _ in 0..TOKENS {
            identity.bearer(&token)?;
        }
        took.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(TOKENS));
    }
    Ok(crate::stats::median(took))
}
