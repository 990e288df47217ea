//! Servers of a test's own and the binary under test.

use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use testkit::{
    eventually, free_port, mailsink::MailSink, nats::NatsServer, postgres::TestDatabase,
};

/// What a process of `apptremind` is told.
#[derive(Clone)]
pub(crate) struct Addresses {
    pub(crate) database_url: String,
    pub(crate) nats_url: String,
    pub(crate) smtp_url: String,
    /// Where each process of a test finds the one signing key.
    pub(crate) folder: Arc<tempfile::TempDir>,
    pub(crate) free_monthly_cap: u32,
    pub(crate) nats_replicas: u32,
    /// What is logged.
    pub(crate) log: &'static str,
    /// What links begin with; the process itself when absent.
    pub(crate) public_url: Option<String>,
    /// Other settings, without their prefix.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// What is no setting of ours.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// Servers of a test's own.
pub(crate) struct Stand {
    pub(crate) database: TestDatabase,
    pub(crate) nats: NatsServer,
    pub(crate) mail: MailSink,
    pub(crate) addresses: Addresses,
}

impl Stand {
    pub(crate) async fn new() -> Self {
        let (database, nats, mail) =
            tokio::join!(TestDatabase::create(), NatsServer::start(), MailSink::start());
        let addresses = Addresses::new(database.app_url(), nats.url(), mail.smtp_url());
        Self { database, nats, mail, addresses }
    }

    /// One process with every role.
    pub(crate) async fn serve(&self) -> Process {
        Process::start(&self.addresses, &[]).await
    }

    /// One process with every role, whose log is kept.
    pub(crate) async fn serve_logging_to(&self, log: &std::fs::File) -> Process {
        Process::start_with(&self.addresses, &[], Some(log)).await
    }
}

impl Addresses {
    pub(crate) fn new(database_url: String, nats_url: String, smtp_url: String) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let (free_monthly_cap, nats_replicas, log) = (1_000_000, 1, "warn,apptremind=info");
        Self {
            database_url,
            nats_url,
            smtp_url,
            folder,
            free_monthly_cap,
            nats_replicas,
            log,
            public_url: None,
            settings: vec![],
            environment: vec![],
        }
    }

    /// With a setting of its own.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.settings.push((name, value.to_owned()));
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_apptremind"));
        command
            .args(arguments)
            .env("APPTREMIND_DATABASE_URL", &self.database_url)
            .env("APPTREMIND_NATS_URL", &self.nats_url)
            .env("APPTREMIND_SMTP_URL", &self.smtp_url)
            .env("APPTREMIND_MAIL_FROM", "ApptRemind <reminders@apptremind.example>")
            .env("APPTREMIND_SIGNING_KEY_FILE", self.folder.path().join("key.pem"))
            .env("APPTREMIND_FREE_MONTHLY_CAP", self.free_monthly_cap.to_string())
            .env("APPTREMIND_NATS_REPLICAS", self.nats_replicas.to_string())
            .env("APPTREMIND_LOG", self.log)
            .env("APPTREMIND_PUBLIC_URL", self.public_url.as_deref().unwrap_or_default())
            .env("APPTREMIND_LIMITS", "off")
            .env("APPTREMIND_ADMIN_PORT", "0");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        for (name, value) in &self.settings {
            command.env(format!("APPTREMIND_{name}"), value);
        }
        command
    }

    /// Runs a command to its end: exit code and stdout.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap_or(-1), text)
    }

    /// Every promise that `apptremind doctor` checks holds.
    pub(crate) fn assert_healthy(&self) {
        let (code, text) = self.run(&["doctor"]);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("no two visits of a staff member overlap"), "{text}");
    }

    /// Every read model has every event.
    pub(crate) async fn caught_up(&self) {
        self.caught_up_but("nobody").await;
    }

    /// The same of everybody who follows the events, but for those whose name begins so.
    pub(crate) async fn caught_up_but(&self, others: &str) {
        eventually("every read model has every event", async || {
            let (code, text) = self.run(&["projections", "--json"]);
            let all: Vec<Value> = serde_json::from_str(&text).ok()?;
            let done = all.iter().all(|model| {
                model["consumer"].as_str().is_some_and(|name| name.starts_with(others))
                    || model["lag"] == 0 && model["halted"].is_null()
            });
            (code == 0 && done && all.len() == 7).then_some(())
        })
        .await;
    }
}

/// A running `apptremind serve`.
pub(crate) struct Process {
    child: Child,
    addresses: Addresses,
    roles: Vec<String>,
    port: u16,
    admin_port: u16,
}

impl Process {
    pub(crate) async fn start(addresses: &Addresses, roles: &[&str]) -> Self {
        Self::start_with(addresses, roles, None).await
    }

    async fn start_with(
        addresses: &Addresses,
        roles: &[&str],
        log: Option<&std::fs::File>,
    ) -> Self {
        let ports = [free_port(), free_port()];
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        let child = spawn(addresses, &roles, ports, log);
        let process = Self {
            child,
            addresses: addresses.clone(),
            roles,
            port: ports[0],
            admin_port: ports[1],
        };
        process.ready().await;
        process
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// SIGTERM, and waits for the end: whether it went well.
    pub(crate) async fn terminate(&mut self) -> bool {
        self.signal("-TERM");
        eventually("serve stops", async || self.child.try_wait().unwrap()).await.success()
    }

    /// What it holds in memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The number that the system knows it by.
    pub(crate) fn number(&self) -> u32 {
        self.child.id()
    }

    /// Such as `-STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// The page of metrics.
    pub(crate) async fn metrics(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.admin_port);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    /// The sum of a metric's series whose line begins so.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let page = self.metrics().await;
        let lines = page.lines().filter(|line| line.starts_with(series));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// On the same port, with the same roles.
    pub(crate) async fn start_again(&mut self) {
        let ports = [self.port, self.admin_port];
        self.child = spawn(&self.addresses, &self.roles, ports, None);
        self.ready().await;
    }

    /// The process answers; without the gateway's role it is enough that it runs.
    async fn ready(&self) {
        if !self.roles.is_empty() && !self.roles.iter().any(|role| role == "gateway") {
            return;
        }
        let client = self.client();
        eventually("serve answers", async || {
            let response = client.get("/readyz").await.ok()?;
            (response.status() == StatusCode::OK).then_some(())
        })
        .await;
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.port))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(
    addresses: &Addresses,
    roles: &[String],
    [port, admin_port]: [u16; 2],
    log: Option<&std::fs::File>,
) -> Child {
    let roles = roles.join(",");
    let mut arguments = vec!["serve"];
    if !roles.is_empty() {
        arguments.extend(["--roles", roles.as_str()]);
    }
    let mut command = addresses.command(&arguments);
    if let Some(log) = log {
        command.stderr(log.try_clone().unwrap());
    }
    command
        .env("APPTREMIND_HTTP_PORT", port.to_string())
        .env("APPTREMIND_ADMIN_PORT", admin_port.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Somebody who calls the API, signed in or not.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap_or_default();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, headers, body }
    }

    /// The body, when the status is this.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// Status and problem code.
    pub(crate) fn code(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body, when it is a whole problem document with this status and code.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> &Value {
        assert_eq!(self.code(), (status, code), "{}", self.body);
        self.well_formed();
        &self.body
    }

    /// Whatever it answers, a refusal is a problem document (RFC 9457) and nothing is our fault.
    #[track_caller]
    pub(crate) fn well_formed(&self) {
        assert!(self.status < 500 || self.status == 503, "{}: {}", self.status, self.body);
        if self.status < 400 {
            return;
        }
        let what = format!("{} {:?} {}", self.status, self.headers, self.body);
        assert_eq!(self.header("content-type"), "application/problem+json", "{what}");
        for member in ["type", "title", "detail", "code", "request_id"] {
            assert!(self.body[member].as_str().is_some_and(|s| !s.is_empty()), "{member}: {what}");
        }
        assert_eq!(self.body["status"], self.status, "{what}");
        assert_eq!(self.body["request_id"], self.header("x-request-id"), "{what}");
        assert_eq!(self.body["type"], format!("urn:apptremind:problem:{}", self.code().1));
    }

    /// The fields that the problem names.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array();
        errors.into_iter().flatten().filter_map(|error| error["field"].as_str()).collect()
    }
}

impl Client {
    pub(crate) fn new(base: String) -> Self {
        let http = testkit::client()
            .timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(256)
            .build()
            .unwrap();
        Self { http, base, token: None }
    }

    /// The same server, as whoever holds the token.
    pub(crate) fn signed_in(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The same person, at another server.
    pub(crate) fn at(&self, process: &Process) -> Self {
        Self { base: process.client().base, ..self.clone() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Host and port, for those who speak HTTP by hand.
    pub(crate) fn host(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// An edit of the profile, whether or not anybody sees it.
    pub(crate) async fn set_unseen(&self, change: &Value) {
        let request = self.request(Method::PATCH, "/api/v1/business/profile");
        let edit = request.header("If-Match", "*").json(change).send().await.unwrap();
        Answer::of(edit).await.expect(200);
    }

    /// Any call, with `If-Match: *` where there is something to edit.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.request(method.clone(), path);
        if [Method::PATCH, Method::PUT, Method::DELETE].contains(&method) {
            request = request.header("If-Match", "*");
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(request).await
    }

    /// Sends a request of this client's; after an edit of the business, waits until guests see it.
    ///
    /// The server waits for that itself, but answers after two seconds however far it is: on a busy
    /// machine that is too soon for a test that looks at what the edit did.
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let edits = request.url().path().starts_with("/api/v1/business/");
        let answer = Answer::of(self.http.execute(request).await.unwrap()).await;
        let position = answer.header("x-position");
        if edits && !position.is_empty() {
            self.read(&format!("/api/v1/business/profile?min_position={position}")).await;
        }
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Response, reqwest::Error> {
        self.request(Method::GET, path).send().await
    }

    /// The answer to one read, whatever it is.
    pub(crate) async fn ask(&self, path: &str) -> Answer {
        Answer::of(self.get(path).await.unwrap()).await
    }

    /// A read, by somebody who asks again when told to: while the read model is not so far as the
    /// `min_position` in the path, for which the server itself waits two seconds each time, and when
    /// Postgres seemed not to answer, as it may on a busy machine.
    pub(crate) async fn read(&self, path: &str) -> Answer {
        let mut answer = self.ask(path).await;
        for _ in 0..30 {
            if !matches!(answer.code(), (503, "projection_lagging" | "store_unavailable")) {
                break;
            }
            answer = self.ask(path).await;
        }
        answer
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// An edit of whatever version is there.
    pub(crate) async fn edit(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.send(self.request(method, path).header("If-Match", "*").json(body)).await
    }
}
