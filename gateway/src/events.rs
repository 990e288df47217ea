//! `apptremind events`: the log, for the operator.

use std::fmt::Write as _;

use clap::Subcommand;
use jiff::Timestamp;
use projections::history::{self, StreamHistory, StreamName};
use streams::Database;

#[derive(Debug, Subcommand)]
pub(crate) enum Events {
    /// Show the events of one stream and what they amount to.
    Show {
        /// `appt_..`, `biz_..`, `staff_..` (hours), `staff_..:2026-03-01` (a week of a calendar),
        /// `res_..:2026-03-01` (of a resource), `series_..`, `cust_..`, `ntf_..`, `wait_..`, `user_..`,
        /// `login_..`, `inv_..`, `key_..`, `tmpl_..`, `team:biz_..` or `subscription:biz_..`.
        stream: StreamName,
        /// Only what was recorded by this instant (RFC 3339).
        #[arg(long)]
        as_of: Option<Timestamp>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What to print.
pub(crate) async fn show(
    database: &Database,
    stream: &StreamName,
    as_of: Option<Timestamp>,
    json: bool,
) -> anyhow::Result<String> {
    let found = history::show(database, stream, as_of).await?;
    let history = found.ok_or_else(|| anyhow::anyhow!("the log has no event of that stream"))?;
    if json { Ok(serde_json::to_string(&history)?) } else { in_words(&history) }
}

fn in_words(history: &StreamHistory) -> anyhow::Result<String> {
    let mut words = format!("{} {}", history.aggregate, history.id);
    for event in &history.events {
        write!(
            words,
            "\n{:>6}  {}  {}  {}  by {}\n        {}",
            event.sequence, event.position, event.recorded_at, event.kind, event.actor, event.data
        )?;
    }
    write!(words, "\nstate  {}", serde_json::to_string_pretty(&history.state)?)?;
    Ok(words)
}
