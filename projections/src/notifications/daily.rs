//! How messages went, day by day.

use domain::{BusinessId, Zone, availability::start_of_day};
use jiff::civil::Date;
use jiff_sqlx::ToSqlx;
use sqlx::Row;

use super::{Notifications, query::OWN};
use crate::ReadError;

/// Days that can be asked for at once.
const MOST_DAYS: usize = 366;

/// Messages of one channel that were due on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayRow {
    /// On the clock that was asked for.
    pub date: Date,
    /// By what they travel.
    pub channel: String,
    /// What a provider took.
    pub sent: u64,
    /// Of those, what arrived, as far as providers tell.
    pub delivered: u64,
    /// What was given up, or could not go out before it was too late.
    pub failed: u64,
    /// Of what nobody knows.
    pub uncertain: u64,
    /// Reminders among those that were sent.
    pub reminders_sent: u64,
    /// Reminders among those that were to be sent: sent, failed, or uncertain.
    pub reminders: u64,
}

impl Notifications {
    /// Messages of the business by day and channel, of those days on this clock that have any; the earliest
    /// first. A year is looked at, at most.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn daily(
        &self,
        business_id: BusinessId,
        (first, last): (Date, Date),
        zone: &Zone,
    ) -> Result<Vec<DayRow>, ReadError> {
        let days = std::iter::successors(Some(first), |day| day.tomorrow().ok());
        let days: Vec<Date> = days.take_while(|day| *day <= last).take(MOST_DAYS).collect();
        let Some(behind) = days.last().and_then(|day| day.tomorrow().ok()) else {
            return Ok(vec![]);
        };
        // Where days begin is said from outside: Postgres has time-zone rules of its own.
        let starts = days.iter().map(|day| start_of_day(zone, *day).to_sqlx());
        let sql = format!(
            "SELECT width_bucket(n.due_at, $2::timestamptz[]) AS day, n.channel,
                    count(*) FILTER (WHERE n.status IN ('sent', 'delivered')) AS sent,
                    count(*) FILTER (WHERE n.status = 'delivered') AS delivered,
                    count(*) FILTER (WHERE n.status IN ('failed', 'expired')) AS failed,
                    count(*) FILTER (WHERE n.status = 'uncertain') AS uncertain,
                    count(*) FILTER (WHERE n.kind = 'reminder'
                                       AND n.status IN ('sent', 'delivered')) AS reminders_sent,
                    count(*) FILTER (WHERE n.kind = 'reminder'
                                       AND n.status IN ('sent', 'delivered', 'failed', 'expired',
                                                        'uncertain')) AS reminders
               FROM notifications.notification n
              WHERE n.business_id = $1 AND n.due_at >= ($2::timestamptz[])[1] AND n.due_at < $3
                AND n.status IN ('sent', 'delivered', 'failed', 'expired', 'uncertain') AND {OWN}
              GROUP BY 1, 2 ORDER BY 1, 2"
        );
        let rows = sqlx::query(&sql)
            .bind(business_id.uuid())
            .bind(starts.collect::<Vec<_>>())
            .bind(start_of_day(zone, behind).to_sqlx())
            .fetch_all(&mut *self.database.tenant(business_id).await?)
            .await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let count = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
            let day = usize::try_from(row.try_get::<i32, _>("day")? - 1).unwrap_or(usize::MAX);
            let Some(date) = days.get(day) else { continue };
            found.push(DayRow {
                date: *date,
                channel: row.try_get("channel")?,
                sent: count("sent")?,
                delivered: count("delivered")?,
                failed: count("failed")?,
                uncertain: count("uncertain")?,
                reminders_sent: count("reminders_sent")?,
                reminders: count("reminders")?,
            });
        }
        Ok(found)
    }
}
