use domain::{
    NotificationId,
    notification::{Notification, NotificationEvent, Plan},
};
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use streams::{
    consumer::{Failure, Projector},
    log::Recorded,
};

/// Builds `notifications`.
#[derive(Debug, Clone, Copy)]
pub struct NotificationsProjector;

impl Projector for NotificationsProjector {
    const NAME: &'static str = "project-notifications";
    const SCHEMA: &'static str = "notifications";

    async fn project(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        for event in batch {
            let Some(fact) = event.of::<Notification>()? else { continue };
            let id: NotificationId = event
                .stream
                .id
                .parse()
                .map_err(|error: domain::IdError| Failure::Poison(error.into()))?;
            apply(connection, event, id, fact).await?;
        }
        Ok(())
    }
}

/// What one event changes; `None` leaves a column.
#[derive(Default)]
struct Change {
    status: &'static str,
    attempts: Option<u32>,
    reason: Option<String>,
    sent: bool,
    next_at: Option<jiff::Timestamp>,
}

async fn apply(
    connection: &mut PgConnection,
    event: &Recorded,
    id: NotificationId,
    fact: NotificationEvent,
) -> Result<(), Failure> {
    let status = |status| Change { status, ..Change::default() };
    let tried = |status, attempt, reason| Change {
        status,
        attempts: Some(attempt),
        reason,
        ..Change::default()
    };
    let change = match fact {
        NotificationEvent::ReminderRequested { plan } | NotificationEvent::Requested { plan } => {
            return insert(connection, event, id, &plan, "pending", None).await;
        }
        NotificationEvent::Skipped { plan, reason } => {
            return insert(connection, event, id, &plan, "skipped", Some(&reason)).await;
        }
        NotificationEvent::FellDue {} => status("offered"),
        NotificationEvent::Sent { attempt } => {
            Change { sent: true, ..tried("sent", attempt, None) }
        }
        NotificationEvent::Deferred { attempt, reason, next_at } => {
            Change { next_at: Some(next_at), ..tried("pending", attempt, Some(reason)) }
        }
        NotificationEvent::Failed { attempt, reason } => tried("failed", attempt, Some(reason)),
        NotificationEvent::BecameUncertain { attempt, reason } => {
            tried("uncertain", attempt, Some(reason))
        }
        NotificationEvent::Cancelled {} => status("cancelled"),
        NotificationEvent::Expired {} => status("expired"),
    };
    sqlx::query(
        "UPDATE notification
            SET status = $2, attempts = coalesce($3, attempts), reason = coalesce($4, reason),
                sent_at = CASE WHEN $5 THEN $6 ELSE sent_at END, next_attempt_at = $7, sequence = $8
          WHERE notification_id = $1",
    )
    .bind(id.uuid())
    .bind(change.status)
    .bind(change.attempts.map(|n| i32::try_from(n).unwrap_or(i32::MAX)))
    .bind(change.reason)
    .bind(change.sent)
    .bind(event.occurred_at.to_sqlx())
    .bind(change.next_at.map(ToSqlx::to_sqlx))
    .bind(i64::try_from(event.sequence).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert(
    connection: &mut PgConnection,
    event: &Recorded,
    id: NotificationId,
    plan: &Plan,
    status: &str,
    reason: Option<&str>,
) -> Result<(), Failure> {
    sqlx::query(
        "INSERT INTO notification (notification_id, business_id, appointment_id, kind, channel,
                                   offset_minutes, due_at, status, attempts, reason, sequence)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10)",
    )
    .bind(id.uuid())
    .bind(event.business_id.uuid())
    .bind(plan.appointment_id.uuid())
    .bind(plan.kind.as_str())
    .bind(plan.channel.as_str())
    .bind(i32::try_from(plan.offset_minutes).unwrap_or(i32::MAX))
    .bind(plan.due_at.to_sqlx())
    .bind(status)
    .bind(reason)
    .bind(i64::try_from(event.sequence).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(())
}
