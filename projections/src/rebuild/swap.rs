//! The new tables take the place of the live ones, in one short transaction.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use streams::{Cursor, feed};

use super::{
    Phase, Progress, RebuildError,
    build::{Build, checkpoint, fold},
    model::Rebuilt,
    shadow,
};
use crate::changes::Changes;

const TRIES: u32 = 100;
/// While it waits for the tables, readers wait behind it.
const BRIEF: &str = "SET LOCAL lock_timeout = '200ms'";
/// Long enough for Postgres to call off its own vacuuming of the tables, which it does after a second.
const PATIENT: &str = "SET LOCAL lock_timeout = '1500ms'";
const PAUSE: Duration = Duration::from_millis(100);
/// Events that are applied while everybody waits.
const MOST: i64 = 2_000;

pub(super) async fn swap<M: Rebuilt>(build: &mut Build<'_, M>) -> Result<(), RebuildError> {
    for tried in 1..=TRIES {
        let (done, total, events) = (tried.into(), TRIES.into(), build.events);
        (build.watcher)(Progress { phase: Phase::Swap, done, total, events });
        build.catch_up().await?;
        let lock_timeout = if tried % 10 == 0 { PATIENT } else { BRIEF };
        match exchange(build, lock_timeout).await {
            Ok(Some(applied)) => {
                build.events += applied;
                return Ok(());
            }
            // The projector ran ahead meanwhile.
            Ok(None) => {}
            Err(error) if is_locked(&error) => tracing::debug!("the live tables are in use"),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PAUSE * tried.min(10)).await;
    }
    Err(RebuildError::NeverFree { tries: TRIES })
}

/// How many events were applied on the way; `None` when they were too many to do it now.
async fn exchange<M: Rebuilt>(
    build: &mut Build<'_, M>,
    lock_timeout: &str,
) -> Result<Option<u64>, RebuildError> {
    let after = build.cursor;
    let mut transaction = build.shadow.connection.begin().await?;
    for setting in [lock_timeout, "SET LOCAL synchronous_commit = on"] {
        sqlx::query(setting).execute(&mut *transaction).await?;
    }
    // Tables first, checkpoint second: in the order of the projector, which so is between two
    // batches. Readers wait, and find the new tables under the old names afterwards.
    let tables: Vec<String> =
        M::TABLES.iter().map(|table| format!("{}.{}", M::SCHEMA, table.name)).collect();
    let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "));
    sqlx::query(&lock).execute(&mut *transaction).await?;
    let until = checkpoint(&mut transaction, M::NAME, "FOR UPDATE").await?;
    let until = until.unwrap_or(Cursor::START);
    if until < after {
        return Err(RebuildError::SetBack { consumer: M::NAME, now: until, built: after });
    }
    let Some(applied) = apply::<M>(&mut transaction, after, until).await? else {
        transaction.rollback().await?;
        return Ok(None);
    };
    let (shadow, replaced) = (shadow::name::<M>(), shadow::replaced::<M>());
    for rename in [
        format!("ALTER SCHEMA {} RENAME TO {replaced}", M::SCHEMA),
        format!("ALTER SCHEMA {shadow} RENAME TO {}", M::SCHEMA),
    ] {
        sqlx::query(&rename).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    build.cursor = until;
    Ok(Some(applied))
}

async fn apply<M: Rebuilt>(
    connection: &mut PgConnection,
    after: Cursor,
    until: Cursor,
) -> Result<Option<u64>, RebuildError> {
    let page = feed::page(&mut *connection, M::Changes::KINDS, after, until, MOST + 1).await?;
    if page.len() as i64 > MOST {
        return Ok(None);
    }
    fold::<M>(&page)?.write(connection).await?;
    Ok(Some(page.len() as u64))
}

fn is_locked(error: &RebuildError) -> bool {
    let RebuildError::Postgres(sqlx::Error::Database(refused)) = error else { return false };
    // lock_not_available, deadlock_detected
    matches!(refused.code().as_deref(), Some("55P03" | "40P01"))
}
