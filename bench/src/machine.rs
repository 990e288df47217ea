//! Says on what the figures were measured: without it they mean nothing.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;
use testkit::postgres::TestDatabase;

use crate::{
    postgres,
    settings::Bench,
    stats::{median, micros},
    table::Table,
};

/// Settings of Postgres that decide what a commit costs.
const SETTINGS: [&str; 6] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
];

pub(crate) async fn describe(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(&["", ""]);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = field(&cpuinfo, "model name").unwrap_or("unknown");
    table.row(&["processor", &format!("{cores} cores of {model}")]);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = field(&meminfo, "MemTotal").and_then(|text| text.split(' ').next());
    let gigabytes = kilobytes.and_then(|text| text.parse::<f64>().ok()).unwrap_or_default() / 1e6;
    table.row(&["memory", &format!("{gigabytes:.0} GB")]);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    table.row(&["kernel", &format!("{} {}", std::env::consts::OS, kernel.trim())]);
    let database = TestDatabase::create().await;
    let url = database.app_url();
    let version = postgres::setting(&url, "server_version").await?;
    let mut settings = Vec::new();
    for name in SETTINGS {
        settings.push(format!("{name} = {}", postgres::setting(&url, name).await?));
    }
    table.row(&["Postgres", &format!("{version}, {}", settings.join(", "))]);
    let nats = std::env::var("APPTREMIND_TEST_NATS_SERVER").unwrap_or_default();
    table.row(&["NATS", &first_line(&nats, &["--version"])]);
    table.row(&["pgbench", &first_line(&bench.pgbench.to_string_lossy(), &["--version"])]);
    table.row(&["one fsync", &fsync_probe()?]);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    table.row(&["load average before", load]);
    let build = if cfg!(debug_assertions) { "dev (not for figures)" } else { "release" };
    table.row(&["build", build]);
    Ok(table)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then_some(value.trim())
    })
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    said.unwrap_or_default().lines().next().unwrap_or("unknown").to_owned()
}

/// Writes 8 kB and waits for the disk, as a commit does. Where the servers of the run are: another
/// disk would say nothing.
fn fsync_probe() -> Result<String> {
    let folder = std::env::var("APPTREMIND_TEST_DIR").unwrap_or_else(|_| ".".to_owned());
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&[0; 65_536])?;
    file.as_file().sync_all()?;
    let mut again = OpenOptions::new().write(true).open(file.path())?;
    let mut times = Vec::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(500) && times.len() < 2_000 {
        let asked = Instant::now();
        again.write_all(&[1; 8_192])?;
        again.sync_data()?;
        times.push(f64::from(micros(asked.elapsed())));
    }
    let most = times.iter().copied().fold(0.0, f64::max);
    Ok(format!(
        "{:.2} ms (median of {}, slowest {:.1} ms)",
        median(times.clone()) / 1e3,
        times.len(),
        most / 1e3
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t\t: 1\nmodel name\t: Fast One\nMemTotal:  100 kB\n";
        assert_eq!(field(text, "model name"), Some("Fast One"));
        assert_eq!(field(text, "MemTotal"), Some("100 kB"));
        assert_eq!(field(text, "cache"), None);
    }
}
