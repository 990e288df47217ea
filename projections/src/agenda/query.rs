use std::{fmt, str::FromStr};

use domain::{
    AppointmentId, BusinessId, CustomerId, Money, SeriesId, ServiceId, StaffId, appointment::Status,
};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{Row, postgres::PgRow};
use streams::{
    Database,
    log::{GuestAddress, Log},
};
use uuid::Uuid;

use crate::ReadError;

/// Answers from the agenda model, and from the log for single appointments.
#[derive(Debug, Clone)]
pub struct Agenda {
    pub(super) database: Database,
    pub(super) log: Log,
}

/// Which appointments are asked for. Every part narrows.
#[derive(Debug, Clone, Default)]
pub struct AgendaFilter {
    /// Starting at or after.
    pub from: Option<Timestamp>,
    /// Starting before.
    pub to: Option<Timestamp>,
    /// With whom.
    pub staff_id: Option<StaffId>,
    /// For what.
    pub service_id: Option<ServiceId>,
    /// Whose; one who was merged names whoever stands for them.
    pub customer_id: Option<CustomerId>,
    /// Of which series.
    pub series_id: Option<SeriesId>,
    /// In one of these states; in any when there is none.
    pub status: Vec<Status>,
    /// Behind the last row of the page before.
    pub after: Option<PageCursor>,
    /// At most so many.
    pub limit: u32,
}

/// Where a page ended: an opaque string to callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCursor {
    starts_at: Timestamp,
    appointment_id: Uuid,
}

/// The text is not a cursor that a list answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a cursor as a list answered it")]
pub struct PageCursorError;

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.starts_at.as_microsecond(), self.appointment_id.simple())
    }
}

impl FromStr for PageCursor {
    type Err = PageCursorError;

    fn from_str(text: &str) -> Result<Self, PageCursorError> {
        let (micros, id) = text.split_once('.').ok_or(PageCursorError)?;
        let starts_at = micros.parse().ok().and_then(|m| Timestamp::from_microsecond(m).ok());
        // Postgres knows no earlier dates than ours begin with.
        let starts_at = starts_at.filter(|at| *at >= Timestamp::UNIX_EPOCH);
        match (starts_at, Uuid::try_parse(id)) {
            (Some(starts_at), Ok(appointment_id)) => Ok(Self { starts_at, appointment_id }),
            _ => Err(PageCursorError),
        }
    }
}

/// One appointment in a list.
#[derive(Debug, Clone)]
pub struct AgendaRow {
    /// Which.
    pub appointment_id: AppointmentId,
    /// With whom.
    pub staff_id: StaffId,
    /// For what.
    pub service_id: ServiceId,
    /// Whose.
    pub customer_id: CustomerId,
    /// As given with the appointment, unless erased.
    pub customer_name: Option<String>,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// In what state: one of [`Status`]'s names.
    pub status: String,
    /// For how much.
    pub price: Money,
    /// With which others it was booked.
    pub series_id: Option<SeriesId>,
    /// Sequence of its last event.
    pub version: u64,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct AgendaPage {
    /// By start.
    pub items: Vec<AgendaRow>,
    /// Where the next page begins, if there is one.
    pub next: Option<PageCursor>,
}

impl Agenda {
    /// Over this log and its database.
    #[must_use]
    pub fn new(log: Log) -> Self {
        Self { database: log.database().clone(), log }
    }

    /// Appointments by start.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn list(
        &self,
        business_id: BusinessId,
        filter: &AgendaFilter,
    ) -> Result<AgendaPage, ReadError> {
        let limit = i64::from(filter.limit);
        let rows = sqlx::query(
            "SELECT a.*, p.name AS customer_name
               FROM agenda.appointment a LEFT JOIN appointment_private p USING (appointment_id, business_id)
              WHERE a.business_id = $1
                AND ($2::timestamptz IS NULL OR a.starts_at >= $2)
                AND ($3::timestamptz IS NULL OR a.starts_at < $3)
                AND ($4::uuid IS NULL OR a.staff_id = $4 OR $4 = ANY(a.also_staff))
                AND ($5::uuid IS NULL OR a.service_id = $5 OR $5 = ANY(a.also_services))
                AND ($6::uuid IS NULL OR a.customer_id = coalesce(
                       (SELECT m.into_id FROM agenda.merged_customer m
                         WHERE m.customer_id = $6 AND m.business_id = $1), $6))
                AND (cardinality($7::text[]) = 0 OR a.status = ANY($7))
                AND ($8::timestamptz IS NULL OR (a.starts_at, a.appointment_id) > ($8, $9))
                AND ($11::uuid IS NULL OR a.series_id = $11)
              ORDER BY a.starts_at, a.appointment_id LIMIT $10",
        )
        .bind(business_id.uuid())
        .bind(filter.from.map(ToSqlx::to_sqlx))
        .bind(filter.to.map(ToSqlx::to_sqlx))
        .bind(filter.staff_id.map(StaffId::uuid))
        .bind(filter.service_id.map(ServiceId::uuid))
        .bind(filter.customer_id.map(CustomerId::uuid))
        .bind(filter.status.iter().map(|status| status.as_str()).collect::<Vec<_>>())
        .bind(filter.after.map(|after| after.starts_at.to_sqlx()))
        .bind(filter.after.map(|after| after.appointment_id))
        .bind(limit + 1)
        .bind(filter.series_id.map(SeriesId::uuid))
        .fetch_all(&mut *self.database.tenant(business_id).await?)
        .await?;
        let mut items = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
        let more = items.len() > filter.limit as usize;
        items.truncate(filter.limit as usize);
        let next = items.last().filter(|_| more).map(|last| PageCursor {
            starts_at: last.start,
            appointment_id: last.appointment_id.uuid(),
        });
        Ok(AgendaPage { items, next })
    }
}

impl Agenda {
    /// How many visits to come a guest with this address has, asked for or booked: at most `most`, as the
    /// model has them now.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn open_visits(
        &self,
        business_id: BusinessId,
        address: &GuestAddress,
        now: Timestamp,
        most: u32,
    ) -> Result<u32, ReadError> {
        let (email, phone) = match address {
            GuestAddress::Email(email) => (Some(email), None),
            GuestAddress::Phone(digits) => (None, Some(digits)),
        };
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (
               SELECT FROM customer c
                 JOIN agenda.appointment a
                   ON a.business_id = c.business_id
                  AND a.customer_id = coalesce(c.merged_into, c.customer_id)
                WHERE c.business_id = $1
                  AND (lower(c.email) = lower($2) AND c.email IS NOT NULL OR c.phone_digits = $5)
                  AND a.starts_at > $3 AND a.status IN ('requested', 'booked')
                LIMIT $4) open",
        )
        .bind(business_id.uuid())
        .bind(email)
        .bind(now.to_sqlx())
        .bind(i64::from(most))
        .bind(phone)
        .fetch_one(&mut *self.database.tenant(business_id).await?)
        .await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

fn from_row(row: &PgRow) -> Result<AgendaRow, ReadError> {
    let at = |column| row.try_get::<jiff_sqlx::Timestamp, _>(column);
    let currency: String = row.try_get("price_currency")?;
    Ok(AgendaRow {
        appointment_id: AppointmentId::new(row.try_get("appointment_id")?),
        staff_id: StaffId::new(row.try_get("staff_id")?),
        service_id: ServiceId::new(row.try_get("service_id")?),
        customer_id: CustomerId::new(row.try_get("customer_id")?),
        customer_name: row.try_get("customer_name")?,
        start: at("starts_at")?.to_jiff(),
        end: at("ends_at")?.to_jiff(),
        status: row.try_get("status")?,
        series_id: row.try_get::<Option<Uuid>, _>("series_id")?.map(SeriesId::new),
        version: row.try_get::<i64, _>("sequence")?.unsigned_abs(),
        price: Money {
            amount: row.try_get("price_amount")?,
            currency: currency
                .parse()
                .map_err(|error: domain::CurrencyError| ReadError::Store(error.into()))?,
        },
    })
}
