use std::time::Duration;

use domain::{
    Decide,
    notification::{NotificationCommand, NotificationEvent},
};
use jiff_sqlx::ToSqlx;
use streams::{BoxError, log::CommitError};

use super::{Notifier, deliver::Taken};
use crate::work;

/// What was sent must be recorded, so recording is worth some patience.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

impl Notifier {
    /// Records the outcome: event and row in one transaction.
    pub(super) async fn record(
        &self,
        taken: &Taken,
        command: NotificationCommand,
        answer: Option<String>,
    ) -> Result<(), BoxError> {
        let mut tries = 0;
        loop {
            let error = match self.try_record(taken, command.clone(), answer.as_deref()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            tries += 1;
            if tries == TRIES {
                return Err(error.into());
            }
            // A conflict is somebody who settled it meanwhile: look again what is true now.
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_record(
        &self,
        taken: &Taken,
        command: NotificationCommand,
        answer: Option<&str>,
    ) -> Result<(), CommitError> {
        let id = taken.work.notification_id;
        let Some(row) = work::find(self.log.database().pool(), id).await? else { return Ok(()) };
        let Ok(events) = row.notification().decide(command) else {
            tracing::warn!(notification = %id, state = row.state, "an outcome came too late to count");
            return Ok(());
        };
        let Some(event) = events.last().cloned() else { return Ok(()) };
        let state = work::state_after(&event);
        let mut next_at = None;
        if let NotificationEvent::Deferred { next_at: at, .. } = &event {
            next_at = Some(at.to_sqlx());
        }
        let mut writing = self.log.begin().await?;
        let append = std::iter::once(row.append(events));
        work::append(writing.connection(), "notifier", append).await?;
        let updated = sqlx::query(
            "UPDATE notification
                SET state = $2, sequence = sequence + 1, next_at = coalesce($3, next_at),
                    last_answer = $4, lease_token = NULL
              WHERE notification_id = $1 AND sequence = $5",
        )
        .bind(id.uuid())
        .bind(state)
        .bind(next_at)
        .bind(answer)
        .bind(i64::try_from(row.sequence).unwrap_or(i64::MAX))
        .execute(writing.connection())
        .await?;
        if updated.rows_affected() != 1 {
            return Err(CommitError::Conflict);
        }
        // A guest without an address is nothing that a person could retry.
        if let (NotificationEvent::Failed { .. }, Some(answer)) = (&event, answer) {
            self.set_aside(&mut writing, taken, answer).await?;
        }
        writing.commit().await?;
        metrics::counter!("apptremind_notifications_total", "outcome" => state).increment(1);
        Ok(())
    }

    /// What was given up is for a person to look at.
    async fn set_aside(
        &self,
        writing: &mut streams::log::Writing,
        taken: &Taken,
        answer: &str,
    ) -> Result<(), CommitError> {
        sqlx::query(
            "INSERT INTO dead_letter (id, business_id, consumer, subject_id, reason)
             VALUES ($1, $2, 'notify-email', $3, $4)
             ON CONFLICT (consumer, subject_id) DO UPDATE SET reason = excluded.reason",
        )
        .bind(work::token())
        .bind(taken.work.business_id.uuid())
        .bind(taken.work.notification_id.to_string())
        .bind(answer)
        .execute(writing.connection())
        .await?;
        Ok(())
    }
}
