//! Waits for read models, and builds them in this process.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use sqlx::Row;
use streams::{Cursor, Database, broker::Broker, consumer, feed};
use tokio_util::sync::CancellationToken;

/// Longer than the largest history takes.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// A broker that is not there: consumers then read the log.
pub(crate) async fn no_broker() -> Result<Broker> {
    Broker::connect("nats://127.0.0.1:1").await.map_err(|error| anyhow!(error))
}

/// The projectors' checkpoints, the lowest first; `None` while one of them never ran.
async fn lowest(database: &Database, names: &[&str]) -> Result<Option<Cursor>> {
    let all = consumer::checkpoints(database.system()).await?;
    let found = names.iter().map(|name| all.iter().find(|c| c.consumer == *name));
    let mut lowest = None;
    for checkpoint in found {
        let Some(checkpoint) = checkpoint else { return Ok(None) };
        if let Some(reason) = &checkpoint.halted {
            bail!("{} halted: {reason}", checkpoint.consumer);
        }
        lowest = Some(lowest.map_or(checkpoint.cursor, |low: Cursor| low.min(checkpoint.cursor)));
    }
    Ok(lowest)
}

/// Until these consumers have every event that is in the log now.
pub(crate) async fn caught_up(database: &Database, names: &[&str]) -> Result<()> {
    let head = feed::head(database.system()).await?;
    let began = Instant::now();
    while lowest(database, names).await?.is_none_or(|cursor| cursor < head) {
        if began.elapsed() > PATIENCE {
            bail!("the read models do not catch up");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Until the relay has published every event that is in the log now.
pub(crate) async fn relayed(database: &Database) -> Result<()> {
    let head = feed::head(database.system()).await?;
    let began = Instant::now();
    loop {
        let row = sqlx::query(
            "SELECT transaction_id::text::bigint AS transaction_id, position FROM relay_cursor",
        )
        .fetch_one(database.system())
        .await?;
        let (transaction_id, position) = (row.try_get("transaction_id")?, row.try_get("position")?);
        if (Cursor { transaction_id, position }) >= head {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("the relay does not catch up");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Until nobody has anything to do: every consumer has every event, and no mail is due.
pub(crate) async fn settled(database: &Database) -> Result<()> {
    let began = Instant::now();
    loop {
        let head = feed::head(database.system()).await?;
        let all = consumer::checkpoints(database.system()).await?;
        let due: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM notification
              WHERE state IN ('offered', 'sending') OR state = 'pending' AND next_at < now()",
        )
        .fetch_one(database.system())
        .await?;
        if due == 0 && all.iter().all(|checkpoint| checkpoint.cursor >= head) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("the system does not come to rest");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Builds all read models from the log.
pub(crate) async fn build(database: &Database) -> Result<()> {
    let stop = CancellationToken::new();
    let running =
        tokio::spawn(projections::run(database.clone(), no_broker().await?, stop.clone()));
    let built = caught_up(database, &projections::CONSUMERS).await;
    stop.cancel();
    running.await?;
    built
}
