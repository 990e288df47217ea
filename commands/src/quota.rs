//! Limits that all processes share, counted in Postgres.

use std::time::Duration;

use jiff_sqlx::ToSqlx;
use sha2::{Digest, Sha256};
use sqlx::Row;
use streams::{Database, clock};

use crate::{CommandError, Commands, identity::Caller};

/// So much may be used of something in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// What is counted.
    pub scope: &'static str,
    /// How often; 0 is without limit.
    pub most: u32,
    /// In which time, from the first use on.
    pub window: Duration,
}

/// It is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedUp {
    /// Which quota.
    pub quota: Quota,
    /// When there is more.
    pub retry_after: Duration,
}

/// Whose use is counted. Only a hash is stored.
pub(crate) fn subject(parts: &[&str]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().to_vec()
}

/// Counts one use of each, whether or not one is used up already; answers the first that is. All or nothing
/// would let whoever is refused by one go on for ever with the others.
pub(crate) async fn take(
    database: &Database,
    wanted: &[(Quota, Vec<u8>)],
) -> Result<Option<UsedUp>, sqlx::Error> {
    let mut wanted: Vec<&(Quota, Vec<u8>)> =
        wanted.iter().filter(|(quota, _)| quota.most > 0).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    // In one order, so that two never wait for each other.
    wanted.sort_by_key(|(quota, subject)| (quota.scope, subject.clone()));
    let seconds = |(quota, _): &&(Quota, Vec<u8>)| quota.window.as_secs_f64();
    let query = sqlx::query(
        "INSERT INTO quota AS q (scope, subject, opened_at, ends_at, used)
         SELECT scope, subject, $4, $4 + seconds * interval '1 second', 1
           FROM unnest($1::text[], $2::bytea[], $3::float8[]) AS new (scope, subject, seconds)
         ON CONFLICT (scope, subject) DO UPDATE
            SET used = CASE WHEN q.ends_at <= $4 THEN 1 ELSE least(q.used + 1, 1000000000) END,
                opened_at = CASE WHEN q.ends_at <= $4 THEN excluded.opened_at ELSE q.opened_at END,
                ends_at = CASE WHEN q.ends_at <= $4 THEN excluded.ends_at ELSE q.ends_at END
         RETURNING scope, used, extract(epoch FROM ends_at - $4)::float8 AS left",
    )
    .bind(wanted.iter().map(|(quota, _)| quota.scope).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(_, subject)| subject.as_slice()).collect::<Vec<_>>())
    .bind(wanted.iter().map(seconds).collect::<Vec<_>>())
    .bind(clock::now().to_sqlx());
    let rows = database.within(query.fetch_all(database.system())).await?;
    for row in rows {
        let scope: &str = row.try_get("scope")?;
        let used = row.try_get::<i32, _>("used")?.unsigned_abs();
        let over = wanted.iter().find(|(quota, _)| quota.scope == scope && used > quota.most);
        if let Some((quota, _)) = over {
            let left = row.try_get::<f64, _>("left")?.max(1.0).ceil();
            metrics::counter!("apptremind_quota_used_up_total", "scope" => quota.scope)
                .increment(1);
            let retry_after = Duration::from_secs_f64(left);
            return Ok(Some(UsedUp { quota: *quota, retry_after }));
        }
    }
    Ok(None)
}

impl Commands {
    /// Counts one use, of which somebody in a network may make so many.
    ///
    /// # Errors
    /// When it is used up, or Postgres does not answer.
    pub async fn count(&self, quota: Quota, caller: &Caller) -> Result<(), CommandError<UsedUp>> {
        let subject = subject(&[&caller.network()]);
        match take(self.log.database(), &[(quota, subject)]).await? {
            None => Ok(()),
            Some(used_up) => Err(CommandError::Refused(used_up)),
        }
    }
}

/// Gives all uses back.
pub(crate) async fn clear(
    database: &Database,
    used: &[(Quota, Vec<u8>)],
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(
        "DELETE FROM quota WHERE (scope, subject) IN (SELECT * FROM unnest($1::text[], $2::bytea[]))",
    )
    .bind(used.iter().map(|(quota, _)| quota.scope).collect::<Vec<_>>())
    .bind(used.iter().map(|(_, subject)| subject.as_slice()).collect::<Vec<_>>());
    database.within(query.execute(database.system())).await?;
    Ok(())
}
