//! Forgets what is of no use any more.

use std::time::Duration;

use streams::Database;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(3_600);

/// Stored answers are kept for a week, refresh tokens until they expire. A few thousand at a time: a
/// long transaction would hold up every reader of the feed.
const OLD: [&str; 9] = [
    "DELETE FROM idempotency_key WHERE (business_id, key) IN
            (SELECT business_id, key FROM idempotency_key
              WHERE created_at < now() - interval '7 days' LIMIT 5000)",
    "DELETE FROM refresh_token WHERE token_hash IN
            (SELECT token_hash FROM refresh_token WHERE expires_at < now() LIMIT 5000)",
    // With what is left of their tokens. Access tokens of ended sessions are known as void for a while.
    "DELETE FROM session WHERE session_id IN
            (SELECT session_id FROM session
              WHERE expires_at < now() - interval '1 day' LIMIT 5000)",
    "DELETE FROM session WHERE session_id IN
            (SELECT session_id FROM session
              WHERE ended_at IS NOT NULL AND voided_at < now() - interval '1 day' LIMIT 5000)",
    "DELETE FROM password_reset WHERE reset_id IN
            (SELECT reset_id FROM password_reset
              WHERE expires_at < now() - interval '1 day' LIMIT 5000)",
    "DELETE FROM reset_wish WHERE wish_id IN
            (SELECT wish_id FROM reset_wish WHERE asked_at < now() - interval '1 day' LIMIT 5000)",
    // They hold an address.
    "DELETE FROM invitation WHERE invitation_id IN
            (SELECT invitation_id FROM invitation
              WHERE expires_at < now() - interval '30 days' LIMIT 5000)",
    "DELETE FROM quota WHERE (scope, subject) IN
            (SELECT scope, subject FROM quota WHERE ends_at < now() LIMIT 5000)",
    "DELETE FROM signing_key WHERE retires_at < now() - interval '1 day'",
];

/// Looks once an hour until stopped.
pub(crate) async fn run(database: Database, stop: CancellationToken) {
    loop {
        for statement in OLD {
            if let Err(error) = repeat(&database, statement, &stop).await {
                tracing::warn!(%error, "housekeeping failed; it is tried again in an hour");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn repeat(
    database: &Database,
    statement: &str,
    stop: &CancellationToken,
) -> Result<(), sqlx::Error> {
    while !stop.is_cancelled() {
        let forgotten = sqlx::query(statement).execute(database.system()).await?;
        if forgotten.rows_affected() == 0 {
            break;
        }
    }
    Ok(())
}
