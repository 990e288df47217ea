//! Forgets what is of no use any more.

use std::time::Duration;

use streams::Database;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(3_600);

/// Stored answers are kept for a week, refresh tokens until they expire.
const OLD: [&str; 2] = [
    "DELETE FROM idempotency_key WHERE created_at < now() - interval '7 days'",
    "DELETE FROM refresh_token WHERE expires_at < now()",
];

/// Looks once an hour until stopped.
pub(crate) async fn run(database: Database, stop: CancellationToken) {
    loop {
        for statement in OLD {
            if let Err(error) = sqlx::query(statement).execute(database.pool()).await {
                tracing::warn!(%error, "housekeeping failed; it is tried again in an hour");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
