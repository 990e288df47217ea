//! Which instants can be booked. Listing, booking and explaining call this one function: at the same
//! facts, what is listed can be booked and what is refused is not listed.
//!
//! Wall-clock windows become instants edge by edge, never slot by slot; then a linear sweep over
//! the sorted busy stretches finds the starts. Everything inside counts in whole seconds.

mod grid;
mod limit;
mod open;
mod refusal;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date};

pub use limit::{Counts, Limit, Period, Subject};
pub use refusal::Refusal;

use crate::{
    ClosureId, EmptySlot, ServiceId, StaffId, TimeSlot, Zone,
    business::{BookingPolicy, BusinessState, Closures, Service, StaffMember},
    staff_calendar::{Busy, BusyKind},
    staff_schedule::Hours,
};
use grid::Grid;
use open::Openings;

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
        let profile = &business.profile.value;
        Some(Self {
            zone: &profile.timezone,
            policy: &profile.booking_policy,
            service_id,
            service: &business.services.get(&service_id)?.value,
            staff_id,
            member: &business.staff.get(&staff_id)?.value,
            hours,
            closures: &business.closures,
            counts,
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
    openings
        .starts(&grid, range, |date| rules.reached(date).is_some())
        .filter_map(|second| TimeSlot::lasting(Timestamp::from_second(second).ok()?, minutes))
        .collect()
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

/// The stretch of calendar that the slots within `[from, until]` depend on: what touches it, buffers
/// included, is all that [`slots`] and [`check`] need to know.
#[must_use]
pub fn deciding_range(
    zone: &Zone,
    service: &Service,
    from: Timestamp,
    until: Timestamp,
) -> TimeSlot {
    let day_start = start_of_day(zone, local_date(zone, from)).min(from);
    // From the start of the day, because the packed grid begins anew behind each busy block.
    let one_after = until.checked_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
    let visits = TimeSlot::try_new(day_start, one_after);
    visits.map_or_else(
        |EmptySlot| minute_at(from),
        |visits| {
            let Service { duration_minutes, buffer_after_minutes, .. } = service;
            visits.padded(
                service.buffer_before_minutes,
                duration_minutes.saturating_add(*buffer_after_minutes),
            )
        },
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

/// The first refusal, in the order in which a person would think of them.
fn reason(rules: &Rules<'_>, busy: &[Busy], slot: &TimeSlot, now: Timestamp) -> Refusal {
    let (policy, service, start) = (rules.policy, rules.service, slot.start());
    let (before, after) = (service.buffer_before_minutes, service.buffer_after_minutes);
    if start < now {
        return Refusal::SlotInPast;
    }
    let earliest = earliest_start(rules, now);
    if start < earliest {
        return Refusal::TooSoon { earliest };
    }
    let horizon = horizon(rules, now);
    if start >= horizon {
        return Refusal::TooFar { horizon };
    }
    let date = local_date(rules.zone, start);
    if !Openings::between(rules, date, date).hold(slot) {
        return closed(rules, slot).map_or(Refusal::OutsideHours, |by| Refusal::Closed { by });
    }
    if let Some(limit) = rules.reached(date) {
        return Refusal::LimitReached { limit, first: limit.period.first(date) };
    }
    match busy.iter().find(|busy| busy.excludes(slot, before, after, policy.buffers)) {
        Some(Busy { kind: BusyKind::Visit(by), .. }) => Refusal::Taken { by: *by },
        Some(Busy { kind: BusyKind::TimeOff(during), .. }) => Refusal::Away { during: *during },
        None => Refusal::OffGrid,
    }
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
