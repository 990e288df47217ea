use std::time::Duration;

use domain::{
    Decide,
    notification::{NotificationCommand, NotificationEvent, Receipt},
};
use jiff_sqlx::{Timestamp, ToSqlx};
use sqlx::{Connection, PgConnection};
use streams::{BoxError, crash_point, log::CommitError};

use super::{Notifier, POINT, lease::Taken};
use crate::work::{self, Work};

/// What was sent must be recorded, so recording is worth some patience: about ten minutes.
const TRIES: u32 = 120;
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// For one try.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of a try, to be recorded.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    taken: Taken,
    command: NotificationCommand,
    /// In the provider's words.
    answer: Option<String>,
}

/// What an outcome makes of a row.
struct Settled<'a> {
    outcome: &'a Outcome,
    /// As it was read.
    row: Work,
    events: Vec<NotificationEvent>,
    /// The last of them, and the state after it.
    event: NotificationEvent,
    state: &'static str,
}

impl Outcome {
    /// `None` when there is nothing to write.
    fn settle(&self, row: Work) -> Result<Option<Settled<'_>>, CommitError> {
        let decided = row.notification().decide(self.command.clone());
        let events = decided.map_err(|error| CommitError::Store(error.into()))?;
        let Some(event) = events.last().cloned() else { return Ok(None) };
        let state = work::state_after(&event);
        Ok(Some(Settled { outcome: self, row, events, event, state }))
    }
}

impl Settled<'_> {
    fn note(&self) -> Option<Note<'_>> {
        Note::of(&self.outcome.taken, &self.event, self.outcome.answer.as_deref())
    }

    fn receipt(&self) -> Option<&Receipt> {
        let NotificationEvent::Sent { receipt, .. } = &self.event else { return None };
        receipt.as_ref()
    }

    /// Behind the start of the visit there is nothing to send: it expires then.
    fn next_at(&self) -> Option<Timestamp> {
        let NotificationEvent::Deferred { next_at, .. } = &self.event else { return None };
        Some((*next_at).min(self.row.expires_at).to_sqlx())
    }
}

impl Notifier {
    /// Records the outcome: event and row in one transaction, which it shares with the outcomes of others
    /// that come at the same moment.
    pub(super) async fn record(
        &self,
        taken: &Taken,
        command: NotificationCommand,
        answer: Option<String>,
    ) -> Result<(), BoxError> {
        let outcome = Outcome { taken: taken.clone(), command, answer };
        let shared = self.outcomes.ask(outcome.clone(), async |kept, outcomes| {
            let mut connection = self.steady(kept).await?;
            let recorded = self.record_all(&mut connection, outcomes).await?;
            Ok::<_, CommitError>((connection, recorded))
        });
        if shared.await.is_some() {
            return Ok(());
        }
        // One of them did not fit, or Postgres does not answer: each for itself now.
        let mut pause = PAUSE;
        for _ in 2..TRIES {
            tokio::time::sleep(pause).await;
            match tokio::time::timeout(PATIENCE, self.record_alone(&outcome)).await {
                Ok(Ok(())) => return Ok(()),
                // A conflict is somebody who settled it meanwhile: look again what is true now.
                Ok(Err(error)) => tracing::debug!(%error, "an outcome is not recorded yet"),
                Err(_elapsed) => tracing::debug!("Postgres does not answer"),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        tokio::time::sleep(pause).await;
        Ok(self.record_alone(&outcome).await?)
    }

    /// All or none.
    async fn record_all(
        &self,
        connection: &mut PgConnection,
        outcomes: Vec<Outcome>,
    ) -> Result<Vec<()>, CommitError> {
        // As they were taken, in all likelihood.
        let settled = outcomes.iter().map(|outcome| outcome.settle(outcome.taken.work.clone()));
        let settled: Vec<_> = settled.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        self.write(connection, settled).await?;
        Ok(vec![(); outcomes.len()])
    }

    async fn record_alone(&self, outcome: &Outcome) -> Result<(), CommitError> {
        let Outcome { taken, command, answer } = outcome;
        let id = taken.work.notification_id;
        let Some(row) = work::find(self.log.database().system(), id).await? else { return Ok(()) };
        // Only who holds the lease may say what became of it; but that it was sent after all is worth
        // knowing about what was given up as uncertain.
        let held = row.state == "sending" && row.lease_token == Some(taken.token);
        let known_late = row.state == "uncertain"
            && row.attempts == taken.work.attempts
            && matches!(command, NotificationCommand::RecordSent { .. });
        if held || known_late {
            let mut connection = self.log.database().system().acquire().await?;
            return self.write(&mut connection, outcome.settle(row)?.into_iter().collect()).await;
        }
        // A provider that told of its arrival was faster: who took it is still worth knowing.
        if row.attempts == taken.work.attempts
            && let NotificationCommand::RecordSent { attempt, receipt } = command
        {
            let sent = NotificationEvent::Sent { attempt: *attempt, receipt: receipt.clone() };
            let mut writing = self.log.begin_system().await?;
            let notes = Note::of(taken, &sent, answer.as_deref());
            note(writing.connection(), &notes.into_iter().collect::<Vec<_>>()).await?;
            writing.commit().await?;
        }
        tracing::info!(notification = %id, state = row.state, "an outcome came too late to count");
        Ok(())
    }

    /// All in one transaction.
    async fn write(
        &self,
        connection: &mut PgConnection,
        mut settled: Vec<Settled<'_>>,
    ) -> Result<(), CommitError> {
        if settled.is_empty() {
            return Ok(());
        }
        let mut writing = connection.begin().await?;
        let appends = settled.iter_mut().map(|s| s.row.append(std::mem::take(&mut s.events)));
        work::append(&mut writing, "notifier", appends).await?;
        update(&mut writing, &settled).await?;
        note(&mut writing, &settled.iter().filter_map(Settled::note).collect::<Vec<_>>()).await?;
        for Settled { outcome, event, .. } in &settled {
            // A guest without an address is nothing that a person could retry.
            if let (NotificationEvent::Failed { .. }, Some(answer)) = (event, &outcome.answer) {
                set_aside(&mut writing, &outcome.taken.work, answer).await?;
            }
        }
        crash_point(POINT, "recording").await;
        writing.commit().await?;
        self.log.nudge();
        for Settled { state, .. } in settled {
            metrics::counter!("apptremind_notifications_total", "outcome" => state).increment(1);
        }
        Ok(())
    }
}

/// Each row only as it was read.
async fn update(connection: &mut PgConnection, settled: &[Settled<'_>]) -> Result<(), CommitError> {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let receipts = || settled.iter().map(Settled::receipt);
    let updated = sqlx::query(
        "UPDATE notification n
            SET state = s.state, sequence = n.sequence + 1, lease_token = NULL,
                next_at = coalesce(s.next_at, n.next_at), last_answer = s.answer,
                provider = coalesce(s.provider, n.provider),
                provider_id = coalesce(s.provider_id, n.provider_id)
           FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::uuid[], $5::text[],
                       $6::timestamptz[], $7::text[], $8::text[], $9::text[])
             AS s (id, read, was, token, state, next_at, answer, provider, provider_id)
          WHERE n.notification_id = s.id AND n.sequence = s.read AND n.state = s.was
            AND n.lease_token IS NOT DISTINCT FROM s.token",
    )
    .bind(settled.iter().map(|s| s.row.notification_id.uuid()).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| number(s.row.sequence)).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| s.row.state.as_str()).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| s.row.lease_token).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| s.state).collect::<Vec<_>>())
    .bind(settled.iter().map(Settled::next_at).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| s.outcome.answer.as_deref()).collect::<Vec<_>>())
    .bind(receipts().map(|r| r.map(|r| r.provider.as_str())).collect::<Vec<_>>())
    .bind(receipts().map(|r| r.and_then(|r| r.provider_id.as_deref())).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    if updated.rows_affected() != settled.len() as u64 {
        return Err(CommitError::Conflict);
    }
    Ok(())
}

/// What came of a try, in the provider's words.
struct Note<'a> {
    taken: &'a Taken,
    outcome: &'static str,
    reason: Option<&'a str>,
    receipt: Option<&'a Receipt>,
    answer: Option<&'a str>,
}

impl<'a> Note<'a> {
    /// `None` for an event that no try ends with.
    fn of(taken: &'a Taken, event: &'a NotificationEvent, answer: Option<&'a str>) -> Option<Self> {
        let (outcome, reason, receipt) = match event {
            NotificationEvent::Sent { receipt, .. } => ("sent", None, receipt.as_ref()),
            NotificationEvent::Deferred { reason, .. } => ("deferred", Some(reason), None),
            NotificationEvent::Failed { reason, .. } => ("failed", Some(reason), None),
            NotificationEvent::BecameUncertain { reason, .. } => ("uncertain", Some(reason), None),
            NotificationEvent::Cancelled { reason } => ("cancelled", reason.as_ref(), None),
            NotificationEvent::ReminderRequested { .. }
            | NotificationEvent::Requested { .. }
            | NotificationEvent::AccountMailRequested { .. }
            | NotificationEvent::Skipped { .. }
            | NotificationEvent::FellDue {}
            | NotificationEvent::Retried {}
            | NotificationEvent::Delivered {}
            | NotificationEvent::Undelivered { .. }
            | NotificationEvent::Expired {} => return None,
        };
        Some(Self { taken, outcome, reason: reason.map(String::as_str), receipt, answer })
    }

    fn provider(&self) -> Option<&str> {
        self.receipt.map(|receipt| receipt.provider.as_str())
    }

    fn provider_id(&self) -> Option<&str> {
        self.receipt.and_then(|receipt| receipt.provider_id.as_deref())
    }
}

async fn note(connection: &mut PgConnection, notes: &[Note<'_>]) -> Result<(), CommitError> {
    let attempt = |note: &Note<'_>| i32::try_from(note.taken.work.attempts).unwrap_or(i32::MAX);
    sqlx::query(
        "UPDATE notification_attempt a
            SET ended_at = now(), outcome = n.outcome, reason = n.reason, provider = n.provider,
                provider_id = n.provider_id, answer = n.answer
           FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[],
                       $7::text[])
             AS n (id, attempt, outcome, reason, provider, provider_id, answer)
          WHERE a.notification_id = n.id AND a.attempt = n.attempt",
    )
    .bind(notes.iter().map(|n| n.taken.work.notification_id.uuid()).collect::<Vec<_>>())
    .bind(notes.iter().map(attempt).collect::<Vec<_>>())
    .bind(notes.iter().map(|n| n.outcome).collect::<Vec<_>>())
    .bind(notes.iter().map(|n| n.reason).collect::<Vec<_>>())
    .bind(notes.iter().map(Note::provider).collect::<Vec<_>>())
    .bind(notes.iter().map(Note::provider_id).collect::<Vec<_>>())
    .bind(notes.iter().map(|n| n.answer).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// What was given up is for a person to look at.
pub(super) async fn set_aside(
    connection: &mut PgConnection,
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
    .execute(connection)
    .await?;
    Ok(())
}
