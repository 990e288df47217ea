//! The work table: what is to be sent, and who is at it.

use std::collections::BTreeMap;

use domain::{
    AppointmentId, BusinessId, NotificationId,
    notification::{Channel, Notification, NotificationEvent, Outcome},
};
use jiff::Timestamp;
use sqlx::{PgConnection, PgExecutor, Row, postgres::PgRow};
use streams::{
    Actor, CommandContext, Origin, clock,
    log::{CommitError, Log, StreamKey, UnitOfWork},
};
use uuid::Uuid;

use crate::notifier::Offer;

/// One message and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) notification_id: NotificationId,
    pub(crate) business_id: BusinessId,
    pub(crate) appointment_id: AppointmentId,
    pub(crate) kind: String,
    pub(crate) channel: String,
    /// Elapsed minutes before the start.
    pub(crate) offset_minutes: u32,
    pub(crate) version: u32,
    /// How often it was planned again.
    pub(crate) round: u32,
    pub(crate) state: String,
    pub(crate) due_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) attempts: u32,
    pub(crate) offers: i32,
    pub(crate) handed_over: bool,
    /// Who is sending it now.
    pub(crate) lease_token: Option<Uuid>,
    pub(crate) sequence: u64,
    pub(crate) origin: Origin,
}

/// An event to be appended: whose, caused by what, in which stream, behind which sequence.
pub(crate) struct Append {
    pub(crate) business_id: BusinessId,
    pub(crate) origin: Origin,
    pub(crate) stream: StreamKey,
    pub(crate) sequence: u64,
    pub(crate) events: Vec<NotificationEvent>,
}

/// What [`from_row`] reads.
pub(crate) const COLUMNS: &str = "notification_id, business_id, appointment_id, kind, channel, \
    offset_minutes, version, round, state, due_at, expires_at, attempts, offers, handed_over_at IS NOT NULL AS handed_over, \
    lease_token, sequence, correlation_id, traceparent";

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
        offset_minutes: row.try_get::<i32, _>("offset_minutes")?.unsigned_abs(),
        version: row.try_get::<i32, _>("version")?.unsigned_abs(),
        round: row.try_get::<i32, _>("round")?.unsigned_abs(),
        state: row.try_get("state")?,
        due_at: at("due_at")?,
        expires_at: at("expires_at")?,
        attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
        offers: row.try_get("offers")?,
        handed_over: row.try_get("handed_over")?,
        lease_token: row.try_get("lease_token")?,
        sequence: row.try_get::<i64, _>("sequence")?.unsigned_abs(),
        origin: Origin {
            correlation_id: row.try_get("correlation_id")?,
            causation_id: None,
            traceparent: row.try_get("traceparent")?,
        },
    })
}

impl Work {
    /// The aggregate as the row knows it: the row and the stream change in one transaction.
    pub(crate) fn notification(&self) -> Notification {
        let ended = |outcome| Notification::Ended { outcome };
        match self.state.as_str() {
            // After a try, or when its provider was not to be asked, its time has come already.
            "pending" if self.attempts == 0 && self.offers == 0 => Notification::Pending,
            "sent" => ended(Outcome::Sent),
            "delivered" => ended(Outcome::Delivered),
            "failed" => ended(Outcome::Failed),
            "uncertain" => ended(Outcome::Uncertain),
            "cancelled" => ended(Outcome::Cancelled),
            "expired" => ended(Outcome::Expired),
            "skipped" => ended(Outcome::Skipped),
            _ => Notification::Due,
        }
    }

    /// `None` for a channel that this build does not know.
    pub(crate) fn offer(&self) -> Option<Offer> {
        let channel = Channel::named(&self.channel)?;
        Some(Offer { id: self.notification_id, channel, business_id: self.business_id })
    }

    pub(crate) fn append(&self, events: Vec<NotificationEvent>) -> Append {
        Append {
            business_id: self.business_id,
            origin: self.origin.clone(),
            stream: StreamKey::of::<Notification>(self.notification_id),
            sequence: self.sequence,
            events,
        }
    }
}

/// The state that a row is in after an event.
pub(crate) const fn state_after(event: &NotificationEvent) -> &'static str {
    match event {
        NotificationEvent::ReminderRequested { .. }
        | NotificationEvent::Requested { .. }
        | NotificationEvent::AccountMailRequested { .. }
        | NotificationEvent::Deferred { .. }
        | NotificationEvent::Retried {} => "pending",
        NotificationEvent::Delivered {} => "delivered",
        // What the provider could not bring is as lost as what it did not take.
        NotificationEvent::Undelivered { .. } => "failed",
        NotificationEvent::Skipped { .. } => "skipped",
        NotificationEvent::FellDue {} => "offered",
        NotificationEvent::Sent { .. } => "sent",
        NotificationEvent::Failed { .. } => "failed",
        NotificationEvent::BecameUncertain { .. } => "uncertain",
        NotificationEvent::Cancelled { .. } => "cancelled",
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

/// Appends events to messages' streams, in one statement. Before any other write of its
/// transaction: the feed relies on it. Whoever was faster makes it a conflict.
pub(crate) async fn append(
    connection: &mut PgConnection,
    role: &'static str,
    appends: impl Iterator<Item = Append>,
) -> Result<(), CommitError> {
    let now = clock::now();
    let mut units: BTreeMap<BusinessId, UnitOfWork> = BTreeMap::new();
    for new in appends.filter(|new| !new.events.is_empty()) {
        let unit = units.entry(new.business_id).or_insert_with(|| {
            UnitOfWork::new(CommandContext {
                business_id: new.business_id,
                actor: Actor::System(role),
                now,
                origin: new.origin.clone(),
            })
        });
        unit.append_caused_by(Some(&new.origin), &new.stream, new.sequence, new.events)?;
    }
    if !units.is_empty() {
        Log::append(connection, &units.values().collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Fresh, for a lease that nobody else can hold.
pub(crate) fn token() -> Uuid {
    clock::new_id()
}
