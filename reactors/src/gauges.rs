//! What waits, counted now and then for whoever watches over the system.

use std::time::Duration;

use sqlx::PgConnection;
use streams::{BoxError, Database, leader};
use tokio_util::sync::CancellationToken;

const JOB: &str = "count-what-waits";
const TICK: Duration = Duration::from_secs(10);
/// A round that takes longer has lost its server.
const PATIENCE: Duration = Duration::from_secs(30);
/// No more are counted: that it is so many is enough to know.
const MOST: i64 = 1_000_000;

/// One process at a time counts, until stopped.
pub(crate) async fn run(database: Database, stop: CancellationToken) {
    let work = async || -> Result<(), BoxError> {
        let lead = leader::lead(&database, JOB, &stop).await?;
        let Some(mut connection) = lead else { return Ok(()) };
        loop {
            let counted = tokio::time::timeout(PATIENCE, count(&mut connection)).await;
            counted.map_err(|_elapsed| "Postgres does not answer")??;
            tokio::time::sleep(TICK).await;
        }
    };
    leader::until_stopped(JOB, TICK, &stop, work).await;
    // Whoever counts next says what is true then.
    forget();
}

async fn count(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let (due, under_way, letters, replans, oldest): (i64, i64, i64, i64, f64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM (SELECT FROM notification
                  WHERE state = 'pending' AND channel IN ('email', 'sms') AND next_at <= now()
                  LIMIT $1) AS due),
                (SELECT count(*) FROM notification WHERE state IN ('offered', 'sending')),
                (SELECT count(*) FROM (SELECT FROM dead_letter LIMIT $1) AS letters),
                (SELECT count(*) FROM replan),
                coalesce((SELECT extract(epoch FROM now() - min(next_at)) FROM notification
                           WHERE state = 'pending' AND channel IN ('email', 'sms')
                             AND next_at <= now()), 0)::float8",
    )
    .bind(MOST)
    .fetch_one(connection)
    .await?;
    set(due as f64, under_way as f64, letters as f64, replans as f64, oldest);
    Ok(())
}

fn set(due: f64, under_way: f64, letters: f64, replans: f64, oldest: f64) {
    metrics::gauge!("apptremind_notifications_waiting", "state" => "due").set(due);
    metrics::gauge!("apptremind_notifications_waiting", "state" => "under_way").set(under_way);
    metrics::gauge!("apptremind_dead_letters").set(letters);
    metrics::gauge!("apptremind_replans_waiting").set(replans);
    metrics::gauge!("apptremind_notification_oldest_due_seconds").set(oldest);
}

fn forget() {
    set(0.0, 0.0, 0.0, 0.0, 0.0);
}
