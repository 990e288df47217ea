//! Who waits for a time to become free. The rows belong to the commands, which write them with the
//! events: they are never late, and never built anew.

use std::{fmt, str::FromStr};

use domain::{
    AppointmentId, BusinessId, ServiceId, StaffId, TimeSlot, WaitlistId,
    waitlist::{EntryStatus, Wish},
};
use jiff::Timestamp;
use sqlx::{Row, postgres::PgRow};
use streams::Database;

use crate::ReadError;

/// Answers from the rows of the waitlist.
#[derive(Debug, Clone)]
pub struct Waitlist {
    database: Database,
}

/// Which entries are asked for. Every part narrows.
#[derive(Debug, Clone, Copy, Default)]
pub struct WaitlistFilter {
    /// For what.
    pub service_id: Option<ServiceId>,
    /// In what state.
    pub status: Option<EntryStatus>,
    /// Behind the last row of the page before.
    pub after: Option<WaitlistCursor>,
    /// At most so many.
    pub limit: u32,
}

/// Where a page ended: an opaque string to callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitlistCursor(i64);

impl fmt::Display for WaitlistCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

impl FromStr for WaitlistCursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let place = text.strip_prefix('w').and_then(|place| place.parse().ok());
        place.map(Self).ok_or("must be a cursor as a list answered it")
    }
}

/// One guest who waits or waited.
#[derive(Debug, Clone)]
pub struct WaitlistRow {
    /// Which.
    pub waitlist_id: WaitlistId,
    /// Where it is.
    pub status: EntryStatus,
    /// What for.
    pub wish: Wish,
    /// Since when.
    pub joined_at: Timestamp,
    /// What is or was offered.
    pub appointment_id: Option<AppointmentId>,
    /// Who, unless erased.
    pub guest: Option<WaitingGuest>,
    place: i64,
}

/// What was given when the guest joined.
#[derive(Debug, Clone)]
pub struct WaitingGuest {
    /// How to call them.
    pub name: String,
    /// Where offers go.
    pub email: String,
    /// Where calls go.
    pub phone: Option<String>,
    /// The guest's own zone.
    pub timezone: Option<String>,
    /// In the guest's words.
    pub notes: Option<String>,
}

const SELECT: &str = "
SELECT e.*, p.name, p.email, p.phone, p.timezone, p.notes
  FROM waitlist_entry e LEFT JOIN waitlist_private p USING (waitlist_id, business_id)
 WHERE e.business_id = $1";

impl Waitlist {
    /// Over this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Entries in the order of joining, and where the next page begins.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn list(
        &self,
        business_id: BusinessId,
        filter: &WaitlistFilter,
    ) -> Result<(Vec<WaitlistRow>, Option<WaitlistCursor>), ReadError> {
        let sql = format!(
            "{SELECT} AND ($2::uuid IS NULL OR e.service_id = $2)
                AND ($3::text IS NULL OR e.status = $3)
                AND ($4::bigint IS NULL OR e.place > $4)
              ORDER BY e.place LIMIT $5"
        );
        let rows = sqlx::query(&sql)
            .bind(business_id.uuid())
            .bind(filter.service_id.map(ServiceId::uuid))
            .bind(filter.status.map(EntryStatus::as_str))
            .bind(filter.after.map(|after| after.0))
            .bind(i64::from(filter.limit) + 1)
            .fetch_all(&mut *self.database.tenant(business_id).await?)
            .await?;
        let mut items = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
        let more = items.len() > filter.limit as usize;
        items.truncate(filter.limit as usize);
        let next = items.last().filter(|_| more).map(|last| WaitlistCursor(last.place));
        Ok((items, next))
    }

    /// One entry; `None` when it is another tenant's or never was.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn get(
        &self,
        business_id: BusinessId,
        waitlist_id: WaitlistId,
    ) -> Result<Option<WaitlistRow>, ReadError> {
        let row = sqlx::query(&format!("{SELECT} AND e.waitlist_id = $2"))
            .bind(business_id.uuid())
            .bind(waitlist_id.uuid())
            .fetch_optional(&mut *self.database.tenant(business_id).await?)
            .await?;
        row.as_ref().map(from_row).transpose()
    }

    /// Who waits or has an offer, whoever joined first coming first.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn open(&self, business_id: BusinessId) -> Result<Vec<WaitlistRow>, ReadError> {
        let sql = format!("{SELECT} AND e.status IN ('waiting', 'offered') ORDER BY e.place");
        let rows = sqlx::query(&sql)
            .bind(business_id.uuid())
            .fetch_all(&mut *self.database.tenant(business_id).await?)
            .await?;
        rows.iter().map(from_row).collect()
    }
}

fn from_row(row: &PgRow) -> Result<WaitlistRow, ReadError> {
    let at = |column| row.try_get::<jiff_sqlx::Timestamp, _>(column);
    let odd = |error: domain::EmptySlot| ReadError::Store(error.into());
    let range = TimeSlot::try_new(at("from_at")?.to_jiff(), at("until_at")?.to_jiff());
    let wish = Wish {
        service_id: ServiceId::new(row.try_get("service_id")?),
        staff_id: row.try_get::<Option<_>, _>("staff_id")?.map(StaffId::new),
        range: range.map_err(odd)?,
    };
    let guest = match row.try_get::<Option<String>, _>("name")? {
        Some(name) => Some(WaitingGuest {
            name,
            email: row.try_get("email")?,
            phone: row.try_get("phone")?,
            timezone: row.try_get("timezone")?,
            notes: row.try_get("notes")?,
        }),
        None => None,
    };
    let status: String = row.try_get("status")?;
    let status = serde_json::from_value(serde_json::Value::String(status));
    Ok(WaitlistRow {
        waitlist_id: WaitlistId::new(row.try_get("waitlist_id")?),
        status: status.map_err(|error| ReadError::Store(error.into()))?,
        wish,
        joined_at: at("joined_at")?.to_jiff(),
        appointment_id: row.try_get::<Option<_>, _>("appointment_id")?.map(AppointmentId::new),
        guest,
        place: row.try_get("place")?,
    })
}
