//! The new tables: a schema beside the live one, `<model>_shadow`.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use streams::Database;

use super::{RebuildError, model::Rebuilt};

/// The connection that builds the new tables and swaps them in. It holds the lock against other
/// rebuilds of the model, so whatever it writes is written by the only one.
#[derive(Debug)]
pub(super) struct Shadow {
    pub(super) connection: PgConnection,
}

pub(super) fn name<M: Rebuilt>() -> String {
    format!("{}_shadow", M::SCHEMA)
}

/// The schema that was live before the swap, until it is dropped.
pub(super) fn replaced<M: Rebuilt>() -> String {
    format!("{}_replaced", M::SCHEMA)
}

/// What a killed process held is given up within moments.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

impl Shadow {
    /// Empty tables like the live ones. Those of a rebuild that was killed are dropped.
    pub(super) async fn create<M: Rebuilt>(
        database: &Database,
        passing: bool,
    ) -> Result<Self, RebuildError> {
        let mut shadow = Self { connection: database.connect().await? };
        shadow.lock::<M>().await?;
        let settings = [
            // Never `public`: a missing table must not be found there under the same name.
            format!("SET search_path = {}", name::<M>()),
            // A crash loses tables that the next run drops anyway.
            "SET synchronous_commit = off".to_owned(),
            // A plan made for an empty table must not be kept for a full one.
            "SET plan_cache_mode = force_custom_plan".to_owned(),
            "SET enable_seqscan = off".to_owned(),
        ];
        for setting in settings {
            sqlx::query(&setting).execute(&mut shadow.connection).await?;
        }
        shadow.drop_leftovers::<M>().await?;
        shadow.copy_structure::<M>(passing).await?;
        Ok(shadow)
    }

    async fn lock<M: Rebuilt>(&mut self) -> Result<(), RebuildError> {
        let job = format!("replay-{}", M::SCHEMA);
        for tried in 1..=TRIES {
            let won: bool =
                sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
                    .bind(&job)
                    .fetch_one(&mut self.connection)
                    .await?;
            if won {
                return Ok(());
            }
            if tried < TRIES {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Err(RebuildError::Running { model: M::SCHEMA })
    }

    /// Drops what is not live.
    pub(super) async fn drop_leftovers<M: Rebuilt>(&mut self) -> Result<(), sqlx::Error> {
        for schema in [name::<M>(), replaced::<M>()] {
            let drop = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
            sqlx::query(&drop).execute(&mut self.connection).await?;
        }
        Ok(())
    }

    async fn copy_structure<M: Rebuilt>(&mut self, passing: bool) -> Result<(), RebuildError> {
        let mut transaction = self.connection.begin().await?;
        fits::<M>(&mut transaction).await?;
        let shadow = name::<M>();
        let mut statements = vec![format!("CREATE SCHEMA {shadow}")];
        for table in M::TABLES {
            // What is only compared and dropped need not survive a crash.
            let kind = if passing { "UNLOGGED TABLE" } else { "TABLE" };
            statements.push(format!(
                "CREATE {kind} {shadow}.{name} (LIKE {live}.{name} INCLUDING ALL EXCLUDING INDEXES)",
                name = table.name,
                live = M::SCHEMA,
            ));
        }
        statements.extend(indexes::<M>(&mut transaction).await?);
        statements.extend(grants::<M>(&mut transaction).await?);
        statements.extend(policies::<M>(&mut transaction).await?);
        for statement in statements {
            sqlx::raw_sql(&statement).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Tells the planner what the new tables hold, before anybody plans for them.
    pub(super) async fn analyze<M: Rebuilt>(&mut self) -> Result<(), sqlx::Error> {
        for table in M::TABLES {
            let analyze = format!("ANALYZE {}.{}", name::<M>(), table.name);
            sqlx::query(&analyze).execute(&mut self.connection).await?;
        }
        Ok(())
    }
}

/// The live schema has the tables that this build fills, and nothing that a copy would lose.
async fn fits<M: Rebuilt>(connection: &mut PgConnection) -> Result<(), RebuildError> {
    let there: Vec<(String, bool)> = sqlx::query_as(
        "SELECT c.relname::text, c.relhastriggers OR c.relforcerowsecurity OR c.relkind <> 'r'
           FROM pg_class c
          WHERE c.relnamespace = $1::text::regnamespace AND c.relkind NOT IN ('i', 't')",
    )
    .bind(M::SCHEMA)
    .fetch_all(connection)
    .await?;
    if let Some((name, _)) = there.iter().find(|(_, odd)| *odd) {
        let more = "has triggers, binds its owner or is no plain table, which a rebuild would lose";
        return Err(RebuildError::Unfit(format!("{}.{name} {more}", M::SCHEMA)));
    }
    let known = |name: &str| M::TABLES.iter().any(|table| table.name == name);
    let unknown = there.iter().find(|(name, _)| !known(name));
    match (unknown, there.len() == M::TABLES.len()) {
        (None, true) => Ok(()),
        (Some((name, _)), _) => {
            let more = "is not a table that this build fills: was it migrated by a newer one?";
            Err(RebuildError::Unfit(format!("{}.{name} {more}", M::SCHEMA)))
        }
        (None, false) => {
            let more = "lacks a table: run `apptremind migrate`";
            Err(RebuildError::Unfit(format!("the schema {} {more}", M::SCHEMA)))
        }
    }
}

/// Constraints and indexes under their own names: a later migration speaks of them by name.
async fn indexes<M: Rebuilt>(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let constraints: Vec<String> = sqlx::query_scalar(
        "SELECT format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', $2, t.relname, c.conname,
                       pg_get_constraintdef(c.oid))
           FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
          WHERE t.relnamespace = $1::text::regnamespace AND c.contype IN ('p', 'u', 'x')
          ORDER BY t.relname, c.contype, c.conname",
    )
    .bind(M::SCHEMA)
    .bind(name::<M>())
    .fetch_all(&mut *connection)
    .await?;
    let indexes: Vec<String> = sqlx::query_scalar(
        "SELECT replace(pg_get_indexdef(i.indexrelid), format(' ON %I.%I USING ', $1, t.relname),
                        format(' ON %I.%I USING ', $2, t.relname))
           FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
          WHERE t.relnamespace = $1::text::regnamespace
            AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
          ORDER BY 1",
    )
    .bind(M::SCHEMA)
    .bind(name::<M>())
    .fetch_all(connection)
    .await?;
    Ok(constraints.into_iter().chain(indexes).collect())
}

/// What others may do with the live schema and its tables, they may do with the new ones.
async fn grants<M: Rebuilt>(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT format('GRANT %s ON %s TO %s', a.privilege_type, o.new,
                       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
           FROM (SELECT nspacl AS acl, nspowner AS owner, format('SCHEMA %I', $2) AS new
                   FROM pg_namespace WHERE oid = $1::text::regnamespace
                 UNION ALL
                 SELECT relacl, relowner, format('TABLE %I.%I', $2, relname)
                   FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relkind = 'r') o,
                aclexplode(o.acl) a
          WHERE a.grantee <> o.owner
          ORDER BY 1",
    )
    .bind(M::SCHEMA)
    .bind(name::<M>())
    .fetch_all(connection)
    .await
}

/// Who sees which rows of the live tables sees the same rows of the new ones.
async fn policies<M: Rebuilt>(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY', $2, relname)
           FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relrowsecurity
         UNION ALL
         SELECT format('CREATE POLICY %I ON %I.%I AS %s FOR %s TO %s %s %s', policyname, $2, tablename,
                       permissive, cmd, (SELECT string_agg(quote_ident(r), ', ') FROM unnest(roles) r),
                       'USING (' || qual || ')', 'WITH CHECK (' || with_check || ')')
           FROM pg_policies WHERE schemaname = $1
          ORDER BY 1",
    )
    .bind(M::SCHEMA)
    .bind(name::<M>())
    .fetch_all(connection)
    .await
}
