//! Hands out what falls due, and takes back what got stuck.

mod due;

use std::{sync::Arc, time::Duration};

use domain::{
    Decide, NotificationId,
    notification::{Channel, NotificationCommand, NotificationEvent},
};
use futures::StreamExt;
use sqlx::Connection;
use streams::{
    BoxError,
    broker::Broker,
    clock, crash_point, leader,
    log::{CommitError, Log},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    notifier::Notifier,
    work::{self, Work},
};

const JOB: &str = "dispatch-reminders";
/// Its crash points.
const POINT: &str = "dispatcher";
const TICK: Duration = Duration::from_millis(250);
/// A round that takes longer has lost its server.
const PATIENCE: Duration = Duration::from_secs(120);
/// Sends at once when the broker is away and this process sends itself.
const DIRECT: usize = 8;

/// One process at a time hands out; the others wait for its connection to end.
pub(crate) struct Dispatcher {
    log: Log,
    broker: Broker,
    notifier: Arc<Notifier>,
    direct: Arc<Semaphore>,
}

/// What is to be done with a row.
enum Due {
    /// Its time has come, or it ends.
    Command(NotificationCommand),
    /// Nobody took up the offer.
    OfferAgain,
    /// It crashed before the hand-over, so nothing was sent.
    TryAgain,
}

impl Dispatcher {
    pub(crate) fn new(log: Log, broker: Broker, notifier: Arc<Notifier>) -> Self {
        Self { log, broker, notifier, direct: Arc::new(Semaphore::new(1)) }
    }

    /// Runs until stopped.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        leader::until_stopped(JOB, TICK * 2, &stop, || self.dispatch(&stop)).await;
    }

    async fn dispatch(&self, stop: &CancellationToken) -> Result<(), BoxError> {
        let database = self.log.database();
        let Some(mut connection) = leader::lead(database, JOB, stop).await? else {
            return Ok(());
        };
        loop {
            let tick = tokio::time::timeout(PATIENCE, self.tick(&mut connection));
            let full = tick.await.map_err(|_elapsed| "Postgres or NATS does not answer")??;
            if !full {
                tokio::time::sleep(TICK).await;
            }
        }
    }

    /// One round; true when there may be more.
    async fn tick(&self, connection: &mut sqlx::PgConnection) -> Result<bool, BoxError> {
        // Read without locks and before any write; the streams' expected sequences tell whether
        // somebody else was faster.
        let lapsed = due::lapsed(connection).await?;
        let mut more = !lapsed.is_empty();
        self.work_on(connection, lapsed).await?;
        for channel in Channel::ALL {
            let limit = self.notifier.room(channel);
            let (found, crowded) = due::of(connection, channel, limit).await?;
            self.work_on(connection, found).await?;
            more |= crowded;
        }
        Ok(more)
    }

    async fn work_on(
        &self,
        connection: &mut sqlx::PgConnection,
        found: Vec<Work>,
    ) -> Result<(), BoxError> {
        if found.is_empty() {
            return Ok(());
        }
        crash_point(POINT, "read").await;
        let offered = match self.settle(connection, found.clone()).await {
            Ok(offered) => offered,
            Err(CommitError::Conflict) => self.one_by_one(connection, found).await?,
            Err(error) => return Err(error.into()),
        };
        crash_point(POINT, "committed").await;
        self.log.nudge();
        self.hand_out(offered).await;
        crash_point(POINT, "published").await;
        Ok(())
    }

    /// Somebody was faster with one of them: the others need not wait for it.
    async fn one_by_one(
        &self,
        connection: &mut sqlx::PgConnection,
        found: Vec<Work>,
    ) -> Result<Vec<Work>, BoxError> {
        let mut offered = Vec::new();
        for read in found {
            let id = read.notification_id;
            let now = work::find(&mut *connection, id).await?;
            let same = now.filter(|now| (&now.state, now.sequence) == (&read.state, read.sequence));
            let Some(same) = same else { continue };
            match self.settle(connection, vec![same]).await {
                Ok(one) => offered.extend(one),
                // Settled this very moment; or row and stream disagree, which `doctor` shows. Either
                // way it must not hold up the others.
                Err(CommitError::Conflict) => {
                    tracing::warn!(notification = %id, "row and stream of a message disagree; looked at again later");
                    metrics::counter!("apptremind_notification_conflicts_total").increment(1);
                    postpone(connection, id).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(offered)
    }

    /// Decides about each row and writes events and rows in one transaction, all or none; answers
    /// those to send.
    async fn settle(
        &self,
        connection: &mut sqlx::PgConnection,
        found: Vec<Work>,
    ) -> Result<Vec<Work>, CommitError> {
        let now = clock::now();
        let mut moves = Vec::with_capacity(found.len());
        for work in found {
            let (events, state) = match due(&work, now) {
                Due::OfferAgain => (vec![], "offered"),
                Due::TryAgain => (vec![], "pending"),
                Due::Command(command) => {
                    let decided = work.notification().decide(command);
                    let events = decided.map_err(|error| CommitError::Store(error.into()))?;
                    let state = events.last().map_or("offered", work::state_after);
                    (events, state)
                }
            };
            moves.push(Move { work, events, state });
        }
        let mut transaction = connection.begin().await?;
        let appends = moves.iter().map(|m| m.work.append(m.events.clone()));
        work::append(&mut transaction, "scheduler", appends).await?;
        write(&mut transaction, &moves, self.notifier.timing().offer_lease).await?;
        crash_point(POINT, "written").await;
        transaction.commit().await?;
        for ended in moves.iter().filter(|m| !matches!(m.state, "offered" | "pending")) {
            let (id, state) = (ended.work.notification_id, ended.state);
            tracing::warn!(notification = %id, state, "a message ended unsent");
            metrics::counter!("apptremind_notifications_total", "outcome" => state).increment(1);
        }
        Ok(moves.into_iter().filter(|m| m.state == "offered").map(|m| m.work).collect())
    }

    /// Through the broker's work queue; when it is away, from here, behind the same compare-and-set.
    /// One batch at a time: what is not begun then is offered again when its lease ends.
    async fn hand_out(&self, offered: Vec<Work>) {
        metrics::counter!("apptremind_notifications_offered_total").increment(offered.len() as u64);
        let published = crate::notifier::publish(&self.broker, &offered).await;
        let left: Vec<Work> = offered.into_iter().skip(published).collect();
        if left.is_empty() {
            return;
        }
        let Ok(turn) = Arc::clone(&self.direct).try_acquire_owned() else { return };
        let notifier = Arc::clone(&self.notifier);
        tokio::spawn(async move {
            let _turn = turn;
            let offers = left.into_iter().filter_map(|work| work.offer());
            let sends = futures::stream::iter(offers).map(|offer| notifier.start(offer));
            sends.for_each_concurrent(DIRECT, async |send| drop(send.await)).await;
        });
    }
}

/// What one row becomes.
struct Move {
    /// As it was read.
    work: Work,
    events: Vec<NotificationEvent>,
    state: &'static str,
}

fn due(work: &Work, now: jiff::Timestamp) -> Due {
    match work.state.as_str() {
        "sending" if work.handed_over => Due::Command(NotificationCommand::RecordUncertain {
            attempt: work.attempts,
            reason: "no_outcome_after_hand_over".to_owned(),
        }),
        "sending" => Due::TryAgain,
        _ if work.expires_at <= now => Due::Command(NotificationCommand::Expire),
        "offered" => Due::OfferAgain,
        _ => Due::Command(NotificationCommand::MarkDue),
    }
}

async fn postpone(
    connection: &mut sqlx::PgConnection,
    id: NotificationId,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE notification SET next_at = greatest(next_at, now() + interval '1 minute'),
                                 lease_until = greatest(lease_until, now() + interval '1 minute')
          WHERE notification_id = $1",
    )
    .bind(id.uuid())
    .execute(connection)
    .await?;
    Ok(())
}

/// Each row only as it was read: whoever changed one meanwhile makes all of it a conflict.
async fn write(
    connection: &mut sqlx::PgConnection,
    moves: &[Move],
    lease: Duration,
) -> Result<(), CommitError> {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    // In one order, so that two who want the same do not wait for each other.
    let mut moves: Vec<&Move> = moves.iter().collect();
    moves.sort_unstable_by_key(|m| m.work.notification_id);
    let written = sqlx::query(
        "UPDATE notification n
            SET state = m.state, sequence = m.sequence, lease_token = NULL,
                offers = n.offers + CASE WHEN m.state = 'offered' THEN 1 ELSE 0 END,
                lease_until = CASE WHEN m.state = 'offered' THEN now() + $7 * interval '1 second' END
           FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::boolean[], $5::text[], $6::bigint[])
             AS m (id, was, read, handed_over, state, sequence)
          WHERE n.notification_id = m.id AND n.state = m.was AND n.sequence = m.read
            AND (n.handed_over_at IS NOT NULL) = m.handed_over
            AND (n.state = 'pending' OR n.lease_until <= now())",
    )
    .bind(moves.iter().map(|m| m.work.notification_id.uuid()).collect::<Vec<_>>())
    .bind(moves.iter().map(|m| m.work.state.as_str()).collect::<Vec<_>>())
    .bind(moves.iter().map(|m| number(m.work.sequence)).collect::<Vec<_>>())
    .bind(moves.iter().map(|m| m.work.handed_over).collect::<Vec<_>>())
    .bind(moves.iter().map(|m| m.state).collect::<Vec<_>>())
    .bind(moves.iter().map(|m| number(m.work.sequence + m.events.len() as u64)).collect::<Vec<_>>())
    .bind(lease.as_secs_f64())
    .execute(&mut *connection)
    .await?;
    if written.rows_affected() != moves.len() as u64 {
        return Err(CommitError::Conflict);
    }
    end_tries(connection, &moves).await
}

/// Tries whose senders fell silent: behind the hand-over nobody knows what came of them, before it nothing did.
async fn end_tries(
    connection: &mut sqlx::PgConnection,
    moves: &[&Move],
) -> Result<(), CommitError> {
    let silent: Vec<&Work> =
        moves.iter().map(|m| &m.work).filter(|work| work.state == "sending").collect();
    if silent.is_empty() {
        return Ok(());
    }
    let attempt = |work: &&Work| i32::try_from(work.attempts).unwrap_or(i32::MAX);
    sqlx::query(
        "UPDATE notification_attempt a
            SET ended_at = now(),
                outcome = CASE WHEN a.handed_over_at IS NULL THEN 'lost' ELSE 'uncertain' END
           FROM unnest($1::uuid[], $2::integer[]) AS s (id, attempt)
          WHERE a.notification_id = s.id AND a.attempt = s.attempt AND a.ended_at IS NULL",
    )
    .bind(silent.iter().map(|work| work.notification_id.uuid()).collect::<Vec<_>>())
    .bind(silent.iter().map(attempt).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
