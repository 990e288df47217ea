//! What is measured, how large, and where the programs are.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Measures the figures, each with its reference beside it, and prints tables.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub(crate) struct Options {
    /// What to measure; everything when absent.
    #[arg(value_enum)]
    figures: Vec<Figure>,
    /// Every figure once with tiny sizes: shows that the benchmarks work, measures nothing.
    #[arg(long, conflicts_with_all = ["large", "write"])]
    pub(crate) small: bool,
    /// Histories up to ten million events.
    #[arg(long)]
    large: bool,
    /// Rounds of reference and candidate; five when absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// How long each is measured in a round, in seconds; three when absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
    /// Rewrite the tables of the document that `APPTREMIND_BENCH_DOCUMENT` names.
    #[arg(long)]
    pub(crate) write: bool,
    /// The reference of the slots, as a process of its own.
    #[arg(long, hide = true, requires = "port")]
    pub(crate) serve_bytes: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub(crate) port: Option<u16>,
}

/// One table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Figure {
    /// Bookings through the library, beside pgbench and beside stock cqrs-es.
    Booking,
    /// Bookings through HTTP, beside the library.
    Http,
    /// Bookings that need resources, beside plain ones.
    Shapes,
    /// Two deciding processes, beside one.
    Owners,
    /// Slots over HTTP, beside a handler that returns the same bytes.
    Slots,
    /// A storm of bookings beside slots requests.
    Storm,
    /// Relay and projectors, beside publishing and reading.
    Fanout,
    /// From a command to the read model.
    Visible,
    /// A rebuild, beside a typed read.
    Replay,
    /// Bookings, slots and lag on logs of several sizes.
    History,
    /// Reminders that fall due at once, beside a bare loop; one by one; none.
    Reminders,
    /// Tokens, the layers around a handler, connections that rest.
    Edge,
    /// Memory, and processor time when idle.
    Footprint,
}

impl Figure {
    /// As on the command line, and in the markers of the document.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Booking => "Booking through the library",
            Self::Http => "Booking through HTTP",
            Self::Shapes => "Bookings with resources",
            Self::Owners => "Two deciding processes",
            Self::Slots => "Slots",
            Self::Storm => "Slots in a storm of bookings",
            Self::Fanout => "Relay and projectors",
            Self::Visible => "From a command to the read model",
            Self::Replay => "Replay",
            Self::History => "With history",
            Self::Reminders => "Reminders",
            Self::Edge => "The edge",
            Self::Footprint => "Footprint",
        }
    }
}

impl Options {
    pub(crate) fn figures(&self) -> Vec<Figure> {
        if self.figures.is_empty() {
            Figure::value_variants().to_vec()
        } else {
            self.figures.clone()
        }
    }

    fn size(&self) -> Size {
        let mut size = if self.small { Size::small() } else { Size::normal() };
        if self.large {
            size.history.push(10_000_000);
        }
        if let Some(rounds) = self.rounds {
            size.rounds = rounds;
        }
        if let Some(seconds) = self.seconds {
            size.round = Duration::from_secs(seconds);
        }
        size
    }
}

/// How much of everything.
#[derive(Debug, Clone)]
pub(crate) struct Size {
    /// Reference, candidate, reference, candidate, ..: so many times.
    pub(crate) rounds: u32,
    /// One measured stretch.
    pub(crate) round: Duration,
    /// Clients at once.
    pub(crate) clients: Vec<usize>,
    pub(crate) businesses: usize,
    /// Staff members of each business.
    pub(crate) staff: usize,
    /// Staff members and visits of each, where slots are asked for.
    pub(crate) slots_staff: usize,
    pub(crate) slots_visits: u64,
    /// Clients that book in the storm.
    pub(crate) storm: usize,
    /// Events in each round of relay and projectors.
    pub(crate) fan_out: u64,
    /// Events that are replayed.
    pub(crate) replay: u64,
    /// Events of history.
    pub(crate) history: Vec<u64>,
    /// Bookings of a stretch that is measured by their number.
    pub(crate) bookings: u64,
    /// Past bookings in one business.
    pub(crate) past_bookings: u64,
    /// Past events in one week of a calendar, and bookings in it in each round.
    pub(crate) week_events: u64,
    pub(crate) week_bookings: usize,
    /// Appointments where memory is measured.
    pub(crate) appointments: u64,
    /// Reminders that wait, of so many businesses.
    pub(crate) pending: u64,
    pub(crate) reminding: usize,
    /// Of these, reminders that fall due at once.
    pub(crate) due: u64,
    /// Reminders that fall due one by one, each so much later than the one before.
    pub(crate) spaced: u64,
    pub(crate) apart: Duration,
    /// How long nobody asks for anything.
    pub(crate) idle: Duration,
}

impl Size {
    fn normal() -> Self {
        Self {
            rounds: 5,
            round: Duration::from_secs(3),
            clients: vec![8, 32, 128],
            businesses: 20,
            staff: 10,
            slots_staff: 20,
            slots_visits: 150,
            storm: 128,
            fan_out: 50_000,
            replay: 500_000,
            history: vec![10_000, 100_000, 1_000_000],
            bookings: 500,
            past_bookings: 100_000,
            week_events: 10_000,
            week_bookings: 30,
            appointments: 100_000,
            pending: 1_000_000,
            reminding: 200,
            due: 100_000,
            spaced: 300,
            apart: Duration::from_millis(70),
            idle: Duration::from_secs(20),
        }
    }

    fn small() -> Self {
        Self {
            rounds: 1,
            round: Duration::from_millis(300),
            clients: vec![4],
            businesses: 2,
            staff: 2,
            slots_staff: 3,
            slots_visits: 5,
            storm: 8,
            fan_out: 400,
            replay: 1_000,
            history: vec![200, 1_000],
            bookings: 20,
            past_bookings: 200,
            week_events: 100,
            week_bookings: 3,
            appointments: 200,
            pending: 300,
            reminding: 3,
            due: 60,
            spaced: 20,
            apart: Duration::from_millis(20),
            idle: Duration::from_millis(500),
        }
    }
}

/// Everything that the figures share.
pub(crate) struct Bench {
    pub(crate) size: Size,
    /// Whether the sizes allow to say that a figure is reached.
    pub(crate) judged: bool,
    /// The product.
    pub(crate) binary: PathBuf,
    pub(crate) pgbench: PathBuf,
    /// The process that all processes of Postgres are children of.
    pub(crate) postmaster: u32,
    /// What the library counts in this process.
    pub(crate) metrics: PrometheusHandle,
    /// Figures that are reached, and that are not.
    held: AtomicUsize,
    missed: AtomicUsize,
}

/// What `scripts/bench` said.
pub(crate) fn setting(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: run this by ./scripts/bench"))
}

impl Bench {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        Ok(Self {
            size: options.size(),
            judged: !options.small,
            binary: setting("APPTREMIND_BENCH_BINARY")?.into(),
            pgbench: setting("APPTREMIND_BENCH_PGBENCH")?.into(),
            postmaster: setting("APPTREMIND_BENCH_POSTMASTER")?.parse()?,
            metrics: PrometheusBuilder::new().install_recorder()?,
            held: AtomicUsize::new(0),
            missed: AtomicUsize::new(0),
        })
    }

    /// How many figures are reached and how many are not, so far.
    pub(crate) fn tally(&self) -> String {
        let count = |figures: &AtomicUsize| figures.load(Ordering::Relaxed);
        format!("{} figures held, {} missed", count(&self.held), count(&self.missed))
    }

    /// `at least 0.65: held`, when there is something to say.
    pub(crate) fn verdict(&self, value: f64, wanted: Wanted) -> String {
        let (held, text) = match wanted {
            Wanted::AtLeast(least) => (value >= least, format!("at least {least}")),
            Wanted::AtMost(most) => (value <= most, format!("at most {most}")),
        };
        if !self.judged {
            return text;
        }
        let (count, word) = if held { (&self.held, "held") } else { (&self.missed, "missed") };
        count.fetch_add(1, Ordering::Relaxed);
        format!("{text}: {word}")
    }
}

/// What a figure is to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}
