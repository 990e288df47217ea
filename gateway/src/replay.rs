//! `apptremind replay`: what a rebuild says on the terminal and to programs.

use std::{fmt::Write as _, io::IsTerminal, time::Duration};

use anyhow::Context;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use projections::rebuild::{Difference, Options, Outcome, Phase, Progress, ReadModel, rebuild};
use streams::Database;

use crate::settings::Settings;

/// What to rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// What slots come from.
    Availability,
    /// Lists of appointments.
    Agenda,
    /// The evidence of each message.
    Notifications,
    /// Who did what that matters.
    Audit,
    /// Each of them, one after the other.
    All,
}

impl Which {
    pub(crate) const fn models(self) -> &'static [ReadModel] {
        match self {
            Self::Availability => &[ReadModel::Availability],
            Self::Agenda => &[ReadModel::Agenda],
            Self::Notifications => &[ReadModel::Notifications],
            Self::Audit => &[ReadModel::Audit],
            Self::All => &ReadModel::ALL,
        }
    }
}

/// As the owner of the schema: it makes a schema and renames it.
pub(crate) async fn database() -> anyhow::Result<Database> {
    let settings = Settings::from_environment()?;
    let database = Database::owner(settings.migrate_database_url.expose())?;
    database.check().await?;
    Ok(database)
}

/// Rebuilds one model, with a bar while somebody looks.
pub(crate) async fn run(
    database: &Database,
    model: ReadModel,
    options: Options,
) -> anyhow::Result<Outcome> {
    let bar = bar(model);
    let watcher = |progress: Progress| show(&bar, progress);
    let outcome = rebuild(database, model, options, &watcher).await;
    bar.finish_and_clear();
    outcome.with_context(|| format!("replay {model}"))
}

fn bar(model: ReadModel) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(10)
    } else {
        ProgressDrawTarget::hidden()
    };
    let template = "{prefix:<13} {msg:<8} {wide_bar} {percent:>3}%  {per_sec:>12}  {eta:>4} left";
    let style = ProgressStyle::with_template(template);
    let bar = ProgressBar::with_draw_target(Some(0), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(model.to_string());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn show(bar: &ProgressBar, progress: Progress) {
    let message = match progress.phase {
        Phase::Build => "building",
        Phase::Compare => "comparing",
        Phase::Swap => "swapping",
    };
    if bar.message() != message {
        bar.set_message(message);
        bar.reset();
    }
    bar.set_length(progress.total.max(progress.done));
    bar.set_position(progress.done);
}

/// What a person wants to know.
pub(crate) fn in_words(outcome: &Outcome) -> String {
    let Outcome { model, events, seconds, events_per_second, rows, position, .. } = outcome;
    let mut words = format!(
        "{model}: {events} events in {seconds:.1} s ({events_per_second:.0}/s), {rows} rows compared at {position}: "
    );
    match &outcome.first_difference {
        None => words.push_str("the live model is as the log says"),
        Some(difference) => {
            words.push_str("THE LIVE MODEL DIFFERS FROM THE LOG");
            words.push_str(&in_lines(difference));
        }
    }
    if !outcome.ran {
        words.push_str("\n  its projector has never run, so this is the log's start");
    }
    if outcome.swapped {
        words.push_str("\n  the rebuilt model is the live one now");
    }
    words
}

fn in_lines(difference: &Difference) -> String {
    let row = |row: &Option<serde_json::Value>| {
        row.as_ref().map_or_else(|| "no row".to_owned(), ToString::to_string)
    };
    let key = serde_json::Value::Object(difference.key.clone());
    let mut lines = format!(
        "\n  table    {}\n  key      {key}\n  live     {}\n  rebuilt  {}\n  its events:",
        difference.table,
        row(&difference.live),
        row(&difference.rebuilt),
    );
    for event in &difference.events {
        // Writing to a string cannot fail.
        let _ = write!(lines, "\n    {}  {}  {}", event.position, event.time, event.kind);
    }
    if difference.events.is_empty() {
        lines.push_str(" none");
    }
    lines
}
