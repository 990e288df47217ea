//! Finds out that Postgres does not answer at all, before those who wait for it have waited long.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{sync::Mutex, time::Instant};

/// What takes longer is a reason to ask whether Postgres answers.
const SUSPICIOUS: Duration = Duration::from_millis(500);
/// A server that lives answers the shortest question within this, however busy it is.
const PATIENCE: Duration = Duration::from_millis(400);
/// One question serves all who ask in this time.
const FRESH: Duration = Duration::from_millis(250);

/// Asks on a connection of its own, and only while somebody has waited suspiciously long.
#[derive(Debug, Clone)]
pub(crate) struct Silence {
    options: PgConnectOptions,
    last: Arc<Mutex<Option<Probe>>>,
}

#[derive(Debug)]
struct Probe {
    at: Instant,
    /// `None` when there was no answer.
    connection: Option<PgConnection>,
}

impl Silence {
    pub(crate) fn new(options: PgConnectOptions) -> Self {
        Self { options, last: Arc::default() }
    }

    /// Ends when Postgres does not answer; never before half a second.
    pub(crate) async fn begins(&self) {
        loop {
            tokio::time::sleep(SUSPICIOUS).await;
            if !self.answers().await {
                return;
            }
        }
    }

    async fn answers(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some(probe) = last.as_ref()
            && probe.at.elapsed() < FRESH
        {
            return probe.connection.is_some();
        }
        let known = last.take().and_then(|probe| probe.connection);
        let asked = tokio::time::timeout(PATIENCE, ask(&self.options, known)).await;
        let connection = asked.ok().and_then(Result::ok);
        let answers = connection.is_some();
        *last = Some(Probe { at: Instant::now(), connection });
        answers
    }
}

async fn ask(
    options: &PgConnectOptions,
    known: Option<PgConnection>,
) -> Result<PgConnection, sqlx::Error> {
    if let Some(mut connection) = known
        && connection.ping().await.is_ok()
    {
        return Ok(connection);
    }
    let mut connection = PgConnection::connect_with(options).await?;
    connection.ping().await?;
    Ok(connection)
}
