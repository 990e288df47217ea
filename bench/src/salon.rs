//! Businesses to book at, made through the use cases, and the free slots that the clients take.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, anyhow};
use commands::{
    Commands, Policy,
    appointment::{BookAppointment, BookingRefused, Guest, Start},
    business::ChangeBusiness,
    idempotency::IdempotencyKey,
    identity::{
        Caller, Cost, Identity, KeyRing, Links, Passwords, Register, RootKeys, SignInPolicy,
        SigningKey,
    },
};
use domain::{
    AppointmentId, BusinessId, Currency, Money, ServiceId, StaffId, Zone,
    business::{BusinessCommand, PolicyChange, ProfileChange, Service, SlotGrid, StaffMember},
    staff_schedule::{DayWindow, Hours, WallMinute, Window},
};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use streams::{Actor, CommandContext, Database, Nudge, Origin, clock, log::Log};
use testkit::postgres::TestDatabase;

use crate::load::Outcome;

/// High, so that nobody is refused by the plan.
pub(crate) const CAP: u32 = 1_000_000_000;
/// What `serve` opens unless told otherwise.
const CONNECTIONS: u32 = 20;
/// How often opening them is tried again.
const TRIES: usize = 50;
/// Visits of half an hour, from 06:00 to 22:00 UTC on every day.
pub(crate) const VISIT_MINUTES: u32 = 30;
pub(crate) const OPENS: u16 = 6 * 60;
const CLOSES: u16 = 22 * 60;
pub(crate) const SLOTS_A_DAY: u64 = ((CLOSES - OPENS) as u64) / VISIT_MINUTES as u64;
/// Guests book within the next eight weeks, until these are full.
const BLOCK_DAYS: u64 = 56;
const WINDOW_DAYS: u32 = 730;

/// All use cases over a database, as the gateway assembles them, but without a broker. All connections
/// are opened now: on a loaded machine many at once take longer than the pool waits.
pub(crate) async fn use_cases(url: &str) -> Result<Commands> {
    let database = Database::new(url, CONNECTIONS)?;
    let (mut open, mut tries) = (Vec::new(), 0);
    while open.len() < usize::try_from(CONNECTIONS)? {
        match database.tenant(BusinessId::new(clock::new_id())).await {
            Ok(connection) => open.push(connection),
            Err(_) if tries < TRIES => tries += 1,
            Err(error) => return Err(error).context("connecting"),
        }
    }
    drop(open);
    Ok(Commands::new(Log::new(database, Nudge::default()), Policy { free_monthly_cap: CAP }))
}

/// A business with its staff.
#[derive(Debug, Clone)]
pub(crate) struct Salon {
    pub(crate) business_id: BusinessId,
    pub(crate) service_id: ServiceId,
    pub(crate) staff: Vec<StaffId>,
}

/// A database with businesses.
pub(crate) struct World {
    pub(crate) salons: Vec<Salon>,
    pub(crate) commands: Commands,
    calendars: Calendars,
    // Dropped last.
    pub(crate) database: TestDatabase,
}

/// From nowhere in particular.
pub(crate) fn nobody() -> Caller {
    Caller { address: Ipv4Addr::LOCALHOST.into(), user_agent: None }
}

/// Signing in, without limits.
pub(crate) async fn identity(commands: &Commands) -> Result<Identity> {
    let passwords = Passwords::try_new(2, Cost::default()).map_err(|error| anyhow!(error))?;
    let roots = || RootKeys::of(SigningKey::of_seed([7; 32]));
    let database = commands.log().database().clone();
    let ring = KeyRing::new(roots(), database, SignedDuration::from_hours(24));
    let mut policy = SignInPolicy::default();
    policy.registrations_from_network.most = 0;
    let links = Links::try_new(&roots())?;
    let identity = Identity::open(commands.clone(), passwords, ring, links, policy).await;
    identity.map_err(|error| anyhow!(error))
}

impl World {
    /// A fresh database with so many businesses, each with so many staff members.
    pub(crate) async fn build(businesses: usize, staff: usize) -> Result<Self> {
        let database = TestDatabase::create().await;
        let commands = use_cases(&database.app_url()).await?;
        let identity = identity(&commands).await?;
        let opening = (0..businesses).map(|n| open(&commands, &identity, n, staff));
        let salons: Vec<Salon> = stream::iter(opening).buffered(4).try_collect().await?;
        let calendars = Calendars::of(salons.iter());
        Ok(Self { salons, commands, calendars, database })
    }

    /// Use cases with caches and connections of their own, as another process has them.
    pub(crate) async fn other_use_cases(&self) -> Result<Commands> {
        use_cases(&self.database.app_url()).await
    }

    /// Lets Postgres learn what the tables hold, as it does by itself within minutes on a living system.
    /// Plans that were made for empty tables are made anew.
    pub(crate) async fn analyze(&self) {
        self.database.execute("VACUUM ANALYZE").await;
    }

    /// All calendars of all businesses; what one holder was given the others are not.
    pub(crate) fn calendars(&self) -> Calendars {
        self.calendars.clone()
    }
}

fn owner(business_id: BusinessId) -> CommandContext {
    let (now, origin) = (clock::now(), Origin::of_our_own());
    CommandContext { business_id, actor: Actor::System("bench"), now, origin }
}

pub(crate) async fn change(
    commands: &Commands,
    business_id: BusinessId,
    command: BusinessCommand,
) -> Result<()> {
    let change = ChangeBusiness::from(command);
    commands.change_business(&change, &owner(business_id)).await.context("changing a business")?;
    Ok(())
}

async fn open(commands: &Commands, identity: &Identity, n: usize, staff: usize) -> Result<Salon> {
    let register = Register {
        email: format!("owner{n}@bench.example"),
        password: "correct horse battery".to_owned(),
        business_name: format!("Bench Salon {n}"),
        timezone: Some(Zone::UTC),
        handle: None,
    };
    let registered = identity
        .register(&register, &nobody(), &Origin::of_our_own())
        .await
        .context("registering")?;
    let business_id = registered.value.business_id;
    let policy = PolicyChange {
        slot_grid: Some(SlotGrid::Aligned),
        slot_step_minutes: Some(Some(VISIT_MINUTES)),
        window_days: Some(WINDOW_DAYS),
        ..PolicyChange::default()
    };
    let profile = ProfileChange {
        // Otherwise each booking plans mails that are not what is measured.
        reminder_offsets_minutes: Some(vec![]),
        host_notices: Some(false),
        booking_policy: Some(policy),
        ..ProfileChange::default()
    };
    let profile = BusinessCommand::ChangeProfile { change: profile, expected: None };
    change(commands, business_id, profile).await?;
    let service_id = ServiceId::new(clock::new_id());
    let service = service("Cut", VISIT_MINUTES);
    change(commands, business_id, BusinessCommand::AddService { service_id, service }).await?;
    let mut salon = Salon { business_id, service_id, staff: vec![] };
    for n in 0..staff {
        let staff_id = hire(commands, business_id, &format!("Staff {n}")).await?;
        salon.staff.push(staff_id);
    }
    Ok(salon)
}

fn service(name: &str, duration_minutes: u32) -> Service {
    Service::new(name, duration_minutes, Money { amount: 4_500, currency: Currency::USD })
}

/// Takes somebody on who works every day.
pub(crate) async fn hire(
    commands: &Commands,
    business_id: BusinessId,
    name: &str,
) -> Result<StaffId> {
    let staff_id = StaffId::new(clock::new_id());
    let member = StaffMember::new(name);
    change(commands, business_id, BusinessCommand::AddStaff { staff_id, member }).await?;
    let minute = |at| WallMinute::new(at).context("a time of day");
    let window = Window { start: minute(OPENS)?, end: minute(CLOSES)? };
    let weekly = (0..7).map(|day| DayWindow { day, window }).collect();
    let hours = Hours { weekly, ..Hours::default() };
    commands.set_hours(staff_id, &hours, None, &owner(business_id)).await.context("hours")?;
    Ok(staff_id)
}

/// A free slot that nobody else was given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) business_id: BusinessId,
    pub(crate) service_id: ServiceId,
    pub(crate) staff_id: StaffId,
    pub(crate) start: Timestamp,
}

struct Calendar {
    business_id: BusinessId,
    service_id: ServiceId,
    staff_id: StaffId,
    next: AtomicU64,
}

/// Hands out the free slots of some calendars, each once, in no regular order of calendars.
#[derive(Clone)]
pub(crate) struct Calendars {
    all: Arc<Vec<Calendar>>,
    turn: Arc<AtomicU64>,
    first_day: Timestamp,
}

impl Calendars {
    pub(crate) fn of<'a>(salons: impl Iterator<Item = &'a Salon>) -> Self {
        let calendars = salons.flat_map(|salon| {
            salon.staff.iter().map(|staff_id| Calendar {
                business_id: salon.business_id,
                service_id: salon.service_id,
                staff_id: *staff_id,
                next: AtomicU64::new(0),
            })
        });
        let midnight = clock::now().as_second().div_euclid(86_400) * 86_400;
        let first_day = Timestamp::from_second(midnight).unwrap_or_default();
        Self {
            all: Arc::new(calendars.collect()),
            turn: Arc::default(),
            first_day: first_day + SignedDuration::from_hours(48),
        }
    }

    /// The calendar of one staff member.
    pub(crate) fn only(salon: &Salon, staff_id: StaffId) -> Self {
        let salon = Salon { staff: vec![staff_id], ..salon.clone() };
        Self::of([&salon].into_iter())
    }

    /// The same without its first `taken` slots.
    pub(crate) fn only_behind(salon: &Salon, staff_id: StaffId, taken: u64) -> Self {
        let calendars = Self::only(salon, staff_id);
        for calendar in calendars.all.iter() {
            calendar.next.store(taken, Ordering::Relaxed);
        }
        calendars
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// `None` when the chosen calendar is full for two years.
    pub(crate) fn next(&self) -> Option<Wish> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = u64::try_from(self.all.len()).ok()?;
        let chosen = usize::try_from(scattered(turn).checked_rem(count)?).ok()?;
        let calendar = self.all.get(chosen)?;
        let n = calendar.next.fetch_add(1, Ordering::Relaxed);
        Some(Wish {
            business_id: calendar.business_id,
            service_id: calendar.service_id,
            staff_id: calendar.staff_id,
            start: self.slot(n)?,
        })
    }

    /// The nth slot of a calendar: week after week through eight weeks, then another day of each, then
    /// the next slot of each day.
    fn slot(&self, n: u64) -> Option<Timestamp> {
        let in_block = n % (BLOCK_DAYS * SLOTS_A_DAY);
        let (turn, weeks) = (in_block % BLOCK_DAYS, BLOCK_DAYS / 7);
        let in_eight_weeks = turn % weeks * 7 + turn / weeks;
        let day = n / (BLOCK_DAYS * SLOTS_A_DAY) * BLOCK_DAYS + in_eight_weeks;
        if day + 3 > WINDOW_DAYS.into() {
            return None;
        }
        let minutes =
            day * 24 * 60 + u64::from(OPENS) + in_block / BLOCK_DAYS * u64::from(VISIT_MINUTES);
        Some(self.first_day + SignedDuration::from_mins(i64::try_from(minutes).ok()?))
    }
}

/// All slots of one calendar from Monday to Saturday, so many weeks after the present one.
pub(crate) fn slots_of_week(salon: &Salon, staff: usize, weeks_ahead: i64) -> Result<Vec<Wish>> {
    let staff_id = *salon.staff.get(staff).context("a staff member")?;
    let today = clock::now().as_second().div_euclid(86_400);
    // Day 0 was a Thursday, and the calendar's week begins on a Sunday at noon.
    let noon = clock::now().as_second() - 12 * 3_600;
    let sunday = (noon.div_euclid(86_400) - 3).div_euclid(7) * 7 + 3;
    anyhow::ensure!(sunday <= today, "the week began already");
    let monday = (sunday + 1 + weeks_ahead * 7) * 86_400;
    let slots = i64::try_from(SLOTS_A_DAY)?;
    let wish = |n: i64| {
        let minutes = n % 6 * 24 * 60 + i64::from(OPENS) + n / 6 * i64::from(VISIT_MINUTES);
        Ok(Wish {
            business_id: salon.business_id,
            service_id: salon.service_id,
            staff_id,
            start: Timestamp::from_second(monday + minutes * 60)?,
        })
    };
    (0..slots * 6).map(wish).collect()
}

/// Spreads counted numbers (splitmix64), the same way in each run.
pub(crate) fn scattered(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Who books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Somebody whom the business does not know: one more row.
    New,
    /// One of its regulars.
    Regular,
}

/// An e-mail address of such a guest.
pub(crate) fn address(who: Who) -> String {
    let n = clock::new_id().as_u128();
    match who {
        Who::New => format!("guest-{n:032x}@guest.example"),
        Who::Regular => format!("regular{}@guest.example", n % 20),
    }
}

/// Books through the library, as the gateway does it: with a key.
pub(crate) async fn book(commands: &Commands, wish: Wish, who: Who) -> Outcome {
    let book = BookAppointment {
        appointment_id: AppointmentId::new(clock::new_id()),
        service_id: wish.service_id,
        staff_id: Some(wish.staff_id),
        start: Start::At(wish.start),
        guest: Guest {
            name: "Ada Guest".to_owned(),
            email: Some(address(who)),
            phone: Some("+1 555 0100".to_owned()),
        },
        timezone: None,
        notes: None,
        waived: domain::availability::Waived::default(),
        also: vec![],
        answers: domain::business::Answers::default(),
        subjects: vec![],
        series: None,
        waitlist_id: None,
    };
    let context = CommandContext {
        business_id: wish.business_id,
        actor: Actor::Guest,
        now: clock::now(),
        origin: Origin::of_our_own(),
    };
    let key = clock::new_id().to_string();
    let key = IdempotencyKey::new(key, wish.start.to_string().as_bytes());
    match commands.book(&book, Some(&key), &context).await {
        Ok(_) => Outcome::Done,
        Err(commands::CommandError::Refused(BookingRefused::Unavailable { .. })) => {
            Outcome::Refused
        }
        Err(_) => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use domain::CalendarWeek;

    use super::*;

    #[test]
    fn the_slots_of_a_week_lie_in_one_stream() {
        let salon = Salon {
            business_id: BusinessId::new(clock::new_id()),
            service_id: ServiceId::new(clock::new_id()),
            staff: vec![StaffId::new(clock::new_id())],
        };
        let wishes = slots_of_week(&salon, 0, 3).unwrap();
        let weeks: HashSet<CalendarWeek> =
            wishes.iter().map(|wish| CalendarWeek::of(wish.start)).collect();
        let ahead = clock::now() + SignedDuration::from_hours(3 * 7 * 24);
        assert_eq!(weeks, HashSet::from([CalendarWeek::of(ahead)]));
        assert_eq!(wishes.len(), 192);
    }

    #[test]
    fn every_slot_is_handed_out_once_until_the_calendar_is_full() {
        let salon = Salon {
            business_id: BusinessId::new(clock::new_id()),
            service_id: ServiceId::new(clock::new_id()),
            staff: vec![StaffId::new(clock::new_id())],
        };
        let calendars = Calendars::of([&salon].into_iter());
        let starts: Vec<Timestamp> =
            std::iter::from_fn(|| calendars.next()).map(|wish| wish.start).collect();
        let different: HashSet<Timestamp> = starts.iter().copied().collect();
        assert_eq!(starts.len(), different.len());
        assert_eq!(starts.len(), 728 * usize::try_from(SLOTS_A_DAY).unwrap());
        let last = *starts.iter().max().unwrap();
        assert!(last < clock::now() + SignedDuration::from_hours(24 * 730));
    }
}
