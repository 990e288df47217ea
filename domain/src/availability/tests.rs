use std::collections::BTreeSet;

use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{Date, date},
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    AppointmentId, ClosureId, Currency, Money, TimeOffId,
    business::{BufferRule, Closure, SlotGrid},
    staff_calendar::BusyKind,
    staff_schedule::{DayWindow, Window},
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn service(duration: u32, before: u32, after: u32) -> Service {
    let free = Money { amount: 0, currency: Currency::USD };
    Service {
        buffer_before_minutes: before,
        buffer_after_minutes: after,
        ..Service::new("Cut", duration, free)
    }
}

fn hours(windows: &[(u8, &str, &str)]) -> Hours {
    let weekly = windows
        .iter()
        .map(|(day, start, end)| DayWindow {
            day: *day,
            window: Window { start: start.parse().unwrap(), end: end.parse().unwrap() },
        })
        .collect();
    Hours { weekly, ..Hours::default() }
}

fn daily(start: &str, end: &str) -> Hours {
    let windows: Vec<_> = (0..7).map(|day| (day, start, end)).collect();
    hours(&windows)
}

fn visit(start: &str, end: &str, before: u32, after: u32) -> Busy {
    Busy {
        kind: BusyKind::Visit(AppointmentId::new(Uuid::from_u128(9))),
        slot: TimeSlot::try_new(at(start), at(end)).unwrap(),
        buffer_before_minutes: before,
        buffer_after_minutes: after,
    }
}

fn time_off(start: &str, end: &str) -> Busy {
    let kind = BusyKind::TimeOff(TimeOffId::new(Uuid::from_u128(9)));
    Busy { kind, ..visit(start, end, 0, 0) }
}

#[derive(Debug)]
struct Case {
    zone: Zone,
    policy: BookingPolicy,
    service: Service,
    hours: Hours,
    closures: Closures,
    member: StaffMember,
    counts: Counts,
    busy: Vec<Busy>,
    now: Timestamp,
}

impl Case {
    fn new(zone: &str, hours: Hours, service: Service) -> Self {
        let policy = BookingPolicy { window_days: 730, ..BookingPolicy::default() };
        let zone = zone.parse().unwrap();
        let (closures, now) = (Closures::default(), at("2026-01-01T00:00:00Z"));
        let (member, counts, busy) = (StaffMember::new("Dana"), Counts::default(), vec![]);
        Self { zone, policy, service, hours, closures, member, counts, busy, now }
    }

    fn aligned(mut self, step: u32) -> Self {
        self.policy.slot_grid = SlotGrid::Aligned;
        self.policy.slot_step_minutes = Some(step);
        self
    }

    fn closed(mut self, from: Date, to: Date) -> Self {
        let closure = Closure { date_from: from, date_to: to, reason: None };
        self.closures = [(ClosureId::new(Uuid::from_u128(5)), closure)].into_iter().collect();
        self
    }

    fn busy(mut self, busy: Vec<Busy>) -> Self {
        self.busy = busy;
        self
    }

    fn rules(&self) -> Rules<'_> {
        let Self { zone, policy, service, hours, closures, member, counts, .. } = self;
        let (service_id, staff_id) = (SERVICE, STAFF);
        let beside = Beside::nothing();
        Rules {
            zone,
            policy,
            service_id,
            service,
            staff_id,
            member,
            hours,
            closures,
            counts,
            beside,
        }
    }

    fn on(&self, date: Date) -> Vec<Timestamp> {
        let from = start_of_day(&self.zone, date);
        let until = start_of_day(&self.zone, date.tomorrow().unwrap());
        slots(&self.rules(), &self.busy, from, until, self.now)
            .iter()
            .map(TimeSlot::start)
            .collect()
    }

    /// The starts of a date as local times with offset.
    fn local(&self, date: Date) -> Vec<String> {
        let show = |t: Timestamp| {
            let zoned = t.to_zoned(self.zone.tz().clone());
            zoned.strftime("%H:%M%:z").to_string()
        };
        self.on(date).into_iter().map(show).collect()
    }

    fn check(&self, start: &str) -> Result<TimeSlot, Refusal> {
        check(&self.rules(), &self.busy, at(start), self.now)
    }
}

const SERVICE: ServiceId = ServiceId::new(Uuid::from_u128(1));
const STAFF: StaffId = StaffId::new(Uuid::from_u128(2));
const OTHER_SERVICE: ServiceId = ServiceId::new(Uuid::from_u128(3));
const OTHER_STAFF: StaffId = StaffId::new(Uuid::from_u128(4));
const MONDAY: Date = date(2026, 3, 2);

#[test]
fn a_packed_grid_steps_by_the_duration_from_the_start_of_each_window() {
    let hours = hours(&[(0, "09:00", "12:00"), (0, "13:00", "14:00")]);
    let case = Case::new("UTC", hours, service(50, 0, 0));
    assert_eq!(case.local(MONDAY), ["09:00+00:00", "09:50+00:00", "10:40+00:00", "13:00+00:00"]);
}

#[test]
fn a_packed_grid_begins_again_behind_a_busy_block_rounded_up_to_five_minutes() {
    let case = Case::new("UTC", daily("09:00", "12:00"), service(60, 0, 0)).busy(vec![visit(
        "2026-03-02T09:30:00Z",
        "2026-03-02T09:52:00Z",
        0,
        0,
    )]);
    assert_eq!(case.local(MONDAY), ["09:55+00:00", "10:55+00:00"]);
    let between_steps = Case::new("UTC", daily("09:00", "12:00"), service(30, 0, 0))
        .busy(vec![time_off("2026-03-02T09:30:00Z", "2026-03-02T09:40:00Z")]);
    assert_eq!(
        between_steps.local(MONDAY),
        ["09:00+00:00", "09:40+00:00", "10:10+00:00", "10:40+00:00", "11:10+00:00"]
    );
}

#[test]
fn an_aligned_grid_counts_from_local_midnight() {
    let case = Case::new("UTC", daily("09:10", "11:00"), service(30, 0, 0)).aligned(30);
    assert_eq!(case.local(MONDAY), ["09:30+00:00", "10:00+00:00", "10:30+00:00"]);
}

#[test]
fn a_visit_may_run_past_midnight_through_touching_windows() {
    let hours = hours(&[(0, "22:00", "24:00"), (1, "00:00", "01:00")]);
    let case = Case::new("UTC", hours, service(90, 0, 0)).aligned(60);
    assert_eq!(case.local(MONDAY), ["22:00+00:00", "23:00+00:00"]);
}

#[test]
fn buffers_reach_outside_the_hours_but_not_into_neighbours() {
    let busy = vec![visit("2026-03-02T10:00:00Z", "2026-03-02T10:30:00Z", 5, 10)];
    let mut case =
        Case::new("UTC", daily("09:00", "11:30"), service(30, 10, 10)).aligned(5).busy(busy);
    let expected = ["09:00", "09:05", "09:10", "09:15", "10:50", "10:55", "11:00"];
    assert_eq!(case.local(MONDAY), expected.map(|t| format!("{t}+00:00")));
    case.policy.buffers = BufferRule::Max;
    let expected =
        ["09:00", "09:05", "09:10", "09:15", "09:20", "10:40", "10:45", "10:50", "10:55", "11:00"];
    assert_eq!(case.local(MONDAY), expected.map(|t| format!("{t}+00:00")));
}

#[test]
fn local_times_in_a_gap_are_never_offered() {
    let case =
        Case::new("America/New_York", daily("01:00", "04:00"), service(30, 0, 0)).aligned(30);
    assert_eq!(
        case.local(date(2026, 3, 8)),
        ["01:00-05:00", "01:30-05:00", "03:00-04:00", "03:30-04:00"]
    );
}

#[test]
fn local_times_in_a_fold_are_offered_twice() {
    let case =
        Case::new("America/New_York", daily("00:30", "01:30"), service(30, 0, 0)).aligned(30);
    assert_eq!(case.local(date(2026, 11, 1)), ["00:30-04:00", "01:00-04:00", "01:00-05:00"]);
    let packed = Case::new("America/New_York", daily("00:00", "03:00"), service(60, 0, 0));
    assert_eq!(
        packed.local(date(2026, 11, 1)),
        ["00:00-04:00", "01:00-04:00", "01:00-05:00", "02:00-05:00"]
    );
}

#[test]
fn two_windows_on_a_day_with_a_fold_stay_in_the_order_of_time() {
    let hours = hours(&[(6, "00:00", "01:20"), (6, "01:20", "02:00"), (6, "02:00", "03:00")]);
    let case = Case::new("America/New_York", hours, service(20, 0, 0)).aligned(20);
    let starts = case.on(date(2026, 11, 1));
    assert_eq!(starts.len(), 12);
    assert!(starts.is_sorted());
}

#[test]
fn a_shift_of_half_an_hour_keeps_the_grid_on_the_wall_clock() {
    let case =
        Case::new("Australia/Lord_Howe", daily("01:00", "03:00"), service(30, 0, 0)).aligned(30);
    // Forward at 02:00 to 02:30.
    assert_eq!(case.local(date(2026, 10, 4)), ["01:00+10:30", "01:30+10:30", "02:30+11:00"]);
}

#[test]
fn an_override_replaces_the_weekly_windows_of_its_date() {
    let mut case = Case::new("UTC", daily("09:00", "10:00"), service(60, 0, 0));
    case.hours.overrides.insert(MONDAY, vec![]);
    assert!(case.on(MONDAY).is_empty());
    assert_eq!(case.local(MONDAY.tomorrow().unwrap()), ["09:00+00:00"]);
}

#[test]
fn nobody_works_on_a_closed_date_whatever_their_hours_say() {
    let tuesday = MONDAY.tomorrow().unwrap();
    let mut case = Case::new("America/New_York", daily("09:00", "11:00"), service(60, 0, 0))
        .closed(MONDAY, tuesday);
    let window = Window { start: "10:00".parse().unwrap(), end: "12:00".parse().unwrap() };
    case.hours.overrides.insert(MONDAY, vec![window]);
    assert!(case.on(MONDAY).is_empty(), "an override does not open it again");
    assert!(case.on(tuesday).is_empty());
    assert_eq!(case.local(MONDAY.yesterday().unwrap()).len(), 2);
    assert_eq!(case.local(tuesday.tomorrow().unwrap()).len(), 2);
    let by = ClosureId::new(Uuid::from_u128(5));
    // Local dates: it is Monday in UTC hours before it is in New York.
    assert_eq!(case.check("2026-03-02T15:00:00Z"), Err(Refusal::Closed { by }));
    assert_eq!(case.check("2026-03-02T04:00:00Z"), Err(Refusal::OutsideHours));
    assert!(case.check("2026-03-01T14:00:00Z").is_ok());
}

#[test]
fn a_visit_cannot_run_into_a_closed_date() {
    let case = Case::new("UTC", daily("00:00", "24:00"), service(60, 0, 0))
        .aligned(30)
        .closed(MONDAY, MONDAY);
    let sunday = case.local(MONDAY.yesterday().unwrap());
    assert_eq!(sunday.last().unwrap(), "23:00+00:00", "it may end at midnight");
    let by = ClosureId::new(Uuid::from_u128(5));
    assert_eq!(case.check("2026-03-01T23:30:00Z"), Err(Refusal::Closed { by }));
    assert_eq!(case.local(MONDAY.tomorrow().unwrap())[0], "00:00+00:00");
}

#[test]
fn each_refusal_names_its_rule() {
    let mut case = Case::new("UTC", daily("09:00", "12:00"), service(60, 0, 0)).busy(vec![
        visit("2026-03-02T10:00:00Z", "2026-03-02T11:00:00Z", 0, 0),
        time_off("2026-03-03T09:00:00Z", "2026-03-03T12:00:00Z"),
    ]);
    case.policy.min_notice_minutes = 60;
    case.policy.window_days = 7;
    case.now = at("2026-03-02T08:30:00Z");
    let rule = |start| case.check(start).unwrap_err().rule();
    assert_eq!(rule("2026-03-02T08:00:00Z"), "slot_in_past");
    assert_eq!(rule("2026-03-02T09:00:00Z"), "too_soon");
    assert_eq!(rule("2026-03-10T09:00:00Z"), "too_far");
    assert_eq!(rule("2026-03-02T11:30:00Z"), "outside_hours");
    assert_eq!(rule("2026-03-02T10:30:00Z"), "slot_taken");
    assert_eq!(rule("2026-03-03T09:00:00Z"), "time_off");
    assert_eq!(rule("2026-03-04T09:01:00Z"), "off_grid");
    assert!(case.check("2026-03-02T11:00:00Z").is_ok());
}

#[test]
fn the_notice_and_the_window_of_a_service_stand_in_place_of_those_of_the_business() {
    let mut case = Case::new("UTC", daily("09:00", "12:00"), service(60, 0, 0));
    case.policy.min_notice_minutes = 24 * 60;
    case.policy.window_days = 1;
    case.now = at("2026-03-02T08:30:00Z");
    let rule = |case: &Case, start| case.check(start).map_err(|refusal| refusal.rule());
    assert_eq!(rule(&case, "2026-03-02T10:00:00Z"), Err("too_soon"));
    assert_eq!(rule(&case, "2026-03-04T10:00:00Z"), Err("too_far"));
    case.service.min_notice_minutes = Some(60);
    case.service.window_days = Some(2);
    assert_eq!(rule(&case, "2026-03-02T09:00:00Z"), Err("too_soon"));
    assert!(rule(&case, "2026-03-02T10:00:00Z").is_ok());
    assert!(rule(&case, "2026-03-04T11:00:00Z").is_ok());
    assert_eq!(rule(&case, "2026-03-05T09:00:00Z"), Err("too_far"));
    // What is listed changes by time when its own notice says so.
    let until = at("2026-03-03T00:00:00Z");
    let listed = slots(&case.rules(), &[], case.now, until, case.now);
    let unchanged = unchanged_until(&case.rules(), &listed, until, case.now);
    assert_eq!(unchanged, at("2026-03-02T09:00:00.000000001Z"));
    case.service.min_notice_minutes = Some(0);
    assert!(rule(&case, "2026-03-02T09:00:00Z").is_ok(), "none at all is a rule as well");
}

/// Visits of others that begin then, whose time does not matter here.
fn counted(case: &mut Case, visits: &[(&str, StaffId, Option<ServiceId>)]) {
    for (start, staff_id, service_id) in visits {
        case.counts.add(&case.zone, at(start), true, *staff_id, *service_id);
    }
}

#[test]
fn a_day_that_is_full_is_not_listed_and_a_booking_is_told_which_limit_it_meets() {
    let zone = "America/New_York";
    let mut case = Case::new(zone, daily("09:00", "11:00"), service(60, 0, 0));
    let full = |case: &Case| match case.check("2026-03-02T14:00:00Z") {
        Err(Refusal::LimitReached { limit, first }) => {
            assert!(case.on(MONDAY).is_empty());
            Some((limit.subject.as_str(), limit.period.as_str(), limit.most, first))
        }
        Err(other) => panic!("{other}"),
        Ok(_) => {
            assert_eq!(case.on(MONDAY).len(), 2);
            None
        }
    };
    // In New York it is still Sunday, the last day of the week before.
    counted(&mut case, &[("2026-03-02T04:59:59Z", STAFF, Some(SERVICE))]);
    case.member.max_per_day = Some(1);
    case.member.max_per_week = Some(2);
    assert_eq!(full(&case), None);
    counted(&mut case, &[("2026-03-02T05:00:00Z", STAFF, Some(OTHER_SERVICE))]);
    assert_eq!(full(&case), Some(("staff", "day", 1, MONDAY)));
    assert_eq!(case.on(MONDAY.tomorrow().unwrap()).len(), 2, "the next day is not");
    case.member.max_per_day = None;
    assert_eq!(full(&case), None);
    // The last second of the week; the first of the next.
    counted(&mut case, &[("2026-03-09T04:00:00Z", STAFF, Some(SERVICE))]);
    assert_eq!(full(&case), None);
    counted(&mut case, &[("2026-03-09T03:59:59Z", STAFF, Some(SERVICE))]);
    assert_eq!(full(&case), Some(("staff", "week", 2, MONDAY)));
    case.member.max_per_week = None;

    case.service.max_per_day = Some(1);
    assert_eq!(full(&case), None, "those of another service do not count");
    counted(&mut case, &[("2026-03-02T20:00:00Z", OTHER_STAFF, Some(SERVICE))]);
    assert_eq!(full(&case), Some(("service", "day", 1, MONDAY)));
    case.service.max_per_day = Some(2);
    case.policy.max_per_day = Some(3);
    assert_eq!(full(&case), None);
    counted(&mut case, &[("2026-03-02T21:00:00Z", OTHER_STAFF, None)]);
    assert_eq!(full(&case), Some(("business", "day", 3, MONDAY)));
    case.policy.max_per_day = None;
    case.policy.max_per_week = Some(4);
    assert_eq!(full(&case), Some(("business", "week", 4, MONDAY)));
    let tuesday = case.check("2026-03-03T14:00:00Z").unwrap_err();
    assert!(matches!(tuesday, Refusal::LimitReached { first: MONDAY, .. }), "{tuesday}");
}

#[test]
fn a_visit_counts_where_it_begins_and_may_run_on_into_a_full_day() {
    let mut case = Case::new("UTC", daily("00:00", "24:00"), service(60, 0, 0)).aligned(30);
    case.policy.max_per_day = Some(1);
    counted(&mut case, &[("2026-03-03T12:00:00Z", OTHER_STAFF, None)]);
    assert!(case.check("2026-03-02T23:30:00Z").is_ok());
    let next = case.check("2026-03-03T00:00:00Z").map_err(|refusal| refusal.rule());
    assert_eq!(next, Err("limit_reached"));
}

#[test]
fn weeks_that_count_are_those_of_the_business_and_whole() {
    let zone: Zone = "America/New_York".parse().unwrap();
    // Sunday evening in New York, and into the week in which clocks go forward.
    let range = counting_range(&zone, at("2026-03-02T04:59:59Z"), at("2026-03-02T05:00:00Z"));
    assert_eq!(range.start(), at("2026-02-23T05:00:00Z"));
    assert_eq!(range.end(), at("2026-03-09T04:00:00Z"));
}

fn any_busy() -> impl Strategy<Value = Vec<Busy>> {
    let one = (0_i64..5 * 1440, 1_i64..180, 0_u32..30, 0_u32..30, any::<bool>());
    proptest::collection::vec(one, 0..25).prop_map(|all| {
        all.into_iter()
            .map(|(start, length, before, after, off)| {
                let start = at("2026-10-29T00:00:00Z") + SignedDuration::from_mins(start);
                let slot = TimeSlot::lasting(start, u32::try_from(length).unwrap()).unwrap();
                let kind = if off {
                    BusyKind::TimeOff(TimeOffId::new(Uuid::nil()))
                } else {
                    BusyKind::Visit(AppointmentId::new(Uuid::nil()))
                };
                let (before, after) = if off { (0, 0) } else { (before, after) };
                Busy { kind, slot, buffer_before_minutes: before, buffer_after_minutes: after }
            })
            .collect()
    })
}

fn any_case() -> impl Strategy<Value = Case> {
    let windows = proptest::collection::vec((0_u8..7, 0_u16..96, 1_u16..48), 1..12);
    let zones =
        prop::sample::select(vec!["America/New_York", "UTC", "Europe/London", "America/Havana"]);
    let shape = (1_u32..20, 0_u32..6, 0_u32..6, any::<bool>(), any::<bool>(), 0_u32..300);
    (zones, windows, shape, any_busy()).prop_map(|(zone, windows, shape, busy)| {
        let minute = |m: u16| crate::staff_schedule::WallMinute::new(m.min(1440)).unwrap();
        let weekly = windows
            .into_iter()
            .map(|(day, start, length)| DayWindow {
                day,
                window: Window { start: minute(start * 15), end: minute((start + length) * 15) },
            })
            .collect();
        let (length, before, after, aligned, max, notice) = shape;
        let hours = Hours { weekly, ..Hours::default() };
        let mut case =
            Case::new(zone, hours, service(length * 5, before * 5, after * 5)).busy(busy);
        if aligned {
            case = case.aligned(15);
        }
        if max {
            case.policy.buffers = BufferRule::Max;
        }
        if notice % 3 == 0 {
            case = case.closed(date(2026, 11, 1), date(2026, 11, 1));
        }
        for busy in &case.busy {
            case.counts.add(&case.zone, busy.slot.start(), true, STAFF, Some(SERVICE));
        }
        case.member.max_per_day = (notice % 4 == 0).then_some(3);
        case.service.max_per_week = (notice % 5 == 0).then_some(9);
        case.policy.min_notice_minutes = notice;
        case.now = at("2026-10-30T12:00:00Z");
        case
    })
}

proptest! {
    /// The clocks of all but one of the zones go back within these days.
    #[test]
    fn what_is_listed_can_be_booked_and_what_is_not_is_refused(case in any_case()) {
        let from = at("2026-10-30T00:00:00Z");
        let until = from + SignedDuration::from_hours(3 * 24);
        let listed: BTreeSet<_> =
            slots(&case.rules(), &case.busy, from, until, case.now).iter().map(TimeSlot::start).collect();
        let mut start = from;
        while start < until {
            let answer = check(&case.rules(), &case.busy, start, case.now);
            prop_assert_eq!(answer.is_ok(), listed.contains(&start), "{} {:?}", start, answer);
            // Explaining agrees with both, and names first what booking answers.
            let why = refusals(&case.rules(), &case.busy, start, case.now);
            prop_assert_eq!(answer.err(), why.first().cloned(), "{}", start);
            start += SignedDuration::from_mins(5);
        }
    }

    #[test]
    fn nothing_outside_the_deciding_range_matters(case in any_case(), hour in 0_i64..72) {
        let start = at("2026-10-30T00:00:00Z") + SignedDuration::from_hours(hour);
        let rules = case.rules();
        let range = deciding_range(rules.zone, rules.service, start, start);
        let near: Vec<Busy> = case.busy.iter().copied()
            .filter(|b| b.slot.padded(b.buffer_before_minutes, b.buffer_after_minutes).overlaps(&range))
            .collect();
        prop_assert_eq!(
            check(&rules, &case.busy, start, case.now),
            check(&rules, &near, start, case.now)
        );
    }

    #[test]
    fn listing_days_one_by_one_is_listing_them_at_once(case in any_case()) {
        let days = [date(2026, 10, 31), date(2026, 11, 1), date(2026, 11, 2)];
        let one_by_one: Vec<_> = days.iter().flat_map(|day| case.on(*day)).collect();
        let from = start_of_day(&case.zone, days[0]);
        let until = start_of_day(&case.zone, days[2].checked_add(1.day()).unwrap());
        let at_once: Vec<_> =
            slots(&case.rules(), &case.busy, from, until, case.now).iter().map(TimeSlot::start).collect();
        prop_assert_eq!(one_by_one, at_once);
    }
}
