//! Benchmarks: every figure with its reference beside it, interleaved in one run. `scripts/bench`
//! starts the servers, builds and runs this.

mod bare_sends;
mod baseline;
mod booking;
mod bytes;
mod counters;
mod edge;
mod fanout;
mod footprint;
mod guests;
mod history;
mod http;
mod load;
mod machine;
mod mail_sink;
mod models;
mod owners;
mod pending;
mod postgres;
mod process;
mod proof;
mod proxy;
mod reading;
mod reminders;
mod replay;
mod report;
mod salon;
mod seed;
mod settings;
mod shapes;
mod slots;
mod stats;
mod stock;
mod storm;
mod table;
mod visible;
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tracing_subscriber::EnvFilter;

use settings::{Bench, Figure, Options};

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = std::env::var("APPTREMIND_LOG").unwrap_or_else(|_| "error".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&options)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::say(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Measures what was asked for, one after another; false when a figure could not be measured.
async fn run(options: &Options) -> Result<bool> {
    if let (Some(path), Some(port)) = (&options.serve_bytes, options.port) {
        bytes::serve(path, port).await?;
        return Ok(true);
    }
    let bench = Bench::new(options)?;
    let report = report::Report::new(options, &bench).await?;
    let mut whole = true;
    for figure in options.figures() {
        report::say(&format!("==> {}: {}", figure.name(), figure.title()));
        let measured = match figure {
            Figure::Booking => Box::pin(booking::run(&bench)).await,
            Figure::Http => Box::pin(http::run(&bench)).await,
            Figure::Shapes => Box::pin(shapes::run(&bench)).await,
            Figure::Owners => Box::pin(owners::run(&bench)).await,
            Figure::Slots => Box::pin(slots::run(&bench)).await,
            Figure::Storm => Box::pin(storm::run(&bench)).await,
            Figure::Fanout => Box::pin(fanout::run(&bench)).await,
            Figure::Visible => Box::pin(visible::run(&bench)).await,
            Figure::Replay => Box::pin(replay::run(&bench)).await,
            Figure::History => Box::pin(history::run(&bench)).await,
            Figure::Reminders => Box::pin(reminders::run(&bench)).await,
            Figure::Edge => Box::pin(edge::run(&bench)).await,
            Figure::Footprint => Box::pin(footprint::run(&bench)).await,
        };
        match measured {
            Ok(table) => report.section(figure, &table)?,
            Err(error) => {
                whole = false;
                report::say(&format!("bench: {} was not measured: {error:#}", figure.name()));
            }
        }
    }
    if bench.judged {
        report::say(&format!("==> {}", bench.tally()));
    }
    Ok(whole)
}
