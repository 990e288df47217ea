use cqrs_es::{Aggregate, test::TestFramework};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{AppointmentId, Decide, TimeOffId, TimeSlot, business::BufferRule};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_772_000_000 / 3600 * 3600).unwrap() + SignedDuration::from_mins(minute)
}

fn slot(start: i64, end: i64) -> TimeSlot {
    TimeSlot::try_new(at(start), at(end)).unwrap()
}

fn appt(n: u128) -> AppointmentId {
    AppointmentId::new(Uuid::from_u128(n))
}

fn away(n: u128) -> TimeOffId {
    TimeOffId::new(Uuid::from_u128(n))
}

fn reserve(n: u128, slot: TimeSlot, buffers: (u32, u32), rule: BufferRule) -> StaffCalendarCommand {
    StaffCalendarCommand::Reserve {
        appointment_id: appt(n),
        slot,
        buffer_before_minutes: buffers.0,
        buffer_after_minutes: buffers.1,
        buffers: rule,
    }
}

fn reserved(n: u128, slot: TimeSlot, buffers: (u32, u32)) -> StaffCalendarEvent {
    StaffCalendarEvent::Reserved {
        appointment_id: appt(n),
        slot,
        buffer_before_minutes: buffers.0,
        buffer_after_minutes: buffers.1,
    }
}

#[test]
fn touching_visits_are_fine_and_overlapping_ones_are_refused() {
    let given =
        || TestFramework::<StaffCalendar>::with(()).given(vec![reserved(1, slot(0, 30), (0, 0))]);
    given()
        .when(reserve(2, slot(30, 60), (0, 0), BufferRule::Add))
        .then_expect_events(vec![reserved(2, slot(30, 60), (0, 0))]);
    given()
        .when(reserve(2, slot(29, 60), (0, 0), BufferRule::Add))
        .then_expect_error(StaffCalendarError::Taken { by: appt(1) });
}

#[test]
fn buffers_of_neighbours_add_up_unless_the_larger_counts() {
    let given =
        || TestFramework::<StaffCalendar>::with(()).given(vec![reserved(1, slot(0, 30), (0, 10))]);
    given()
        .when(reserve(2, slot(44, 60), (5, 0), BufferRule::Add))
        .then_expect_error(StaffCalendarError::Taken { by: appt(1) });
    given()
        .when(reserve(2, slot(45, 60), (5, 0), BufferRule::Add))
        .then_expect_events(vec![reserved(2, slot(45, 60), (5, 0))]);
    given()
        .when(reserve(2, slot(40, 60), (5, 0), BufferRule::Max))
        .then_expect_events(vec![reserved(2, slot(40, 60), (5, 0))]);
}

#[test]
fn time_off_may_not_overlap_time_off_but_may_lie_over_a_visit() {
    let given = || {
        TestFramework::<StaffCalendar>::with(()).given(vec![
            reserved(1, slot(0, 30), (0, 0)),
            StaffCalendarEvent::TimeOffAdded { time_off_id: away(1), slot: slot(60, 120) },
        ])
    };
    let add = |n, slot| StaffCalendarCommand::AddTimeOff { time_off_id: away(n), slot };
    given()
        .when(add(2, slot(90, 150)))
        .then_expect_error(StaffCalendarError::TimeOffOverlaps { with: away(1) });
    given().when(add(2, slot(10, 60))).then_expect_events(vec![StaffCalendarEvent::TimeOffAdded {
        time_off_id: away(2),
        slot: slot(10, 60),
    }]);
    given().when(add(1, slot(60, 120))).then_expect_events(vec![]);
}

#[test]
fn a_released_visit_gives_its_time_back() {
    TestFramework::<StaffCalendar>::with(())
        .given(vec![
            reserved(1, slot(0, 30), (0, 0)),
            StaffCalendarEvent::Released { appointment_id: appt(1) },
        ])
        .when(reserve(2, slot(0, 30), (0, 0), BufferRule::Add))
        .then_expect_events(vec![reserved(2, slot(0, 30), (0, 0))]);
}

proptest! {
    #[test]
    fn no_two_reservations_ever_overlap(
        wanted in proptest::collection::vec((0_i64..600, 1_i64..60, 0_u32..20, 0_u32..20), 1..60),
        max in any::<bool>(),
    ) {
        let rule = if max { BufferRule::Max } else { BufferRule::Add };
        let mut calendar = StaffCalendar::default();
        for (n, (start, length, before, after)) in wanted.into_iter().enumerate() {
            let command = reserve(n as u128, slot(start, start + length), (before, after), rule);
            for event in calendar.decide(command).unwrap_or_default() {
                calendar.apply(event);
            }
        }
        let busy: Vec<_> = calendar.busy().collect();
        for (i, a) in busy.iter().enumerate() {
            for b in &busy[..i] {
                prop_assert!(!a.slot.overlaps(&b.slot));
                prop_assert!(!a.excludes(&b.slot, b.buffer_before_minutes, b.buffer_after_minutes, rule));
            }
        }
    }
}
