//! What the benchmarks ask of the Postgres server beside the product.

use anyhow::{Context, Result};
use sqlx::{Connection, PgConnection, Row};

/// The parts of a `postgres://user:secret@host:port/database` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) user: String,
    pub(crate) secret: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
}

impl std::str::FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> Result<Self> {
        let (_, rest) = url.split_once("://").context("an address with a scheme")?;
        let (login, place) = rest.rsplit_once('@').context("an address with a user")?;
        let (user, secret) = login.split_once(':').context("an address with a password")?;
        let (server, database) = place.split_once('/').context("an address with a database")?;
        let (host, port) = server.rsplit_once(':').context("an address with a port")?;
        Ok(Self {
            user: user.to_owned(),
            secret: secret.to_owned(),
            host: host.to_owned(),
            port: port.parse()?,
            database: database.to_owned(),
        })
    }
}

/// A setting of the server, as it shows it.
pub(crate) async fn setting(url: &str, name: &str) -> Result<String> {
    let mut connection = PgConnection::connect(url).await?;
    Ok(sqlx::query_scalar("SELECT current_setting($1)")
        .bind(name)
        .fetch_one(&mut connection)
        .await?)
}

/// A statement and what it cost.
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) calls: f64,
    pub(crate) total_ms: f64,
}

impl Statement {
    /// What each of so many things cost of it.
    pub(crate) fn per(&self, what: &str, count: usize) -> String {
        let count = count.max(1) as f64;
        format!(
            "`{}`: {:.2} calls and {:.0} µs a {what}.",
            self.text.trim().replace('`', "'"),
            self.calls / count,
            self.total_ms * 1e3 / count,
        )
    }
}

/// Makes `pg_stat_statements` count from nothing; false when the server does not have it.
pub(crate) async fn watch_statements(url: &str) -> Result<bool> {
    let mut connection = PgConnection::connect(url).await?;
    let loaded: String = sqlx::query_scalar("SELECT current_setting('shared_preload_libraries')")
        .fetch_one(&mut connection)
        .await?;
    if !loaded.contains("pg_stat_statements") {
        return Ok(false);
    }
    sqlx::raw_sql(
        "CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset()",
    )
    .execute(&mut connection)
    .await?;
    Ok(true)
}

/// The statements of the application that took most time since [`watch_statements`].
pub(crate) async fn costly_statements(url: &str, limit: i64) -> Result<Vec<Statement>> {
    let mut connection = PgConnection::connect(url).await?;
    let rows = sqlx::query(
        "SELECT left(regexp_replace(query, '\\s+', ' ', 'g'), 60) AS query,
                sum(calls)::float8 AS calls, sum(total_exec_time) AS total_ms
           FROM pg_stat_statements
          WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND userid IN (SELECT oid FROM pg_roles WHERE rolname LIKE 'apptremind%')
          GROUP BY 1 ORDER BY total_ms DESC LIMIT $1",
    )
    .bind(limit)
    .fetch_all(&mut connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Statement {
                text: row.try_get("query")?,
                calls: row.try_get("calls")?,
                total_ms: row.try_get("total_ms")?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_parts() {
        let address: Address = "postgres://app:s3cret@127.0.0.1:5433/bench".parse().unwrap();
        assert_eq!((address.host.as_str(), address.port), ("127.0.0.1", 5433));
        assert_eq!((address.user.as_str(), address.secret.as_str()), ("app", "s3cret"));
        assert_eq!(address.database, "bench");
        assert!("postgres://nowhere".parse::<Address>().is_err());
    }
}
