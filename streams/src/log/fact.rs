use domain::{Aggregate, BusinessId};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sqlx::{
    Row, ValueRef,
    postgres::{PgRow, PgValueFormat},
};
use uuid::Uuid;

use super::{Recorded, Unreadable};
use crate::{BoxError, Cursor};

/// An event as projectors read it: borrowed from wherever it stands, so that nothing is copied that
/// nobody looks at.
#[derive(Debug, Clone, Copy)]
pub struct Fact<'e> {
    /// Its place in the feed.
    pub cursor: Cursor,
    /// Also the broker's message id.
    pub event_id: Uuid,
    /// The tenant.
    pub business_id: BusinessId,
    /// The type of the aggregate whose it is.
    pub kind: &'e str,
    /// The id of the aggregate whose it is.
    pub stream_id: &'e str,
    /// Its place in the stream, from 1, as tables keep it.
    pub sequence: i64,
    /// Such as `booking.appointment.booked.v1`.
    pub event_type: &'e str,
    /// The version of the payload.
    pub event_version: &'e str,
    /// When it was decided.
    pub occurred_at: Timestamp,
    payload: Payload<'e>,
}

#[derive(Debug, Clone, Copy)]
enum Payload<'e> {
    Parsed(&'e Value),
    Json(&'e [u8]),
}

impl Fact<'_> {
    /// The event, when it is one of this aggregate's, brought to the version that this build knows.
    ///
    /// # Errors
    /// When the payload does not fit the type.
    pub fn of<A: Aggregate>(&self) -> Result<Option<A::Event>, Unreadable> {
        if self.kind == A::TYPE { self.decode::<A>().map(Some) } else { Ok(None) }
    }

    /// The event as one of this aggregate's.
    ///
    /// # Errors
    /// When the payload does not fit the type.
    pub fn decode<A: Aggregate>(&self) -> Result<A::Event, Unreadable> {
        let read = if domain::is_upcast(self.event_type, self.event_version) {
            self.old::<A>()
        } else {
            match self.payload {
                Payload::Parsed(value) => A::Event::deserialize(value),
                Payload::Json(json) => serde_json::from_slice(json),
            }
        };
        read.map_err(|source| Unreadable {
            event_id: self.event_id,
            event_type: self.event_type.to_owned(),
            source,
        })
    }

    /// Of a version that steps lead up from.
    fn old<A: Aggregate>(&self) -> Result<A::Event, serde_json::Error> {
        let payload = match self.payload {
            Payload::Parsed(value) => value.clone(),
            Payload::Json(json) => serde_json::from_slice(json)?,
        };
        serde_json::from_value(domain::upcast(self.event_type, self.event_version, payload))
    }
}

impl Recorded {
    /// What projectors read of it.
    #[must_use]
    pub fn fact(&self) -> Fact<'_> {
        Fact {
            cursor: self.cursor,
            event_id: self.event_id,
            business_id: self.business_id,
            kind: &self.stream.kind,
            stream_id: &self.stream.id,
            sequence: i64::try_from(self.sequence).unwrap_or(i64::MAX),
            event_type: &self.event_type,
            event_version: &self.event_version,
            occurred_at: self.occurred_at,
            payload: Payload::Parsed(&self.payload),
        }
    }
}

/// A row of the log as Postgres sent it; [`Self::fact`] reads it.
#[derive(Debug)]
pub struct Stored(PgRow);

/// What [`Stored`] reads, from a table or alias `e`, in this order.
pub(crate) const STORED: &str = "e.transaction_id, e.position, e.event_id, e.business_id, \
    e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload, \
    e.occurred_at";

impl Stored {
    pub(crate) const fn new(row: PgRow) -> Self {
        Self(row)
    }

    /// Its place in the feed.
    ///
    /// # Errors
    /// When the columns are not those of the log.
    pub fn cursor(&self) -> Result<Cursor, sqlx::Error> {
        // sqlx does not know xid8, which is eight bytes.
        let transaction = self.bytes(0)?.try_into();
        let transaction = transaction.map_err(|error| misfit(0, error))?;
        Ok(Cursor::new(i64::from_be_bytes(transaction), self.0.try_get(1)?))
    }

    /// What projectors read of it.
    ///
    /// # Errors
    /// When the columns are not those of the log.
    pub fn fact(&self) -> Result<Fact<'_>, sqlx::Error> {
        let row = &self.0;
        // One byte with the version of the format, then text.
        let Some((1, json)) = self.bytes(9)?.split_first() else {
            return Err(misfit(9, "jsonb of another version"));
        };
        Ok(Fact {
            cursor: self.cursor()?,
            event_id: row.try_get(2)?,
            business_id: BusinessId::new(row.try_get(3)?),
            kind: row.try_get(4)?,
            stream_id: row.try_get(5)?,
            sequence: row.try_get(6)?,
            event_type: row.try_get(7)?,
            event_version: row.try_get(8)?,
            occurred_at: row.try_get::<jiff_sqlx::Timestamp, _>(10)?.to_jiff(),
            payload: Payload::Json(json),
        })
    }

    fn bytes(&self, column: usize) -> Result<&[u8], sqlx::Error> {
        let value = self.0.try_get_raw(column)?;
        if value.is_null() || value.format() != PgValueFormat::Binary {
            return Err(misfit(column, "a value in binary form was expected"));
        }
        value.as_bytes().map_err(|error| misfit(column, error))
    }
}

fn misfit(column: usize, error: impl Into<BoxError>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_string(), source: error.into() }
}
