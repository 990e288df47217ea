use std::{collections::HashMap, sync::Arc};

use domain::{
    BusinessId, StaffId, TimeOffId, TimeSlot,
    business::{Business, BusinessState},
    staff_schedule::Hours,
};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{Row, types::Json};
use streams::{Cursor, Database, consumer::Projector};
use uuid::Uuid;

use super::{
    AvailabilityProjector, Place, SlotsError,
    facts::{self, Reach},
    known::Known,
};
use crate::{ReadError, lanes::Lanes};

/// Answers from the availability model.
#[derive(Debug, Clone)]
pub struct Availability {
    pub(super) database: Database,
    pub(super) lanes: Arc<Lanes>,
    pub(super) known: Arc<Known>,
}

/// The hours of a staff member.
#[derive(Debug, Clone)]
pub struct StaffHours {
    /// When they work.
    pub hours: Hours,
    /// Their version, which is their `ETag`.
    pub version: u64,
}

/// An absence.
#[derive(Debug, Clone)]
pub struct TimeOffRow {
    /// Which.
    pub time_off_id: TimeOffId,
    /// When.
    pub slot: TimeSlot,
    /// In their own words.
    pub reason: Option<String>,
}

/// Slots are read at most so many at a time: more would not be faster.
const LANES: usize = 4;

impl Availability {
    /// Over this database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        let lanes = Arc::new(Lanes::new(database.clone(), LANES, facts::SETUP));
        Self { database, lanes, known: Arc::new(Known::new()) }
    }

    /// The business behind a public name, and what it consists of.
    ///
    /// # Errors
    /// When there is none, or Postgres does not answer.
    pub async fn published(
        &self,
        place: &Place,
    ) -> Result<(BusinessId, Arc<BusinessState>), SlotsError> {
        let facts = self.facts(place, |_| Reach::NOTHING).await?;
        Ok((facts.business_id, facts.state))
    }

    /// A business as the model knows it, and how far the model has come.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn business(
        &self,
        business_id: BusinessId,
    ) -> Result<Option<(BusinessState, Cursor)>, ReadError> {
        let row = sqlx::query(
            "SELECT b.state, c.transaction_id::text::bigint AS transaction_id, c.position
               FROM availability.business b, consumer_checkpoint c
              WHERE b.business_id = $1 AND c.consumer = $2",
        )
        .bind(business_id.uuid())
        .bind(AvailabilityProjector::NAME)
        .fetch_optional(&mut *self.database.tenant(business_id).await?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let cursor = Cursor {
            transaction_id: row.try_get("transaction_id")?,
            position: row.try_get("position")?,
        };
        match row.try_get::<Json<Business>, _>("state")?.0 {
            Business::Registered(state) => Ok(Some((*state, cursor))),
            Business::Unregistered => Ok(None),
        }
    }

    /// The hours of these staff members.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn hours(
        &self,
        business_id: BusinessId,
        staff_ids: &[StaffId],
    ) -> Result<HashMap<StaffId, StaffHours>, ReadError> {
        let rows: Vec<(Uuid, i64, Json<Hours>)> = sqlx::query_as(
            "SELECT staff_id, version, hours FROM availability.working_hours
              WHERE business_id = $1 AND staff_id = ANY($2)",
        )
        .bind(business_id.uuid())
        .bind(uuids(staff_ids))
        .fetch_all(&mut *self.database.tenant(business_id).await?)
        .await?;
        let hours = |(id, version, hours): (Uuid, i64, Json<Hours>)| {
            (StaffId::new(id), StaffHours { hours: hours.0, version: version.unsigned_abs() })
        };
        Ok(rows.into_iter().map(hours).collect())
    }

    /// The e-mail addresses of the roster: personal, so joined when reading.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn staff_emails(
        &self,
        business_id: BusinessId,
    ) -> Result<HashMap<StaffId, String>, ReadError> {
        let rows: Vec<(Uuid, String)> = sqlx::query_as(
            "SELECT staff_id, email FROM staff_private
              WHERE business_id = $1 AND email IS NOT NULL",
        )
        .bind(business_id.uuid())
        .fetch_all(&mut *self.database.tenant(business_id).await?)
        .await?;
        Ok(rows.into_iter().map(|(id, email)| (StaffId::new(id), email)).collect())
    }

    /// The absences of a staff member that end after `from` and start after `after`, in order, at most
    /// `limit`. No two of them overlap, so a start tells one from the others.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn time_off(
        &self,
        business_id: BusinessId,
        staff_id: StaffId,
        from: Timestamp,
        after: Option<Timestamp>,
        limit: i64,
    ) -> Result<Vec<TimeOffRow>, ReadError> {
        let rows = sqlx::query(
            "SELECT DISTINCT b.source_id, b.starts_at, b.ends_at, p.reason
               FROM availability.busy b
               LEFT JOIN time_off_private p
                 ON p.time_off_id = b.source_id AND p.business_id = b.business_id
              WHERE b.business_id = $1 AND b.staff_id = $2 AND b.kind = 'time_off'
                AND b.ends_at > $3 AND ($4::timestamptz IS NULL OR b.starts_at > $4)
              ORDER BY b.starts_at, b.source_id LIMIT $5",
        )
        .bind(business_id.uuid())
        .bind(staff_id.uuid())
        .bind(from.to_sqlx())
        .bind(after.map(|after| after.to_sqlx()))
        .bind(limit)
        .fetch_all(&mut *self.database.tenant(business_id).await?)
        .await?;
        let row = |row: &sqlx::postgres::PgRow| {
            Ok(TimeOffRow {
                time_off_id: TimeOffId::new(row.try_get("source_id")?),
                slot: slot(row)?,
                reason: row.try_get("reason")?,
            })
        };
        rows.iter().map(row).collect()
    }
}

fn uuids(staff_ids: &[StaffId]) -> Vec<Uuid> {
    staff_ids.iter().map(|id| id.uuid()).collect()
}

fn slot(row: &sqlx::postgres::PgRow) -> Result<TimeSlot, ReadError> {
    let at = |column| row.try_get::<jiff_sqlx::Timestamp, _>(column);
    TimeSlot::try_new(at("starts_at")?.to_jiff(), at("ends_at")?.to_jiff())
        .map_err(|error| ReadError::Store(error.into()))
}
