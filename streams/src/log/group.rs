//! Group commit: commands of many businesses that wait at the same moment become one statement.

use std::{
    collections::VecDeque,
    io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{Connection, PgConnection};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use super::{CommitError, UnitOfWork, is_unavailable, statement::execute};
use crate::{Cursor, Database, Nudge};

/// More of them gained nothing on two cores.
const COMMITTERS: usize = 2;
/// Commands in one statement. The commands of one business are never torn apart.
const MOST: usize = 64;
/// Longer than this, and callers are told that Postgres does not answer.
const PATIENCE: Duration = Duration::from_millis(800);
/// Longer than this, and the connection is given up.
const GIVE_UP: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is asked whether it still lives: what fails on a dead one
/// may have been done or not, and its caller cannot be told.
const IDLE: Duration = Duration::from_millis(500);
const PROBE: Duration = Duration::from_millis(250);

/// What waits to be committed, and the connections that do it. Workers live while there is work.
#[derive(Debug)]
pub(super) struct Group {
    database: Database,
    nudge: Nudge,
    queue: Mutex<Queue>,
    stalled: watch::Sender<bool>,
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
        let (stalled, _) = watch::channel(false);
        Self { database, nudge, queue: Mutex::default(), stalled }
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

    pub(super) async fn stalled(&self) {
        let mut stalled = self.stalled.subscribe();
        // Fails only when the group is gone, and then nobody waits.
        drop(stalled.wait_for(|stalled| *stalled).await);
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
                self.recover(committer).await;
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
        let committed = self.patiently(execute(&mut own.connection, units)).await?;
        let lost =
            matches!(&committed, Err(CommitError::Store(error)) if is_unavailable(error.as_ref()));
        if !lost {
            self.stalled.send_if_modified(mem::take);
            own.used = Instant::now();
            *committer = Some(own);
        }
        committed
    }

    /// Tells callers when it takes long, and gives up when it takes too long.
    async fn patiently(
        &self,
        committing: impl Future<Output = Result<Cursor, CommitError>>,
    ) -> Result<Result<Cursor, CommitError>, CommitError> {
        tokio::pin!(committing);
        if let Ok(committed) = tokio::time::timeout(PATIENCE, &mut committing).await {
            return Ok(committed);
        }
        self.stalled.send_replace(true);
        let late = tokio::time::timeout(GIVE_UP - PATIENCE, committing).await;
        late.map_err(|_elapsed| away("Postgres does not answer"))
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
        match tokio::time::timeout(PATIENCE, self.database.connect()).await {
            Ok(Ok(connection)) => Ok(Committer { connection, used: Instant::now() }),
            Ok(Err(error)) => Err(CommitError::Store(error.into())),
            Err(_elapsed) => Err(away("Postgres does not answer")),
        }
    }

    /// While callers are told that Postgres is away nobody commits, so the worker finds out when it
    /// is back.
    async fn recover(&self, committer: &mut Option<Committer>) {
        while *self.stalled.borrow() {
            let waiting: Vec<Batch> = self.queue().waiting.drain(..).collect();
            for batch in waiting {
                drop(batch.reply.send(Err(away("Postgres does not answer"))));
            }
            match self.committer().await {
                Ok(own) => {
                    *committer = Some(own);
                    self.stalled.send_replace(false);
                }
                Err(_away) => tokio::time::sleep(PROBE).await,
            }
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
