//! The log in the one order that every reader sees: transactions in the order of
//! their first write, positions within.

use std::time::Duration;

use sqlx::{PgExecutor, Row};

use crate::{
    Cursor,
    log::{COLUMNS, Recorded, STORED, Stored, from_row},
};

/// Longer than the server's own limit for a statement.
const PATIENCE: Duration = Duration::from_secs(40);

/// The next events behind `after`, at most `limit`.
///
/// Stops below the oldest transaction that is still open: by position alone a reader skips events
/// of transactions that commit late.
///
/// # Errors
/// When Postgres does not answer.
pub async fn after(
    executor: impl PgExecutor<'_>,
    after: Cursor,
    limit: i64,
) -> Result<Vec<Recorded>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM events e
          WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2)
            AND e.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
          ORDER BY e.transaction_id, e.position
          LIMIT $3"
    );
    let query = sqlx::query(&sql).bind(after.xid()).bind(after.position).bind(limit);
    // A server that vanished without a word would be waited for for ever.
    let rows = match tokio::time::timeout(PATIENCE, query.fetch_all(executor)).await {
        Ok(rows) => rows?,
        Err(_elapsed) => return Err(sqlx::Error::PoolTimedOut),
    };
    rows.iter().map(from_row).collect()
}

/// The next events of these aggregates behind `after` and up to `until`, at most `limit`: for a
/// reader of very many, who looks at few columns.
///
/// # Errors
/// When Postgres does not answer.
pub async fn page(
    executor: impl PgExecutor<'_>,
    kinds: &[&str],
    after: Cursor,
    until: Cursor,
    limit: i64,
) -> Result<Vec<Stored>, sqlx::Error> {
    let sql = format!(
        "SELECT {STORED} FROM public.events e
          WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2)
            AND (e.transaction_id, e.position) <= ($3::text::xid8, $4)
            AND e.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
            AND e.aggregate_type = ANY($5)
          ORDER BY e.transaction_id, e.position
          LIMIT $6"
    );
    let query = sqlx::query(&sql)
        .bind(after.xid())
        .bind(after.position)
        .bind(until.xid())
        .bind(until.position)
        .bind(kinds)
        .bind(limit);
    let rows = match tokio::time::timeout(PATIENCE, query.fetch_all(executor)).await {
        Ok(rows) => rows?,
        Err(_elapsed) => return Err(sqlx::Error::PoolTimedOut),
    };
    Ok(rows.into_iter().map(Stored::new).collect())
}

/// All events of these streams up to `until`, in the order of the feed.
///
/// # Errors
/// When Postgres does not answer.
pub async fn streams(
    executor: impl PgExecutor<'_>,
    kind: &str,
    ids: &[String],
    until: Cursor,
) -> Result<Vec<Stored>, sqlx::Error> {
    let sql = format!(
        "SELECT {STORED} FROM public.events e
          WHERE e.aggregate_type = $1 AND e.aggregate_id = ANY($2)
            AND (e.transaction_id, e.position) <= ($3::text::xid8, $4)
          ORDER BY e.transaction_id, e.position"
    );
    let query = sqlx::query(&sql).bind(kind).bind(ids).bind(until.xid()).bind(until.position);
    Ok(query.fetch_all(executor).await?.into_iter().map(Stored::new).collect())
}

/// The last event that readers can see.
///
/// # Errors
/// When Postgres does not answer.
pub async fn head(executor: impl PgExecutor<'_>) -> Result<Cursor, sqlx::Error> {
    let row = sqlx::query(
        "SELECT transaction_id::text::bigint AS transaction_id, position FROM events e
          WHERE e.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
          ORDER BY e.transaction_id DESC, e.position DESC LIMIT 1",
    )
    .fetch_optional(executor)
    .await?;
    row.map_or(Ok(Cursor::START), |row| {
        Ok(Cursor::new(row.try_get("transaction_id")?, row.try_get("position")?))
    })
}

/// The last event of the transaction that `cursor` belongs to: what a command answered that wrote
/// several streams.
///
/// # Errors
/// When Postgres does not answer.
pub async fn end_of_transaction(
    executor: impl PgExecutor<'_>,
    cursor: Cursor,
) -> Result<Cursor, sqlx::Error> {
    let last: Option<i64> = sqlx::query_scalar(
        "SELECT max(position) FROM events WHERE transaction_id = $1::text::xid8",
    )
    .bind(cursor.xid())
    .fetch_one(executor)
    .await?;
    Ok(Cursor::new(cursor.transaction_id, last.unwrap_or(cursor.position)))
}

/// How many events lie behind `after`, counted up to `most`.
///
/// # Errors
/// When Postgres does not answer.
pub async fn lag(
    executor: impl PgExecutor<'_>,
    after: Cursor,
    most: i64,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM events e
          WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2) LIMIT $3) AS behind",
    )
    .bind(after.xid())
    .bind(after.position)
    .bind(most)
    .fetch_one(executor)
    .await
}
