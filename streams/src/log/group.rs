//! Group commit: commands of many businesses that wait at the same moment become one statement.

use std::{
    collections::VecDeque,
    io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{Connection, PgConnection};
use tokio::{sync::oneshot, time::Instant};

use super::{CommitError, UnitOfWork, is_unavailable, statement::execute};
use crate::{Cursor, Database, Nudge};

/// More of them gained nothing on two cores.
const COMMITTERS: usize = 2;
/// Commands in one statement. The commands of one business are never torn apart.
const MOST: usize = 64;
/// For connecting.
const PATIENCE: Duration = Duration::from_millis(900);
/// A statement that takes longer is given up with its connection, and nobody knows whether it was
/// done. Disks stall for seconds; requests are told much sooner when Postgres does not answer at all.
const GIVE_UP: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is asked whether it still lives: what fails on a dead one
/// may have been done or not, and its caller cannot be told.
const IDLE: Duration = Duration::from_millis(500);

/// What waits to be committed, and the connections that do it. Workers live while there is work.
#[derive(Debug)]
pub(super) struct Group {
    database: Database,
    nudge: Nudge,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Batch>,
    workers: usize,
    idle: Vec<Committer>,
}

/// The commands of one business: committed together or not at all.
#[derive(Debug)]
struct Batch {
    units: Arc<[UnitOfWork]>,
    reply: oneshot::Sender<Result<Cursor, CommitError>>,
    since: Instant,
}

/// A connection that nothing else uses: pools ping before and after each use.
#[derive(Debug)]
struct Committer {
    connection: PgConnection,
    used: Instant,
}

impl Group {
    pub(super) fn new(database: Database, nudge: Nudge) -> Self {
        Self { database, nudge, queue: Mutex::default() }
    }

    /// Whoever calls has one batch of a business under way at most, so two statements never meet in
    /// the rows of one business.
    pub(super) async fn commit(
        group: &Arc<Self>,
        units: Arc<[UnitOfWork]>,
    ) -> Result<Cursor, CommitError> {
        let (reply, answer) = oneshot::channel();
        {
            let mut queue = group.queue();
            queue.waiting.push_back(Batch { units, reply, since: Instant::now() });
            if queue.workers < COMMITTERS {
                queue.workers += 1;
                tokio::spawn(work(Working(Arc::clone(group))));
            }
        }
        match answer.await {
            Ok(committed) => committed,
            Err(_gone) => Err(CommitError::Store("the committer failed".into())),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batches, as many as one statement takes; none ends the worker.
    fn take(&self, committer: &mut Option<Committer>) -> Vec<Batch> {
        let mut queue = self.queue();
        let mut taken: Vec<Batch> = Vec::new();
        let mut commands = 0;
        while let Some(next) = queue.waiting.front() {
            commands += next.units.len();
            if commands > MOST && !taken.is_empty() {
                break;
            }
            taken.extend(queue.waiting.pop_front());
        }
        if taken.is_empty() {
            queue.workers -= 1;
            queue.idle.extend(committer.take());
        }
        taken
    }

    async fn flush(&self, committer: &mut Option<Committer>, batches: Vec<Batch>) {
        let now = Instant::now();
        for batch in &batches {
            let waited = now.duration_since(batch.since);
            metrics::histogram!("apptremind_commit_queue_seconds").record(waited.as_secs_f64());
        }
        let units: Vec<&UnitOfWork> = batches.iter().flat_map(|batch| &*batch.units).collect();
        #[expect(clippy::cast_precision_loss, reason = "at most some hundred")]
        metrics::histogram!("apptremind_commit_commands").record(units.len() as f64);
        match self.commit_now(committer, &units).await {
            Ok(cursor) => {
                self.nudge.send();
                metrics::histogram!("apptremind_commit_seconds")
                    .record(now.elapsed().as_secs_f64());
                // A caller that went away learns from its key.
                batches.into_iter().for_each(|batch| drop(batch.reply.send(Ok(cursor))));
            }
            Err(CommitError::Store(error)) if is_unavailable(error.as_ref()) => {
                let why = error.to_string();
                batches.into_iter().for_each(|batch| drop(batch.reply.send(Err(away(&why)))));
            }
            Err(error) => self.split(committer, batches, error).await,
        }
    }

    /// One of them failed: each on its own, so that nobody fails for another's reason.
    async fn split(
        &self,
        committer: &mut Option<Committer>,
        mut batches: Vec<Batch>,
        error: CommitError,
    ) {
        if batches.len() == 1 {
            batches.into_iter().next().map(|batch| batch.reply.send(Err(error)));
            return;
        }
        metrics::counter!("apptremind_commit_splits_total").increment(1);
        for batch in mem::take(&mut batches) {
            let units: Vec<&UnitOfWork> = batch.units.iter().collect();
            let committed = self.commit_now(committer, &units).await;
            if committed.is_ok() {
                self.nudge.send();
            }
            drop(batch.reply.send(committed));
        }
    }

    async fn commit_now(
        &self,
        committer: &mut Option<Committer>,
        units: &[&UnitOfWork],
    ) -> Result<Cursor, CommitError> {
        let mut own = match committer.take() {
            Some(own) => own,
            None => self.committer().await?,
        };
        let committing = tokio::time::timeout(GIVE_UP, execute(&mut own.connection, units));
        let Ok(committed) = committing.await else { return Err(away("Postgres does not answer")) };
        let lost =
            matches!(&committed, Err(CommitError::Store(error)) if is_unavailable(error.as_ref()));
        if !lost {
            self.database.heard();
            own.used = Instant::now();
            *committer = Some(own);
        }
        committed
    }

    /// A connection that answers: one that was left, or a new one.
    async fn committer(&self) -> Result<Committer, CommitError> {
        loop {
            let Some(mut idle) = self.queue().idle.pop() else { break };
            if idle.used.elapsed() < IDLE {
                return Ok(idle);
            }
            let ping = tokio::time::timeout(PATIENCE, idle.connection.ping());
            if matches!(ping.await, Ok(Ok(()))) {
                return Ok(idle);
            }
        }
        match tokio::time::timeout(PATIENCE, self.database.steady()).await {
            Ok(Ok(connection)) => Ok(Committer { connection, used: Instant::now() }),
            Ok(Err(error)) => Err(CommitError::Store(error.into())),
            Err(_elapsed) => Err(away("Postgres does not answer")),
        }
    }
}

fn away(why: &str) -> CommitError {
    CommitError::Store(sqlx::Error::Io(io::Error::other(why.to_owned())).into())
}

/// A worker's place among the workers, given back when it ends, however it ends.
struct Working(Arc<Group>);

impl Drop for Working {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = self.0.queue();
            queue.workers -= 1;
        }
    }
}

async fn work(working: Working) {
    let group = &working.0;
    let mut committer = None;
    loop {
        // Whoever is about to ask for a commit gets into this statement and not into the next.
        tokio::task::yield_now().await;
        let batches = group.take(&mut committer);
        if batches.is_empty() {
            return;
        }
        group.flush(&mut committer, batches).await;
    }
}
