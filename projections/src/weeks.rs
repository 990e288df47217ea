//! How a week went, and what comes in the next: counted from the read models, for the owners.

use domain::{BusinessId, Zone, notification::LocalWeek};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use streams::Database;
use uuid::Uuid;

use crate::ReadError;

/// What is worth knowing of a week.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WeekCounts {
    /// Visits that were agreed for the week and not called off.
    pub visits: u64,
    /// Those of them that were kept.
    pub completed: u64,
    /// Those of them that the guest missed.
    pub missed: u64,
    /// Visits for the week that were called off.
    pub cancelled: u64,
    /// Visits of whatever day that were booked, or asked for and not refused, in the course of the week.
    pub made: u64,
    /// Reminders of the week that a provider took.
    pub reminders_sent: u64,
    /// Those that were given up.
    pub reminders_failed: u64,
    /// Those of which nobody knows.
    pub reminders_uncertain: u64,
    /// Visits on each day of the next week.
    pub coming: [u64; 7],
}

/// Counts for this week of the business, on this clock.
///
/// # Errors
/// When Postgres does not answer.
pub async fn counts(
    database: &Database,
    business_id: BusinessId,
    week: LocalWeek,
    zone: &Zone,
) -> Result<WeekCounts, ReadError> {
    let mut connection = database.tenant(business_id).await?;
    let (past, coming) = (week.days(zone), week.next().days(zone));
    let [from, ..] = past;
    let [to, ..] = coming;
    let [end, ..] = week.next().next().days(zone);
    let mut counts = WeekCounts::default();
    for (day, status, visits) in visits(&mut connection, business_id, &past, &coming, end).await? {
        counts.add(day, &status, visits.unsigned_abs());
    }
    counts.made = made(&mut connection, business_id, from, to).await?.unsigned_abs();
    let (sent, failed, uncertain) = reminders(&mut connection, business_id, from, to).await?;
    counts.reminders_sent = sent.unsigned_abs();
    counts.reminders_failed = failed.unsigned_abs();
    counts.reminders_uncertain = uncertain.unsigned_abs();
    Ok(counts)
}

/// The first seven days are those of the week that is told of.
const DAYS: i32 = 7;

impl WeekCounts {
    /// `day` counts from 1.
    fn add(&mut self, day: i32, status: &str, visits: u64) {
        let stands = matches!(status, "booked" | "completed" | "no_show");
        if day > DAYS {
            let day = usize::try_from(day - DAYS - 1).unwrap_or(usize::MAX);
            if let Some(coming) = self.coming.get_mut(day).filter(|_| stands) {
                *coming += visits;
            }
            return;
        }
        self.visits += if stands { visits } else { 0 };
        match status {
            "completed" => self.completed += visits,
            "no_show" => self.missed += visits,
            "cancelled" => self.cancelled += visits,
            _ => {}
        }
    }
}

/// By day and status. Where days begin is said from outside: Postgres has time-zone rules of its own.
async fn visits(
    connection: &mut PgConnection,
    business_id: BusinessId,
    past: &[Timestamp; 7],
    coming: &[Timestamp; 7],
    end: Timestamp,
) -> Result<Vec<(i32, String, i64)>, sqlx::Error> {
    let days: Vec<_> = past.iter().chain(coming).map(|day| day.to_sqlx()).collect();
    sqlx::query_as(
        "SELECT width_bucket(starts_at, $2::timestamptz[]), status, count(*)
           FROM agenda.appointment
          WHERE business_id = $1 AND starts_at >= ($2::timestamptz[])[1] AND starts_at < $3
          GROUP BY 1, 2",
    )
    .bind(business_id.uuid())
    .bind(days)
    .bind(end.to_sqlx())
    .fetch_all(connection)
    .await
}

/// The model does not say when a visit was made, but its id does. None lies before it was made, so what
/// began earlier need not be looked at.
async fn made(
    connection: &mut PgConnection,
    business_id: BusinessId,
    from: Timestamp,
    to: Timestamp,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM agenda.appointment
          WHERE business_id = $1 AND starts_at >= $2
            AND appointment_id >= $3 AND appointment_id < $4
            AND status NOT IN ('declined', 'expired')",
    )
    .bind(business_id.uuid())
    .bind(from.to_sqlx())
    .bind(first_id(from))
    .bind(first_id(to))
    .fetch_one(connection)
    .await
}

/// The least id that can be made from this instant on: a `UUIDv7` begins with 48 bits of milliseconds
/// (RFC 9562).
fn first_id(at: Timestamp) -> Uuid {
    Uuid::from_u128(u128::try_from(at.as_millisecond()).unwrap_or(0) << 80)
}

/// Sent, given up, uncertain: of those that were due in the week.
async fn reminders(
    connection: &mut PgConnection,
    business_id: BusinessId,
    from: Timestamp,
    to: Timestamp,
) -> Result<(i64, i64, i64), sqlx::Error> {
    sqlx::query_as(
        "SELECT count(*) FILTER (WHERE status IN ('sent', 'delivered')),
                count(*) FILTER (WHERE status = 'failed'),
                count(*) FILTER (WHERE status = 'uncertain')
           FROM notifications.notification
          WHERE business_id = $1 AND due_at >= $2 AND due_at < $3 AND kind = 'reminder'",
    )
    .bind(business_id.uuid())
    .bind(from.to_sqlx())
    .bind(to.to_sqlx())
    .fetch_one(connection)
    .await
}

/// Whether there was a visit in this week of the business, or is one in the next: one that was agreed, or
/// may be.
///
/// # Errors
/// When Postgres does not answer.
pub async fn has_visits(
    connection: &mut PgConnection,
    business_id: BusinessId,
    week: LocalWeek,
    zone: &Zone,
) -> Result<bool, sqlx::Error> {
    let [from, ..] = week.days(zone);
    let [end, ..] = week.next().next().days(zone);
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM agenda.appointment
                         WHERE business_id = $1 AND starts_at >= $2 AND starts_at < $3
                           AND status NOT IN ('declined', 'expired'))",
    )
    .bind(business_id.uuid())
    .bind(from.to_sqlx())
    .bind(end.to_sqlx())
    .fetch_one(connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_counts_in_the_week_or_on_its_day_of_the_next() {
        let mut counts = WeekCounts::default();
        for (day, status) in [(1, "booked"), (7, "completed"), (3, "no_show"), (3, "requested")] {
            counts.add(day, status, 2);
        }
        for (day, status) in [(4, "cancelled"), (8, "booked"), (14, "booked"), (9, "cancelled")] {
            counts.add(day, status, 3);
        }
        let WeekCounts { visits, completed, missed, cancelled, coming, .. } = counts;
        assert_eq!((visits, completed, missed, cancelled), (6, 2, 2, 3));
        assert_eq!(coming, [3, 0, 0, 0, 0, 0, 3]);
    }

    #[test]
    fn an_id_is_not_less_than_the_first_of_its_moment() {
        let now = streams::clock::now();
        let id = streams::clock::new_id();
        let second = jiff::SignedDuration::from_secs(1);
        assert!(first_id(now - second) < id && id < first_id(now + second));
    }
}
