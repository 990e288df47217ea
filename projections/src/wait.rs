use std::{sync::Arc, time::Duration};

use streams::{
    Cursor, Database,
    consumer::{self, Checkpoint},
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    ReadError,
    gather::{Gather, Making},
    lanes::Lanes,
};

const PATIENCE: Duration = Duration::from_secs(2);
/// Checkpoints are read no more often, however many wait for one.
const APART: Duration = Duration::from_millis(2);
/// A read that takes longer has lost its server.
const ATTEMPT: Duration = Duration::from_secs(3);

type Read = Result<Arc<[Checkpoint]>, Arc<ReadError>>;

/// How far the read models have come. All who wait share one reader.
#[derive(Debug, Clone)]
pub struct Positions {
    lanes: Arc<Lanes>,
    gather: Gather<(), (), Read>,
    last: Arc<Mutex<Option<Instant>>>,
}

impl Positions {
    /// Of the consumers of this database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        let lanes = Arc::new(Lanes::new(database, 1, "SET statement_timeout = '3s'"));
        Self { lanes, gather: Gather::default(), last: Arc::default() }
    }

    /// Waits until the consumer has come as far as `position`, two seconds at most.
    ///
    /// # Errors
    /// When it has not, or Postgres does not answer.
    pub async fn wait(&self, consumer: &str, position: Cursor) -> Result<(), ReadError> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let found = self.read().await?;
            if found.iter().any(|c| c.consumer == consumer && c.cursor >= position) {
                return Ok(());
            }
            if Instant::now() >= patience {
                return Err(ReadError::Lagging);
            }
        }
    }

    async fn read(&self) -> Result<Arc<[Checkpoint]>, ReadError> {
        let this = self.clone();
        let make = move |()| {
            let this = this.clone();
            let making: Making<_> =
                Box::pin(async move { this.read_apart().await.map_err(Arc::new) });
            making
        };
        let read = self.gather.ask((), Instant::now(), (), make).await;
        read.ok_or_else(ReadError::busy)?.map_err(|error| error.again())
    }

    async fn read_apart(&self) -> Result<Arc<[Checkpoint]>, ReadError> {
        let mut last = self.last.lock().await;
        if let Some(last) = *last {
            sleep_until(last + APART).await;
        }
        *last = Some(Instant::now());
        match timeout(ATTEMPT, self.checkpoints()).await {
            Ok(read) => Ok(read?),
            Err(_elapsed) => Err(ReadError::silent()),
        }
    }

    async fn checkpoints(&self) -> Result<Arc<[Checkpoint]>, sqlx::Error> {
        loop {
            let mut lane = self.lanes.take().await?;
            match consumer::checkpoints(&mut lane.connection).await {
                Ok(read) => {
                    lane.keep();
                    return Ok(read.into());
                }
                Err(error) if lane.fresh => return Err(error),
                Err(_broken) => lane.close(),
            }
        }
    }
}
