use std::{
    collections::{HashMap, hash_map::Entry},
    time::{Duration, Instant},
};

use commands::{
    CommandError, Commands,
    appointment::{BookingRefused, OfferRefused, OfferTime},
    waitlist::{EndWaiting, WaitingEnd},
};
use domain::{
    AppointmentId, BusinessId, ServiceId, StaffId,
    business::BusinessState,
    waitlist::{EntryStatus, Wish},
};
use jiff::Timestamp;
use projections::{
    ReadError,
    availability::{
        Availability, AvailabilityProjector, OfferedSlot, Place, SlotQuery, SlotSpan, SlotsError,
    },
    waitlist::{Waitlist, WaitlistRow},
};
use sqlx::PgConnection;
use streams::{
    Actor, BoxError, CommandContext, Cursor, Database, Origin, clock, consumer::Projector as _,
    leader,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const JOB: &str = "offer-time";
const TICK: Duration = Duration::from_millis(250);
/// A round that takes longer has lost its server.
const PATIENCE: Duration = Duration::from_secs(300);
const BATCH: i64 = 50;
/// Everybody who waits is looked at so often, whatever happened: time itself opens days and ends ranges.
const SWEEP: Duration = Duration::from_secs(60);
/// A business that failed is looked at again after this: it must not hold up the others.
const AGAIN: Duration = Duration::from_secs(10);
/// So many free times are tried for one guest: others may be faster.
const TRIES: usize = 3;

/// One process at a time offers. When two think that they do, the log decides: an entry is offered
/// something once, and a time is kept for one.
pub(crate) struct Offerer {
    database: Database,
    commands: Commands,
    availability: Availability,
    waitlist: Waitlist,
}

/// What became of one guest.
enum Served {
    Next,
    /// The business takes no more this month.
    Enough,
}

impl Offerer {
    pub(crate) fn new(database: Database, commands: Commands) -> Self {
        Self {
            availability: Availability::new(database.clone()),
            waitlist: Waitlist::new(database.clone()),
            database,
            commands,
        }
    }

    /// Runs until stopped.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        leader::until_stopped(JOB, TICK * 2, &stop, || self.work(&stop)).await;
    }

    async fn work(&self, stop: &CancellationToken) -> Result<(), BoxError> {
        let lead = leader::lead(&self.database, JOB, stop).await?;
        let Some(mut connection) = lead else { return Ok(()) };
        let mut failed: HashMap<Uuid, Instant> = HashMap::new();
        let mut swept: Option<Instant> = None;
        loop {
            if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
                wake_all(&mut connection).await?;
                swept = Some(Instant::now());
            }
            let tick = tokio::time::timeout(PATIENCE, self.tick(&mut connection, &mut failed));
            let more = tick.await.map_err(|_elapsed| "Postgres does not answer")??;
            if !more {
                tokio::time::sleep(TICK).await;
            }
        }
    }

    /// One round; true when there may be more.
    async fn tick(
        &self,
        connection: &mut PgConnection,
        failed: &mut HashMap<Uuid, Instant>,
    ) -> Result<bool, BoxError> {
        failed.retain(|_, since| since.elapsed() < AGAIN);
        let without: Vec<Uuid> = failed.keys().copied().collect();
        let woken = woken(connection, &without).await?;
        let more = woken.len() as i64 == BATCH;
        for (business, cursor) in woken {
            match leader::meanwhile(connection, self.look(BusinessId::new(business))).await? {
                Ok(()) => done(connection, business, cursor).await?,
                Err(error) => {
                    tracing::warn!(business.id = %BusinessId::new(business), %error,
                        "a waitlist could not be served; it is tried again");
                    metrics::counter!("apptremind_waitlist_failures_total").increment(1);
                    failed.insert(business, Instant::now());
                }
            }
        }
        Ok(more)
    }

    /// Looks at everybody who waits there.
    async fn look(&self, business_id: BusinessId) -> Result<(), BoxError> {
        let open = self.waitlist.open(business_id).await?;
        let Some((state, _)) = self.availability.business(business_id).await? else {
            return Ok(());
        };
        let (mut enough, mut known) = (false, Known::default());
        for row in open {
            let over = row.wish.range.end() <= clock::now();
            match row.status {
                EntryStatus::Offered => self.end(business_id, &row, WaitingEnd::Settle).await?,
                EntryStatus::Waiting if over => {
                    self.end(business_id, &row, WaitingEnd::Expire).await?;
                }
                EntryStatus::Waiting if !enough => {
                    enough = matches!(
                        self.serve(business_id, &state, &row, &mut known).await?,
                        Served::Enough
                    );
                }
                EntryStatus::Waiting
                | EntryStatus::Accepted
                | EntryStatus::Declined
                | EntryStatus::Lapsed
                | EntryStatus::Left
                | EntryStatus::Expired => {}
            }
        }
        Ok(())
    }

    async fn end(
        &self,
        business_id: BusinessId,
        row: &WaitlistRow,
        end: WaitingEnd,
    ) -> Result<(), BoxError> {
        let wish = EndWaiting { waitlist_id: row.waitlist_id, end };
        match self.commands.end_waiting(&wish, &context(business_id)).await {
            Ok(done) if done.value != row.status => {
                note(done.value);
                Ok(())
            }
            // Somebody was faster.
            Ok(_) | Err(CommandError::Refused(_)) => Ok(()),
            Err(error) => Err(error.to_string().into()),
        }
    }

    /// Offers the first time that is free and wanted.
    async fn serve(
        &self,
        business_id: BusinessId,
        state: &BusinessState,
        row: &WaitlistRow,
        known: &mut Known,
    ) -> Result<Served, BoxError> {
        let service = state.services.get(&row.wish.service_id);
        // Refused by the command as well, which knows for sure; here nothing need be read.
        if service.is_none_or(|service| service.value.requires_approval) {
            return Ok(Served::Next);
        }
        for free in self.free(business_id, &row.wish, known).await? {
            let offer = OfferTime {
                waitlist_id: row.waitlist_id,
                appointment_id: AppointmentId::new(clock::new_id()),
                staff_id: free.staff_id,
                start: free.slot.start(),
            };
            let refused = match self.commands.offer_time(&offer, &context(business_id)).await {
                Ok(_) => {
                    // What was free beside it may be so no more.
                    known.clear();
                    note(EntryStatus::Offered);
                    return Ok(Served::Next);
                }
                Err(CommandError::Refused(refused)) => refused,
                Err(error) => return Err(error.to_string().into()),
            };
            match refused {
                // Somebody was faster: perhaps the next one.
                OfferRefused::Booking(BookingRefused::Unavailable { .. }) => {}
                OfferRefused::Booking(BookingRefused::AppointmentCapReached) => {
                    return Ok(Served::Enough);
                }
                OfferRefused::Booking(_)
                | OfferRefused::Waitlist(_)
                | OfferRefused::NeedsApproval => return Ok(Served::Next),
                OfferRefused::NoContact(_) => {
                    self.end(business_id, row, WaitingEnd::Leave).await?;
                    return Ok(Served::Next);
                }
            }
        }
        Ok(Served::Next)
    }

    /// The first free times of the range. Those who wait for the same share what was read.
    async fn free(
        &self,
        business_id: BusinessId,
        wish: &Wish,
        known: &mut Known,
    ) -> Result<Vec<OfferedSlot>, ReadError> {
        let from = wish.range.start().max(clock::now());
        let wanted =
            |free: &&OfferedSlot| from <= free.slot.start() && free.slot.start() < wish.range.end();
        for part in part_of(from)..=part_of(wish.range.end()) {
            let free = match known.entry((wish.service_id, wish.staff_id, part)) {
                Entry::Occupied(read) => read.into_mut(),
                Entry::Vacant(unread) => unread.insert(self.listed(business_id, wish, part).await?),
            };
            let free: Vec<OfferedSlot> = free.iter().filter(wanted).take(TRIES).copied().collect();
            if !free.is_empty() {
                return Ok(free);
            }
        }
        Ok(vec![])
    }

    /// What guests would be shown of a part, day by day where there is more than a list takes.
    async fn listed(
        &self,
        business_id: BusinessId,
        wish: &Wish,
        part: i64,
    ) -> Result<Vec<OfferedSlot>, ReadError> {
        let mut listed = Vec::new();
        for step in [PART, DAY] {
            listed.clear();
            let mut from = part.saturating_mul(PART);
            let end = from.saturating_add(PART);
            while from < end {
                let span = SlotSpan::Instants { from: second(from), until: second(from + step) };
                let place = Place::Business(business_id);
                let query = SlotQuery::plain(place, Some(wish.service_id), wish.staff_id, span);
                match self.availability.slots(&query, clock::now()).await {
                    Ok(list) => listed.extend(list.slots),
                    Err(SlotsError::Read(error)) => return Err(error),
                    Err(SlotsError::TooMany) => break,
                    // What they wait for is not there any more.
                    Err(
                        SlotsError::NotFound
                        | SlotsError::ServiceNeeded
                        | SlotsError::NoService
                        | SlotsError::Invalid(_),
                    ) => {
                        return Ok(vec![]);
                    }
                }
                from += step;
            }
            if from >= end {
                break;
            }
        }
        Ok(listed)
    }
}

/// What was free when it was read, by service, staff member and part of the time line.
type Known = HashMap<(ServiceId, Option<StaffId>, i64), Vec<OfferedSlot>>;

/// Free times are read in parts that all who wait share, in seconds.
const PART: i64 = 7 * DAY;
const DAY: i64 = 24 * 3_600;

fn part_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(PART)
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

fn note(status: EntryStatus) {
    metrics::counter!("apptremind_waitlist_total", "status" => status.as_str()).increment(1);
}

fn context(business_id: BusinessId) -> CommandContext {
    CommandContext {
        business_id,
        actor: Actor::System("scheduler"),
        now: clock::now(),
        origin: Origin::of_our_own(),
    }
}

/// Who waits is looked at, wherever it is.
async fn wake_all(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO waitlist_wake (business_id, transaction_id, position)
         SELECT DISTINCT business_id, 0, 0 FROM waitlist_entry
          WHERE status IN ('waiting', 'offered')
         ON CONFLICT (business_id) DO NOTHING",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Where the model of free time has come as far as what may have made time free.
async fn woken(
    connection: &mut PgConnection,
    without: &[Uuid],
) -> Result<Vec<(Uuid, Cursor)>, sqlx::Error> {
    let rows: Vec<(Uuid, i64, i64)> = sqlx::query_as(
        "SELECT business_id, transaction_id, position FROM waitlist_wake
          WHERE business_id <> ALL($1)
            AND (transaction_id, position) <= (SELECT c.transaction_id::text::bigint, c.position
                                                 FROM consumer_checkpoint c WHERE c.consumer = $3)
          ORDER BY transaction_id, position LIMIT $2",
    )
    .bind(without)
    .bind(BATCH)
    .bind(AvailabilityProjector::NAME)
    .fetch_all(connection)
    .await?;
    let cursor =
        |(business, transaction_id, position)| (business, Cursor { transaction_id, position });
    Ok(rows.into_iter().map(cursor).collect())
}

/// Unless something happened meanwhile: then it is looked at once more.
async fn done(
    connection: &mut PgConnection,
    business: Uuid,
    cursor: Cursor,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM waitlist_wake
          WHERE business_id = $1 AND transaction_id = $2 AND position = $3",
    )
    .bind(business)
    .bind(cursor.transaction_id)
    .bind(cursor.position)
    .execute(connection)
    .await?;
    Ok(())
}
