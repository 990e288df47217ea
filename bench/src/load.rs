//! Drives work from many clients at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::stats::{Sample, micros};

/// How one piece of work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// A rule refused.
    Refused,
    Failed,
}

/// One client, who does the same again and again.
pub(crate) trait Worker: Send + 'static {
    /// Does it once.
    fn once(&mut self) -> impl Future<Output = Outcome> + Send;
}

/// A client made of a closure.
pub(crate) struct Each<F>(pub(crate) F);

impl<F, Fut> Worker for Each<F>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = Outcome> + Send,
{
    fn once(&mut self) -> impl Future<Output = Outcome> + Send {
        (self.0)()
    }
}

fn note(sample: &mut Sample, outcome: Outcome, elapsed: Duration) {
    match outcome {
        Outcome::Done => {
            sample.done += 1;
            sample.latencies.push(micros(elapsed));
        }
        Outcome::Refused => sample.refused += 1,
        Outcome::Failed => sample.failed += 1,
    }
}

fn merge(samples: Vec<Sample>, elapsed: Duration) -> Sample {
    let mut all = Sample { elapsed, ..Sample::default() };
    for sample in samples {
        all.done += sample.done;
        all.refused += sample.refused;
        all.failed += sample.failed;
        all.latencies.extend(sample.latencies);
    }
    all
}

/// When a closed loop ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// So much later.
    Elapsed(Duration),
    /// After so many pieces of work, by all clients together.
    Count(u64),
}

/// Closed loop: each client begins anew as soon as it was answered.
pub(crate) async fn closed<W: Worker>(workers: Vec<W>, until: Until) -> Result<Sample> {
    let began = Instant::now();
    let begun = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for mut worker in workers {
        let begun = Arc::clone(&begun);
        let goes_on = move || match until {
            Until::Elapsed(lasting) => began.elapsed() < lasting,
            Until::Count(count) => begun.fetch_add(1, Ordering::Relaxed) < count,
        };
        tasks.spawn(async move {
            let mut sample = Sample::default();
            while goes_on() {
                let asked = Instant::now();
                let outcome = worker.once().await;
                note(&mut sample, outcome, asked.elapsed());
                if outcome == Outcome::Failed {
                    // A server that is down answers at once: no busy loop.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            sample
        });
    }
    let mut samples = Vec::new();
    while let Some(sample) = tasks.join_next().await {
        samples.push(sample?);
    }
    Ok(merge(samples, began.elapsed()))
}

/// A wake-up that is later than this is the queue's fault and not the timer's.
const TIMER: Duration = Duration::from_millis(3);

/// Open loop: `rate` requests a second are due whether the earlier ones were answered or not. When
/// all clients are busy, the wait for one counts.
pub(crate) async fn open<W: Worker>(
    workers: Vec<W>,
    rate: f64,
    lasting: Duration,
) -> Result<Sample> {
    let began = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for mut worker in workers {
        let next = Arc::clone(&next);
        tasks.spawn(async move {
            let mut sample = Sample::default();
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let offset = Duration::from_secs_f64(turn as f64 / rate);
                if offset >= lasting {
                    return sample;
                }
                let due = began + offset;
                tokio::time::sleep_until(due.into()).await;
                let late = due.elapsed() > TIMER;
                let asked = if late { due } else { Instant::now() };
                let outcome = worker.once().await;
                note(&mut sample, outcome, asked.elapsed());
            }
        });
    }
    let mut samples = Vec::new();
    while let Some(sample) = tasks.join_next().await {
        samples.push(sample?);
    }
    Ok(merge(samples, began.elapsed()))
}
