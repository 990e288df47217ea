use std::fmt::Display;

use domain::{Aggregate, BusinessId};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{Cursor, Origin};

/// Names one stream: the aggregate's type and its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// [`Aggregate::TYPE`].
    pub kind: String,
    /// The id as text.
    pub id: String,
}

impl StreamKey {
    /// The stream of an aggregate.
    pub fn of<A: Aggregate>(id: impl Display) -> Self {
        Self { kind: A::TYPE.to_owned(), id: id.to_string() }
    }
}

/// An event as it stands in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Its place in the feed.
    pub cursor: Cursor,
    /// Also the broker's message id.
    pub event_id: Uuid,
    /// The tenant.
    pub business_id: BusinessId,
    /// Whose it is.
    pub stream: StreamKey,
    /// Its place in the stream, from 1.
    pub sequence: u64,
    /// Such as `booking.appointment.booked.v1`.
    pub event_type: String,
    /// The version of the payload.
    pub event_version: String,
    /// The event itself.
    pub payload: Value,
    /// Who asked.
    pub actor: String,
    /// Ties together all that follows from one request.
    pub correlation_id: Uuid,
    /// The event that caused it.
    pub causation_id: Option<Uuid>,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// When it was decided, by the clock of the process that decided.
    pub occurred_at: Timestamp,
}

/// A stored event that this build cannot read.
#[derive(Debug, thiserror::Error)]
#[error("event {event_id} of type {event_type} cannot be read: {source}")]
pub struct Unreadable {
    /// Which.
    pub event_id: Uuid,
    /// Of what type.
    pub event_type: String,
    /// Why.
    #[source]
    pub source: serde_json::Error,
}

impl Recorded {
    /// For what this event causes.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin {
            correlation_id: self.correlation_id,
            causation_id: Some(self.event_id),
            traceparent: self.traceparent.clone(),
        }
    }

    /// The event, brought to the version that this build knows.
    ///
    /// # Errors
    /// When the payload does not fit the type.
    pub fn decode<A: Aggregate>(&self) -> Result<A::Event, Unreadable> {
        self.fact().decode::<A>()
    }

    /// The event, when it is one of this aggregate's.
    ///
    /// # Errors
    /// When the payload does not fit the type.
    pub fn of<A: Aggregate>(&self) -> Result<Option<A::Event>, Unreadable> {
        self.fact().of::<A>()
    }
}

/// What [`from_row`] reads, from a table or alias `e`.
pub(crate) const COLUMNS: &str = "e.transaction_id::text::bigint AS transaction_id, e.position, \
    e.event_id, e.business_id, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, \
    e.event_version, e.payload, e.actor, e.correlation_id, e.causation_id, e.traceparent, \
    e.occurred_at";

pub(crate) fn from_row(row: &PgRow) -> Result<Recorded, sqlx::Error> {
    let sequence: i64 = row.try_get("sequence")?;
    let occurred_at: jiff_sqlx::Timestamp = row.try_get("occurred_at")?;
    Ok(Recorded {
        cursor: Cursor::new(row.try_get("transaction_id")?, row.try_get("position")?),
        event_id: row.try_get("event_id")?,
        business_id: BusinessId::new(row.try_get("business_id")?),
        stream: StreamKey {
            kind: row.try_get("aggregate_type")?,
            id: row.try_get("aggregate_id")?,
        },
        sequence: sequence.unsigned_abs(),
        event_type: row.try_get("event_type")?,
        event_version: row.try_get("event_version")?,
        payload: row.try_get("payload")?,
        actor: row.try_get("actor")?,
        correlation_id: row.try_get("correlation_id")?,
        causation_id: row.try_get("causation_id")?,
        traceparent: row.try_get("traceparent")?,
        occurred_at: occurred_at.to_jiff(),
    })
}
