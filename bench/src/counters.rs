//! What the library counts of itself, and what the servers use of the machine, between two moments.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    process::{Process, cpu_of},
    settings::Bench,
};

/// Names of metrics that explain a figure of the write path.
const TELLING: [&str; 5] = ["_commit_", "_mailbox_", "_conflicts_", "_forwarded_", "_cache_"];

/// Counters and sums by their line in Prometheus' text form.
pub(crate) type Counted = BTreeMap<String, f64>;

/// Reads the text form; buckets and quantiles are left out.
pub(crate) fn read(text: &str) -> Counted {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_bucket"))
        .filter(|line| !line.contains("quantile="))
        .filter(|line| TELLING.iter().any(|word| line.contains(word)))
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// One line on each that moved: the mean where there are a sum and a count, else how often for each
/// piece of work.
pub(crate) fn since(before: &Counted, after: &Counted, work: usize) -> Vec<String> {
    let moved =
        |name: &str| after.get(name).map(|now| now - before.get(name).copied().unwrap_or_default());
    let mut lines = Vec::new();
    for name in after.keys() {
        if name.contains("_sum") {
            continue;
        }
        let Some(count) = moved(name).filter(|count| *count > 0.0) else { continue };
        let sum = moved(&name.replace("_count", "_sum")).filter(|_| name.contains("_count"));
        lines.push(match sum {
            Some(sum) if name.contains("_seconds") => {
                let name = name.replace("_count", "");
                format!("`{name}`: {:.2} ms on average.", sum / count * 1e3)
            }
            Some(sum) => {
                format!("`{}`: {:.2} on average.", name.replace("_count", ""), sum / count)
            }
            None => format!("`{name}`: {:.3} for each booking.", count / work.max(1) as f64),
        });
    }
    lines
}

impl Bench {
    /// In this process.
    pub(crate) fn counted(&self) -> Counted {
        self.metrics.run_upkeep();
        read(&self.metrics.render())
    }

    pub(crate) fn counted_since(&self, before: &Counted, work: usize) -> Vec<String> {
        since(before, &self.counted(), work)
    }

    /// User and system time of all processes of Postgres so far. Those that ended meanwhile are
    /// missing, so connections should be open before.
    pub(crate) fn postgres_cpu(&self) -> Result<Duration> {
        let mut spent = cpu_of(self.postmaster)?;
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let Ok(id) = name.parse::<u32>() else { continue };
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            if parent_in(&stat) == Some(self.postmaster) {
                // It may end in between.
                spent += cpu_of(id).unwrap_or_default();
            }
        }
        Ok(spent)
    }

    /// How much of a core this process and Postgres use while nobody asks for anything, in percent.
    pub(crate) async fn at_rest(&self, server: &Process) -> Result<(f64, f64)> {
        let (before, postgres, began) = (server.cpu()?, self.postgres_cpu()?, Instant::now());
        tokio::time::sleep(self.size.idle).await;
        let share = |spent: Duration| spent.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
        let used = share(server.cpu()?.saturating_sub(before));
        Ok((used, share(self.postgres_cpu()?.saturating_sub(postgres))))
    }
}

fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_become_means_and_counters_become_shares() {
        let before = read("# TYPE x counter\na_conflicts_total{command=\"book\"} 1\n");
        let after = read(
            "a_conflicts_total{command=\"book\"} 6\na_commit_commands_sum 30\n\
             a_commit_commands_count 10\na_commit_commands_bucket{le=\"1\"} 3\n\
             a_commit_commands{quantile=\"0.5\"} 3\nother_total 9\n\
             a_commit_seconds_sum{kind=\"x\"} 0.5\na_commit_seconds_count{kind=\"x\"} 100\n",
        );
        assert_eq!(
            since(&before, &after, 10),
            [
                "`a_commit_commands`: 3.00 on average.",
                "`a_commit_seconds{kind=\"x\"}`: 5.00 ms on average.",
                "`a_conflicts_total{command=\"book\"}`: 0.500 for each booking.",
            ]
        );
    }

    #[test]
    fn the_parent_stands_behind_the_name() {
        assert_eq!(parent_in("12 (a b) S 7 12 12"), Some(7));
    }
}
