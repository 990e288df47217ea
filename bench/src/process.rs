//! Processes of the real binary, and what they use of the machine.

use std::{
    fs::File,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use testkit::{mailsink::MailSink, nats::NatsServer};

use crate::{salon::CAP, wire};

/// A broker and a mail sink of one figure.
pub(crate) struct Servers {
    pub(crate) nats: NatsServer,
    pub(crate) mail: MailSink,
    folder: tempfile::TempDir,
    /// Settings besides.
    settings: Vec<(&'static str, String)>,
}

impl Servers {
    pub(crate) async fn start() -> Result<Self> {
        let (nats, mail) = tokio::join!(NatsServer::start(), MailSink::start());
        Ok(Self { nats, mail, folder: tempfile::tempdir()?, settings: vec![] })
    }

    /// For the processes that are started from now on.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.settings.push((name, value.into()));
    }

    fn command(&self, binary: &Path, database_url: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .env("APPTREMIND_DATABASE_URL", database_url)
            .env("APPTREMIND_NATS_URL", self.nats.url())
            .env("APPTREMIND_SMTP_URL", self.mail.smtp_url())
            .env("APPTREMIND_SIGNING_KEY_FILE", self.folder.path().join("key.pem"))
            .env("APPTREMIND_FREE_MONTHLY_CAP", CAP.to_string())
            .env("APPTREMIND_LIMITS", "off")
            .env("APPTREMIND_ADMIN_PORT", "0")
            .env("APPTREMIND_LOG", "warn")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// `apptremind serve` with these roles, all of them when none is named; returns once it answers.
    pub(crate) async fn serve(
        &self,
        binary: &Path,
        database_url: &str,
        roles: &str,
    ) -> Result<Process> {
        let mut arguments = vec!["serve"];
        if !roles.is_empty() {
            arguments.extend(["--roles", roles]);
        }
        let (port, admin_port) = (free_port()?, free_port()?);
        let log = self.folder.path().join(format!("serve-{port}.log"));
        let child = self
            .command(binary, database_url, &arguments)
            .env("APPTREMIND_HTTP_PORT", port.to_string())
            .env("APPTREMIND_ADMIN_PORT", admin_port.to_string())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| binary.display().to_string())?;
        let mut process = Process { child, port, admin_port };
        // Whoever has no gateway says only at the admin port that it lives.
        if roles.is_empty() || roles.split(',').any(|role| role == "gateway") {
            process.ready(&process.address(), "/readyz", &log).await?;
        } else {
            process.ready(&process.admin_address(), "/healthz", &log).await?;
        }
        Ok(process)
    }

    /// Runs a command of the binary to its end, where it needs it as the owner of the schema: exit code,
    /// stdout and stderr.
    pub(crate) async fn run(
        &self,
        binary: &Path,
        database_url: &str,
        owner_url: &str,
        arguments: &[&str],
    ) -> Result<(i32, String, String)> {
        let mut command = self.command(binary, database_url, arguments);
        command.env("APPTREMIND_MIGRATE_DATABASE_URL", owner_url);
        let output = tokio::process::Command::from(command).output().await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
    }
}

/// A port where nobody listens now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A running process, killed when dropped.
pub(crate) struct Process {
    child: Child,
    port: u16,
    admin_port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Process {
    /// Any child that listens on a port of this machine.
    pub(crate) fn of(child: Child, port: u16) -> Self {
        Self { child, port, admin_port: port }
    }

    /// Host and port of the API.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Host and port of the metrics.
    pub(crate) fn admin_address(&self) -> String {
        format!("127.0.0.1:{}", self.admin_port)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    async fn ready(&mut self, address: &str, path: &str, log: &Path) -> Result<()> {
        let began = Instant::now();
        let request = wire::get(path, false);
        loop {
            if let Some(status) = self.child.try_wait()? {
                let words = std::fs::read_to_string(log).unwrap_or_default();
                bail!("serve ended with {status}: {}", words.trim());
            }
            let mut wire = wire::Wire::new(address);
            if wire.send(&request).await.is_ok_and(|reply| reply.status == 200) {
                return Ok(());
            }
            if began.elapsed() > Duration::from_secs(60) {
                let words = std::fs::read_to_string(log).unwrap_or_default();
                bail!("serve did not get ready: {}", words.trim());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// What the process says on its metrics page; empty when it does not answer.
    pub(crate) async fn metrics(&self) -> String {
        let mut wire = wire::Wire::new(&format!("127.0.0.1:{}", self.admin_port));
        match wire.send(&wire::get("/metrics", false)).await {
            Ok(reply) => String::from_utf8_lossy(reply.body).into_owned(),
            Err(_) => String::new(),
        }
    }

    /// Resident memory.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kilobytes.context("VmRSS")?.parse::<u64>()? * 1_024)
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(self.id())
    }
}

/// The kernel counts in hundredths of a second on every architecture that we run on.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of a process so far.
pub(crate) fn cpu_of(id: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    ticks_in(&stat).map(|ticks| TICK * ticks).context("times in /proc")
}

/// Fields 14 and 15, counted behind the name in brackets.
fn ticks_in(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u32>().ok()?, fields.next()?.parse::<u32>().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_the_name() {
        let stat = "12 (odd) name) S 1 12 12 0 -1 4194560 100 0 0 0 70 30 0 0 20 0 4 0 99";
        assert_eq!(ticks_in(stat), Some(100));
    }
}
