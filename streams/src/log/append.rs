use domain::BusinessId;
use jiff_sqlx::ToSqlx;
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor, Postgres, Row, Transaction};
use uuid::Uuid;

use super::{CommitError, Histories, StreamKey, UnitOfWork, load, unit::NewEvent};
use crate::{Cursor, Database, Nudge};

/// Appends and loads.
#[derive(Debug, Clone)]
pub struct Log {
    database: Database,
    nudge: Nudge,
}

/// An open transaction: for the few commands that write tables of their own beside their events.
#[derive(Debug)]
pub struct Writing {
    transaction: Transaction<'static, Postgres>,
    nudge: Nudge,
}

/// Everything in one statement: one round trip, one implicit transaction. The guard stands in the
/// WHERE of the events, because in a CTE that nothing refers to it would silently never run. Taking
/// time refers to giving it back, or it would run first and a moved visit would meet its own row.
const APPEND: &str = "
WITH event AS (
  INSERT INTO events (business_id, aggregate_type, aggregate_id, sequence, event_id, event_type,
                      event_version, payload, actor, correlation_id, causation_id, traceparent,
                      occurred_at)
  SELECT $1, e.kind, e.id, e.sequence, e.event_id, e.event_type, e.version, e.payload,
         $9, e.correlation, e.causation, e.traceparent, $13
    FROM unnest($2::text[], $3::text[], $4::bigint[], $5::uuid[], $6::text[], $7::text[],
                $8::jsonb[], $10::uuid[], $11::uuid[], $12::text[])
      AS e (kind, id, sequence, event_id, event_type, version, payload, correlation, causation,
            traceparent)
   WHERE (SELECT guard_reads($14, $15, $16))
  RETURNING transaction_id, position
), answer AS (
  INSERT INTO idempotency_key (business_id, key, request_hash, answer, position)
  SELECT $1, $17, $18, $19, (SELECT max(position) FROM event) WHERE $17::text IS NOT NULL
), counted AS (
  INSERT INTO monthly_usage (business_id, month, used, cap)
  SELECT $1, $20, $21, $22 WHERE $20::date IS NOT NULL
  ON CONFLICT (business_id, month)
  DO UPDATE SET used = monthly_usage.used + excluded.used, cap = excluded.cap
), known AS (
  INSERT INTO customer (customer_id, business_id, name, email, phone)
  SELECT $23, $1, $24, $25, $26 WHERE $23::uuid IS NOT NULL
), given AS (
  INSERT INTO appointment_private (appointment_id, business_id, name, email, phone, timezone, notes)
  SELECT $27, $1, $28, $29, $30, $31, $32 WHERE $27::uuid IS NOT NULL
), released AS (
  DELETE FROM reserved_time WHERE appointment_id = ANY($33::uuid[]) AND business_id = $1
  RETURNING appointment_id
), reserved AS (
  INSERT INTO reserved_time (appointment_id, staff_id, business_id, during,
                             buffer_before_minutes, buffer_after_minutes)
  SELECT r.appointment, r.staff, $1, tstzrange(r.starts, r.ends), r.before, r.after
    FROM unnest($34::uuid[], $35::uuid[], $36::timestamptz[], $37::timestamptz[],
                $38::integer[], $39::integer[]) AS r (appointment, staff, starts, ends, before, after)
   WHERE (SELECT count(*) FROM released) >= 0
)
SELECT max(transaction_id::text::bigint) AS transaction_id, max(position) AS position FROM event";

impl Log {
    /// A log that nudges the relay after each commit.
    #[must_use]
    pub const fn new(database: Database, nudge: Nudge) -> Self {
        Self { database, nudge }
    }

    /// Where the log lies.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// Reads all the streams of a command in one query. Another tenant's stream is not found.
    ///
    /// # Errors
    /// When Postgres does not answer: nothing is then known, least of all "not found".
    pub async fn load(
        &self,
        business_id: BusinessId,
        keys: &[StreamKey],
    ) -> Result<Histories, CommitError> {
        load::load(self.database.pool(), business_id, keys).await.map_err(store)
    }

    /// Commits the unit in one statement and wakes the relay.
    ///
    /// # Errors
    /// When a stream changed meanwhile, a rule of the tables refused, or Postgres failed. Nothing
    /// was written then.
    pub async fn commit(&self, unit: &UnitOfWork) -> Result<Cursor, CommitError> {
        let cursor = execute(self.database.pool(), unit).await?;
        self.nudge.send();
        Ok(cursor)
    }

    /// Opens a transaction for a unit that comes with rows of its command's own.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn begin(&self) -> Result<Writing, CommitError> {
        let transaction = self.database.pool().begin().await.map_err(store)?;
        Ok(Writing { transaction, nudge: self.nudge.clone() })
    }

    /// Appends within a transaction that the caller holds and commits; [`Self::nudge`] afterwards.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn append(
        connection: &mut PgConnection,
        unit: &UnitOfWork,
    ) -> Result<Cursor, CommitError> {
        execute(connection, unit).await
    }

    /// Wakes the relay.
    pub fn nudge(&self) {
        self.nudge.send();
    }
}

impl Writing {
    /// Appends the events first: the feed relies on it that loading came before any write.
    ///
    /// # Errors
    /// As [`Log::commit`].
    pub async fn append(&mut self, unit: &UnitOfWork) -> Result<Cursor, CommitError> {
        execute(&mut *self.transaction, unit).await
    }

    /// For the command's own rows.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Makes it all true and wakes the relay.
    ///
    /// # Errors
    /// As [`Log::commit`].
    pub async fn commit(self) -> Result<(), CommitError> {
        self.transaction.commit().await?;
        self.nudge.send();
        Ok(())
    }
}

fn store(error: sqlx::Error) -> CommitError {
    CommitError::Store(error.into())
}

fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn large(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

async fn execute(executor: impl PgExecutor<'_>, unit: &UnitOfWork) -> Result<Cursor, CommitError> {
    if unit.is_empty() {
        return Err(CommitError::Store("a unit of work without events".into()));
    }
    // In the order of the primary key: two writers of the same streams then wait for each other
    // instead of deadlocking.
    let mut events: Vec<&NewEvent> = unit.events.iter().collect();
    events.sort_by(|a, b| (&a.stream, a.sequence).cmp(&(&b.stream, b.sequence)));
    let context = &unit.context;
    let texts = |of: fn(&NewEvent) -> &String| -> Vec<&str> {
        events.iter().map(|event| of(event).as_str()).collect()
    };
    let origins = || events.iter().map(|event| event.origin.as_ref().unwrap_or(&context.origin));
    let guards = &unit.guards;
    let answer = unit.idempotency.as_ref();
    let usage = unit.usage.as_ref();
    let customer = unit.customer.as_ref();
    let contact = unit.contact.as_ref();
    let reserve = &unit.reserve;
    let row = sqlx::query(APPEND)
        .bind(context.business_id.uuid())
        .bind(texts(|e| &e.stream.kind))
        .bind(texts(|e| &e.stream.id))
        .bind(events.iter().map(|e| large(e.sequence)).collect::<Vec<_>>())
        .bind(events.iter().map(|e| e.event_id).collect::<Vec<_>>())
        .bind(texts(|e| &e.event_type))
        .bind(texts(|e| &e.event_version))
        .bind(events.iter().map(|e| e.payload.clone()).collect::<Vec<Value>>())
        .bind(context.actor.to_string())
        .bind(origins().map(|o| o.correlation_id).collect::<Vec<_>>())
        .bind(origins().map(|o| o.causation_id).collect::<Vec<_>>())
        .bind(origins().map(|o| o.traceparent.as_deref()).collect::<Vec<_>>())
        .bind(context.now.to_sqlx())
        .bind(guards.iter().map(|(key, _)| key.kind.as_str()).collect::<Vec<_>>())
        .bind(guards.iter().map(|(key, _)| key.id.as_str()).collect::<Vec<_>>())
        .bind(guards.iter().map(|(_, sequence)| large(*sequence)).collect::<Vec<_>>())
        .bind(answer.map(|a| a.key.as_str()))
        .bind(answer.map(|a| a.request_hash.as_slice()))
        .bind(answer.map(|a| &a.answer))
        .bind(usage.map(|u| u.month.to_sqlx()))
        .bind(usage.map(|u| small(u.count)))
        .bind(usage.map(|u| small(u.cap)))
        .bind(customer.map(|c| c.customer_id.uuid()))
        .bind(customer.map(|c| c.name.as_str()))
        .bind(customer.and_then(|c| c.email.as_deref()))
        .bind(customer.and_then(|c| c.phone.as_deref()))
        .bind(contact.map(|c| c.appointment_id.uuid()))
        .bind(contact.map(|c| c.name.as_str()))
        .bind(contact.and_then(|c| c.email.as_deref()))
        .bind(contact.and_then(|c| c.phone.as_deref()))
        .bind(contact.and_then(|c| c.timezone.as_deref()))
        .bind(contact.and_then(|c| c.notes.as_deref()))
        .bind(&unit.release)
        .bind(reserve.iter().map(|r| r.appointment_id.uuid()).collect::<Vec<Uuid>>())
        .bind(reserve.iter().map(|r| r.staff_id.uuid()).collect::<Vec<Uuid>>())
        .bind(reserve.iter().map(|r| r.slot.start().to_sqlx()).collect::<Vec<_>>())
        .bind(reserve.iter().map(|r| r.slot.end().to_sqlx()).collect::<Vec<_>>())
        .bind(reserve.iter().map(|r| small(r.buffer_before_minutes)).collect::<Vec<_>>())
        .bind(reserve.iter().map(|r| small(r.buffer_after_minutes)).collect::<Vec<_>>())
        .fetch_one(executor)
        .await?;
    Ok(Cursor::new(row.try_get("transaction_id")?, row.try_get("position")?))
}
