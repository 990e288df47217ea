use std::time::Duration;

use domain::{
    Decide,
    notification::{NotificationCommand, NotificationEvent},
};
use jiff_sqlx::ToSqlx;
use streams::{BoxError, crash_point, log::CommitError};

use super::{Notifier, POINT, deliver::Taken};
use crate::work::{self, Work};

/// What was sent must be recorded, so recording is worth some patience: about ten minutes.
const TRIES: u32 = 120;
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// For one try.
const PATIENCE: Duration = Duration::from_secs(10);

impl Notifier {
    /// Records the outcome: event and row in one transaction.
    pub(super) async fn record(
        &self,
        taken: &Taken,
        command: NotificationCommand,
        answer: Option<String>,
    ) -> Result<(), BoxError> {
        let mut pause = PAUSE;
        // As it was taken, in all likelihood.
        let mut row = Some(taken.work.clone());
        for _ in 1..TRIES {
            let row = row.take();
            let attempt = self.try_record(taken, row, command.clone(), answer.as_deref());
            match tokio::time::timeout(PATIENCE, attempt).await {
                Ok(Ok(())) => return Ok(()),
                // A conflict is somebody who settled it meanwhile: look again what is true now.
                Ok(Err(error)) => tracing::debug!(%error, "an outcome is not recorded yet"),
                Err(_elapsed) => tracing::debug!("Postgres does not answer"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(self.try_record(taken, None, command, answer.as_deref()).await?)
    }

    async fn try_record(
        &self,
        taken: &Taken,
        row: Option<Work>,
        command: NotificationCommand,
        answer: Option<&str>,
    ) -> Result<(), CommitError> {
        let id = taken.work.notification_id;
        let row = match row {
            Some(row) => Some(row),
            None => work::find(self.log.database().system(), id).await?,
        };
        let Some(row) = row else { return Ok(()) };
        // Only who holds the lease may say what became of it; but that it was sent after all is worth
        // knowing about what was given up as uncertain.
        let held = row.state == "sending" && row.lease_token == Some(taken.token);
        let known_late = row.state == "uncertain"
            && row.attempts == taken.work.attempts
            && matches!(command, NotificationCommand::RecordSent { .. });
        if !held && !known_late {
            // A provider that told of its arrival was faster: who took it is still worth knowing.
            if row.attempts == taken.work.attempts
                && let NotificationCommand::RecordSent { attempt, receipt } = command
            {
                let sent = NotificationEvent::Sent { attempt, receipt };
                let mut writing = self.log.begin_system().await?;
                note(&mut writing, taken, &sent, answer).await?;
                writing.commit().await?;
            }
            tracing::info!(notification = %id, state = row.state, "an outcome came too late to count");
            return Ok(());
        }
        let decided = row.notification().decide(command);
        let events = decided.map_err(|error| CommitError::Store(error.into()))?;
        let Some(event) = events.last().cloned() else { return Ok(()) };
        let state = work::state_after(&event);
        let receipt = if let NotificationEvent::Sent { receipt, .. } = &event {
            receipt.as_ref()
        } else {
            None
        };
        let mut next_at = None;
        if let NotificationEvent::Deferred { next_at: at, .. } = &event {
            // Behind the start of the visit there is nothing to send: it expires then.
            next_at = Some((*at).min(row.expires_at).to_sqlx());
        }
        let mut writing = self.log.begin_system().await?;
        let append = std::iter::once(row.append(events));
        work::append(writing.connection(), "notifier", append).await?;
        let updated = sqlx::query(
            "UPDATE notification
                SET state = $2, sequence = sequence + 1, next_at = coalesce($3, next_at),
                    last_answer = $4, lease_token = NULL,
                    provider = coalesce($8, provider), provider_id = coalesce($9, provider_id)
              WHERE notification_id = $1 AND sequence = $5 AND state = $6
                AND lease_token IS NOT DISTINCT FROM $7",
        )
        .bind(id.uuid())
        .bind(state)
        .bind(next_at)
        .bind(answer)
        .bind(i64::try_from(row.sequence).unwrap_or(i64::MAX))
        .bind(&row.state)
        .bind(row.lease_token)
        .bind(receipt.map(|receipt| receipt.provider.as_str()))
        .bind(receipt.and_then(|receipt| receipt.provider_id.as_deref()))
        .execute(writing.connection())
        .await?;
        if updated.rows_affected() != 1 {
            return Err(CommitError::Conflict);
        }
        note(&mut writing, taken, &event, answer).await?;
        // A guest without an address is nothing that a person could retry.
        if let (NotificationEvent::Failed { .. }, Some(answer)) = (&event, answer) {
            set_aside(&mut writing, &taken.work, answer).await?;
        }
        crash_point(POINT, "recording").await;
        writing.commit().await?;
        metrics::counter!("apptremind_notifications_total", "outcome" => state).increment(1);
        Ok(())
    }
}

/// What came of this try, in the provider's words.
async fn note(
    writing: &mut streams::log::Writing,
    taken: &Taken,
    event: &NotificationEvent,
    answer: Option<&str>,
) -> Result<(), CommitError> {
    let (outcome, reason, receipt) = match event {
        NotificationEvent::Sent { receipt, .. } => ("sent", None, receipt.as_ref()),
        NotificationEvent::Deferred { reason, .. } => ("deferred", Some(reason), None),
        NotificationEvent::Failed { reason, .. } => ("failed", Some(reason), None),
        NotificationEvent::BecameUncertain { reason, .. } => ("uncertain", Some(reason), None),
        NotificationEvent::Cancelled { reason } => ("cancelled", reason.as_ref(), None),
        // No try ends with these.
        NotificationEvent::ReminderRequested { .. }
        | NotificationEvent::Requested { .. }
        | NotificationEvent::AccountMailRequested { .. }
        | NotificationEvent::Skipped { .. }
        | NotificationEvent::FellDue {}
        | NotificationEvent::Retried {}
        | NotificationEvent::Delivered {}
        | NotificationEvent::Undelivered { .. }
        | NotificationEvent::Expired {} => return Ok(()),
    };
    sqlx::query(
        "UPDATE notification_attempt
            SET ended_at = now(), outcome = $3, reason = $4, provider = $5, provider_id = $6,
                answer = $7
          WHERE notification_id = $1 AND attempt = $2",
    )
    .bind(taken.work.notification_id.uuid())
    .bind(i32::try_from(taken.work.attempts).unwrap_or(i32::MAX))
    .bind(outcome)
    .bind(reason)
    .bind(receipt.map(|receipt| receipt.provider.as_str()))
    .bind(receipt.and_then(|receipt| receipt.provider_id.as_deref()))
    .bind(answer)
    .execute(writing.connection())
    .await?;
    Ok(())
}

/// What was given up is for a person to look at.
pub(super) async fn set_aside(
    writing: &mut streams::log::Writing,
    work: &Work,
    answer: &str,
) -> Result<(), CommitError> {
    sqlx::query(
        "INSERT INTO dead_letter (id, business_id, consumer, subject_id, reason)
         VALUES ($1, $2, $5, $3, $4)
         ON CONFLICT (consumer, subject_id) DO UPDATE SET reason = excluded.reason",
    )
    .bind(work::token())
    .bind(work.business_id.uuid())
    .bind(work.notification_id.to_string())
    .bind(answer)
    .bind(format!("notify-{}", work.channel))
    .execute(writing.connection())
    .await?;
    Ok(())
}
