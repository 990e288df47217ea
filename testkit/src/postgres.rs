//! Databases with the schema of this build: a fresh one for each test, or a server that a test may
//! kill.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use reqwest::Url;
use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use streams::Database;
use tempfile::TempDir;

use crate::{
    eventually,
    process::{Process, command, folder, free_port, give_away, last_words},
    setting,
};

/// Where the roles and the database are made, on the runner's server and on private ones alike.
const ROLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/postgres-roles.sql");

/// A database on the server of the test run, that no other test sees.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
}

impl TestDatabase {
    /// A fresh one, as `apptremind migrate` leaves it.
    ///
    /// # Panics
    /// When the server of the test run does not answer.
    pub async fn create() -> Self {
        let mut admin = admin().await;
        let template = template(&mut admin).await;
        let name = format!("t_{}", streams::clock::new_id().simple());
        let copy = format!("CREATE DATABASE {name} TEMPLATE {template} OWNER apptremind_owner");
        execute(&mut admin, &copy).await;
        Self { name }
    }

    /// As the running application, which may not change events.
    #[must_use]
    pub fn app_url(&self) -> String {
        runner_url("apptremind", &self.name)
    }

    /// As the owner, who may change tables.
    #[must_use]
    pub fn owner_url(&self) -> String {
        runner_url("apptremind_owner", &self.name)
    }

    /// As somebody who may do everything.
    #[must_use]
    pub fn superuser_url(&self) -> String {
        runner_url("superuser", &self.name)
    }

    /// Brings about what no use case of the product brings about yet, as the superuser.
    ///
    /// # Panics
    /// When Postgres refuses.
    pub async fn execute(&self, sql: &str) {
        execute(&mut connected(&self.superuser_url()).await, sql).await;
    }

    /// Looks at what no use case shows: the rows of a query with one text column.
    ///
    /// # Panics
    /// When Postgres refuses.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        texts(&mut connected(&self.superuser_url()).await, sql).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // The test's own runtime may be in the middle of anything. What cannot be dropped goes with
        // the server at the end of the run.
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                execute(&mut admin().await, &drop).await;
            });
        })
        .join();
    }
}

/// The migrated database that the others are copied from. Made once: tests are processes of their
/// own, so the server holds the lock.
async fn template(admin: &mut PgConnection) -> String {
    let mut hash = DefaultHasher::new();
    for file in migrations() {
        (fs::read(&file).expect("a migration"), file.file_name()).hash(&mut hash);
    }
    let name = format!("template_{:016x}", hash.finish());
    execute(admin, "SELECT pg_advisory_lock(4711)").await;
    let there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(&name)
            .fetch_one(&mut *admin)
            .await
            .expect("an answer of Postgres");
    if !there {
        // Under its final name only once it is complete.
        let draft = format!("{name}_draft");
        execute(admin, &format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await;
        execute(admin, &format!("CREATE DATABASE {draft} OWNER apptremind_owner")).await;
        Database::migrate(&runner_url("apptremind_owner", &draft)).await.expect("the migrations");
        execute(admin, &format!("ALTER DATABASE {draft} RENAME TO {name}")).await;
    }
    execute(admin, "SELECT pg_advisory_unlock(4711)").await;
    name
}

fn migrations() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let entries = fs::read_dir(folder).expect("the folder of migrations");
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the folder of migrations").path()).collect();
    files.sort();
    files
}

async fn admin() -> PgConnection {
    let url = setting("APPTREMIND_TEST_DATABASE_URL");
    let options: PgConnectOptions =
        url.parse().expect("an address in APPTREMIND_TEST_DATABASE_URL");
    options.disable_statement_logging().connect().await.expect("the Postgres of the test run")
}

async fn connected(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("the database of the test")
}

async fn texts(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    let rows = sqlx::query_scalar(sql).fetch_all(connection).await;
    rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

async fn execute(connection: &mut PgConnection, sql: &str) {
    if let Err(error) = sqlx::raw_sql(sql).execute(connection).await {
        panic!("{sql}: {error}");
    }
}

/// The runner's server, as another role and for another database. All roles share one password.
fn runner_url(role: &str, database: &str) -> String {
    let url = setting("APPTREMIND_TEST_DATABASE_URL");
    let mut url = Url::parse(&url).expect("an address in APPTREMIND_TEST_DATABASE_URL");
    url.set_username(role).expect("an address with a host");
    url.set_path(database);
    url.into()
}

/// A server with the database `apptremind`, that a test may kill without hurting other tests.
#[derive(Debug)]
pub struct PrivatePostgres {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
    environment: Vec<(&'static str, String)>,
}

impl PrivatePostgres {
    /// Starts one, with roles and schema.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Self {
        Self::start_in(vec![]).await
    }

    /// Starts one in an environment of its own, such as that of another clock.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_in(environment: Vec<(&'static str, String)>) -> Self {
        let (folder, port) = (folder("postgres"), free_port());
        let mut server = Self { process: None, folder, port, environment };
        server.create();
        while !server.launch().await {
            // Somebody was quicker to take the port.
            server.port = free_port();
        }
        server.make_roles();
        Database::migrate(&server.owner_url()).await.expect("the migrations");
        server
    }

    /// As the running application, which may not change events.
    #[must_use]
    pub fn app_url(&self) -> String {
        self.url("apptremind", "apptremind")
    }

    /// As the owner, who may change tables.
    #[must_use]
    pub fn owner_url(&self) -> String {
        self.url("apptremind_owner", "apptremind")
    }

    /// As [`TestDatabase::execute`].
    ///
    /// # Panics
    /// When Postgres refuses.
    pub async fn execute(&self, sql: &str) {
        execute(&mut connected(&self.url("superuser", "apptremind")).await, sql).await;
    }

    /// As [`TestDatabase::texts`].
    ///
    /// # Panics
    /// When Postgres refuses.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        texts(&mut connected(&self.url("superuser", "apptremind")).await, sql).await
    }

    /// SIGSTOP, for all its processes: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.process.iter().for_each(|process| process.signal_all("-STOP"));
    }

    /// It goes on where it was.
    pub fn resume(&self) {
        self.process.iter().for_each(|process| process.signal_all("-CONT"));
    }

    /// SIGKILL, for all its processes.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port; it recovers what was committed.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_again(&mut self) {
        // The shared memory of the killed server is in use until the last of its processes is gone.
        let what = format!("Postgres comes up again, see {}", self.log().display());
        eventually(&what, async || self.launch().await.then_some(())).await;
    }

    fn url(&self, role: &str, database: &str) -> String {
        let mut url = Url::parse(&runner_url(role, database)).expect("the address just made");
        url.set_port(Some(self.port)).expect("an address with a host");
        url.into()
    }

    fn create(&self) {
        let password = self.folder.path().join("password");
        fs::write(&password, password_of_all()).expect("a file for the password");
        give_away(&password).expect("a file for the password");
        let mut initdb = command(program("initdb"));
        initdb.args(["--username", "superuser", "--auth", "scram-sha-256", "--no-sync"]);
        initdb.args(["--encoding", "UTF8", "--locale", "C", "--no-instructions"]);
        initdb.arg("--pwfile").arg(password).arg("-D").arg(self.data());
        let mut process = Process::start(initdb, &self.log());
        assert!(process.succeeds(), "initdb failed: {}", last_words(&self.log()));
    }

    /// False when it ended at once: the port was taken.
    async fn launch(&mut self) -> bool {
        let mut server = command(program("postgres"));
        server.envs(self.environment.iter().map(|(name, value)| (name, value)));
        server.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            // A killed process loses nothing that it wrote: only a killed machine would.
            "fsync=off",
            "timezone=UTC",
            "log_timezone=UTC",
        ] {
            server.args(["-c", setting]);
        }
        let mut process = Process::start(server, &self.log());
        let url = self.url("superuser", "postgres");
        let up = eventually("Postgres answers or ends", async || {
            if process.has_ended() {
                return Some(false);
            }
            let mut connection = PgConnection::connect(&url).await.ok()?;
            let folder: String =
                sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await.ok()?;
            (Path::new(&folder) == self.data()).then_some(true)
        })
        .await;
        self.process = up.then_some(process);
        up
    }

    fn make_roles(&self) {
        let psql = Command::new(program("psql"))
            .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", ROLES])
            .arg(self.url("superuser", "postgres"))
            .env("APPTREMIND_OWNER_PASSWORD", password_of_all())
            .env("APPTREMIND_APP_PASSWORD", password_of_all())
            .output()
            .expect("the command `psql`");
        assert!(psql.status.success(), "{}", String::from_utf8_lossy(&psql.stderr));
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

fn program(name: &str) -> PathBuf {
    Path::new(&setting("APPTREMIND_TEST_POSTGRES_BIN")).join(name)
}

fn password_of_all() -> String {
    let url = setting("APPTREMIND_TEST_DATABASE_URL");
    let url = Url::parse(&url).expect("an address in APPTREMIND_TEST_DATABASE_URL");
    url.password().unwrap_or_default().to_owned()
}
