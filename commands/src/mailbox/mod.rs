//! One mailbox a business: its commands are decided in turn, on state that is kept from one to the
//! next.
//!
//! Kept state may be old: another process may have written since. The log refuses what was decided
//! on it then, and a refusal is never answered from it alone, so it is safe to keep.

mod counted;
mod guests;
mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::BusinessId;
use tokio::sync::oneshot;

pub(crate) use counted::{CountedVisit, CountedWeek, week_of};
pub(crate) use guests::Guests;
pub(crate) use state::{State, Wanted};

use crate::{CommandError, Commands, appointment::BookTask};

/// Commands of one business that may wait; more are refused, and may come again.
const MOST_WAITING: usize = 1_024;
/// Commands that are decided together: as many as one statement takes.
const MOST_AT_ONCE: usize = 64;
/// Longer queues are refused: the caller would have given up.
const PATIENCE: Duration = Duration::from_secs(15);
/// Businesses whose state is kept.
const MAILBOXES: u64 = 2_000;
const IDLE: Duration = Duration::from_secs(600);

/// The mailboxes of the businesses that were busy of late. One that is dropped while it is used does
/// no harm: there are two for a moment, and the log decides between them.
#[derive(Debug, Clone)]
pub(crate) struct Mailboxes(moka::sync::Cache<BusinessId, Arc<Mailbox>>);

impl Default for Mailboxes {
    fn default() -> Self {
        let boxes = moka::sync::Cache::builder().max_capacity(MAILBOXES).time_to_idle(IDLE);
        Self(boxes.build())
    }
}

impl Mailboxes {
    pub(crate) fn of(&self, business_id: BusinessId) -> Arc<Mailbox> {
        self.0.get_with(business_id, Arc::default)
    }
}

/// The commands of one business that wait, and what is known of it.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inside: Mutex<Inside>,
    /// Open to those who are about to post: what they look up, the commands before them need not
    /// wait for.
    pub(crate) guests: Guests,
}

#[derive(Debug, Default)]
struct Inside {
    waiting: VecDeque<Task>,
    at_work: bool,
    state: State,
}

/// What can be put into a mailbox.
#[derive(Debug)]
pub(crate) enum Task {
    /// Decided here, many at once.
    Book(Box<BookTask>),
    /// Decided by its caller, alone.
    Turn(oneshot::Sender<Turn>),
}

/// While it lives nothing else of the business is decided in this process: racers would only burn
/// each other's tries. What was known of the business is forgotten afterwards.
#[derive(Debug)]
pub(crate) struct Turn {
    _ended: oneshot::Sender<()>,
}

/// The mailbox is full.
#[derive(Debug)]
pub(crate) struct Full;

impl Commands {
    /// Waits until everybody before has been served.
    pub(crate) async fn turn<E>(&self, business_id: BusinessId) -> Result<Turn, CommandError<E>> {
        let (sender, turn) = oneshot::channel();
        let posted = self.mailboxes.of(business_id).post(self, Task::Turn(sender));
        posted.map_err(|Full| CommandError::Conflict)?;
        match tokio::time::timeout(PATIENCE, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_gone)) => Err(CommandError::Store("the mailbox failed".into())),
            Err(_elapsed) => Err(CommandError::Conflict),
        }
    }

    /// The answer to a posted command, refused for now when it takes too long. What was begun is
    /// finished nevertheless: a retry with the same key learns of it.
    pub(crate) async fn answered<T, E>(
        answer: oneshot::Receiver<Result<T, CommandError<E>>>,
    ) -> Result<T, CommandError<E>> {
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_gone)) => Err(CommandError::Store("the mailbox failed".into())),
            Err(_elapsed) => Err(CommandError::Conflict),
        }
    }
}

impl Mailbox {
    pub(crate) fn post(self: &Arc<Self>, commands: &Commands, task: Task) -> Result<(), Full> {
        let mut inside = self.inside();
        if inside.waiting.len() >= MOST_WAITING {
            metrics::counter!("apptremind_mailbox_full_total").increment(1);
            return Err(Full);
        }
        inside.waiting.push_back(task);
        if !mem::replace(&mut inside.at_work, true) {
            tokio::spawn(work(commands.clone(), Working(Arc::clone(self))));
        }
        Ok(())
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be done next; nothing ends the worker, and the state is kept for the next one.
    fn next(&self, state: &mut State) -> Next {
        let mut inside = self.inside();
        let mut books = Vec::new();
        while books.len() < MOST_AT_ONCE {
            match inside.waiting.pop_front() {
                Some(Task::Book(task)) => books.push(*task),
                Some(Task::Turn(turn)) if books.is_empty() => return Next::Turn(turn),
                Some(turn @ Task::Turn(_)) => {
                    inside.waiting.push_front(turn);
                    break;
                }
                None => break,
            }
        }
        if books.is_empty() {
            inside.state = mem::take(state);
            inside.at_work = false;
            return Next::Nothing;
        }
        Next::Books(books)
    }
}

enum Next {
    Books(Vec<BookTask>),
    Turn(oneshot::Sender<Turn>),
    Nothing,
}

/// The right to work on a mailbox. A worker that fails leaves it empty and open.
struct Working(Arc<Mailbox>);

impl Drop for Working {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.inside() = Inside::default();
        }
    }
}

async fn work(commands: Commands, working: Working) {
    let mailbox = &working.0;
    let mut state = mem::take(&mut mailbox.inside().state);
    loop {
        match mailbox.next(&mut state) {
            Next::Books(tasks) => commands.book_all(&mut state, &mailbox.guests, tasks).await,
            Next::Turn(sender) => {
                let (ended, end) = oneshot::channel();
                if sender.send(Turn { _ended: ended }).is_ok() {
                    // Resolves when the turn is dropped.
                    drop(end.await);
                    state = State::default();
                    mailbox.guests.forget_all();
                }
            }
            Next::Nothing => return,
        }
    }
}
