use serde::Serialize;
use streams::{Cursor, Database, consumer, feed};

use crate::{CONSUMERS, ReadError};

/// How far a read model has come.
#[derive(Debug, Clone, Serialize)]
pub struct ProjectionStatus {
    /// The consumer.
    pub consumer: String,
    /// The last event in the log that readers can see.
    pub head: Cursor,
    /// The last event applied.
    pub checkpoint: Cursor,
    /// Events between the two, counted up to a limit.
    pub lag: i64,
    /// Why it stopped, when an event could not be applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
}

/// Head, checkpoint and lag of every consumer, counted up to `most`; one that never ran is at the
/// start.
///
/// # Errors
/// When Postgres does not answer.
pub async fn status(database: &Database, most: i64) -> Result<Vec<ProjectionStatus>, ReadError> {
    let head = feed::head(database.system()).await?;
    let mut found = consumer::checkpoints(database.system()).await?;
    for name in CONSUMERS {
        if !found.iter().any(|checkpoint| checkpoint.consumer == name) {
            let consumer = name.to_owned();
            found.push(consumer::Checkpoint { consumer, cursor: Cursor::START, halted: None });
        }
    }
    found.sort_by(|a, b| a.consumer.cmp(&b.consumer));
    let mut all = Vec::with_capacity(found.len());
    for checkpoint in found {
        all.push(ProjectionStatus {
            lag: feed::lag(database.system(), checkpoint.cursor, most).await?,
            consumer: checkpoint.consumer,
            head,
            checkpoint: checkpoint.cursor,
            halted: checkpoint.halted,
        });
    }
    Ok(all)
}
