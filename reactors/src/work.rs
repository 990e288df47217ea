//! The work table: what is to be sent, and who is at it.

use domain::{
    AppointmentId, BusinessId, DomainEvent, NotificationId,
    notification::{Notification, NotificationEvent, Outcome},
};
use jiff::Timestamp;
use sqlx::{PgConnection, PgExecutor, Row, postgres::PgRow};
use streams::{
    CommandContext, clock,
    log::{CommitError, Log, StreamKey, UnitOfWork},
};
use uuid::Uuid;

/// One message and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) notification_id: NotificationId,
    pub(crate) business_id: BusinessId,
    pub(crate) appointment_id: AppointmentId,
    pub(crate) kind: String,
    pub(crate) channel: String,
    pub(crate) version: i32,
    pub(crate) state: String,
    pub(crate) due_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) attempts: u32,
    pub(crate) offers: i32,
    pub(crate) handed_over: bool,
    pub(crate) sequence: u64,
}

/// What [`from_row`] reads.
pub(crate) const COLUMNS: &str = "notification_id, business_id, appointment_id, kind, channel, \
    version, state, due_at, expires_at, attempts, offers, handed_over_at IS NOT NULL AS handed_over, \
    sequence";

pub(crate) fn from_row(row: &PgRow) -> Result<Work, sqlx::Error> {
    let at = |column| -> Result<Timestamp, sqlx::Error> {
        Ok(row.try_get::<jiff_sqlx::Timestamp, _>(column)?.to_jiff())
    };
    Ok(Work {
        notification_id: NotificationId::new(row.try_get("notification_id")?),
        business_id: BusinessId::new(row.try_get("business_id")?),
        appointment_id: AppointmentId::new(row.try_get("appointment_id")?),
        kind: row.try_get("kind")?,
        channel: row.try_get("channel")?,
        version: row.try_get("version")?,
        state: row.try_get("state")?,
        due_at: at("due_at")?,
        expires_at: at("expires_at")?,
        attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
        offers: row.try_get("offers")?,
        handed_over: row.try_get("handed_over")?,
        sequence: row.try_get::<i64, _>("sequence")?.unsigned_abs(),
    })
}

impl Work {
    /// The aggregate as the row knows it: the row and the stream change in one transaction.
    pub(crate) fn notification(&self) -> Notification {
        let ended = |outcome| Notification::Ended { outcome };
        match self.state.as_str() {
            // After a try it waits for the next: its time has come already.
            "pending" if self.attempts == 0 => Notification::Pending,
            "sent" => ended(Outcome::Sent),
            "failed" => ended(Outcome::Failed),
            "uncertain" => ended(Outcome::Uncertain),
            "cancelled" => ended(Outcome::Cancelled),
            "expired" => ended(Outcome::Expired),
            "skipped" => ended(Outcome::Skipped),
            _ => Notification::Due,
        }
    }

    pub(crate) fn stream(&self) -> StreamKey {
        StreamKey::of::<Notification>(self.notification_id)
    }
}

/// The state that a row is in after an event.
pub(crate) const fn state_after(event: &NotificationEvent) -> &'static str {
    match event {
        NotificationEvent::ReminderRequested { .. }
        | NotificationEvent::Requested { .. }
        | NotificationEvent::Deferred { .. } => "pending",
        NotificationEvent::Skipped { .. } => "skipped",
        NotificationEvent::FellDue {} => "offered",
        NotificationEvent::Sent { .. } => "sent",
        NotificationEvent::Failed { .. } => "failed",
        NotificationEvent::BecameUncertain { .. } => "uncertain",
        NotificationEvent::Cancelled {} => "cancelled",
        NotificationEvent::Expired {} => "expired",
    }
}

/// Reads one row.
pub(crate) async fn find(
    executor: impl PgExecutor<'_>,
    id: NotificationId,
) -> Result<Option<Work>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM notification WHERE notification_id = $1");
    sqlx::query(&sql)
        .bind(id.uuid())
        .fetch_optional(executor)
        .await?
        .as_ref()
        .map(from_row)
        .transpose()
}

/// Appends one event to each message's stream, tenant by tenant. Before any other write of its
/// transaction: the feed relies on it. Whoever was faster makes it a conflict.
pub(crate) async fn append<'a, E: DomainEvent + 'a>(
    connection: &mut PgConnection,
    role: &'static str,
    events: impl Iterator<Item = (BusinessId, StreamKey, u64, Vec<E>)>,
) -> Result<(), CommitError> {
    let now = clock::now();
    let mut units: Vec<(BusinessId, UnitOfWork)> = Vec::new();
    for (business_id, stream, sequence, events) in events.filter(|(.., new)| !new.is_empty()) {
        let at = match units.iter().position(|(id, _)| *id == business_id) {
            Some(at) => at,
            None => {
                let context = CommandContext::of_system(business_id, role, now);
                units.push((business_id, UnitOfWork::new(context)));
                units.len() - 1
            }
        };
        if let Some((_, unit)) = units.get_mut(at) {
            unit.append_after(&stream, sequence, events)?;
        }
    }
    for (_, unit) in &units {
        Log::append(connection, unit).await?;
    }
    Ok(())
}

/// Fresh, for a lease that nobody else can hold.
pub(crate) fn token() -> Uuid {
    clock::new_id()
}
