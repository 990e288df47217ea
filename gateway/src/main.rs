//! The binary `apptremind`: HTTP API, command line, and the roles behind them.

mod cli;
mod dead_letters;
mod demo;
mod events;
mod http;
mod keys;
mod listen;
mod manage;
mod replay;
mod serve;
mod settings;
mod system;
mod time_zones;

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// A booking allocates and frees some hundred times; this costs a third less than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let filter =
        std::env::var("APPTREMIND_LOG").unwrap_or_else(|_| "warn,apptremind=info".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // rustls is built with ring only; whoever is first to use it must not have to choose.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(cli)),
        Err(error) => {
            tracing::error!(%error, "the runtime did not start");
            ExitCode::FAILURE
        }
    }
}
