use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{
    Aggregate, BusinessId, business::Business, resource_calendar::ResourceCalendar,
    staff_calendar::StaffCalendar, staff_schedule::StaffSchedule,
};
use sqlx::{PgConnection, Row, postgres::PgRow};
use streams::Database;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::change::{Change, Shown};
use crate::{
    ReadError,
    gather::{Gather, Making},
    lanes,
};

/// Says what has changed. One query serves all who wait at that moment, and it begins after they
/// asked: whoever has waited for it knows as much as if they had read the log themselves. While nobody
/// asks nothing is read.
#[derive(Debug, Clone)]
pub(super) struct Pulse {
    heart: Arc<Heart>,
    gather: Gather<(), (), Result<Instant, Arc<ReadError>>>,
}

#[derive(Debug)]
struct Heart {
    database: Database,
    line: tokio::sync::Mutex<Option<Line>>,
    seen: Mutex<Seen>,
}

/// The connection, and what was visible when it was last asked.
#[derive(Debug)]
struct Line {
    connection: PgConnection,
    snapshot: String,
}

/// What the log showed, as far as slots depend on it. Beats are counted from one.
#[derive(Debug, Default)]
struct Seen {
    /// The last beat, and the one with which the reading began: of what was before it nothing is known.
    beat: u64,
    began: u64,
    /// The identity of the model's tables: a rebuilt model has others.
    model: i64,
    /// The beat that last showed something of a business.
    last: HashMap<BusinessId, u64>,
    /// What the beats behind `forgotten` showed, in order.
    shown: VecDeque<(u64, BusinessId, Shown)>,
    forgotten: u64,
}

/// What a business has done since a beat.
#[derive(Debug)]
pub(super) enum Since {
    /// Nothing that slots depend on.
    Nothing,
    /// This, in its calendars, in order.
    Calendars(Vec<Change>),
    /// Something else, or nobody knows: read again.
    Unknown,
}

/// A beat that takes longer has lost its server.
const ATTEMPT: Duration = Duration::from_secs(3);
/// After so many changes in one beat it begins anew, and all that was read before is unknown.
const MOST_AT_ONCE: usize = 2_000;
const MOST_BUSINESSES: usize = 100_000;
const MOST_KEPT: usize = 8_000;

/// The planner never gets a chance to read the whole log.
const SETUP: &str = "SET statement_timeout = '3s'; SET enable_seqscan = off; \
    SET enable_bitmapscan = off; SET jit = off; SET plan_cache_mode = force_generic_plan";

const BEGIN: &str = "
SELECT pg_current_snapshot()::text AS snapshot,
       to_regclass('availability.business')::oid::bigint AS model";

/// What is visible now and was not in the last snapshot. A transaction that was open then has an id
/// at or above the lowest that was open: however late it commits, it is seen. The types stand in a
/// form that no index fits, or the planner may take the one of the streams, and read all of them.
const LOOK: &str = "
SELECT pg_current_snapshot()::text AS snapshot,
       to_regclass('availability.business')::oid::bigint AS model,
       e.business_id, e.aggregate_type, e.aggregate_id, e.event_type, e.event_version,
       e.payload::text AS payload
  FROM (VALUES (1)) AS one
  LEFT JOIN LATERAL (
       SELECT * FROM events
        WHERE transaction_id >= $1::text::xid8
          AND NOT pg_visible_in_snapshot(transaction_id, $2::text::pg_snapshot)
          AND coalesce(aggregate_type = ANY($3), false)
        ORDER BY transaction_id, position LIMIT $4) e ON true
 ORDER BY e.transaction_id, e.position";

impl Pulse {
    pub(super) fn new(database: Database) -> Self {
        let (line, seen) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { heart: Arc::new(Heart { database, line, seen }), gather: Gather::default() }
    }

    /// Waits for a look at the log that begins not before `asked`; gives when it was over.
    pub(super) async fn beat(&self, asked: Instant) -> Result<Instant, ReadError> {
        let heart = Arc::clone(&self.heart);
        let make = move |()| {
            let heart = Arc::clone(&heart);
            let making: Making<_> = Box::pin(async move { heart.beat().await.map_err(Arc::new) });
            making
        };
        let done = self.gather.ask((), asked, (), make).await;
        done.ok_or_else(ReadError::busy)?.map_err(|error| error.again())
    }

    /// The last beat: whatever it and those before it showed is in all that is read from now on.
    pub(super) fn last(&self) -> u64 {
        self.heart.seen().beat
    }

    /// As `last`, once there was one.
    pub(super) async fn first(&self) -> Result<u64, ReadError> {
        if self.last() == 0 {
            self.beat(Instant::now()).await?;
        }
        Ok(self.last())
    }

    /// What the business has done behind a beat, as far as the last beat.
    pub(super) fn since(&self, business_id: BusinessId, model: i64, beat: u64) -> Since {
        self.heart.seen().since(business_id, model, beat)
    }
}

impl Seen {
    fn since(&self, business_id: BusinessId, model: i64, beat: u64) -> Since {
        if model != self.model || beat < self.began {
            return Since::Unknown;
        }
        if self.last.get(&business_id).is_none_or(|last| *last <= beat) {
            return Since::Nothing;
        }
        if beat < self.forgotten {
            return Since::Unknown;
        }
        let first = self.shown.partition_point(|(shown, _, _)| *shown <= beat);
        let theirs = self.shown.range(first..).filter(|(_, id, _)| *id == business_id);
        let changes: Option<Vec<Change>> = theirs.map(|(_, _, shown)| shown.change()).collect();
        changes.map_or(Since::Unknown, Since::Calendars)
    }

    fn begin(&mut self, model: i64) {
        let beat = self.beat + 1;
        *self = Self { beat, began: beat, forgotten: beat, model, ..Self::default() };
    }

    fn take(&mut self, model: i64, shown: Vec<(BusinessId, Shown)>) {
        self.beat += 1;
        self.model = model;
        for (business_id, shown) in shown {
            self.last.insert(business_id, self.beat);
            self.shown.push_back((self.beat, business_id, shown));
        }
        while self.shown.len() > MOST_KEPT {
            if let Some((beat, _, _)) = self.shown.pop_front() {
                self.forgotten = beat;
            }
        }
    }
}

impl Heart {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn beat(&self) -> Result<Instant, ReadError> {
        let mut line = self.line.lock().await;
        // Taken out meanwhile: what breaks off leaves no connection in an unknown state.
        let attempt = self.attempt(line.take());
        let outcome = match timeout(ATTEMPT, attempt).await {
            Ok(Ok(next)) => {
                *line = Some(next);
                self.database.heard();
                Ok(Instant::now())
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_elapsed) => Err(ReadError::silent()),
        };
        count(if outcome.is_ok() { "answered" } else { "failed" });
        outcome
    }

    async fn attempt(&self, line: Option<Line>) -> Result<Line, sqlx::Error> {
        if let Some(mut line) = line {
            match self.look(&mut line).await {
                Ok(true) => return Ok(line),
                Ok(false) => return self.begin(line.connection).await,
                // The server may have been away since the last one.
                Err(error) => tracing::debug!(%error, "the pulse connects again"),
            }
        }
        let connection = lanes::open(&self.database, SETUP).await?;
        self.begin(connection).await
    }

    /// Begins anew: what was read before is no longer known to be true.
    async fn begin(&self, mut connection: PgConnection) -> Result<Line, sqlx::Error> {
        let row = sqlx::query(BEGIN).fetch_one(&mut connection).await?;
        self.seen().begin(model(&row)?);
        count("began");
        Ok(Line { connection, snapshot: row.try_get("snapshot")? })
    }

    /// Reads what became visible since the last look; false when that is too much.
    async fn look(&self, line: &mut Line) -> Result<bool, sqlx::Error> {
        let oldest = line.snapshot.split(':').next().unwrap_or_default();
        let rows = sqlx::query(LOOK)
            .bind(oldest)
            .bind(&line.snapshot)
            .bind([
                Business::TYPE,
                StaffSchedule::TYPE,
                StaffCalendar::TYPE,
                ResourceCalendar::TYPE,
            ])
            .bind(i64::try_from(MOST_AT_ONCE).unwrap_or(i64::MAX))
            .fetch_all(&mut line.connection)
            .await?;
        let Some(first) = rows.first() else { return Ok(false) };
        let model = model(first)?;
        let snapshot = first.try_get("snapshot")?;
        let mut shown = Vec::with_capacity(rows.len());
        for row in &rows {
            shown.extend(event(row)?);
        }
        let mut seen = self.seen();
        if shown.len() >= MOST_AT_ONCE || seen.last.len() + shown.len() > MOST_BUSINESSES {
            return Ok(false);
        }
        seen.take(model, shown);
        line.snapshot = snapshot;
        Ok(true)
    }
}

fn model(row: &PgRow) -> Result<i64, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>("model")?.unwrap_or_default())
}

/// `None` when nothing became visible.
fn event(row: &PgRow) -> Result<Option<(BusinessId, Shown)>, sqlx::Error> {
    let Some(business_id) = row.try_get::<Option<Uuid>, _>("business_id")? else { return Ok(None) };
    let shown = Shown {
        kind: row.try_get("aggregate_type")?,
        stream: row.try_get("aggregate_id")?,
        event_type: row.try_get("event_type")?,
        event_version: row.try_get("event_version")?,
        payload: row.try_get("payload")?,
    };
    Ok(Some((BusinessId::new(business_id), shown)))
}

fn count(outcome: &'static str) {
    metrics::counter!("apptremind_slots_pulses_total", "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use domain::StaffId;
    use uuid::Uuid;

    use super::*;

    fn business(n: u128) -> BusinessId {
        BusinessId::new(Uuid::from_u128(n))
    }

    fn shown(kind: &str) -> Shown {
        let staff_id = StaffId::new(Uuid::from_u128(7));
        Shown {
            kind: kind.to_owned(),
            stream: format!("{staff_id}:3"),
            event_type: "staff.calendar.released.v1".to_owned(),
            event_version: "1".to_owned(),
            payload:
                r#"{"type":"released","appointment_id":"appt_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f"}"#
                    .to_owned(),
        }
    }

    fn changes(since: &Since) -> Option<usize> {
        match since {
            Since::Nothing => Some(0),
            Since::Calendars(changes) => Some(changes.len()),
            Since::Unknown => None,
        }
    }

    #[test]
    fn only_what_was_shown_behind_a_beat_counts() {
        let mut seen = Seen::default();
        let (one, two) = (business(1), business(2));
        seen.begin(9);
        let read = seen.beat;
        assert_eq!(changes(&seen.since(one, 9, read)), Some(0));
        assert_eq!(changes(&seen.since(one, 9, read - 1)), None, "from before it began");
        seen.take(9, vec![(one, shown(StaffCalendar::TYPE))]);
        seen.take(9, vec![(two, shown(Business::TYPE))]);
        seen.take(9, vec![(one, shown(StaffCalendar::TYPE))]);
        assert_eq!(changes(&seen.since(one, 9, read)), Some(2));
        assert_eq!(changes(&seen.since(one, 9, read + 1)), Some(1));
        assert_eq!(changes(&seen.since(one, 9, read + 3)), Some(0));
        assert_eq!(changes(&seen.since(two, 9, read)), None, "rules changed");
        assert_eq!(changes(&seen.since(two, 9, read + 2)), Some(0), "known by then");
        assert_eq!(changes(&seen.since(one, 8, read + 3)), None, "another model");
    }

    #[test]
    fn what_is_forgotten_is_unknown_and_what_was_quiet_is_still_known() {
        let mut seen = Seen::default();
        let (busy, quiet) = (business(1), business(2));
        seen.begin(9);
        let read = seen.beat;
        for _ in 0..=MOST_KEPT {
            seen.take(9, vec![(busy, shown(StaffCalendar::TYPE))]);
        }
        assert_eq!(seen.shown.len(), MOST_KEPT);
        assert_eq!(changes(&seen.since(busy, 9, read)), None);
        assert_eq!(changes(&seen.since(busy, 9, read + 1)), Some(MOST_KEPT));
        assert_eq!(changes(&seen.since(quiet, 9, read)), Some(0));
        let unread = Shown { payload: "{}".to_owned(), ..shown(StaffCalendar::TYPE) };
        let read = seen.beat;
        seen.take(9, vec![(quiet, unread)]);
        assert_eq!(changes(&seen.since(quiet, 9, read)), None, "written by a newer build");
    }
}
