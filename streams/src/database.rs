use std::{
    ops::{Deref, DerefMut},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use domain::BusinessId;
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool, Postgres, Transaction,
    migrate::MigrateError,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::silence::Silence;

/// The schema, embedded in the binary.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// A connection that was idle for longer is asked whether it still lives.
const IDLE: Duration = Duration::from_secs(1);
/// A request that waits longer for a connection is refused, not kept.
const ACQUIRING: Duration = Duration::from_millis(900);
const PATIENT: Duration = Duration::from_secs(10);
/// A read that takes longer is given up. Requests are told much sooner when Postgres is silent.
const READING: Duration = Duration::from_secs(3);

/// A statement is planned once, and its tables may grow a thousandfold before it is planned again: what reads a
/// small table whole would read the large one whole too.
const PLANS: &[(&str, &str)] = &[
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// Whoever acts for one business: row-level security shows them that business alone.
const TENANT: &str = "apptremind_app";
/// Whoever acts for all of them, such as a projector.
const SYSTEM: &str = "apptremind_system";

/// Postgres: pools for requests, and connections of their own for those who hold one for long. There is no
/// other way to a connection, and each way says whose rows it sees.
#[derive(Debug, Clone)]
pub struct Database {
    tenants: PgPool,
    system: PgPool,
    options: Arc<PgConnectOptions>,
    silence: Silence,
}

/// A connection that sees the rows of one business and no others, whatever its queries forget to say.
#[derive(Debug)]
pub struct Tenant(PoolConnection<Postgres>);

impl Deref for Tenant {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Tenant {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

/// Postgres cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The address does not parse.
    #[error("the database address is not valid: {0}")]
    Address(#[source] sqlx::Error),
    /// It does not answer.
    #[error("Postgres does not answer: {0}")]
    Unreachable(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("migration failed: {0}")]
    Migration(#[from] MigrateError),
    /// Nobody ran `apptremind migrate`.
    #[error("the schema is not up to date: run `apptremind migrate`")]
    NotMigrated,
    /// After a restore: the log holds transactions that this server has not counted up to yet.
    #[error(
        "the log was written by a server that was further on (transaction {logged}, this one is at \
         {current}): readers would skip new events"
    )]
    TransactionsAhead {
        /// The newest transaction in the log.
        logged: i64,
        /// The next transaction of this server.
        current: i64,
    },
}

impl Database {
    /// Prepares pools of at most `connections` for tenants, and half as many for all else; connects on first
    /// use.
    ///
    /// # Errors
    /// When the address does not parse.
    pub fn new(url: &str, connections: u32) -> Result<Self, DatabaseError> {
        let options = options(url)?;
        let system = options.clone().options([("role", SYSTEM)]);
        Ok(Self::waiting(options, system, connections, ACQUIRING))
    }

    /// For a person at a terminal, who would rather wait than be refused.
    ///
    /// # Errors
    /// When the address does not parse.
    pub fn patient(url: &str) -> Result<Self, DatabaseError> {
        let options = options(url)?;
        Ok(Self::waiting(options.clone(), options.options([("role", SYSTEM)]), 2, PATIENT))
    }

    /// For a person at a terminal who changes tables: as the role that signs in, which owns them.
    ///
    /// # Errors
    /// When the address does not parse.
    pub fn owner(url: &str) -> Result<Self, DatabaseError> {
        let options = options(url)?;
        Ok(Self::waiting(options.clone(), options, 2, PATIENT))
    }

    fn waiting(
        tenant: PgConnectOptions,
        system: PgConnectOptions,
        connections: u32,
        acquiring: Duration,
    ) -> Self {
        let tenants = pool(tenant.options([("role", TENANT)]), connections, acquiring);
        let options = Arc::new(system);
        let half = connections.div_ceil(2);
        let system = pool(PgConnectOptions::clone(&options), half, acquiring);
        let silence = Silence::new(Arc::clone(&options));
        Self { tenants, system, options, silence }
    }

    /// A connection that sees the rows of this business alone.
    ///
    /// # Errors
    /// When Postgres does not answer, or too many wait for a connection.
    pub async fn tenant(&self, business_id: BusinessId) -> Result<Tenant, sqlx::Error> {
        let mut connection = self.tenants.acquire().await?;
        // For the session and not for a transaction: that would take two round trips more. Whoever has the
        // connection next says anew whom it is for.
        sqlx::query("SELECT set_config('apptremind.business_id', $1, false)")
            .bind(business_id.uuid().to_string())
            .execute(&mut *connection)
            .await?;
        Ok(Tenant(connection))
    }

    /// A transaction that sees and writes the rows of this business alone.
    ///
    /// # Errors
    /// When Postgres does not answer, or too many wait for a connection.
    pub async fn begin(
        &self,
        business_id: BusinessId,
    ) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let mut transaction = self.tenants.begin().await?;
        sqlx::query("SELECT set_config('apptremind.business_id', $1, true)")
            .bind(business_id.uuid().to_string())
            .execute(&mut *transaction)
            .await?;
        Ok(transaction)
    }

    /// For what concerns no business, or many: who signs in, whose a public name is, the feed of the log,
    /// and the work of our own roles.
    #[must_use]
    pub const fn system(&self) -> &PgPool {
        &self.system
    }

    /// A connection outside the pools, for the work of our own roles.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.connect_with(&[]).await
    }

    /// A connection outside the pools, for statements that are made again and again with lists of any length, and
    /// that find each row by its key: each is planned once.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn steady(&self) -> Result<PgConnection, sqlx::Error> {
        self.connect_with(PLANS).await
    }

    /// A connection outside the pool, with settings of its own.
    pub(crate) async fn connect_with(
        &self,
        settings: &[(&str, &str)],
    ) -> Result<PgConnection, sqlx::Error> {
        let options = PgConnectOptions::clone(&self.options).options(settings.iter().copied());
        let connecting = PgConnection::connect_with(&options);
        match tokio::time::timeout(Duration::from_secs(5), connecting).await {
            Ok(connection) => connection,
            Err(_elapsed) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// A short read, given up when it takes longer than a request should wait: nothing is known then,
    /// least of all "not found".
    ///
    /// # Errors
    /// As the read, and when it took too long.
    pub async fn within<T>(
        &self,
        reading: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        match tokio::time::timeout(READING, reading).await {
            Ok(read) => {
                if read.is_ok() {
                    self.heard();
                }
                read
            }
            Err(_elapsed) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// Notes that Postgres answered: nobody has to ask whether it does.
    pub fn heard(&self) {
        self.silence.heard();
    }

    /// Does the work, unless Postgres is found not to answer meanwhile: `None` then, within a second.
    /// Work that only takes long is left alone.
    pub async fn unless_silent<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.silence.begins() => None,
        }
    }

    /// Whether Postgres answers.
    pub async fn answers(&self) -> bool {
        let ping = sqlx::query("SELECT 1").execute(&self.system);
        matches!(tokio::time::timeout(Duration::from_secs(1), ping).await, Ok(Ok(_)))
    }

    /// # Errors
    /// When the schema is missing or old, or the log is ahead of the server.
    pub async fn check(&self) -> Result<(), DatabaseError> {
        let mut connection = self.connect().await.map_err(DatabaseError::Unreachable)?;
        let newest = MIGRATIONS.iter().map(|m| m.version).max().unwrap_or_default();
        let applied: Option<i64> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&mut connection)
                .await
                .unwrap_or_default();
        if applied.is_none_or(|applied| applied < newest) {
            return Err(DatabaseError::NotMigrated);
        }
        let (logged, current): (i64, i64) = sqlx::query_as(
            "SELECT coalesce((SELECT transaction_id::text::bigint FROM events
                               ORDER BY transaction_id DESC LIMIT 1), 0),
                    pg_snapshot_xmax(pg_current_snapshot())::text::bigint",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(DatabaseError::Unreachable)?;
        if logged >= current {
            return Err(DatabaseError::TransactionsAhead { logged, current });
        }
        Ok(())
    }

    /// Brings the schema up to date. `url` names a role that may create tables.
    ///
    /// # Errors
    /// When Postgres does not answer or a migration fails.
    pub async fn migrate(url: &str) -> Result<(), DatabaseError> {
        let mut connection = options(url)?.connect().await.map_err(DatabaseError::Unreachable)?;
        // Building an index on a large table takes its time.
        sqlx::query("SET statement_timeout = 0")
            .execute(&mut connection)
            .await
            .map_err(DatabaseError::Unreachable)?;
        MIGRATIONS.run_direct(&mut connection).await?;
        // `check` reads it as the application.
        sqlx::query("GRANT SELECT ON _sqlx_migrations TO apptremind_app, apptremind_system")
            .execute(&mut connection)
            .await
            .map_err(DatabaseError::Unreachable)?;
        Ok(())
    }
}

fn pool(options: PgConnectOptions, connections: u32, acquiring: Duration) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(acquiring)
        // A round trip more for each query would find out that a server was restarted, which a
        // connection that is in use finds out by itself.
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for > IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}

fn options(url: &str) -> Result<PgConnectOptions, DatabaseError> {
    let options = PgConnectOptions::from_str(url).map_err(DatabaseError::Address)?;
    Ok(options
        .application_name("apptremind")
        // An open writing transaction stalls the feed of everybody. A client that vanished keeps its
        // locks until Postgres notices, which takes two hours by default.
        .options([
            ("idle_in_transaction_session_timeout", "10s"),
            ("statement_timeout", "30s"),
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "20s"),
        ])
        .disable_statement_logging())
}
