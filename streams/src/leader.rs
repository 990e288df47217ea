//! One process at a time: an advisory lock of Postgres, held by a connection of its own.

use std::{fmt::Display, time::Duration};

use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::Database;

/// How long another process waits before it asks again.
const RETRY: Duration = Duration::from_secs(1);

/// Whoever leads and says nothing to Postgres for so long is frozen: another process takes over. Longer than any
/// leader is busy with something else.
const FROZEN: &str = "SET idle_session_timeout = '30s'";
/// How often one that works elsewhere says something.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Waits until this process may do `job`. The job is its own as long as the connection lives, so
/// whatever must not be done twice is written through that connection, which is to be used more often than
/// every thirty seconds. `None` when stopped.
///
/// # Errors
/// When Postgres does not answer.
pub async fn lead(
    database: &Database,
    job: &str,
    stop: &CancellationToken,
) -> Result<Option<PgConnection>, sqlx::Error> {
    let mut connection = database.connect().await?;
    loop {
        let won: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
            .bind(job)
            .fetch_one(&mut connection)
            .await?;
        if won {
            sqlx::query(FROZEN).execute(&mut connection).await?;
            return Ok(Some(connection));
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Does `work` that does not use the connection, which is kept from resting for too long meanwhile.
///
/// # Errors
/// When the connection is gone, and with it the job: the work is not finished then.
pub async fn meanwhile<T>(
    connection: &mut PgConnection,
    work: impl Future<Output = T>,
) -> Result<T, sqlx::Error> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            () = tokio::time::sleep(SIGN_OF_LIFE) => connection.ping().await?,
        }
    }
}

/// Does `work` until stopped: again at once when it ends, after a pause when it fails.
pub async fn until_stopped<W, E>(
    job: &'static str,
    pause: Duration,
    stop: &CancellationToken,
    mut work: impl FnMut() -> W,
) where
    W: Future<Output = Result<(), E>>,
    E: Display,
{
    while !stop.is_cancelled() {
        let worked = tokio::select! {
            () = stop.cancelled() => return,
            worked = work() => worked,
        };
        if let Err(error) = worked {
            tracing::warn!(job, %error, "stopped and begins again");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
