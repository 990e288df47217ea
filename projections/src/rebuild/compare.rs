//! Live and rebuilt tables side by side, at exactly one place in the feed.

use std::{cmp::Ordering, collections::VecDeque};

use serde_json::{Map, Value};
use sqlx::{Connection, PgConnection, Postgres, Row, Transaction};
use streams::{Cursor, Database};

use super::{
    Difference, KeyEvent, Phase, Progress, RebuildError,
    build::{Build, checkpoint},
    model::{Origin, Rebuilt, Table},
    shadow,
};

/// Rows of each side in memory.
const FETCH: usize = 2_000;

/// What the comparison found.
pub(super) struct Compared {
    pub(super) rows: u64,
    pub(super) difference: Option<Difference>,
    pub(super) position: Cursor,
}

/// Brings the new tables to where one snapshot shows the live ones, and compares.
pub(super) async fn compare<M: Rebuilt>(
    build: &mut Build<'_, M>,
    database: &Database,
) -> Result<Compared, RebuildError> {
    let mut live_connection = reading(database).await?;
    let mut shadow_connection = reading(database).await?;
    let mut live = live_connection.begin().await?;
    // The first query takes the snapshot: tables and checkpoint belong together in it.
    let at = checkpoint(&mut live, M::NAME, "").await?.unwrap_or(Cursor::START);
    build.build(at).await?;
    let mut shadow = shadow_connection.begin().await?;
    let total = estimate::<M>(&mut shadow).await?;
    let mut compared = Compared { rows: 0, difference: None, position: at };
    for table in M::TABLES {
        let mut sides = [
            Side::open(&mut live, M::SCHEMA, table).await?,
            Side::open(&mut shadow, &shadow::name::<M>(), table).await?,
        ];
        let mut report = |rows: u64| {
            let done = compared.rows + rows;
            let events = build.events;
            (build.watcher)(Progress { phase: Phase::Compare, done, total, events });
        };
        let (rows, unequal) = merge(&mut sides, &mut report).await?;
        compared.rows += rows;
        if let Some(unequal) = unequal {
            let [live, shadow] = sides.map(|side| (side.transaction, side.schema));
            let difference = describe(live, shadow, table, unequal).await?;
            compared.difference = Some(difference);
            break;
        }
    }
    shadow.rollback().await?;
    live.rollback().await?;
    Ok(compared)
}

/// A connection for transactions that read one snapshot for as long as they like.
pub(super) async fn reading(database: &Database) -> Result<PgConnection, sqlx::Error> {
    let mut connection = database.connect().await?;
    for setting in [
        "SET default_transaction_isolation = 'repeatable read'",
        "SET default_transaction_read_only = on",
        "SET idle_in_transaction_session_timeout = '1h'",
        "SET statement_timeout = '10min'",
        "SET timezone = 'UTC'",
    ] {
        sqlx::query(setting).execute(&mut connection).await?;
    }
    Ok(connection)
}

async fn estimate<M: Rebuilt>(shadow: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let rows: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class
          WHERE relnamespace = $1::text::regnamespace AND relkind = 'r'",
    )
    .bind(shadow::name::<M>())
    .fetch_one(shadow)
    .await?;
    Ok(rows.unsigned_abs())
}

/// A row: its key as text, and all of it as text.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    key: Vec<String>,
    row: String,
}

/// The rows of one table in the order of their keys.
struct Side<'c, 't> {
    transaction: &'c mut Transaction<'t, Postgres>,
    schema: String,
    fetch: String,
    lines: VecDeque<Line>,
    ended: bool,
}

impl<'c, 't> Side<'c, 't> {
    async fn open(
        transaction: &'c mut Transaction<'t, Postgres>,
        schema: &str,
        table: &Table,
    ) -> Result<Self, sqlx::Error> {
        // Bytes order: both sides, and the comparison here, agree on it in every locale.
        let keys: Vec<String> =
            table.key.iter().map(|column| format!("{column}::text COLLATE \"C\"")).collect();
        let keys = keys.join(", ");
        let cursor = format!("compare_{}", table.name);
        let declare = format!(
            "DECLARE {cursor} NO SCROLL CURSOR FOR
             SELECT ARRAY[{keys}], t::text FROM {schema}.{} t ORDER BY {keys}",
            table.name
        );
        sqlx::query(&declare).persistent(false).execute(&mut **transaction).await?;
        Ok(Self {
            transaction,
            schema: schema.to_owned(),
            fetch: format!("FETCH FORWARD {FETCH} FROM {cursor}"),
            lines: VecDeque::new(),
            ended: false,
        })
    }

    async fn peek(&mut self) -> Result<Option<&Line>, sqlx::Error> {
        if self.lines.is_empty() && !self.ended {
            let rows = sqlx::query(&self.fetch)
                .persistent(false)
                .fetch_all(&mut **self.transaction)
                .await?;
            self.ended = rows.len() < FETCH;
            for row in rows {
                self.lines.push_back(Line { key: row.try_get(0)?, row: row.try_get(1)? });
            }
        }
        Ok(self.lines.front())
    }
}

/// A key whose row differs, and on which sides there is one.
struct Unequal {
    key: Vec<String>,
    live: bool,
    rebuilt: bool,
}

/// Walks both sides at once: how many rebuilt rows were seen, and the first key that differs.
async fn merge(
    [live, shadow]: &mut [Side<'_, '_>; 2],
    report: &mut impl FnMut(u64),
) -> Result<(u64, Option<Unequal>), sqlx::Error> {
    let mut rows = 0;
    loop {
        let (one, other) = (live.peek().await?, shadow.peek().await?);
        let order = match (one, other) {
            (None, None) => return Ok((rows, None)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one.key.cmp(&other.key),
        };
        let differs = order != Ordering::Equal || one != other;
        if differs {
            let first = if order == Ordering::Greater { other } else { one };
            let key = first.map(|line| line.key.clone()).unwrap_or_default();
            let (live, rebuilt) = (order != Ordering::Greater, order != Ordering::Less);
            return Ok((rows, Some(Unequal { key, live, rebuilt })));
        }
        live.lines.pop_front();
        shadow.lines.pop_front();
        rows += 1;
        if rows % FETCH as u64 == 0 {
            report(rows);
        }
    }
}

async fn describe(
    (live, live_schema): (&mut Transaction<'_, Postgres>, String),
    (shadow, shadow_schema): (&mut Transaction<'_, Postgres>, String),
    table: &Table,
    Unequal { key, live: stands, rebuilt }: Unequal,
) -> Result<Difference, RebuildError> {
    let found = if stands { row(live, &live_schema, table, &key).await? } else { None };
    let rebuilt = if rebuilt { row(shadow, &shadow_schema, table, &key).await? } else { None };
    let shown = found.as_ref().or(rebuilt.as_ref());
    let origin = (table.origin)(&key).or_else(|| said(shown?));
    let events = events(live, origin).await?;
    let live = found;
    let named = table.key.iter().zip(key);
    let key: Map<String, Value> =
        named.map(|(column, value)| ((*column).to_owned(), Value::String(value))).collect();
    Ok(Difference { table: table.name, key, live, rebuilt, events })
}

async fn row(
    connection: &mut PgConnection,
    schema: &str,
    table: &Table,
    key: &[String],
) -> Result<Option<Value>, sqlx::Error> {
    let columns: Vec<String> = table.key.iter().map(|column| format!("t.{column}::text")).collect();
    let sql = format!(
        "SELECT to_jsonb(t) FROM {schema}.{} t WHERE ARRAY[{}] = $1",
        table.name,
        columns.join(", ")
    );
    sqlx::query_scalar(&sql).bind(key).fetch_optional(connection).await
}

/// The stream that the row itself names.
fn said(row: &Value) -> Option<Origin> {
    let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
    let (kind, stream_id) = (text("aggregate_type")?, text("aggregate_id")?);
    Some(Origin { kind: kind.into(), stream_id, named: vec![] })
}

/// What happened to the key: all events of its stream, or those that name it.
async fn events(
    connection: &mut PgConnection,
    origin: Option<Origin>,
) -> Result<Vec<KeyEvent>, sqlx::Error> {
    let Some(origin) = origin else { return Ok(vec![]) };
    let rows = sqlx::query(
        "SELECT transaction_id::text::bigint AS transaction_id, position, event_type, occurred_at
           FROM public.events
          WHERE aggregate_type = $1 AND aggregate_id = $2
            AND (cardinality($3::text[]) = 0 OR payload->>'appointment_id' = ANY($3)
                 OR payload->>'time_off_id' = ANY($3))
          ORDER BY sequence DESC LIMIT 100",
    )
    .bind(origin.kind)
    .bind(origin.stream_id)
    .bind(origin.named)
    .fetch_all(connection)
    .await?;
    let event = |row: &sqlx::postgres::PgRow| {
        Ok(KeyEvent {
            position: Cursor {
                transaction_id: row.try_get("transaction_id")?,
                position: row.try_get("position")?,
            },
            kind: row.try_get("event_type")?,
            time: row.try_get::<jiff_sqlx::Timestamp, _>("occurred_at")?.to_jiff(),
        })
    };
    rows.iter().rev().map(event).collect()
}
