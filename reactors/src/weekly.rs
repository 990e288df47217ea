//! Plans the mail that tells owners on Monday morning how the week went.

use std::{
    collections::HashMap,
    slice,
    time::{Duration, Instant},
};

use domain::{
    BusinessId, Zone,
    business::Business,
    notification::{AccountPlan, LocalWeek},
};
use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{Connection, PgConnection};
use streams::{
    BoxError, Cursor, Origin, clock, leader,
    log::{Loaded, Log, StreamKey},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    account::{self, Planned},
    replan::has_passed,
};

const JOB: &str = "plan-weekly-summaries";
/// More often than a leader's connection may rest.
const TICK: Duration = Duration::from_secs(5);
/// A round that takes longer has lost its server.
const PATIENCE: Duration = Duration::from_secs(120);
/// Businesses in one round.
const PAGE: i64 = 100;
/// Rows that are made in one statement: a long transaction would hold up every reader of the feed.
const NEW_ROWS: i64 = 5_000;
/// What could not be done is tried again after this: it must not hold up the others meanwhile.
const AGAIN: Duration = Duration::from_secs(60);

/// One process at a time plans; the others wait for its connection to end. When two think that they do, the
/// streams decide: a week of a business is told of once.
pub(crate) struct Summaries {
    log: Log,
}

/// A business whose row says that something is to be done.
struct Turn {
    business_id: BusinessId,
    /// The week to be told of.
    week: Option<LocalWeek>,
    due_at: Timestamp,
    /// Whether `due_at` follows from the week and the clocks of the business.
    computed: bool,
}

/// What is to be done.
enum Step {
    /// To say when which week is due.
    Wait(LocalWeek),
    /// The mail of a week to be planned, unless nobody wants it.
    Tell(LocalWeek),
}

impl Turn {
    fn step(&self, zone: &Zone, now: Timestamp) -> Step {
        match self.week {
            None => Step::Wait(LocalWeek::first_told_after(zone, now)),
            Some(week) if !self.computed => Step::Wait(week),
            // Nobody was there for so long that it is not news any more.
            Some(week) if LocalWeek::untold_from(self.due_at) <= now => {
                tracing::warn!(business = %self.business_id, week = %week.monday(), "a week is not told of any more");
                Step::Wait(LocalWeek::first_worth_telling(zone, now).max(week.next()))
            }
            Some(week) => Step::Tell(week),
        }
    }
}

impl Summaries {
    pub(crate) const fn new(log: Log) -> Self {
        Self { log }
    }

    /// Runs until stopped.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        leader::until_stopped(JOB, TICK, &stop, || self.work(&stop)).await;
    }

    async fn work(&self, stop: &CancellationToken) -> Result<(), BoxError> {
        let lead = leader::lead(self.log.database(), JOB, stop).await?;
        let Some(mut connection) = lead else { return Ok(()) };
        add_missing(&mut connection).await?;
        let mut failed: HashMap<BusinessId, Instant> = HashMap::new();
        let mut head = None;
        loop {
            let tick = self.tick(&mut connection, &mut failed, &mut head);
            let tick = tokio::time::timeout(PATIENCE, tick).await;
            let more = tick.map_err(|_elapsed| "Postgres does not answer")??;
            if !more {
                tokio::time::sleep(TICK).await;
            }
        }
    }

    /// One page of those whose turn it is; true when there may be more.
    async fn tick(
        &self,
        connection: &mut PgConnection,
        failed: &mut HashMap<BusinessId, Instant>,
        head: &mut Option<Cursor>,
    ) -> Result<bool, BoxError> {
        failed.retain(|_, since| since.elapsed() < AGAIN);
        let turns = turns(connection, clock::now(), failed.keys()).await?;
        if turns.is_empty() {
            *head = None;
            return Ok(false);
        }
        // A model that is behind would say that a business had no visits, and that is not asked again.
        let known = match *head {
            Some(known) => known,
            None => *head.insert(head_of_log(connection).await?),
        };
        if !has_passed(connection, known).await? {
            return Ok(false);
        }
        let more = turns.len() as i64 == PAGE;
        for turn in turns {
            if let Err(error) = self.take(connection, &turn).await {
                let business = turn.business_id;
                tracing::warn!(%business, %error, "the mail about a week is planned a little later");
                metrics::counter!("apptremind_weekly_summary_failures_total").increment(1);
                failed.insert(business, Instant::now());
            }
        }
        Ok(more)
    }

    async fn take(&self, connection: &mut PgConnection, turn: &Turn) -> Result<(), BoxError> {
        let key = StreamKey::of::<Business>(turn.business_id);
        let histories = self.log.load(turn.business_id, slice::from_ref(&key)).await?;
        let business: Loaded<Business> = histories.fold(&key)?;
        let business = business.state.registered().ok_or("nobody registered the business")?;
        let profile = &business.profile.value;
        let zone = &profile.timezone;
        match turn.step(zone, clock::now()) {
            Step::Wait(week) => {
                set(connection, turn, week, zone).await?;
                Ok(())
            }
            Step::Tell(week) => {
                self.tell(connection, turn, week, zone, profile.weekly_summary).await
            }
        }
    }

    async fn tell(
        &self,
        connection: &mut PgConnection,
        turn: &Turn,
        week: LocalWeek,
        zone: &Zone,
        wanted: bool,
    ) -> Result<(), BoxError> {
        let business_id = turn.business_id;
        let mut transaction = connection.begin().await?;
        // All reading comes before the first write, as the feed needs it.
        let outcome = if !wanted {
            "unwanted"
        } else if projections::weeks::has_visits(&mut transaction, business_id, week, zone).await? {
            let plan = AccountPlan::weekly_summary(business_id, week, turn.due_at);
            let planned = Planned { business_id, origin: Origin::of_our_own(), plan };
            account::write(&mut transaction, vec![planned]).await?;
            "planned"
        } else {
            "empty"
        };
        if !set(&mut transaction, turn, week.next(), zone).await? {
            // The clocks of the business may be others since: it is looked at again.
            transaction.rollback().await?;
            return Ok(());
        }
        transaction.commit().await?;
        self.log.nudge();
        metrics::counter!("apptremind_weekly_summaries_total", "outcome" => outcome).increment(1);
        Ok(())
    }
}

/// Businesses that are there since before there was such a mail, or registered while an earlier build saw to
/// it, are told first on the next Monday of their own clocks. Looked for once by whoever begins to lead.
async fn add_missing(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    loop {
        let added = sqlx::query(
            "INSERT INTO weekly_summary (business_id, next_at)
             SELECT DISTINCT d.business_id, now() FROM directory d
              WHERE d.key LIKE 'handle:%'
                AND NOT EXISTS (SELECT FROM weekly_summary w WHERE w.business_id = d.business_id)
              LIMIT $1
             ON CONFLICT (business_id) DO NOTHING",
        )
        .bind(NEW_ROWS)
        .execute(&mut *connection)
        .await?;
        if added.rows_affected() == 0 {
            return Ok(());
        }
    }
}

/// Notes which week is told of next, unless the row is not any more as it was read.
async fn set(
    connection: &mut PgConnection,
    turn: &Turn,
    week: LocalWeek,
    zone: &Zone,
) -> Result<bool, sqlx::Error> {
    let set = sqlx::query(
        "UPDATE weekly_summary SET week = $2, next_at = $3, computed = true
          WHERE business_id = $1 AND week IS NOT DISTINCT FROM $4 AND next_at = $5 AND computed = $6",
    )
    .bind(turn.business_id.uuid())
    .bind(week.monday().to_sqlx())
    .bind(week.told_at(zone).to_sqlx())
    .bind(turn.week.map(|week| week.monday().to_sqlx()))
    .bind(turn.due_at.to_sqlx())
    .bind(turn.computed)
    .execute(connection)
    .await?;
    Ok(set.rows_affected() == 1)
}

/// Those whose time has come, the oldest first, without those that failed just now.
async fn turns(
    connection: &mut PgConnection,
    now: Timestamp,
    without: impl Iterator<Item = &BusinessId>,
) -> Result<Vec<Turn>, BoxError> {
    let rows: Vec<(Uuid, Option<jiff_sqlx::Date>, jiff_sqlx::Timestamp, bool)> = sqlx::query_as(
        "SELECT business_id, week, next_at, computed FROM weekly_summary
          WHERE next_at <= $1 AND business_id <> ALL($2) ORDER BY next_at LIMIT $3",
    )
    .bind(now.to_sqlx())
    .bind(without.map(|id| id.uuid()).collect::<Vec<_>>())
    .bind(PAGE)
    .fetch_all(connection)
    .await?;
    let mut turns = Vec::with_capacity(rows.len());
    for (business, monday, due_at, computed) in rows {
        let monday: Option<Date> = monday.map(jiff_sqlx::Date::to_jiff);
        let week = monday.map(LocalWeek::try_from).transpose()?;
        let (business_id, due_at) = (BusinessId::new(business), due_at.to_jiff());
        turns.push(Turn { business_id, week, due_at, computed });
    }
    Ok(turns)
}

async fn head_of_log(connection: &mut PgConnection) -> Result<Cursor, sqlx::Error> {
    let head: Option<(i64, i64)> = sqlx::query_as(
        "SELECT transaction_id::text::bigint, position FROM events
          ORDER BY transaction_id DESC, position DESC LIMIT 1",
    )
    .fetch_optional(connection)
    .await?;
    let cursor = |(transaction_id, position)| Cursor { transaction_id, position };
    Ok(head.map(cursor).unwrap_or_default())
}

/// These businesses are new, or their clocks may be others. Not before the transaction's events are
/// appended.
pub(crate) async fn look_again(
    connection: &mut PgConnection,
    businesses: &[BusinessId],
) -> Result<(), sqlx::Error> {
    if businesses.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO weekly_summary (business_id, next_at)
         SELECT DISTINCT business, now() FROM unnest($1::uuid[]) AS b (business)
         ON CONFLICT (business_id) DO UPDATE SET next_at = now(), computed = false",
    )
    .bind(businesses.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn step(week: Option<&str>, due_at: &str, computed: bool, now: &str) -> (bool, String) {
        let week = week.map(|monday| LocalWeek::of(monday.parse().unwrap()));
        let business_id = BusinessId::new(Uuid::nil());
        let turn = Turn { business_id, week, due_at: at(due_at), computed };
        match turn.step(&"Europe/London".parse().unwrap(), at(now)) {
            Step::Wait(week) => (false, week.monday().to_string()),
            Step::Tell(week) => (true, week.monday().to_string()),
        }
    }

    #[test]
    fn a_week_is_told_on_its_monday_or_a_day_late_and_then_not_any_more() {
        let (week, due) = (Some("2026-03-02"), "2026-03-09T07:00:00Z");
        for (now, told, next) in [
            ("2026-03-09T07:00:00Z", true, "2026-03-02"),
            ("2026-03-10T06:59:00Z", true, "2026-03-02"),
            ("2026-03-10T07:00:00Z", false, "2026-03-09"),
            // Nobody was there for two weeks, and the last of them can still be told.
            ("2026-03-23T12:00:00Z", false, "2026-03-16"),
            ("2026-03-25T12:00:00Z", false, "2026-03-23"),
        ] {
            assert_eq!(step(week, due, true, now), (told, next.to_owned()), "{now}");
        }
    }

    #[test]
    fn who_is_new_is_told_first_on_the_next_monday_and_other_clocks_change_no_week() {
        let now = "2026-03-09T08:00:00Z";
        assert_eq!(step(None, now, false, now), (false, "2026-03-09".to_owned()));
        assert_eq!(step(Some("2026-03-02"), now, false, now), (false, "2026-03-02".to_owned()));
    }
}
