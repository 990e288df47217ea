//! Bookings of one business, decided in turn and committed together.

use std::collections::BTreeSet;

use domain::{AppointmentId, BusinessId, availability::Refusal};
use streams::{
    CommandContext,
    log::{CommitError, GuestAddress},
};
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use super::{
    BookAppointment, Booked, BookingRefused, Start,
    decide::{self, Decision},
    holding::Kept,
};
use crate::{
    CommandError, Commands, Done,
    again::Tries,
    error::Attempt,
    idempotency::IdempotencyKey,
    mailbox::{Guests, State, Wanted},
};

type Answer = Result<Done<Booked>, CommandError<BookingRefused>>;

/// So often a booking is decided anew before the constraint is believed more than our rules.
const WALLED: u32 = 3;

/// A booking that waits for its turn.
#[derive(Debug)]
pub(crate) struct BookTask {
    book: BookAppointment,
    key: Option<IdempotencyKey>,
    context: CommandContext,
    reply: oneshot::Sender<Answer>,
    since: Instant,
    walled: u32,
    /// Of the guest, as they are found again.
    pub(super) address: Option<GuestAddress>,
}

impl BookTask {
    pub(super) fn new(
        book: BookAppointment,
        key: Option<IdempotencyKey>,
        context: CommandContext,
    ) -> (Self, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let address = book.guest.address();
        (Self { book, key, context, reply, since: Instant::now(), walled: 0, address }, answer)
    }

    /// A caller that went away learns from its key.
    fn answer(self, answer: Answer) {
        drop(self.reply.send(answer));
    }

    fn refuse(self, refused: BookingRefused) {
        self.answer(Err(CommandError::Refused(refused)));
    }

    const fn business_id(&self) -> BusinessId {
        self.context.business_id
    }

    /// Decided anew again and again and still refused by the constraint: our rules and the second
    /// wall disagree.
    fn refuse_walled(self) {
        tracing::error!(business.id = %self.context.business_id,
            "the second wall refused what the rules allowed");
        metrics::counter!("apptremind_second_wall_total").increment(1);
        match self.book.start {
            Start::At(start) => {
                let refusal = Refusal::Taken { by: AppointmentId::new(Uuid::nil()) };
                self.refuse(BookingRefused::Unavailable { start, refusal });
            }
            Start::Local(_) => self.answer(Err(CommandError::Conflict)),
        }
    }
}

/// What became of one round.
enum Round {
    /// Those that were committed are answered. These were refused on what was known from before, or
    /// on what was not yet committed.
    Done { doubtful: Vec<BookTask> },
    /// Nothing was committed.
    Failed { tasks: Vec<BookTask>, error: CommitError },
}

impl Commands {
    /// Answers every one of them. What is refused is decided again on what Postgres has, once for
    /// all, and so is what the log did not take.
    pub(crate) async fn book_all(&self, state: &mut State, guests: &Guests, tasks: Vec<BookTask>) {
        for task in &tasks {
            metrics::histogram!("apptremind_mailbox_seconds")
                .record(task.since.elapsed().as_secs_f64());
        }
        let mut left: Vec<BookTask> =
            tasks.into_iter().filter(|task| !task.reply.is_closed()).collect();
        let mut tries = Tries::of("book");
        let (mut fresh, mut at_once) = (false, usize::MAX);
        while !left.is_empty() {
            let rest = left.split_off(at_once.min(left.len()));
            match self.round(state, guests, left, fresh).await {
                Round::Done { doubtful } => {
                    left = doubtful;
                    tries = Tries::of("book");
                }
                Round::Failed { tasks, error } => {
                    // Whatever failed twice is tried one by one: nobody fails for another's reason.
                    if fresh || !is_race(&error) {
                        at_once = 1;
                    }
                    left = settle(tasks, error, fresh);
                    if !left.is_empty() && !tries.again().await {
                        left.extend(rest);
                        left.into_iter().for_each(|t| t.answer(Err(CommandError::Conflict)));
                        return;
                    }
                }
            }
            left.extend(rest);
            if !left.is_empty() {
                *state = State::default();
                fresh = true;
            }
        }
    }

    /// Answers those that were done before, perhaps in another process: a retry must not be refused
    /// by its own booking.
    async fn look_up(&self, tasks: Vec<BookTask>) -> Vec<BookTask> {
        let Some(business_id) = tasks.first().map(BookTask::business_id) else { return tasks };
        let keys: Vec<&IdempotencyKey> = tasks.iter().filter_map(|t| t.key.as_ref()).collect();
        let stored = match self.stored(business_id, &keys).await {
            Ok(stored) => stored,
            Err(error) => {
                fail(tasks, &CommitError::Store(error.into()));
                return vec![];
            }
        };
        let mut left = Vec::with_capacity(tasks.len());
        for task in tasks {
            match stored.replay(task.key.as_ref()) {
                Some(answer) => task.answer(answer),
                None => left.push(task),
            }
        }
        left
    }

    /// Decides each in turn and commits what was decided, all together.
    async fn round(
        &self,
        state: &mut State,
        guests: &Guests,
        mut tasks: Vec<BookTask>,
        fresh: bool,
    ) -> Round {
        let Some(business_id) = tasks.first().map(BookTask::business_id) else {
            return Round::Done { doubtful: tasks };
        };
        if let Err(error) = self.load(state, guests, business_id, &tasks).await {
            *state = State::default();
            return Round::Failed { tasks, error };
        }
        if fresh {
            // After the reload: what it shows as taken may have been taken by the request itself.
            tasks = self.look_up(tasks).await;
        }
        let (mut decided, mut answers, mut units) = (Vec::new(), Vec::new(), Vec::new());
        let (mut doubtful, mut touched) = (Vec::new(), BTreeSet::new());
        for task in tasks {
            let (book, key) = (&task.book, task.key.as_ref());
            match decide::decide(state, guests, self.policy, book, key, &task.context) {
                Ok(Decision { unit, booked, kept, counted, guest }) => {
                    touched.extend(kept.weeks.iter().map(|((staff_id, _), _)| *staff_id));
                    let Kept { weeks, stock } = kept;
                    weeks.into_iter().for_each(|(week, events)| state.evolve_week(week, events));
                    stock.into_iter().for_each(|(week, events)| state.evolve_stock(week, events));
                    counted.iter().for_each(|visit| state.evolve_counted(visit));
                    if let Some((Some(address), customer)) = guest {
                        guests.greet(address, customer);
                    }
                    units.push(unit);
                    answers.push(booked);
                    decided.push(task);
                }
                Err(Attempt::Commit(error)) => task.answer(Err(error.into())),
                Err(Attempt::Refused(refused)) => {
                    let alone = touched.is_empty()
                        || !refused.is_shared()
                            && decide::could_serve(state, book).is_disjoint(&touched);
                    if fresh && alone {
                        task.refuse(refused);
                    } else {
                        doubtful.push(task);
                    }
                }
            }
        }
        if units.is_empty() {
            return Round::Done { doubtful };
        }
        match self.log.commit_together(units.into()).await {
            Ok(position) => {
                for (task, booked) in decided.into_iter().zip(answers) {
                    task.answer(Ok(Done::new(booked, position)));
                }
                Round::Done { doubtful }
            }
            Err(error) => {
                *state = State::default();
                decided.extend(doubtful);
                guests.forget(decided.iter().filter_map(|task| task.address.as_ref()));
                Round::Failed { tasks: decided, error }
            }
        }
    }

    /// Looks up whom nobody has looked up before.
    pub(super) async fn meet(
        &self,
        guests: &Guests,
        business_id: BusinessId,
        addresses: impl IntoIterator<Item = GuestAddress>,
    ) -> Result<(), CommitError> {
        let asked: BTreeSet<GuestAddress> =
            addresses.into_iter().filter(|address| !guests.knows_of(address)).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let found = self.log.customers(business_id, asked.iter().cloned()).await?;
        asked.into_iter().zip(found).for_each(|(address, known)| guests.found(address, known));
        Ok(())
    }

    /// Reads what the tasks need and is not known: business and plan first, because they tell what
    /// else there is to know.
    async fn load(
        &self,
        state: &mut State,
        guests: &Guests,
        business_id: BusinessId,
        tasks: &[BookTask],
    ) -> Result<(), CommitError> {
        let addresses = tasks.iter().filter_map(|task| task.address.clone());
        self.meet(guests, business_id, addresses).await?;
        let mut wanted = Wanted::default();
        if state.business.is_none() {
            state.load(&self.log, business_id, &wanted).await?;
        }
        for task in tasks {
            decide::wants(state, &task.book, &mut wanted);
        }
        state.load(&self.log, business_id, &wanted).await
    }
}

/// Whether somebody else was faster, so that deciding again may well succeed.
const fn is_race(error: &CommitError) -> bool {
    match error {
        CommitError::Conflict | CommitError::TimeReserved | CommitError::Repeat => true,
        CommitError::Limit { .. } | CommitError::Taken { .. } | CommitError::Store(_) => false,
    }
}

/// Answers those for which nothing is left to try.
fn settle(mut tasks: Vec<BookTask>, error: CommitError, fresh: bool) -> Vec<BookTask> {
    if let CommitError::Store(cause) = &error
        && streams::log::is_unavailable(cause.as_ref())
    {
        fail(tasks, &error);
        return vec![];
    }
    if tasks.len() > 1 {
        return tasks;
    }
    let Some(mut task) = tasks.pop() else { return tasks };
    match error {
        CommitError::Conflict | CommitError::Repeat => {}
        CommitError::TimeReserved => {
            task.walled += 1;
            if task.walled >= WALLED {
                task.refuse_walled();
                return vec![];
            }
        }
        // The limit also meets a repeat, which must be looked up first.
        CommitError::Limit { .. } if !fresh => {}
        CommitError::Limit { .. } => {
            task.refuse(BookingRefused::AppointmentCapReached);
            return vec![];
        }
        error @ (CommitError::Store(_) | CommitError::Taken { .. }) => {
            task.answer(Err(error.into()));
            return vec![];
        }
    }
    vec![task]
}

/// The same fault for all of them.
fn fail(tasks: Vec<BookTask>, error: &CommitError) {
    let why = error.to_string();
    let unavailable = matches!(error, CommitError::Store(cause)
        if streams::log::is_unavailable(cause.as_ref()));
    for task in tasks {
        let cause = why.clone().into();
        task.answer(Err(if unavailable {
            CommandError::Unavailable(cause)
        } else {
            CommandError::Store(cause)
        }));
    }
}
