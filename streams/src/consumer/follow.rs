use std::time::Duration;

use async_nats::jetstream::Message;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use super::{Failure, Follower, OnPoison, checkpoint, live::Live};
use crate::{
    BoxError, Cursor, Database, broker::Broker, clock, crash_point, envelope, feed, leader,
    log::Recorded,
};

const BATCH: usize = 500;
/// Without messages for so long, Postgres is asked whether there are any: what the broker lost, or
/// cannot deliver because it is away, is late by this much and no more.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// A batch that takes longer has lost its server.
const ATTEMPT: Duration = Duration::from_secs(60);
/// Batches of this size come when so much is written that every small transaction of ours would take
/// the processor from those who write: the next one is let grow. Smaller ones are not worth a wait,
/// larger ones are large enough.
const GROWING: std::ops::Range<usize> = 4..100;
const GROW: Duration = Duration::from_millis(10);
const BACK_OFF: Duration = Duration::from_millis(500);
const HALTED: Duration = Duration::from_secs(5);

/// Why the loop begins again.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error("Postgres: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error("{0}")]
    Handler(#[from] Failure),
    #[error("the checkpoint was moved by somebody else")]
    Moved,
    #[error("halted at event {0}")]
    Halted(uuid::Uuid),
}

/// Follows the feed until stopped; one process at a time does the work.
pub async fn run<F: Follower>(
    follower: F,
    database: Database,
    broker: Broker,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let mut following = Following { follower: &follower, database: &database, broker: &broker };
        let followed = tokio::select! {
            () = stop.cancelled() => break,
            followed = following.follow(&stop) => followed,
        };
        let Err(error) = followed else { break };
        tracing::warn!(consumer = F::NAME, %error, "begins again");
        metrics::counter!("apptremind_consumer_restarts_total", "consumer" => F::NAME).increment(1);
        let pause = if matches!(error, Interrupted::Halted(_)) { HALTED } else { BACK_OFF };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Following<'a, F> {
    follower: &'a F,
    database: &'a Database,
    broker: &'a Broker,
}

impl<F: Follower> Following<'_, F> {
    async fn follow(&mut self, stop: &CancellationToken) -> Result<(), Interrupted> {
        let Some(mut connection) = leader::lead(self.database, F::NAME, stop).await? else {
            return Ok(());
        };
        let path = format!("SET search_path = {}, public", F::SEARCH_PATH);
        sqlx::query(&path).execute(&mut connection).await?;
        if !F::WAITS_FOR_DISK {
            sqlx::query("SET synchronous_commit = off").execute(&mut connection).await?;
        }
        let mut cursor = checkpoint::load(&mut connection, F::NAME).await?;
        tracing::info!(consumer = F::NAME, %cursor, "following");
        let mut live: Option<Live> = None;
        let mut quiet = true;
        loop {
            if quiet {
                cursor = self.catch_up(&mut connection, cursor).await?;
            }
            if live.is_none() {
                live = self.subscribe(&mut connection).await;
            }
            let Some(subscription) = &mut live else {
                tokio::time::sleep(PATIENCE).await;
                continue;
            };
            match subscription.next(PATIENCE).await {
                Ok(messages) => {
                    quiet = messages.is_empty();
                    cursor = self.receive(&mut connection, cursor, &messages).await?;
                    if GROWING.contains(&messages.len()) {
                        tokio::time::sleep(GROW).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(consumer = F::NAME, %error, "the subscription broke");
                    (live, quiet) = (None, true);
                }
            }
        }
    }

    /// While the broker is away, or its servers are choosing a leader, the feed in Postgres has to do.
    async fn subscribe(&self, connection: &mut PgConnection) -> Option<Live> {
        if !self.broker.is_connected() {
            return None;
        }
        let subscribing = Live::subscribe(self.broker, connection, F::NAME, BATCH);
        let error = match tokio::time::timeout(PATIENCE, subscribing).await {
            Ok(Ok(live)) => return Some(live),
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed.into(),
        };
        tracing::warn!(consumer = F::NAME, %error, "cannot subscribe");
        None
    }

    /// Applies all that Postgres has behind the checkpoint.
    async fn catch_up(
        &self,
        connection: &mut PgConnection,
        mut cursor: Cursor,
    ) -> Result<Cursor, Interrupted> {
        loop {
            let batch = feed::after(&mut *connection, cursor, BATCH as i64).await?;
            let Some(last) = batch.last().map(|event| event.cursor) else { return Ok(cursor) };
            self.apply(connection, cursor, &batch).await?;
            cursor = last;
        }
    }

    /// Applies what arrived, after what should have arrived before it.
    async fn receive(
        &self,
        connection: &mut PgConnection,
        mut cursor: Cursor,
        messages: &[Message],
    ) -> Result<Cursor, Interrupted> {
        let mut batch: Vec<Recorded> = Vec::with_capacity(messages.len());
        for message in messages {
            let received = match envelope::parse(message) {
                Ok(received) => received,
                Err(error) => {
                    // Not ours, or garbled: the log has the event, so nothing is lost.
                    tracing::error!(consumer = F::NAME, %error, subject = %message.subject, "odd message");
                    continue;
                }
            };
            let seen = batch.last().map_or(cursor, |event| event.cursor);
            if received.event.cursor <= seen {
                continue;
            }
            if received.previous > seen {
                self.apply(connection, cursor, &batch).await?;
                batch.clear();
                cursor = self.catch_up(connection, seen).await?;
                metrics::counter!("apptremind_consumer_gaps_total", "consumer" => F::NAME)
                    .increment(1);
                if received.event.cursor <= cursor {
                    continue;
                }
            }
            batch.push(received.event);
        }
        if let Some(last) = batch.last().map(|event| event.cursor) {
            self.apply(connection, cursor, &batch).await?;
            cursor = last;
        }
        // Acknowledges all before it in the stream too: after a redelivery the newest message need not
        // come last. If that is lost, they come again and are skipped.
        let newest =
            messages.iter().max_by_key(|message| message.info().map(|i| i.stream_sequence).ok());
        if let Some(message) = newest
            && let Err(error) = message.ack().await
        {
            tracing::debug!(consumer = F::NAME, %error, "not acknowledged");
        }
        Ok(cursor)
    }

    /// Applies a batch and moves the checkpoint, both or neither.
    async fn apply(
        &self,
        connection: &mut PgConnection,
        cursor: Cursor,
        batch: &[Recorded],
    ) -> Result<(), Interrupted> {
        match self.attempt(connection, cursor, batch).await {
            Err(Interrupted::Handler(Failure::Poison(error) | Failure::Unreadable(error))) => {
                tracing::warn!(consumer = F::NAME, %error, "a batch failed: one by one");
            }
            outcome => return outcome,
        }
        let mut cursor = cursor;
        for event in batch {
            match self.attempt(connection, cursor, std::slice::from_ref(event)).await {
                Err(Interrupted::Handler(Failure::Poison(error))) => {
                    self.poisoned(connection, cursor, event, error, F::ON_POISON).await?;
                }
                Err(Interrupted::Handler(Failure::Unreadable(error))) => {
                    self.poisoned(connection, cursor, event, error, OnPoison::Halt).await?;
                }
                outcome => outcome?,
            }
            cursor = event.cursor;
        }
        Ok(())
    }

    async fn attempt(
        &self,
        connection: &mut PgConnection,
        from: Cursor,
        batch: &[Recorded],
    ) -> Result<(), Interrupted> {
        let attempt = self.try_batch(connection, from, batch);
        match tokio::time::timeout(ATTEMPT, attempt).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Interrupted::Postgres(sqlx::Error::PoolTimedOut)),
        }
    }

    async fn try_batch(
        &self,
        connection: &mut PgConnection,
        from: Cursor,
        batch: &[Recorded],
    ) -> Result<(), Interrupted> {
        let Some(to) = batch.last().map(|event| event.cursor) else { return Ok(()) };
        let mut transaction = connection.begin().await?;
        crash_point(F::NAME, "received").await;
        self.follower.apply(&mut transaction, batch).await?;
        if !checkpoint::advance(&mut transaction, F::NAME, from, to).await? {
            return Err(Interrupted::Moved);
        }
        crash_point(F::NAME, "written").await;
        transaction.commit().await?;
        crash_point(F::NAME, "committed").await;
        metrics::counter!("apptremind_consumer_events_total", "consumer" => F::NAME)
            .increment(batch.len() as u64);
        Ok(())
    }

    async fn poisoned(
        &self,
        connection: &mut PgConnection,
        cursor: Cursor,
        event: &Recorded,
        error: BoxError,
        then: OnPoison,
    ) -> Result<(), Interrupted> {
        let reason = format!("{} {}: {error}", event.event_type, event.event_id);
        tracing::error!(consumer = F::NAME, event = %event.event_id, %error, "cannot be applied");
        metrics::counter!("apptremind_consumer_poison_total", "consumer" => F::NAME).increment(1);
        match then {
            OnPoison::Halt => {
                checkpoint::halt(connection, F::NAME, &reason).await?;
                Err(Interrupted::Halted(event.event_id))
            }
            OnPoison::SetAside => {
                let mut transaction = connection.begin().await?;
                sqlx::query(
                    "INSERT INTO dead_letter (id, business_id, consumer, subject_id, reason)
                     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (consumer, subject_id) DO NOTHING",
                )
                .bind(clock::new_id())
                .bind(event.business_id.uuid())
                .bind(F::NAME)
                .bind(event.event_id.to_string())
                .bind(&reason)
                .execute(&mut *transaction)
                .await?;
                if !checkpoint::advance(&mut transaction, F::NAME, cursor, event.cursor).await? {
                    return Err(Interrupted::Moved);
                }
                transaction.commit().await?;
                Ok(())
            }
        }
    }
}
