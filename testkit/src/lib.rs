//! Servers for tests, each test its own: a database, a broker, a mail provider. They are gone when
//! their handle is dropped.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "only tests call this, and a test that cannot have its servers must fail"
)]

use std::{env, time::Duration};

pub mod clock;
pub mod mailsink;
pub mod nats;
pub mod postgres;
mod process;

pub use process::free_port;

/// How long [`eventually`] waits: long enough for a loaded machine with two cores.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);

/// Asks until the condition gives a value.
///
/// # Panics
/// When it gives none for a minute; `what` says what was waited for.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(LIMIT, asking).await {
        Ok(value) => value,
        Err(_elapsed) => panic!("waited for {} s in vain: {what}", LIMIT.as_secs()),
    }
}

/// A client that needs no more of TLS than that it is there.
pub fn client() -> reqwest::ClientBuilder {
    // The second who comes finds it installed, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy()
}

/// What the test runner said about its servers.
fn setting(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests by ./scripts/test"))
}
