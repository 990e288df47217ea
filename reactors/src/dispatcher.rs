//! Hands out what falls due, and takes back what got stuck.

use std::{sync::Arc, time::Duration};

use domain::{Decide, NotificationId, notification::NotificationCommand};
use sqlx::Connection;
use streams::{
    BoxError,
    broker::Broker,
    clock, leader,
    log::{CommitError, Log},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    notifier::Notifier,
    work::{self, Work},
};

const TICK: Duration = Duration::from_millis(250);
/// A round that takes longer has lost its server.
const PATIENCE: Duration = Duration::from_secs(120);
const BATCH: i64 = 500;
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
    Offer(NotificationCommand),
    OfferAgain,
    TryAgain,
    End(NotificationCommand),
}

impl Dispatcher {
    pub(crate) fn new(log: Log, broker: Broker, notifier: Arc<Notifier>) -> Self {
        Self { log, broker, notifier, direct: Arc::new(Semaphore::new(DIRECT)) }
    }

    /// Runs until stopped.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let dispatched = tokio::select! {
                () = stop.cancelled() => return,
                dispatched = self.dispatch(&stop) => dispatched,
            };
            if let Err(error) = dispatched {
                tracing::warn!(%error, "the dispatcher stopped and begins again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(TICK * 2) => {}
                }
            }
        }
    }

    async fn dispatch(&self, stop: &CancellationToken) -> Result<(), BoxError> {
        let database = self.log.database();
        let Some(mut connection) = leader::lead(database, "dispatch-reminders", stop).await? else {
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
        let sql = format!(
            "SELECT {} FROM notification
              WHERE (state = 'pending' AND next_at <= now())
                 OR (state IN ('offered', 'sending') AND lease_until <= now())
              ORDER BY next_at LIMIT $1",
            work::COLUMNS
        );
        let rows = sqlx::query(&sql).bind(BATCH).fetch_all(&mut *connection).await?;
        let found = rows.iter().map(work::from_row).collect::<Result<Vec<_>, _>>()?;
        if found.is_empty() {
            return Ok(false);
        }
        let full = found.len() as i64 == BATCH;
        let offered = match self.settle(connection, found.clone()).await {
            Ok(offered) => offered,
            Err(CommitError::Conflict) => self.one_by_one(connection, found).await?,
            Err(error) => return Err(error.into()),
        };
        self.log.nudge();
        self.hand_out(offered).await;
        Ok(full)
    }

    /// Somebody was faster with one of them: the others need not wait for it.
    async fn one_by_one(
        &self,
        connection: &mut sqlx::PgConnection,
        found: Vec<Work>,
    ) -> Result<Vec<Work>, BoxError> {
        let mut offered = Vec::new();
        for work in found {
            let id = work.notification_id;
            match self.settle(connection, vec![work]).await {
                Ok(one) => offered.extend(one),
                // Settled meanwhile; or row and stream disagree, which `doctor` shows. Either way it
                // must not hold up the others.
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

    /// Decides about each row and writes events and rows in one transaction; answers those to send.
    async fn settle(
        &self,
        connection: &mut sqlx::PgConnection,
        found: Vec<Work>,
    ) -> Result<Vec<Work>, CommitError> {
        let now = clock::now();
        let mut offered = Vec::new();
        let mut retried = Vec::new();
        let mut events = Vec::new();
        let mut ended = Vec::new();
        for work in found {
            let command = match due(&work, now) {
                Due::OfferAgain => {
                    offered.push(work);
                    continue;
                }
                Due::TryAgain => {
                    retried.push(work.notification_id.uuid());
                    continue;
                }
                Due::Offer(command) | Due::End(command) => command,
            };
            let decided = work
                .notification()
                .decide(command)
                .map_err(|error| CommitError::Store(error.into()))?;
            let state = decided.last().map_or("offered", work::state_after);
            if state != "offered" {
                tracing::warn!(notification = %work.notification_id, state, "a message ended unsent");
                metrics::counter!("apptremind_notifications_total", "outcome" => state)
                    .increment(1);
                ended.push((work.notification_id.uuid(), state));
            }
            let count = decided.len() as u64;
            events.push(work.append(decided));
            if state == "offered" {
                offered.push(Work { sequence: work.sequence + count, ..work });
            }
        }
        let mut transaction = connection.begin().await?;
        work::append(&mut transaction, "scheduler", events.into_iter()).await?;
        offer(&mut transaction, &offered, self.notifier.timing().offer_lease).await?;
        sqlx::query(
            "UPDATE notification SET state = e.state, sequence = sequence + 1, lease_token = NULL
               FROM unnest($1::uuid[], $2::text[]) AS e (id, state) WHERE notification_id = e.id",
        )
        .bind(ended.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(ended.iter().map(|(_, state)| *state).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "UPDATE notification SET state = 'pending', lease_token = NULL
              WHERE notification_id = ANY($1) AND state = 'sending' AND lease_until <= now()
                AND handed_over_at IS NULL",
        )
        .bind(retried)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(offered)
    }

    /// Through the broker's work queue; when it is away, from here, behind the same compare-and-set.
    async fn hand_out(&self, offered: Vec<Work>) {
        metrics::counter!("apptremind_notifications_offered_total").increment(offered.len() as u64);
        let published = crate::notifier::publish(&self.broker, &offered).await;
        for work in offered.into_iter().skip(published) {
            let Ok(permit) = Arc::clone(&self.direct).acquire_owned().await else { return };
            let send = self.notifier.start(work.notification_id);
            tokio::spawn(async move {
                let _permit = permit;
                drop(send.await);
            });
        }
    }
}

fn due(work: &Work, now: jiff::Timestamp) -> Due {
    match work.state.as_str() {
        "sending" if work.handed_over => Due::End(NotificationCommand::RecordUncertain {
            attempt: work.attempts,
            reason: "no_outcome_after_hand_over".to_owned(),
        }),
        // It crashed before the hand-over, so nothing was sent.
        "sending" => Due::TryAgain,
        _ if work.expires_at <= now => Due::End(NotificationCommand::Expire),
        "offered" => Due::OfferAgain,
        _ => Due::Offer(NotificationCommand::MarkDue),
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

async fn offer(
    connection: &mut sqlx::PgConnection,
    offered: &[Work],
    lease: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE notification n
            SET state = 'offered', offers = offers + 1, sequence = o.sequence, lease_token = NULL,
                lease_until = now() + $3 * interval '1 second'
           FROM unnest($1::uuid[], $2::bigint[]) AS o (id, sequence)
          WHERE n.notification_id = o.id
            AND (n.state = 'pending' OR (n.state = 'offered' AND n.lease_until <= now()))",
    )
    .bind(offered.iter().map(|work| work.notification_id.uuid()).collect::<Vec<_>>())
    .bind(
        offered
            .iter()
            .map(|work| i64::try_from(work.sequence).unwrap_or(i64::MAX))
            .collect::<Vec<_>>(),
    )
    .bind(lease.as_secs_f64())
    .execute(connection)
    .await?;
    Ok(())
}
