//! What providers say later of messages that they took.

use domain::{
    Decide, NotificationId,
    notification::{NotificationCommand, NotificationError},
};
use streams::{
    BoxError,
    log::{CommitError, Log},
};

use super::record::set_aside;
use crate::{
    TwilioStatus,
    work::{self, Work},
};

/// Somebody else may write at the same moment.
const TRIES: u32 = 5;

/// Records whether a try of a message arrived. False when there is no such message.
///
/// # Errors
/// When Postgres does not answer.
pub async fn record_delivery(
    log: &Log,
    (id, attempt): (NotificationId, u32),
    status: &TwilioStatus,
) -> Result<bool, BoxError> {
    let command = match status {
        TwilioStatus::Underway => return Ok(find(log, id).await?.is_some()),
        TwilioStatus::Delivered => NotificationCommand::RecordDelivered,
        TwilioStatus::Undelivered { reason } => {
            NotificationCommand::RecordUndelivered { reason: reason.clone() }
        }
    };
    for _ in 1..TRIES {
        match try_record(log, (id, attempt), command.clone()).await {
            Err(CommitError::Conflict) => {}
            done => return Ok(done?),
        }
    }
    Ok(try_record(log, (id, attempt), command).await?)
}

async fn find(log: &Log, id: NotificationId) -> Result<Option<Work>, sqlx::Error> {
    work::find(log.database().system(), id).await
}

async fn try_record(
    log: &Log,
    (id, attempt): (NotificationId, u32),
    command: NotificationCommand,
) -> Result<bool, CommitError> {
    let Some(row) = find(log, id).await? else { return Ok(false) };
    // It was tried again since, or was not tried at all.
    if row.attempts != attempt || row.state == "pending" || row.state == "offered" {
        return Ok(true);
    }
    let events = match row.notification().decide(command) {
        Ok(events) => events,
        // Told twice, or of what has ended otherwise: the first word stands.
        Err(NotificationError::Ended { .. } | NotificationError::NotSent) => vec![],
        Err(error @ NotificationError::NotFound) => return Err(CommitError::Store(error.into())),
    };
    let Some(event) = events.last().cloned() else { return Ok(true) };
    let state = work::state_after(&event);
    let mut writing = log.begin_system().await?;
    work::append(writing.connection(), "notifier", std::iter::once(row.append(events))).await?;
    let updated = sqlx::query(
        "UPDATE notification SET state = $2, sequence = sequence + 1, lease_token = NULL
          WHERE notification_id = $1 AND sequence = $3 AND state = $4",
    )
    .bind(id.uuid())
    .bind(state)
    .bind(i64::try_from(row.sequence).unwrap_or(i64::MAX))
    .bind(&row.state)
    .execute(writing.connection())
    .await?;
    if updated.rows_affected() != 1 {
        return Err(CommitError::Conflict);
    }
    // Its sender may not come to say so.
    sqlx::query(
        "UPDATE notification_attempt SET ended_at = now(), outcome = 'sent'
          WHERE notification_id = $1 AND attempt = $2 AND ended_at IS NULL",
    )
    .bind(id.uuid())
    .bind(i32::try_from(attempt).unwrap_or(i32::MAX))
    .execute(writing.connection())
    .await?;
    if state == "failed" {
        set_aside(writing.connection(), &row, "the provider could not deliver it").await?;
    }
    writing.commit().await?;
    metrics::counter!("apptremind_notifications_total", "outcome" => state).increment(1);
    Ok(true)
}
