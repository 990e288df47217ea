//! The log as it was known at an instant.

use domain::BusinessId;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{PgExecutor, Row};
use uuid::Uuid;

use super::{COLUMNS, Histories, Recorded, StreamKey, from_row, load::by_stream};

/// An event and when it reached the log.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The event.
    pub event: Recorded,
    /// By the clock of the database.
    pub recorded_at: Timestamp,
}

/// The streams with what was recorded by `at`; with everything when that is absent. Another
/// tenant's stream is not found.
///
/// # Errors
/// When Postgres does not answer: nothing is then known, least of all "not found".
pub async fn as_of(
    executor: impl PgExecutor<'_>,
    business_id: BusinessId,
    keys: &[StreamKey],
    at: Option<Timestamp>,
) -> Result<Histories, sqlx::Error> {
    let kinds: Vec<&str> = keys.iter().map(|key| key.kind.as_str()).collect();
    let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    let sql = format!(
        "SELECT {COLUMNS}
           FROM unnest($2::text[], $3::text[]) AS wanted (kind, id)
           JOIN events e ON e.aggregate_type = wanted.kind AND e.aggregate_id = wanted.id
          WHERE e.business_id = $1 AND ($4::timestamptz IS NULL OR e.recorded_at <= $4)
          ORDER BY e.aggregate_type, e.aggregate_id, e.sequence"
    );
    let rows = sqlx::query(&sql)
        .bind(business_id.uuid())
        .bind(kinds)
        .bind(ids)
        .bind(at.map(ToSqlx::to_sqlx))
        .fetch_all(executor)
        .await?;
    by_stream(&rows)
}

/// One stream, whosever it is, with what was recorded by `at`: for the operator.
///
/// # Errors
/// When Postgres does not answer.
pub async fn stream(
    executor: impl PgExecutor<'_>,
    key: &StreamKey,
    at: Option<Timestamp>,
) -> Result<Vec<Entry>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS}, e.recorded_at FROM events e
          WHERE e.aggregate_type = $1 AND e.aggregate_id = $2
            AND ($3::timestamptz IS NULL OR e.recorded_at <= $3)
          ORDER BY e.sequence"
    );
    let rows = sqlx::query(&sql)
        .bind(&key.kind)
        .bind(&key.id)
        .bind(at.map(ToSqlx::to_sqlx))
        .fetch_all(executor)
        .await?;
    let entry = |row: &sqlx::postgres::PgRow| {
        let recorded_at: jiff_sqlx::Timestamp = row.try_get("recorded_at")?;
        Ok(Entry { event: from_row(row)?, recorded_at: recorded_at.to_jiff() })
    };
    rows.iter().map(entry).collect()
}

/// One event, whosever it is: for the operator. Events are not found quickly by their id: the log is read.
///
/// # Errors
/// When Postgres does not answer.
pub async fn event(
    executor: impl PgExecutor<'_>,
    event_id: Uuid,
) -> Result<Option<Recorded>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM events e WHERE e.event_id = $1");
    let row = sqlx::query(&sql).bind(event_id).fetch_optional(executor).await?;
    row.as_ref().map(from_row).transpose()
}
