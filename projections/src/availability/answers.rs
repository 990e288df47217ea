use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::staff_calendar::Busy;
use jiff::Timestamp;
use quick_cache::{OptionsBuilder, Weighter, sync::Cache};
use streams::{Cursor, Database, consumer::Projector};
use tokio::time::{Instant, timeout};

use super::{
    Availability, AvailabilityProjector, OfferedSlot, SlotList, SlotQuery, SlotsError,
    facts::Facts,
    pulse::{Pulse, Since},
};
use crate::{
    Positions, ReadError,
    gather::{Gather, Making},
};

/// What an answer was made into, ready to be sent.
pub trait Body: Send + Sync + 'static {
    /// Makes it, once for each answer.
    fn of(list: &SlotList) -> Self;

    /// About how many bytes it holds.
    fn bytes(&self) -> usize;
}

/// The slots themselves, for whoever looks for some of them.
impl Body for SlotList {
    fn of(list: &SlotList) -> Self {
        list.clone()
    }

    fn bytes(&self) -> usize {
        self.slots.len() * size_of::<OfferedSlot>()
    }
}

/// A finished answer.
#[derive(Debug)]
pub struct Answer<B> {
    /// Ready to be sent.
    pub body: B,
    /// How far the model had come that it was read from.
    pub position: Cursor,
    /// Listed at that time, and the same until this.
    made: Timestamp,
    until: Timestamp,
    /// What it was listed from, and when that was read from the tables.
    facts: Facts,
    read: Instant,
    /// The last beat whose changes are in it.
    beat: AtomicU64,
}

/// Finished answers, each kept for as long as it is what reading again would give.
pub struct Answers<B>(Arc<Inner<B>>);

struct Inner<B> {
    availability: Availability,
    positions: Positions,
    pulse: Pulse,
    kept: Cache<SlotQuery, Arc<Answer<B>>, ByBytes>,
    making: Gather<(SlotQuery, Way), Timestamp, Made<B>>,
}

type Made<B> = Result<Arc<Answer<B>>, Arc<SlotsError>>;

/// How an answer is made: those who want it made alike share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    /// From the tables.
    Read,
    /// From the one that is kept and what happened since.
    Carry,
    /// So too, and it says that the model has come so far.
    Restate(Cursor),
}

#[derive(Debug, Clone, Copy)]
struct ByBytes;

impl<B: Body> Weighter<SlotQuery, Arc<Answer<B>>> for ByBytes {
    fn weight(&self, _: &SlotQuery, answer: &Arc<Answer<B>>) -> u64 {
        let busy: usize = answer.facts.busy.values().map(|busy| busy.len()).sum();
        let counts = answer.facts.counts.as_ref().map_or(0, |counts| counts.len());
        (1_024 + answer.body.bytes() + busy * size_of::<Busy>() + counts * COUNT) as u64
    }
}

/// With waiting and reading. Requests are told much sooner when Postgres is silent.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is kept at most, in a few parts: one answer fits into a part.
const MOST_BYTES: u64 = 48 * 1024 * 1024;
const PARTS: usize = 4;
const LIKELY_BYTES: u64 = 32 * 1024;
/// What somebody changed in the tables by hand shows after so long.
const LONGEST: Duration = Duration::from_secs(60);
/// About what a count takes.
const COUNT: usize = 64;
/// Clocks of requests that overtake each other, and of a machine that is set right.
const ASKEW: Duration = Duration::from_secs(5);

impl<B> Clone for Answers<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> fmt::Debug for Answers<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

impl<B: Body> Answers<B> {
    /// From this model.
    #[must_use]
    pub fn new(availability: Availability, positions: Positions, database: Database) -> Self {
        Self::with(availability, positions, Pulse::new(database))
    }

    /// Answers of another form, kept beside these and as fresh: they share the pulse.
    #[must_use]
    pub fn beside<C: Body>(&self) -> Answers<C> {
        let Inner { availability, positions, pulse, .. } = &*self.0;
        Answers::with(availability.clone(), positions.clone(), pulse.clone())
    }

    fn with(availability: Availability, positions: Positions, pulse: Pulse) -> Self {
        let likely = usize::try_from(MOST_BYTES / LIKELY_BYTES).unwrap_or(PARTS);
        let options = OptionsBuilder::new()
            .shards(PARTS)
            .estimated_items_capacity(likely)
            .weight_capacity(MOST_BYTES)
            .build();
        let kept = match options {
            Ok(options) => Cache::with_options(
                options,
                ByBytes,
                quick_cache::DefaultHashBuilder::default(),
                quick_cache::sync::DefaultLifecycle::default(),
            ),
            Err(_impossible) => Cache::with_weighter(likely, MOST_BYTES, ByBytes),
        };
        let making = Gather::default();
        Self(Arc::new(Inner { availability, positions, pulse, kept, making }))
    }

    /// What can be booked now, as fresh as if it had been read for this request. With `min` it waits
    /// until the model has come so far, two seconds at most.
    ///
    /// # Errors
    /// When there is nothing to list, or Postgres does not answer.
    pub async fn answer(
        &self,
        query: &SlotQuery,
        min: Option<Cursor>,
        now: Timestamp,
    ) -> Result<Arc<Answer<B>>, SlotsError> {
        let Some(min) = min else { return self.within_patience(query, None, now).await };
        if self.kept(query).is_some_and(|kept| kept.position >= min) {
            let answer = self.within_patience(query, None, now).await?;
            if answer.position >= min {
                return Ok(answer);
            }
        }
        self.0.positions.wait(AvailabilityProjector::NAME, min).await?;
        self.within_patience(query, Some(min), now).await
    }

    fn kept(&self, query: &SlotQuery) -> Option<Arc<Answer<B>>> {
        self.0.kept.get(query).filter(|answer| answer.read.elapsed() < LONGEST)
    }

    /// The model has come as far as `passed`.
    async fn within_patience(
        &self,
        query: &SlotQuery,
        passed: Option<Cursor>,
        now: Timestamp,
    ) -> Result<Arc<Answer<B>>, SlotsError> {
        match timeout(PATIENCE, self.kept_or_made(query, passed, now)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(ReadError::silent().into()),
        }
    }

    async fn kept_or_made(
        &self,
        query: &SlotQuery,
        passed: Option<Cursor>,
        now: Timestamp,
    ) -> Result<Arc<Answer<B>>, SlotsError> {
        let asked = Instant::now();
        let Some(answer) = self.kept(query) else {
            count("miss");
            return self.make(query, Way::Read, asked, now).await;
        };
        let beaten = self.0.pulse.beat(asked).await?;
        let way = passed.map_or(Way::Carry, Way::Restate);
        if way == Way::Carry && answer.is_of(now) && matches!(self.since(&answer), Since::Nothing) {
            count("hit");
            return Ok(answer);
        }
        self.make(query, way, beaten, now).await
    }

    fn since(&self, answer: &Answer<B>) -> Since {
        let Facts { business_id, model, .. } = answer.facts;
        self.0.pulse.since(business_id, model, answer.beat.load(Ordering::Relaxed))
    }

    /// Shares an answer whose making begins not before `asked`.
    async fn make(
        &self,
        query: &SlotQuery,
        way: Way,
        asked: Instant,
        now: Timestamp,
    ) -> Result<Arc<Answer<B>>, SlotsError> {
        let (this, wanted) = (self.clone(), query.clone());
        let make = move |now| {
            let (this, query) = (this.clone(), wanted.clone());
            let making: Making<_> = Box::pin(async move {
                match this.carried(&query, way, now)? {
                    Some(answer) => Ok(answer),
                    None => Ok(this.read(&query, now).await?),
                }
            });
            making
        };
        let made = self.0.making.ask((query.clone(), way), asked, now, make).await;
        made.ok_or_else(ReadError::busy)?.map_err(|error: Arc<SlotsError>| error.again())
    }

    /// What is kept, brought up to the last beat; `None` when it must be read.
    fn carried(
        &self,
        query: &SlotQuery,
        way: Way,
        now: Timestamp,
    ) -> Result<Option<Arc<Answer<B>>>, SlotsError> {
        let kept = self.0.kept.get(query).filter(|_| way != Way::Read);
        let Some(answer) = kept else { return Ok(None) };
        // Taken first: what a later beat shows is applied again, which is harmless.
        let beat = self.0.pulse.last();
        let changes = match self.since(&answer) {
            Since::Nothing => vec![],
            Since::Calendars(changes) if answer.facts.counts.is_none() => changes,
            // What limits count is read anew.
            Since::Calendars(_) | Since::Unknown => {
                count("stale");
                return Ok(None);
            }
        };
        let mut facts = answer.facts.clone();
        let touched = changes.iter().filter(|change| facts.apply(change)).count();
        if touched == 0 && way == Way::Carry && answer.is_of(now) {
            count("hit");
            answer.beat.fetch_max(beat, Ordering::Relaxed);
            return Ok(Some(answer));
        }
        count("carried");
        if let Way::Restate(passed) = way {
            facts.position = facts.position.max(passed);
        }
        self.keep(query, facts, beat, answer.read, now).map(Some)
    }

    async fn read(&self, query: &SlotQuery, now: Timestamp) -> Result<Arc<Answer<B>>, SlotsError> {
        let beat = self.0.pulse.first().await?;
        let read = Instant::now();
        let facts = self.0.availability.facts(&query.place, |state| query.reach(state)).await?;
        self.keep(query, facts, beat, read, now)
    }

    /// Lists, and keeps the answer when nothing is missing in the facts.
    fn keep(
        &self,
        query: &SlotQuery,
        facts: Facts,
        beat: u64,
        read: Instant,
        now: Timestamp,
    ) -> Result<Arc<Answer<B>>, SlotsError> {
        let list = query.list(&facts, now)?;
        let answer = Arc::new(Answer {
            body: B::of(&list),
            position: list.position,
            made: now,
            until: list.until,
            facts,
            read,
            beat: AtomicU64::new(beat),
        });
        if answer.facts.complete {
            self.0.kept.insert(query.clone(), Arc::clone(&answer));
        }
        Ok(answer)
    }
}

impl<B> Answer<B> {
    /// Whether time alone has not changed it.
    fn is_of(&self, now: Timestamp) -> bool {
        let from = self.made.checked_sub(ASKEW).unwrap_or(self.made);
        (from..self.until).contains(&now)
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("apptremind_slots_cache_total", "outcome" => outcome).increment(1);
}
