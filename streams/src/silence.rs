//! Finds out that Postgres does not answer at all, before those who wait for it have waited long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

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
    options: Arc<PgConnectOptions>,
    last: Arc<Mutex<Option<Probe>>>,
    /// When anybody had an answer last, in milliseconds since `since`.
    heard: Arc<AtomicU64>,
    since: Instant,
}

#[derive(Debug)]
struct Probe {
    at: Instant,
    answers: bool,
    /// `None` when it had no answer in time.
    connection: Option<PgConnection>,
}

impl Silence {
    pub(crate) fn new(options: Arc<PgConnectOptions>) -> Self {
        let since = Instant::now();
        Self { options, last: Arc::default(), heard: Arc::default(), since }
    }

    /// Somebody had an answer of Postgres, whatever it was.
    pub(crate) fn heard(&self) {
        self.heard.fetch_max(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends when Postgres does not answer; never before half a second.
    pub(crate) async fn begins(&self) {
        loop {
            tokio::time::sleep(SUSPICIOUS).await;
            // Boxed, since it is seldom asked: everything that could wait would carry the room for it.
            if !Box::pin(self.answers()).await {
                return;
            }
        }
    }

    async fn answers(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some(probe) = last.as_ref()
            && probe.at.elapsed() < FRESH
        {
            return probe.answers;
        }
        let began = self.now();
        let known = last.take().and_then(|probe| probe.connection);
        let asked = tokio::time::timeout(PATIENCE, ask(&self.options, known)).await;
        let connection = asked.ok().and_then(Result::ok);
        // On a crowded machine the question itself may come too late; others' answers count too.
        let answers = connection.is_some() || self.heard.load(Ordering::Relaxed) >= began;
        *last = Some(Probe { at: Instant::now(), connection, answers });
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
