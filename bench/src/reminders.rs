//! Reminders: as many as fall due in one minute out of very many that wait, beside a bare loop that writes
//! the same rows and sends as many mails; how late a mail is when nothing else is due; and what it costs
//! to wait.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use domain::NotificationId;
use jiff::{SignedDuration, Timestamp};
use streams::{Database, clock};

use crate::{
    bare_sends::Bare,
    mail_sink::{Arrival, Form, Sink},
    models,
    pending::{self, Due},
    postgres::{self, Statement},
    process::{Process, Servers},
    salon::World,
    settings::{Bench, Wanted},
    stats::{Ratio, Sample, Series, grouped, micros, ms, per_second},
    table::Table,
};

/// Nobody sends anything any more when no mail has arrived for so long. Longer than the pause behind a
/// try that was refused.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Letting one more reminder fall due takes so long, with what is cleared away behind it.
const PREPARED: Duration = Duration::from_micros(500);
/// Statements of the profile.
const STATEMENTS: i64 = 6;
/// The bare loop sends one in so many of the mails of the product, before it and again behind it.
const SHARE: u64 = 5;

pub(crate) async fn run(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(&["what", "measured", "reference", "ratio", "wanted"]);
    let world = World::build(bench.size.reminding, 1).await?;
    pending::write(&world, bench.size.pending).await?;
    models::build(world.commands.log().database()).await?;
    world.analyze().await;
    let sink = Sink::start().await?;
    let mut servers = Servers::start().await?;
    servers.set("APPTREMIND_SMTP_URL", sink.url());
    let house =
        House { bench, database: world.commands.log().database(), world: &world, servers, sink };
    // First, while nothing has fallen due yet.
    let mut idle = Vec::new();
    for roles in ["scheduler", "scheduler,notifier"] {
        idle.push((roles, house.idle(roles).await?));
    }
    let late = house.one_by_one().await?;
    let bare = house.bare().await?;
    let before = house.reference(&bare).await?;
    let storm = house.storm().await?;
    let after = house.reference(&bare).await?;
    storm.report(bench, &mut table, &[before, after]);
    let p99 = late.quantile(0.99).context("a mail")?;
    table.row(&[
        "how late a mail is when they fall due one by one, p99 (ms)",
        &ms(p99),
        "-",
        "-",
        &bench.verdict(p99.as_secs_f64() * 1e3, Wanted::AtMost(1_000.0)),
    ]);
    for (roles, (product, postgres)) in idle {
        let what = format!("nothing due, roles {roles}, percent of a core");
        let verdict = bench.verdict(product, Wanted::AtMost(1.0));
        table.row(&[&what, &format!("{product:.2} %"), "-", "-", &verdict]);
        table.row(&["Postgres meanwhile", &format!("{postgres:.2} %"), "-", "-", "-"]);
    }
    notes(bench, &mut table, &late);
    Ok(table)
}

fn notes(bench: &Bench, table: &mut Table, late: &Series) {
    let size = &bench.size;
    let (slowest, count) = (late.quantile(1.0).map(ms).unwrap_or_default(), late.done());
    table.note(format!(
        "One by one: {count} mails, one every {:.0} ms; {}, the slowest {slowest}; from when it is due until the mail server has all of it.",
        size.apart.as_secs_f64() * 1e3,
        late.latency(),
    ));
    table.note(format!(
        "{} reminders of {} businesses wait; the mail server says 5 ms after the end of a mail that it has it. One process with all roles but for the idle rows, which are of {} s; it also relays and projects what it records.",
        grouped(size.pending as f64),
        size.reminding,
        size.idle.as_secs(),
    ));
    table.note("The bare loop writes the same rows in the same transactions and sends mails of the same size, 16 at once as well, a fifth as many before the product and again behind it; without broker, log to fold, rendering, relay and projectors.");
}

/// Where it all happens.
struct House<'a> {
    bench: &'a Bench,
    world: &'a World,
    database: &'a Database,
    servers: Servers,
    sink: Sink,
}

impl House<'_> {
    /// A process that has come to rest.
    async fn serve(&self, roles: &str) -> Result<Process> {
        let url = self.world.database.app_url();
        let server = self.servers.serve(&self.bench.binary, &url, roles).await?;
        models::settled(self.database).await?;
        tokio::time::sleep(self.bench.size.idle / 4).await;
        Ok(server)
    }

    async fn idle(&self, roles: &str) -> Result<(f64, f64)> {
        let server = self.serve(roles).await?;
        self.bench.at_rest(&server).await
    }

    /// Lets reminders fall due once all are prepared, the first of them at the instant that is answered.
    async fn fall_due(&self, reminders: u64, apart: Duration) -> Result<(Timestamp, Due)> {
        let preparing = PREPARED * u32::try_from(reminders)? + Duration::from_secs(1);
        let at = clock::now() + SignedDuration::try_from(preparing)?;
        let due = pending::fall_due(&self.world.database, reminders, at, apart).await?;
        ensure!(due.len() as u64 == reminders, "only {} reminders are left", due.len());
        Ok((at, due))
    }

    /// Lateness of mails that fall due one after another.
    async fn one_by_one(&self) -> Result<Series> {
        let size = &self.bench.size;
        let server = self.serve("").await?;
        let (_, due) = self.fall_due(size.spaced, size.apart).await?;
        self.handed_out(&server, &due).await?;
        models::settled(self.database).await?;
        let arrivals = self.sink.take();
        ensure!(exact(&due, &arrivals) == due.len(), "a mail was lost or came twice");
        let late = |(id, at): (&NotificationId, &Timestamp)| {
            let arrival = arrivals.get(&name(*id)).context("a mail")?;
            // One machine, one clock: Postgres, which says what is due, reads the same.
            let late = Duration::try_from(arrival.at.duration_since(*at)).unwrap_or_default();
            anyhow::Ok(micros(late))
        };
        let latencies: Vec<u32> = due.0.iter().map(late).collect::<Result<_>>()?;
        Ok(Series(vec![Sample { latencies, done: due.len(), ..Sample::default() }]))
    }

    /// Sends mails like the last one.
    async fn bare(&self) -> Result<Bare> {
        let form = Form::of(&self.sink.letter())?;
        Bare::new(&self.world.database.superuser_url(), self.sink.address(), form).await
    }

    async fn reference(&self, bare: &Bare) -> Result<Sample> {
        self.world.analyze().await;
        let reminders = (self.bench.size.due / SHARE).max(1);
        // Due already.
        let now = clock::now();
        let due = pending::fall_due(&self.world.database, reminders, now, Duration::ZERO).await?;
        let sample = bare.run().await?;
        let arrivals = self.sink.take();
        ensure!(exact(&due, &arrivals) == sample.done, "the reference lost mails");
        Ok(sample)
    }

    /// All at once.
    async fn storm(&self) -> Result<Storm> {
        self.world.analyze().await;
        let server = self.serve("").await?;
        let resting = server.resident_bytes()?;
        let (at, due) = self.fall_due(self.bench.size.due, Duration::ZERO).await?;
        let in_time = clock::now() < at;
        let url = self.world.database.superuser_url();
        let watched = postgres::watch_statements(&url).await?;
        let (cpu, postgres) = (server.cpu()?, self.bench.postgres_cpu()?);
        let peak = self.handed_out(&server, &due).await?;
        let states = self.recorded(&due).await?;
        let (cpu, postgres) = (server.cpu()? - cpu, self.bench.postgres_cpu()? - postgres);
        let statements =
            if watched { postgres::costly_statements(&url, STATEMENTS).await? } else { vec![] };
        let last = due.last_sent(&self.world.database).await?;
        let arrivals = self.sink.take();
        let exact = exact(&due, &arrivals);
        // Where nothing is judged a fault is one of the figure itself.
        ensure!(self.bench.judged || exact == due.len(), "a mail was lost or came twice");
        let elapsed = Duration::try_from(last.duration_since(at)).unwrap_or_default();
        let odd = arrivals.values().filter(|arrival| arrival.times > 1).count();
        let (grown, due) = (peak.saturating_sub(resting), due.len());
        Ok(Storm {
            due,
            exact,
            odd,
            states,
            elapsed,
            grown,
            resting,
            cpu,
            postgres,
            statements,
            in_time,
        })
    }

    /// Until all of them arrived; the most memory that the process had meanwhile.
    async fn handed_out(&self, server: &Process, due: &Due) -> Result<u64> {
        let (mut peak, mut arrived, mut moved) = (0, 0, Instant::now());
        let first = due.0.values().min().copied().unwrap_or_default();
        loop {
            peak = peak.max(server.resident_bytes()?);
            let now = self.sink.count();
            if now >= due.len() {
                return Ok(peak);
            }
            if now > arrived || clock::now() < first {
                (arrived, moved) = (now, Instant::now());
            }
            if moved.elapsed() > PATIENCE {
                let states = due.states(&self.world.database).await?;
                bail!("{arrived} of {} mails arrived: {states:?}", due.len());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Until it is known of all of them what came of them.
    async fn recorded(&self, due: &Due) -> Result<HashMap<String, i64>> {
        let began = Instant::now();
        loop {
            let states = due.states(&self.world.database).await?;
            let open = ["pending", "offered", "sending"].iter().any(|s| states.contains_key(*s));
            if !open || began.elapsed() > PATIENCE {
                return Ok(states);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// As the product calls its mails, in front of the `@`.
fn name(id: NotificationId) -> String {
    format!("{id}.1")
}

/// How many of them came exactly once.
fn exact(due: &Due, arrivals: &HashMap<String, Arrival>) -> usize {
    let once = |id: &NotificationId| arrivals.get(&name(*id)).is_some_and(|a| a.times == 1);
    due.0.keys().filter(|id| once(id)).count()
}

/// What came of as many as fall due in one minute.
struct Storm {
    due: usize,
    exact: usize,
    /// Mails that came more than once.
    odd: usize,
    states: HashMap<String, i64>,
    elapsed: Duration,
    /// Memory, in bytes: more than before, and before.
    grown: u64,
    resting: u64,
    cpu: Duration,
    postgres: Duration,
    /// Those that took Postgres longest.
    statements: Vec<Statement>,
    /// Whether all were prepared before they were due.
    in_time: bool,
}

impl Storm {
    fn report(&self, bench: &Bench, table: &mut Table, reference: &[Sample]) {
        let sent = self.states.get("sent").and_then(|sent| usize::try_from(*sent).ok());
        let rate = per_second(sent.unwrap_or_default(), self.elapsed);
        let rates: Vec<f64> = reference.iter().map(Sample::rate).collect();
        let ratio = Ratio::of(&vec![rate; rates.len()], &rates);
        let bare = Series(reference.to_vec());
        let count = grouped(self.due as f64);
        table.row(&[
            &format!("mails a second, {count} due at once, until the last is recorded"),
            &grouped(rate),
            &format!("bare loop: {}", grouped(bare.rate())),
            &ratio.to_string(),
            &bench.verdict(ratio.median, Wanted::AtLeast(0.5)),
        ]);
        table.row(&[
            "of these, mails that arrived exactly once",
            &grouped(self.exact as f64),
            "-",
            "-",
            &bench.verdict(self.exact as f64, Wanted::AtLeast(self.due as f64)),
        ]);
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        table.row(&[
            "resident memory, at most more than before (MB)",
            &format!("{:.0} MB", megabytes(self.grown)),
            &format!("before: {:.0} MB", megabytes(self.resting)),
            "-",
            &bench.verdict(megabytes(self.grown), Wanted::AtMost(256.0)),
        ]);
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / (self.due.max(1) as f64);
        table.note(format!(
            "{count} at once took {:.1} s. Processor time of a mail: the process {:.0} µs, Postgres {:.0} µs.",
            self.elapsed.as_secs_f64(),
            each(self.cpu),
            each(self.postgres),
        ));
        for statement in &self.statements {
            table.note(statement.per("mail", self.due));
        }
        if self.exact < self.due || self.odd > 0 || sent != Some(self.due) {
            table.note(format!(
                "{} mails came more than once. Recorded: {:?}.",
                self.odd, self.states
            ));
        }
        if !self.in_time {
            table.note(
                "Preparing them took longer than until they were due, which the rate contains.",
            );
        }
    }
}
