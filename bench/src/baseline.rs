//! The reference (a): pgbench inserts one event a transaction into a table like ours.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use testkit::postgres::TestDatabase;
use tokio::process::Command;

use crate::{postgres::Address, stats::Sample};

/// A whole row is 450 bytes, and has the indexes that ours has.
const TABLE: &str = "
CREATE TABLE baseline_event (LIKE events INCLUDING ALL);
GRANT INSERT ON baseline_event TO apptremind_app;";

/// The id is new each time, and grows as ours do.
const SCRIPT: &str = r#"\set n :n + 1
INSERT INTO baseline_event (business_id, aggregate_type, aggregate_id, sequence, event_id, event_type,
  event_version, payload, actor, correlation_id, occurred_at)
VALUES ('0198c5a2-b7f0-7c3d-8e4f-5a6b7c8d9e02', 'appointment',
  'appt_' || lpad(:round::text, 12, '0') || lpad(:client_id::text, 8, '0') || lpad(:n::text, 12, '0'), 1,
  gen_random_uuid(), 'booking.appointment.booked.v1', '1',
  '{"type": "booked", "visit": {"slot": {"end": "2026-03-02T14:45:00Z", "start": "2026-03-02T14:00:00Z"}, "price": {"amount": 4500, "currency": "USD"}, "staff_id": "staff_0198c5a2b7f07c3d8e4f5a6b7c8d9e02"}}',
  'guest', gen_random_uuid(), now());
"#;

/// pgbench with a database of its own on the same server.
pub(crate) struct Baseline {
    pgbench: PathBuf,
    folder: tempfile::TempDir,
    rounds: u32,
    // Dropped last.
    database: TestDatabase,
}

impl Baseline {
    pub(crate) async fn new(pgbench: PathBuf) -> Result<Self> {
        let database = TestDatabase::create().await;
        database.execute(TABLE).await;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("insert.sql"), SCRIPT)?;
        Ok(Self { pgbench, folder, rounds: 0, database })
    }

    /// Bytes of a row, as Postgres stores it.
    pub(crate) async fn row_bytes(&self) -> String {
        let sql = "SELECT pg_column_size(e.*)::text FROM baseline_event e LIMIT 1";
        self.database.texts(sql).await.into_iter().next().unwrap_or_default()
    }

    /// Inserts for so long, in whole seconds, one at least.
    pub(crate) async fn run(&mut self, clients: usize, lasting: Duration) -> Result<Sample> {
        self.rounds += 1;
        let address: Address = self.database.app_url().parse()?;
        let seconds = lasting.as_secs().max(1);
        let prefix = self.folder.path().join(format!("log{}", self.rounds));
        let output = Command::new(&self.pgbench)
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--log"])
            .arg(format!("--client={}", clients.max(2)))
            .arg(format!("--time={seconds}"))
            .arg(format!("--define=round={}", self.rounds))
            .arg("--define=n=0")
            .arg(format!("--log-prefix={}", prefix.display()))
            .arg("--file")
            .arg(self.folder.path().join("insert.sql"))
            .env("PGHOST", &address.host)
            .env("PGPORT", address.port.to_string())
            .env("PGUSER", &address.user)
            .env("PGPASSWORD", &address.secret)
            .env("PGDATABASE", &address.database)
            .stdin(Stdio::null())
            .output()
            .await
            .context("pgbench")?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("pgbench failed: {said}{}", String::from_utf8_lossy(&output.stderr));
        }
        let rate = rate_in(&said).context("pgbench did not say its rate")?;
        let latencies = self.latencies(&prefix)?;
        let done = latencies.len();
        let elapsed = Duration::from_secs_f64(done as f64 / rate.max(1e-9));
        Ok(Sample { latencies, ..Sample::counted(done, elapsed) })
    }

    /// From the logs that each thread wrote: `client transaction microseconds ..`.
    fn latencies(&self, prefix: &std::path::Path) -> Result<Vec<u32>> {
        let name = prefix.file_name().context("a file name")?.to_string_lossy().into_owned();
        let mut latencies = Vec::new();
        for entry in std::fs::read_dir(self.folder.path())? {
            let path = entry?.path();
            let found = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !found.starts_with(&format!("{name}.")) {
                continue;
            }
            let text = std::fs::read_to_string(&path)?;
            latencies.extend(text.lines().filter_map(latency_in));
            std::fs::remove_file(path)?;
        }
        Ok(latencies)
    }
}

fn rate_in(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.starts_with("tps = "))?;
    line.trim_start_matches("tps = ").split(' ').next()?.parse().ok()
}

fn latency_in(line: &str) -> Option<u32> {
    line.split(' ').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_says_is_understood() {
        let said = "latency average = 2.1 ms\ntps = 3805.114 (without initial connection time)\n";
        assert!((rate_in(said).unwrap() - 3805.114).abs() < 1e-6);
        assert_eq!(latency_in("0 199 2241 0 1175850568 995598"), Some(2241));
        assert_eq!(latency_in("0 199 failed"), None);
    }
}
