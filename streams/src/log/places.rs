//! Places of days and weeks that have a limit: what keeps limits exact, whoever decides.
//!
//! A visit that a limit counts takes the lowest place that is free under it, and a primary key lets
//! nobody take it twice. Whoever did not see the visit that came before wants its very place.

use domain::{
    BusinessId, ResourceId, ServiceId, SessionId, StaffId, TimeSlot, availability::Period,
    resource_calendar::Use,
};
use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};
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
    /// For which visit, or meeting of a class.
    pub holder: Uuid,
    /// Under which limit.
    pub key: PlaceKey,
    /// Counted from one.
    pub place: u32,
}

/// A visit that stands.
#[derive(Debug, Clone, Copy)]
pub struct StandingVisit {
    /// Which, or which meeting of a class.
    pub holder: Uuid,
    /// Whether it is the first service of its visit: the business counts visits, and staff members and
    /// services count services.
    pub first: bool,
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
SELECT r.appointment_id, r.part = 0 AS first, r.staff_id, r.service_id,
       lower(r.during) AS starts_at,
       NULL::uuid AS subject_id, NULL::text AS period, NULL::date AS first_date,
       NULL::integer AS place
  FROM reserved_time r
 WHERE r.business_id = $1 AND lower(r.during) >= $2 AND lower(r.during) < $3
UNION ALL
SELECT p.appointment_id, NULL, NULL, NULL, NULL, p.subject_id, p.period, p.first_date, p.place
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

/// What is used of resources for a meeting of a class.
pub(super) async fn resources_of(
    connection: &mut PgConnection,
    business_id: BusinessId,
    session_id: SessionId,
) -> Result<Vec<(ResourceId, Use)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT resource_id, starts_at, ends_at, quantity FROM reserved_resource
          WHERE business_id = $1 AND holder_id = $2",
    )
    .bind(business_id.uuid())
    .bind(session_id.uuid())
    .fetch_all(connection)
    .await?;
    let used = |row: &PgRow| {
        let at = |column| row.try_get::<jiff_sqlx::Timestamp, _>(column);
        let slot = TimeSlot::try_new(at("starts_at")?.to_jiff(), at("ends_at")?.to_jiff())
            .map_err(|error| sqlx::Error::Decode(error.into()))?;
        let quantity = row.try_get::<i32, _>("quantity")?.unsigned_abs();
        Ok((ResourceId::new(row.try_get("resource_id")?), Use { slot, quantity }))
    };
    rows.iter().map(used).collect()
}

fn visit(row: &PgRow) -> Result<StandingVisit, sqlx::Error> {
    Ok(StandingVisit {
        holder: row.try_get("appointment_id")?,
        first: row.try_get("first")?,
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
        holder: row.try_get("appointment_id")?,
        key,
        place: row.try_get::<i32, _>("place")?.unsigned_abs(),
    })
}
