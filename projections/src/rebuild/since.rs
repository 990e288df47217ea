//! A rebuild that trusts what has not changed for long: rows of streams without an event behind a
//! position are copied from the live model, all others are built from their whole history.

use std::collections::BTreeMap;

use sqlx::{Connection, PgConnection, Postgres, Transaction};
use streams::{Cursor, Database, feed};

use super::{
    RebuildError,
    build::{Build, checkpoint},
    compare::reading,
    model::{Rebuilt, Table},
    shadow,
};
use crate::changes::Changes;

/// Streams in memory. Behind a position with more, everything is built anew.
const MOST: i64 = 200_000;
/// Streams whose events are read at once.
const TOGETHER: usize = 100;
/// Pages of a live table that are copied in one transaction.
const BLOCKS: i64 = 100;

/// Names of streams, by the type of their aggregate.
type Streams = BTreeMap<String, Vec<String>>;

impl<M: Rebuilt> Build<'_, M> {
    /// Brings the new tables to the live checkpoint in this way.
    pub(super) async fn begin_behind(
        &mut self,
        database: &Database,
        position: Cursor,
    ) -> Result<(), RebuildError> {
        let mut connection = reading(database).await?;
        let mut live = connection.begin().await?;
        // The first query takes the snapshot that all copies are made of.
        let checkpoint = checkpoint(&mut live, M::NAME, "").await?;
        let until = checkpoint.unwrap_or(Cursor::START);
        let Some(touched) = touched::<M>(&mut live, position, until).await? else {
            tracing::info!(model = M::SCHEMA, "too much has changed since: all is built anew");
            return Ok(());
        };
        let snapshot: String =
            sqlx::query_scalar("SELECT pg_export_snapshot()").fetch_one(&mut *live).await?;
        for table in M::TABLES {
            let without = without(&touched, table);
            self.copy_live(&mut live, &snapshot, table, &without).await?;
        }
        for (kind, ids) in &touched {
            for ids in ids.chunks(TOGETHER) {
                let events = feed::streams(&mut *live, kind, ids, until).await?;
                let mut rest = events.as_slice();
                while !rest.is_empty() {
                    let (page, behind) = rest.split_at(self.page_size().min(rest.len()));
                    self.apply(page).await?;
                    rest = behind;
                }
            }
        }
        live.rollback().await?;
        self.cursor = until;
        Ok(())
    }

    /// Copies the rows as the snapshot shows them, part by part, in short transactions.
    async fn copy_live(
        &mut self,
        live: &mut Transaction<'_, Postgres>,
        snapshot: &str,
        table: &Table,
        without: &[String],
    ) -> Result<(), RebuildError> {
        // What was written since the snapshot may lie behind this, and is not to be seen.
        let blocks: i64 = sqlx::query_scalar(
            "SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint",
        )
        .bind(format!("{}.{}", M::SCHEMA, table.name))
        .fetch_one(&mut **live)
        .await?;
        let copy = format!(
            "INSERT INTO {}.{name} SELECT t.* FROM {}.{name} t
              WHERE t.ctid >= $1::text::tid AND t.ctid < $2::text::tid
                AND NOT ({stream} = ANY($3::text[]))",
            shadow::name::<M>(),
            M::SCHEMA,
            name = table.name,
            stream = table.stream,
        );
        let mut first = 0;
        while first < blocks {
            let next = first + BLOCKS;
            let mut transaction = self.shadow.connection.begin().await?;
            for setting in [
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                &format!("SET TRANSACTION SNAPSHOT '{snapshot}'"),
            ] {
                sqlx::query(setting).persistent(false).execute(&mut *transaction).await?;
            }
            sqlx::query(&copy)
                .bind(format!("({first},0)"))
                .bind(format!("({next},0)"))
                .bind(without)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            first = next;
        }
        Ok(())
    }
}

/// The streams whose rows are not copied, as the table names them.
fn without(touched: &Streams, table: &Table) -> Vec<String> {
    let Some(kind) = table.kind else {
        let named = |(kind, ids): (&String, &Vec<String>)| {
            ids.iter().map(|id| format!("{kind}:{id}")).collect::<Vec<_>>()
        };
        return touched.iter().flat_map(named).collect();
    };
    touched.get(kind).cloned().unwrap_or_default()
}

/// The streams with an event behind `position` and up to `until`; `None` when they are too many.
async fn touched<M: Rebuilt>(
    connection: &mut PgConnection,
    position: Cursor,
    until: Cursor,
) -> Result<Option<Streams>, sqlx::Error> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT DISTINCT e.aggregate_type, e.aggregate_id FROM public.events e
          WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2)
            AND (e.transaction_id, e.position) <= ($3::text::xid8, $4)
            AND e.aggregate_type = ANY($5)
          LIMIT $6",
    )
    .bind(position.xid())
    .bind(position.position)
    .bind(until.xid())
    .bind(until.position)
    .bind(M::Changes::KINDS)
    .bind(MOST + 1)
    .fetch_all(connection)
    .await?;
    if rows.len() as i64 > MOST {
        return Ok(None);
    }
    let mut streams = Streams::new();
    for (kind, id) in rows {
        streams.entry(kind).or_default().push(id);
    }
    Ok(Some(streams))
}
