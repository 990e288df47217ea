//! Places of days and weeks that have a limit: what keeps limits exact, whoever decides.
//!
//! A visit that a limit counts takes the lowest place that is free under it, and a primary key lets
//! nobody take it twice. Whoever did not see the visit that came before wants its very place.

use domain::{AppointmentId, BusinessId, ServiceId, StaffId, TimeSlot, availability::Period};
use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgPool, Row, postgres::PgRow};
use uuid::Uuid;

/// A place of a day or week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaceKey {
    /// The business, the service or the staff member whose limit it is.
    pub subject: Uuid,
    /// Of a day or of a week.
    pub period: Period,
    /// The local date with which that begins.
    pub first: Date,
}

/// A place that a visit takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenPlace {
    /// For which visit.
    pub appointment_id: AppointmentId,
    /// Under which limit.
    pub key: PlaceKey,
    /// Counted from one.
    pub place: u32,
}

/// A visit that stands.
#[derive(Debug, Clone, Copy)]
pub struct StandingVisit {
    /// Which.
    pub appointment_id: AppointmentId,
    /// With whom.
    pub staff_id: StaffId,
    /// For what; unknown when an older build booked it.
    pub service_id: Option<ServiceId>,
    /// When it begins.
    pub start: Timestamp,
}

/// What limits are held against, of one moment.
#[derive(Debug, Default)]
pub struct Standing {
    /// The visits that begin in the range.
    pub visits: Vec<StandingVisit>,
    /// The places that are taken of its days and weeks.
    pub places: Vec<TakenPlace>,
}

/// One statement, because both must be of one moment: a visit that is given back between two would be
/// missing in the count and still hold its place.
const STANDING: &str = "
SELECT r.appointment_id, r.staff_id, r.service_id, lower(r.during) AS starts_at,
       NULL::uuid AS subject_id, NULL::text AS period, NULL::date AS first_date,
       NULL::integer AS place
  FROM reserved_time r
 WHERE r.business_id = $1 AND lower(r.during) >= $2 AND lower(r.during) < $3
UNION ALL
SELECT p.appointment_id, NULL, NULL, NULL, p.subject_id, p.period, p.first_date, p.place
  FROM visit_place p
 WHERE p.business_id = $1 AND p.first_date >= $4 AND p.first_date <= $5";

/// The visits of a business that begin in the span, and the places of the dates `first..=last`.
pub(super) async fn standing(
    pool: &PgPool,
    business_id: BusinessId,
    span: &TimeSlot,
    [first, last]: [Date; 2],
) -> Result<Standing, sqlx::Error> {
    let rows = sqlx::query(STANDING)
        .bind(business_id.uuid())
        .bind(span.start().to_sqlx())
        .bind(span.end().to_sqlx())
        .bind(first.to_sqlx())
        .bind(last.to_sqlx())
        .fetch_all(pool)
        .await?;
    let mut standing = Standing::default();
    for row in &rows {
        match row.try_get::<Option<Uuid>, _>("subject_id")? {
            None => standing.visits.push(visit(row)?),
            Some(subject) => standing.places.push(place(row, subject)?),
        }
    }
    Ok(standing)
}

fn visit(row: &PgRow) -> Result<StandingVisit, sqlx::Error> {
    Ok(StandingVisit {
        appointment_id: AppointmentId::new(row.try_get("appointment_id")?),
        staff_id: StaffId::new(row.try_get("staff_id")?),
        service_id: row.try_get::<Option<Uuid>, _>("service_id")?.map(ServiceId::new),
        start: row.try_get::<jiff_sqlx::Timestamp, _>("starts_at")?.to_jiff(),
    })
}

fn place(row: &PgRow, subject: Uuid) -> Result<TakenPlace, sqlx::Error> {
    let day = row.try_get::<&str, _>("period")? == Period::Day.as_str();
    let key = PlaceKey {
        subject,
        period: if day { Period::Day } else { Period::Week },
        first: row.try_get::<jiff_sqlx::Date, _>("first_date")?.to_jiff(),
    };
    Ok(TakenPlace {
        appointment_id: AppointmentId::new(row.try_get("appointment_id")?),
        key,
        place: row.try_get::<i32, _>("place")?.unsigned_abs(),
    })
}
