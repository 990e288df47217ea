use std::time::Duration;

use streams::{Cursor, Database, consumer};

use crate::ReadError;

const PATIENCE: Duration = Duration::from_secs(2);

/// Waits until the consumer has come as far as `position`, two seconds at most.
///
/// # Errors
/// When it has not, or Postgres does not answer.
pub async fn wait_for(
    database: &Database,
    consumer: &str,
    position: Cursor,
) -> Result<(), ReadError> {
    let mut pause = Duration::from_millis(2);
    let patience = tokio::time::Instant::now() + PATIENCE;
    loop {
        let checkpoints = consumer::checkpoints(database.pool()).await?;
        if checkpoints.iter().any(|c| c.consumer == consumer && c.cursor >= position) {
            return Ok(());
        }
        if tokio::time::Instant::now() >= patience {
            return Err(ReadError::Lagging);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
