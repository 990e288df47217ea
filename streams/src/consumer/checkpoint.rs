use sqlx::{PgConnection, PgExecutor, Row, postgres::PgRow};

use crate::Cursor;

/// How far a consumer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The consumer.
    pub consumer: String,
    /// The last event it applied.
    pub cursor: Cursor,
    /// Why it stopped, when an event could not be applied.
    pub halted: Option<String>,
}

fn from_row(row: &PgRow) -> Result<Checkpoint, sqlx::Error> {
    Ok(Checkpoint {
        consumer: row.try_get("consumer")?,
        cursor: Cursor::new(row.try_get("transaction_id")?, row.try_get("position")?),
        halted: row.try_get("halted")?,
    })
}

const COLUMNS: &str = "consumer, transaction_id::text::bigint AS transaction_id, position, halted";

/// All checkpoints, by name.
///
/// # Errors
/// When Postgres does not answer.
pub async fn checkpoints(executor: impl PgExecutor<'_>) -> Result<Vec<Checkpoint>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM consumer_checkpoint ORDER BY consumer");
    sqlx::query(&sql).fetch_all(executor).await?.iter().map(from_row).collect()
}

/// The checkpoint of one consumer, which begins before the first event.
pub(super) async fn load(
    connection: &mut PgConnection,
    consumer: &str,
) -> Result<Cursor, sqlx::Error> {
    sqlx::query(
        "INSERT INTO public.consumer_checkpoint (consumer, transaction_id, position)
         VALUES ($1, '0', 0) ON CONFLICT DO NOTHING",
    )
    .bind(consumer)
    .execute(&mut *connection)
    .await?;
    let sql = format!("SELECT {COLUMNS} FROM public.consumer_checkpoint WHERE consumer = $1");
    let row = sqlx::query(&sql).bind(consumer).fetch_one(connection).await?;
    Ok(from_row(&row)?.cursor)
}

/// Moves the checkpoint; false when it was not where the caller thought.
pub(super) async fn advance(
    connection: &mut PgConnection,
    consumer: &str,
    from: Cursor,
    to: Cursor,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query(
        "UPDATE public.consumer_checkpoint
            SET transaction_id = $4::text::xid8, position = $5, halted = NULL, updated_at = now()
          WHERE consumer = $1 AND transaction_id = $2::text::xid8 AND position = $3",
    )
    .bind(consumer)
    .bind(from.xid())
    .bind(from.position)
    .bind(to.xid())
    .bind(to.position)
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Notes why the consumer cannot go on.
pub(super) async fn halt(
    connection: &mut PgConnection,
    consumer: &str,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE public.consumer_checkpoint SET halted = $2, updated_at = now() WHERE consumer = $1",
    )
    .bind(consumer)
    .bind(reason)
    .execute(connection)
    .await?;
    Ok(())
}
