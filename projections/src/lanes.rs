use std::sync::{Mutex, PoisonError};

use sqlx::{Executor, PgConnection};
use streams::Database;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A few connections outside the pool: reads that must be quick neither wait behind writes nor pay
/// for the pool's pings. Made when they are needed.
#[derive(Debug)]
pub(crate) struct Lanes {
    database: Database,
    /// Settings of each connection.
    setup: &'static str,
    permits: Semaphore,
    idle: Mutex<Vec<PgConnection>>,
}

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Lane<'a> {
    pub(crate) connection: PgConnection,
    /// Nobody has used it yet: what fails on it would fail on another too.
    pub(crate) fresh: bool,
    lanes: &'a Lanes,
    _permit: SemaphorePermit<'a>,
}

impl Lanes {
    pub(crate) const fn new(database: Database, most: usize, setup: &'static str) -> Self {
        let permits = Semaphore::const_new(most);
        Self { database, setup, permits, idle: Mutex::new(vec![]) }
    }

    /// A connection; the caller says how long it may take.
    pub(crate) async fn take(&self) -> Result<Lane<'_>, sqlx::Error> {
        let permit = self.permits.acquire().await.map_err(|_closed| sqlx::Error::PoolClosed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let fresh = idle.is_none();
        let connection = match idle {
            Some(connection) => connection,
            None => open(&self.database, self.setup).await?,
        };
        Ok(Lane { connection, fresh, lanes: self, _permit: permit })
    }
}

/// A connection with these settings.
pub(crate) async fn open(
    database: &Database,
    setup: &'static str,
) -> Result<PgConnection, sqlx::Error> {
    let mut connection = database.connect().await?;
    connection.execute(setup).await?;
    Ok(connection)
}

impl Lane<'_> {
    /// Gives back a connection that works. One that is dropped instead is closed, and when others
    /// may be broken too, they go with it.
    pub(crate) fn keep(self) {
        let Self { connection, lanes, .. } = self;
        lanes.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// Closes this one, and all that are idle: the server may have been away.
    pub(crate) fn close(self) {
        self.lanes.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
