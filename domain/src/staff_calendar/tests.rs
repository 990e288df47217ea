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

fn class(n: u128, seats: u32) -> Class {
    let (session_id, service_id) = (crate::SessionId::new(Uuid::from_u128(n)), yoga());
    Class { session_id, service_id, seats, capacity: 3 }
}

fn yoga() -> crate::ServiceId {
    crate::ServiceId::new(Uuid::from_u128(7))
}

fn sit(n: u128, class: Class, slot: TimeSlot) -> StaffCalendarCommand {
    StaffCalendarCommand::TakeSeats {
        appointment_id: appt(n),
        class,
        slot,
        buffer_before_minutes: 0,
        buffer_after_minutes: 0,
        buffers: BufferRule::Add,
    }
}

fn sat(n: u128, class: Class, slot: TimeSlot) -> StaffCalendarEvent {
    StaffCalendarEvent::SeatsTaken {
        appointment_id: appt(n),
        class,
        slot,
        buffer_before_minutes: 0,
        buffer_after_minutes: 0,
    }
}

#[test]
fn a_class_takes_as_many_as_it_has_seats_and_keeps_its_time_until_the_last_leaves() {
    let hour = slot(0, 60);
    let given = |events| TestFramework::<StaffCalendar>::with(()).given(events);
    let two = vec![sat(1, class(5, 1), hour), sat(2, class(5, 1), hour)];
    given(two.clone()).when(sit(3, class(5, 1), hour)).then_expect_events(vec![sat(
        3,
        class(5, 1),
        hour,
    )]);
    given(two.clone())
        .when(sit(3, class(5, 2), hour))
        .then_expect_error(StaffCalendarError::Full { left: 1 });
    given(two.clone()).when(sit(2, class(5, 1), hour)).then_expect_events(vec![]);
    let taken = reserve(4, slot(30, 90), (0, 0), BufferRule::Add);
    let in_class = || StaffCalendarError::InClass { by: class(5, 0).session_id };
    given(two.clone()).when(taken.clone()).then_expect_error(in_class());
    let mut one = two;
    one.push(StaffCalendarEvent::SeatsGivenBack { appointment_id: appt(1) });
    given(one.clone()).when(taken.clone()).then_expect_error(in_class());
    one.push(StaffCalendarEvent::SeatsGivenBack { appointment_id: appt(2) });
    given(one).when(taken).then_expect_events(vec![reserved(4, slot(30, 90), (0, 0))]);
}

#[test]
fn a_class_does_not_meet_where_somebody_else_is_and_seats_are_given_back_once() {
    let given =
        || TestFramework::<StaffCalendar>::with(()).given(vec![reserved(1, slot(0, 30), (0, 0))]);
    given()
        .when(sit(2, class(5, 1), slot(15, 75)))
        .then_expect_error(StaffCalendarError::Taken { by: appt(1) });
    let seated = vec![sat(2, class(5, 2), slot(30, 90))];
    let leave = || StaffCalendarCommand::Release { appointment_id: appt(2) };
    let left = StaffCalendarEvent::SeatsGivenBack { appointment_id: appt(2) };
    TestFramework::<StaffCalendar>::with(())
        .given(seated.clone())
        .when(leave())
        .then_expect_events(vec![left.clone()]);
    let gone = [seated, vec![left]].concat();
    TestFramework::<StaffCalendar>::with(()).given(gone).when(leave()).then_expect_events(vec![]);
}
