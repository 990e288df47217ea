//! Which instants can be booked. Listing, booking and explaining call this one function: at the same
//! facts, what is listed can be booked and what is refused is not listed.
//!
//! Wall-clock windows become instants edge by edge, never slot by slot; then a linear sweep over
//! the sorted busy stretches finds the starts. Everything inside counts in whole seconds.

mod beside;
mod class;
mod grid;
mod limit;
mod open;
mod plan;
mod refusal;
mod shape;
#[cfg(test)]
mod shape_tests;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date};
use serde::{Deserialize, Serialize};

pub use beside::{Able, Beside, Stock, Then, Thing};
pub use class::remaining;
pub use limit::{Counts, Limit, Period, Subject};
pub use plan::Plan;
pub use refusal::Refusal;
pub use shape::{Asked, MOST_FURTHER, MOST_SUBJECTS, Need, Shape, Step};

use crate::{
    ClosureId, EmptySlot, ServiceId, StaffId, TimeSlot, Zone,
    business::{BookingPolicy, BusinessState, Closures, Service, StaffMember},
    staff_calendar::Busy,
    staff_schedule::Hours,
};
use grid::Grid;
use open::Openings;
use plan::Planner;

/// The rules that one staff member's slots for one service follow.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// What wall-clock times mean.
    pub zone: &'a Zone,
    /// Grid, notice, window and how buffers combine.
    pub policy: &'a BookingPolicy,
    /// Whose notice, window and limits these are.
    pub service_id: ServiceId,
    /// Duration, buffers, and its own notice, window and limits.
    pub service: &'a Service,
    /// Whose limits these are.
    pub staff_id: StaffId,
    /// The limits of the staff member.
    pub member: &'a StaffMember,
    /// When the staff member works.
    pub hours: &'a Hours,
    /// When nobody of the business does.
    pub closures: &'a Closures,
    /// What begins in each day and week, as far as limits are in force. A visit that is to be moved
    /// is not among them.
    pub counts: &'a Counts,
    /// What else must be there.
    pub beside: &'a Beside<'a>,
}

impl<'a> Rules<'a> {
    /// The rules of somebody who works these hours, for a service of the business; `None` when the
    /// business has no such service or staff member.
    #[must_use]
    pub fn of(
        business: &'a BusinessState,
        service_id: ServiceId,
        staff_id: StaffId,
        hours: &'a Hours,
        counts: &'a Counts,
    ) -> Option<Self> {
        let service = &business.services.get(&service_id)?.value;
        Self::with(business, (service_id, service), staff_id, hours, counts)
    }

    /// The same for a service as it was agreed, which may not be offered any more.
    #[must_use]
    pub fn with(
        business: &'a BusinessState,
        (service_id, service): (ServiceId, &'a Service),
        staff_id: StaffId,
        hours: &'a Hours,
        counts: &'a Counts,
    ) -> Option<Self> {
        let profile = &business.profile.value;
        Some(Self {
            zone: &profile.timezone,
            policy: &profile.booking_policy,
            service_id,
            service,
            staff_id,
            member: &business.staff.get(&staff_id)?.value,
            hours,
            closures: &business.closures,
            counts,
            beside: Beside::nothing(),
        })
    }

    /// How long before its start a visit must be booked.
    fn notice(&self) -> SignedDuration {
        SignedDuration::from_mins(self.service.min_notice(self.policy).into())
    }
}

/// The bookable slots that start within `[from, until)`, in order.
///
/// `busy` is everything that touches the [`deciding_range`], in any order; more does no harm.
#[must_use]
pub fn slots(
    rules: &Rules<'_>,
    busy: &[Busy],
    from: Timestamp,
    until: Timestamp,
    now: Timestamp,
) -> Vec<TimeSlot> {
    let earliest = from.max(earliest_start(rules, now));
    let latest = until.min(horizon(rules, now));
    if earliest >= latest {
        return vec![];
    }
    let first = local_date(rules.zone, earliest);
    let last = local_date(rules.zone, latest);
    let openings = Openings::between(rules, first, last);
    let grid = Grid::new(rules, busy);
    let range = ceil_second(earliest)..ceil_second(latest);
    let minutes = rules.service.duration_minutes;
    let starts = openings.starts(&grid, range, |date| rules.reached(date).is_some());
    let at = |second| TimeSlot::lasting(Timestamp::from_second(second).ok()?, minutes);
    let mut found: Vec<TimeSlot> = starts.filter_map(at).collect();
    if rules.service.is_class() {
        let meets = rules.joinable(busy, &openings);
        found.extend(meets.filter(|slot| earliest <= slot.start() && slot.start() < latest));
        found.sort_unstable();
        found.dedup();
    }
    if !rules.beside.then.is_empty() || !rules.beside.stock.needs.is_empty() {
        let planner = Planner::new(rules, busy, [first, last]);
        found.retain(|slot| planner.plan(slot.start()).is_ok());
    }
    found
}

/// Who does what when in a visit that [`check`] allows, and what is used for it.
///
/// # Errors
/// What is missing.
fn plan(rules: &Rules<'_>, busy: &[Busy], start: Timestamp) -> Result<Plan, Refusal> {
    let date = local_date(rules.zone, start);
    Planner::new(rules, busy, [date, date]).plan(start)
}

/// The first instant at which [`slots`] may differ by the passing of time alone: the first start that
/// is listed gets too near, or a day comes into the window. `listed` is what was found at `now`.
#[must_use]
pub fn unchanged_until(
    rules: &Rules<'_>,
    listed: &[TimeSlot],
    until: Timestamp,
    now: Timestamp,
) -> Timestamp {
    let notice = rules.notice();
    let too_near = listed.first().and_then(|first| {
        // A start is listed as long as the notice is kept to the instant.
        first.start().checked_sub(notice).ok()?.checked_add(SignedDuration::from_nanos(1)).ok()
    });
    let tomorrow = (until > horizon(rules, now))
        .then(|| local_date(rules.zone, now).tomorrow().ok())
        .flatten()
        .map(|date| start_of_day(rules.zone, date));
    [too_near, tomorrow].into_iter().flatten().min().unwrap_or(Timestamp::MAX)
}

/// Whether a visit may start at `start`, and if not, the first rule that refuses.
///
/// # Errors
/// The rule that refuses.
pub fn check(
    rules: &Rules<'_>,
    busy: &[Busy],
    start: Timestamp,
    now: Timestamp,
) -> Result<TimeSlot, Refusal> {
    let Some(slot) = TimeSlot::lasting(start, rules.service.duration_minutes) else {
        return Err(Refusal::OutsideHours);
    };
    let one_after = Timestamp::from_nanosecond(start.as_nanosecond() + 1).unwrap_or(start);
    match slots(rules, busy, start, one_after, now).first() {
        Some(listed) if *listed == slot => Ok(slot),
        Some(_) | None => Err(reason(rules, busy, &slot, now)),
    }
}

/// What an owner may set aside for one visit. That time is free is never set aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waived {
    /// The notice that the business wants.
    pub min_notice: bool,
    /// The working hours and closures, and with them the grid of starts.
    pub outside_hours: bool,
}

impl Waived {
    /// Nothing is set aside.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        !self.min_notice && !self.outside_hours
    }
}

/// As [`check`], but for the rules that an owner set aside; answers who does what when, and what is
/// used for it.
///
/// # Errors
/// The rule that refuses.
pub fn check_waiving(
    rules: &Rules<'_>,
    busy: &[Busy],
    start: Timestamp,
    now: Timestamp,
    waived: Waived,
) -> Result<Plan, Refusal> {
    if waived.is_none() {
        check(rules, busy, start, now)?;
        return plan(rules, busy, start);
    }
    let mut service = rules.service.clone();
    if waived.min_notice {
        service.min_notice_minutes = Some(0);
    }
    let beside = Beside { anywhere: waived.outside_hours, ..rules.beside.clone() };
    let rules = Rules { service: &service, beside: &beside, ..*rules };
    match check(&rules, busy, start, now) {
        Err(_) if waived.outside_hours => {
            let slot = TimeSlot::lasting(start, service.duration_minutes);
            let slot = slot.ok_or(Refusal::OutsideHours)?;
            let mut others = reasons(&rules, busy, &slot, now)
                .filter(|why| !matches!(why, Refusal::OutsideHours | Refusal::Closed { .. }));
            others.next().map_or(Ok(()), Err)?;
        }
        checked => drop(checked?),
    }
    plan(&rules, busy, start)
}

/// The stretch of calendar that the slots within `[from, until]` depend on: what touches it, buffers
/// included, is all that [`slots`] and [`check`] need to know.
#[must_use]
pub fn deciding_range(
    zone: &Zone,
    service: &Service,
    from: Timestamp,
    until: Timestamp,
) -> TimeSlot {
    let Service { buffer_before_minutes: before, buffer_after_minutes: after, .. } = *service;
    reach(zone, (before, service.duration_minutes, after), (from, until))
}

fn reach(
    zone: &Zone,
    (before, minutes, after): (u32, u32, u32),
    (from, until): (Timestamp, Timestamp),
) -> TimeSlot {
    let day_start = start_of_day(zone, local_date(zone, from)).min(from);
    // From the start of the day, because the packed grid begins anew behind each busy block.
    let one_after = until.checked_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
    let visits = TimeSlot::try_new(day_start, one_after);
    visits.map_or_else(
        |EmptySlot| minute_at(from),
        |visits| visits.padded(before, minutes.saturating_add(after)),
    )
}

/// The stretch in which visits count towards the limits of slots that start within `[from, until]`:
/// whole weeks of the business.
#[must_use]
pub fn counting_range(zone: &Zone, from: Timestamp, until: Timestamp) -> TimeSlot {
    let first = Period::Week.first(local_date(zone, from));
    let last = Period::Week.first(local_date(zone, until));
    let after = last.checked_add(1.week()).unwrap_or(Date::MAX);
    TimeSlot::try_new(start_of_day(zone, first), start_of_day(zone, after))
        .unwrap_or_else(|EmptySlot| minute_at(from))
}

/// Every rule that refuses a visit that starts then, in the order in which a person would think of
/// them; none exactly when [`check`] allows it.
#[must_use]
pub fn refusals(
    rules: &Rules<'_>,
    busy: &[Busy],
    start: Timestamp,
    now: Timestamp,
) -> Vec<Refusal> {
    let Some(slot) = TimeSlot::lasting(start, rules.service.duration_minutes) else {
        return vec![Refusal::OutsideHours];
    };
    if check(rules, busy, start, now).is_ok() {
        return vec![];
    }
    let all: Vec<Refusal> = reasons(rules, busy, &slot, now).collect();
    // A start that nothing else speaks against is not on the grid.
    if all.is_empty() { vec![Refusal::OffGrid] } else { all }
}

/// The limit that lets no visit begin in that day or week, whatever else is allowed; those of the
/// business count the `first` service of a visit alone.
#[must_use]
pub fn limit_reached(rules: &Rules<'_>, start: Timestamp, first: bool) -> Option<Refusal> {
    let date = local_date(rules.zone, start);
    let limit = rules.reached(date).filter(|limit| first || limit.subject != Subject::Business)?;
    Some(Refusal::LimitReached { limit, first: limit.period.first(date) })
}

/// The first refusal.
fn reason(rules: &Rules<'_>, busy: &[Busy], slot: &TimeSlot, now: Timestamp) -> Refusal {
    reasons(rules, busy, slot, now).next().unwrap_or(Refusal::OffGrid)
}

fn reasons<'a>(
    rules: &Rules<'a>,
    busy: &'a [Busy],
    slot: &'a TimeSlot,
    now: Timestamp,
) -> impl Iterator<Item = Refusal> + use<'a> {
    let (rules, start) = (*rules, slot.start());
    let (earliest, horizon) = (earliest_start(&rules, now), horizon(&rules, now));
    let time = if start < now {
        Some(Refusal::SlotInPast)
    } else if start < earliest {
        Some(Refusal::TooSoon { earliest })
    } else {
        (start >= horizon).then_some(Refusal::TooFar { horizon })
    };
    let date = local_date(rules.zone, start);
    let outside = move || {
        let inside = Openings::between(&rules, date, date).hold(slot);
        let closed = || closed(&rules, slot).map(|by| Refusal::Closed { by });
        (!inside).then(|| closed().unwrap_or(Refusal::OutsideHours))
    };
    let outside = std::iter::once_with(outside).flatten();
    let joins = busy.iter().any(|busy| busy.slot == *slot && rules.meeting(busy).is_some());
    time.into_iter()
        .chain(outside)
        .chain(limit_reached(&rules, start, true).filter(|_limit| !joins))
        .chain(class::occupants(&rules, busy, slot))
        .chain(std::iter::once_with(move || missing(&rules, busy, start)).flatten())
}

/// What is not there of all that comes beside the first staff member.
fn missing(rules: &Rules<'_>, busy: &[Busy], start: Timestamp) -> Vec<Refusal> {
    let date = local_date(rules.zone, start);
    let planner = Planner::new(rules, busy, [date, date]);
    [planner.staff(start).err(), planner.resources(start).err()].into_iter().flatten().collect()
}

/// The closure that a visit at this time would meet.
fn closed(rules: &Rules<'_>, slot: &TimeSlot) -> Option<ClosureId> {
    let first = local_date(rules.zone, slot.start());
    // It ends before this instant: at midnight it does not reach into the next date.
    let last = local_date(rules.zone, slot.end() - SignedDuration::from_nanos(1));
    rules.closures.touching(first, last).map(|(id, _)| id).next()
}

fn earliest_start(rules: &Rules<'_>, now: Timestamp) -> Timestamp {
    now.checked_add(rules.notice()).unwrap_or(Timestamp::MAX)
}

/// The first instant that is too far ahead: the start of the local day after the window.
fn horizon(rules: &Rules<'_>, now: Timestamp) -> Timestamp {
    let days = i64::from(rules.service.window(rules.policy)) + 1;
    local_date(rules.zone, now)
        .checked_add(days.days())
        .map_or(Timestamp::MAX, |date| start_of_day(rules.zone, date))
}

/// The date on the clock of the business.
#[must_use]
pub fn local_date(zone: &Zone, at: Timestamp) -> Date {
    zone.tz().to_datetime(at).date()
}

/// The first instant of a local date; midnight itself may not exist.
#[must_use]
pub fn start_of_day(zone: &Zone, date: Date) -> Timestamp {
    date.to_zoned(zone.tz().clone()).map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

fn ceil_second(at: Timestamp) -> i64 {
    at.as_second() + i64::from(at.subsec_nanosecond() > 0)
}

fn minute_at(at: Timestamp) -> TimeSlot {
    let last = Timestamp::MAX - SignedDuration::from_mins(1);
    let start = at.min(last);
    TimeSlot::lasting(start, 1).unwrap_or_else(|| minute_at(Timestamp::UNIX_EPOCH))
}
