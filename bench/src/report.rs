//! Prints the tables, and puts them into the document.

use std::{fs, io::Write, path::PathBuf};

use anyhow::{Context, Result};

use crate::{
    machine,
    settings::{Bench, Figure, Options, setting},
    table::{Table, place},
};

/// Where the tables go.
pub(crate) struct Report {
    document: Option<PathBuf>,
    /// Below each table: when and where.
    line: String,
}

/// Messages, beside the data on stdout.
pub(crate) fn say(text: &str) {
    // There is nobody left to tell when stderr is closed.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

fn print(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("stdout")
}

impl Report {
    /// Describes the machine first.
    pub(crate) async fn new(options: &Options, bench: &Bench) -> Result<Self> {
        let document = if options.write {
            Some(PathBuf::from(setting("APPTREMIND_BENCH_DOCUMENT")?))
        } else {
            None
        };
        let machine = machine::describe(bench).await?;
        let today = jiff::tz::TimeZone::UTC.to_datetime(streams::clock::now()).date();
        let commit = std::env::var("APPTREMIND_BENCH_COMMIT").unwrap_or_default();
        let line = format!("Measured {today} at {commit}.");
        let report = Self { document, line };
        report.put("machine", "The machine", &machine)?;
        Ok(report)
    }

    /// One figure is there.
    pub(crate) fn section(&self, figure: Figure, table: &Table) -> Result<()> {
        self.put(&figure.name(), figure.title(), table)
    }

    fn put(&self, name: &str, title: &str, table: &Table) -> Result<()> {
        let mut table = table.clone();
        table.note(self.line.clone());
        let text = table.markdown();
        print(&format!("\n## {title}\n\n{text}"))?;
        if let Some(path) = &self.document {
            let document = fs::read_to_string(path).context("the document")?;
            let placed = place(&document, name, &text)?;
            fs::write(path, placed).context("the document")?;
        }
        Ok(())
    }
}
