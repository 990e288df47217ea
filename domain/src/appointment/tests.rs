use cqrs_es::test::TestFramework;
use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::{Currency, CustomerId, Decide, Money, ServiceId, StaffId, TimeSlot, WaitlistId};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn visit() -> Visit {
    Visit {
        staff_id: StaffId::new(Uuid::from_u128(1)),
        service_id: ServiceId::new(Uuid::from_u128(2)),
        customer_id: CustomerId::new(Uuid::from_u128(3)),
        slot: TimeSlot::try_new(at("2026-03-02T09:00:00Z"), at("2026-03-02T10:00:00Z")).unwrap(),
        buffer_before_minutes: 0,
        buffer_after_minutes: 0,
        price: Money { amount: 4500, currency: Currency::USD },
        reminder_offsets_minutes: vec![60],
        parts: vec![],
        resources: vec![],
        class: None,
        subjects: 1,
        series: None,
        offset_seconds: None,
    }
}

fn given(events: Vec<AppointmentEvent>) -> cqrs_es::test::AggregateTestExecutor<Appointment> {
    TestFramework::<Appointment>::with(()).given(events)
}

fn booked() -> AppointmentEvent {
    AppointmentEvent::Booked { visit: visit(), choice: None }
}

#[test]
fn booking_the_same_visit_again_is_already_so_and_another_is_refused() {
    given(vec![booked()])
        .when(AppointmentCommand::Book { visit: visit(), choice: None })
        .then_expect_events(vec![]);
    let other = Visit { customer_id: CustomerId::new(Uuid::from_u128(4)), ..visit() };
    given(vec![booked()])
        .when(AppointmentCommand::Book { visit: other, choice: None })
        .then_expect_error(AppointmentError::AlreadyBooked);
}

#[test]
fn cancelling_twice_succeeds_once() {
    given(vec![booked()])
        .when(AppointmentCommand::Cancel)
        .then_expect_events(vec![AppointmentEvent::Cancelled {}]);
    given(vec![booked(), AppointmentEvent::Cancelled {}])
        .when(AppointmentCommand::Cancel)
        .then_expect_events(vec![]);
}

fn cancel_by_guest(notice_minutes: u32, now: &str) -> AppointmentCommand {
    AppointmentCommand::CancelByGuest { notice_minutes, now: at(now) }
}

#[test]
fn a_guest_can_cancel_up_to_the_notice_that_the_business_asks_for() {
    given(vec![booked()])
        .when(cancel_by_guest(120, "2026-03-02T07:00:00Z"))
        .then_expect_events(vec![AppointmentEvent::Cancelled {}]);
    let late = |deadline, notice_minutes| AppointmentError::TooLateToCancel {
        deadline: at(deadline),
        notice_minutes,
    };
    given(vec![booked()])
        .when(cancel_by_guest(120, "2026-03-02T07:00:00.000001Z"))
        .then_expect_error(late("2026-03-02T07:00:00Z", 120));
    given(vec![booked()])
        .when(cancel_by_guest(0, "2026-03-02T09:00:00Z"))
        .then_expect_events(vec![AppointmentEvent::Cancelled {}]);
    given(vec![booked()])
        .when(cancel_by_guest(0, "2026-03-02T09:00:01Z"))
        .then_expect_error(late("2026-03-02T09:00:00Z", 0));
}

#[test]
fn a_guest_cannot_cancel_what_has_ended() {
    given(vec![booked(), AppointmentEvent::Cancelled {}])
        .when(cancel_by_guest(0, "2026-03-01T09:00:00Z"))
        .then_expect_error(AppointmentError::WrongState { status: Status::Cancelled });
    given(vec![booked(), AppointmentEvent::Completed {}])
        .when(cancel_by_guest(0, "2026-03-02T10:00:00Z"))
        .then_expect_error(AppointmentError::WrongState { status: Status::Completed });
    TestFramework::<Appointment>::with(())
        .given_no_previous_events()
        .when(cancel_by_guest(0, "2026-03-01T09:00:00Z"))
        .then_expect_error(AppointmentError::NotFound);
}

#[test]
fn a_visit_that_ended_stays_ended() {
    given(vec![booked(), AppointmentEvent::Completed {}])
        .when(AppointmentCommand::Cancel)
        .then_expect_error(AppointmentError::WrongState { status: Status::Completed });
    given(vec![booked(), AppointmentEvent::Cancelled {}])
        .when(AppointmentCommand::MarkNoShow { now: at("2026-03-02T11:00:00Z") })
        .then_expect_error(AppointmentError::WrongState { status: Status::Cancelled });
}

#[test]
fn nobody_is_a_no_show_before_the_visit_begins() {
    given(vec![booked()])
        .when(AppointmentCommand::MarkNoShow { now: at("2026-03-02T08:59:59Z") })
        .then_expect_error(AppointmentError::NotBegun { start: at("2026-03-02T09:00:00Z") });
    given(vec![booked()])
        .when(AppointmentCommand::Complete { now: at("2026-03-02T09:00:00Z") })
        .then_expect_events(vec![AppointmentEvent::Completed {}]);
}

#[test]
fn what_was_never_booked_is_not_found() {
    TestFramework::<Appointment>::with(())
        .given_no_previous_events()
        .when(AppointmentCommand::Cancel)
        .then_expect_error(AppointmentError::NotFound);
}

fn moved_to(start: &str, previous: TimeSlot, revision: u32) -> AppointmentEvent {
    let slot = TimeSlot::lasting(at(start), 60).unwrap();
    AppointmentEvent::Rescheduled { visit: Visit { slot, ..visit() }, previous, revision }
}

fn moving_to(start: &str, limit: Option<u32>) -> AppointmentCommand {
    let slot = TimeSlot::lasting(at(start), 60).unwrap();
    AppointmentCommand::Reschedule { visit: Visit { slot, ..visit() }, limit }
}

#[test]
fn a_visit_is_moved_as_often_as_it_may_and_remembers_when_it_was() {
    let first = moved_to("2026-03-03T09:00:00Z", visit().slot, 1);
    given(vec![booked()])
        .when(moving_to("2026-03-03T09:00:00Z", Some(1)))
        .then_expect_events(vec![first.clone()]);
    let there = TimeSlot::lasting(at("2026-03-03T09:00:00Z"), 60).unwrap();
    given(vec![booked(), first.clone()])
        .when(moving_to("2026-03-04T09:00:00Z", None))
        .then_expect_events(vec![moved_to("2026-03-04T09:00:00Z", there, 2)]);
    given(vec![booked(), first.clone()])
        .when(moving_to("2026-03-04T09:00:00Z", Some(1)))
        .then_expect_error(AppointmentError::RescheduleLimit { limit: 1 });
    // To where it is already is no move.
    given(vec![booked(), first])
        .when(moving_to("2026-03-03T09:00:00Z", Some(1)))
        .then_expect_events(vec![]);
}

#[test]
fn what_has_ended_is_not_moved() {
    given(vec![booked(), AppointmentEvent::Cancelled {}])
        .when(moving_to("2026-03-03T09:00:00Z", None))
        .then_expect_error(AppointmentError::WrongState { status: Status::Cancelled });
    TestFramework::<Appointment>::with(())
        .given_no_previous_events()
        .when(moving_to("2026-03-03T09:00:00Z", None))
        .then_expect_error(AppointmentError::NotFound);
}

#[test]
fn what_was_called_off_is_booked_again_as_it_was_until_it_begins() {
    let moved = moved_to("2026-03-03T09:00:00Z", visit().slot, 1);
    let AppointmentEvent::Rescheduled { visit: there, .. } = moved.clone() else { panic!() };
    let called_off = vec![booked(), moved, AppointmentEvent::Cancelled {}];
    let again = AppointmentEvent::Reinstated { visit: there, revision: 2 };
    let asked = |now| AppointmentCommand::Reinstate { resources: vec![], now: at(now) };
    given(called_off.clone())
        .when(asked("2026-03-03T08:59:59Z"))
        .then_expect_events(vec![again.clone()]);
    given(called_off.clone())
        .when(asked("2026-03-03T09:00:00Z"))
        .then_expect_error(AppointmentError::Begun { start: at("2026-03-03T09:00:00Z") });
    given([called_off, vec![again]].concat())
        .when(asked("2026-03-03T08:00:00Z"))
        .then_expect_events(vec![]);
    given(vec![booked(), AppointmentEvent::Completed {}])
        .when(asked("2026-03-01T08:00:00Z"))
        .then_expect_error(AppointmentError::WrongState { status: Status::Completed });
}

#[test]
fn a_guest_moves_their_visit_as_far_ahead_as_the_business_asks_for() {
    let slot = TimeSlot::lasting(at("2026-03-03T09:00:00Z"), 60).unwrap();
    let there = Visit { slot, ..visit() };
    let asked = |now| AppointmentCommand::RescheduleByGuest {
        visit: there.clone(),
        limit: Some(1),
        notice_minutes: 60,
        now: at(now),
    };
    let moved = moved_to("2026-03-03T09:00:00Z", visit().slot, 1);
    given(vec![booked()])
        .when(asked("2026-03-02T08:00:00Z"))
        .then_expect_events(vec![moved.clone()]);
    let deadline = at("2026-03-02T08:00:00Z");
    given(vec![booked()])
        .when(asked("2026-03-02T08:00:01Z"))
        .then_expect_error(AppointmentError::TooLateToMove { deadline, notice_minutes: 60 });
    let back = AppointmentCommand::RescheduleByGuest {
        visit: visit(),
        limit: Some(1),
        notice_minutes: 0,
        now: at("2026-03-01T08:00:00Z"),
    };
    given(vec![booked(), moved])
        .when(back)
        .then_expect_error(AppointmentError::RescheduleLimit { limit: 1 });
}

const EXPIRY: &str = "2026-03-02T08:00:00Z";

fn requested() -> AppointmentEvent {
    AppointmentEvent::Requested {
        visit: visit(),
        choice: None,
        expires_at: at(EXPIRY),
        waitlist_id: None,
    }
}

fn asking(visit: Visit) -> AppointmentCommand {
    AppointmentCommand::Request { visit, choice: None, expires_at: at(EXPIRY), waitlist_id: None }
}

#[test]
fn asking_for_the_same_visit_again_is_already_so_and_another_is_refused() {
    TestFramework::<Appointment>::with(())
        .given_no_previous_events()
        .when(asking(visit()))
        .then_expect_events(vec![requested()]);
    given(vec![requested()]).when(asking(visit())).then_expect_events(vec![]);
    let other = Visit { customer_id: CustomerId::new(Uuid::from_u128(4)), ..visit() };
    given(vec![requested()]).when(asking(other)).then_expect_error(AppointmentError::AlreadyBooked);
    given(vec![booked()]).when(asking(visit())).then_expect_error(AppointmentError::AlreadyBooked);
}

#[test]
fn what_is_asked_for_is_confirmed_or_declined_once() {
    let (confirmed, declined) = (AppointmentEvent::Confirmed {}, AppointmentEvent::Declined {});
    for (command, event, other) in [
        (AppointmentCommand::Confirm, confirmed.clone(), AppointmentCommand::Decline),
        (AppointmentCommand::Decline, declined, AppointmentCommand::Confirm),
    ] {
        given(vec![requested()]).when(command.clone()).then_expect_events(vec![event.clone()]);
        given(vec![requested(), event.clone()]).when(command).then_expect_events(vec![]);
        let status = if event == confirmed { Status::Booked } else { Status::Declined };
        given(vec![requested(), event])
            .when(other)
            .then_expect_error(AppointmentError::WrongState { status });
    }
}

#[test]
fn a_request_expires_when_its_time_is_over_and_not_earlier() {
    let expire = |now| AppointmentCommand::Expire { now: at(now) };
    given(vec![requested()])
        .when(expire(EXPIRY))
        .then_expect_events(vec![AppointmentEvent::Expired {}]);
    given(vec![requested()])
        .when(expire("2026-03-02T07:59:59.999999Z"))
        .then_expect_error(AppointmentError::WrongState { status: Status::Requested });
    // Answered in the meantime, it never does.
    given(vec![requested(), AppointmentEvent::Confirmed {}])
        .when(expire("2026-03-02T09:30:00Z"))
        .then_expect_error(AppointmentError::WrongState { status: Status::Booked });
    given(vec![requested(), AppointmentEvent::Expired {}])
        .when(expire("2026-03-02T09:30:00Z"))
        .then_expect_events(vec![]);
}

#[test]
fn what_is_only_asked_for_is_called_off_and_moved_without_notice() {
    given(vec![requested()])
        .when(AppointmentCommand::Cancel)
        .then_expect_events(vec![AppointmentEvent::Cancelled {}]);
    let now = "2026-03-02T07:30:00Z";
    given(vec![requested()])
        .when(cancel_by_guest(1_440, now))
        .then_expect_events(vec![AppointmentEvent::Cancelled {}]);
    let slot = TimeSlot::lasting(at("2026-03-03T09:00:00Z"), 60).unwrap();
    let moving = AppointmentCommand::RescheduleByGuest {
        visit: Visit { slot, ..visit() },
        limit: None,
        notice_minutes: 1_440,
        now: at(now),
    };
    given(vec![requested()]).when(moving).then_expect_events(vec![moved_to(
        "2026-03-03T09:00:00Z",
        visit().slot,
        1,
    )]);
}

#[test]
fn a_request_that_is_moved_stays_one_and_never_outlives_its_visit() {
    let after = |events: Vec<AppointmentEvent>| {
        let mut appointment = Appointment::default();
        events.into_iter().for_each(|event| appointment.evolve(event));
        (appointment.known().map(|(_, status)| status), appointment.expires_at())
    };
    let later = moved_to("2026-03-03T09:00:00Z", visit().slot, 1);
    let earlier = moved_to("2026-03-02T07:00:00Z", visit().slot, 1);
    let asked = Some(Status::Requested);
    assert_eq!(after(vec![requested(), later]), (asked, Some(at(EXPIRY))));
    assert_eq!(after(vec![requested(), earlier]), (asked, Some(at("2026-03-02T07:00:00Z"))));
    let confirmed = vec![requested(), AppointmentEvent::Confirmed {}];
    assert_eq!(after(confirmed), (Some(Status::Booked), None), "what is agreed never expires");
}

#[test]
fn what_was_declined_or_expired_is_not_booked_again_and_what_was_called_off_is() {
    let asked =
        AppointmentCommand::Reinstate { resources: vec![], now: at("2026-03-01T08:00:00Z") };
    for (event, status) in [
        (AppointmentEvent::Declined {}, Status::Declined),
        (AppointmentEvent::Expired {}, Status::Expired),
    ] {
        given(vec![requested(), event])
            .when(asked.clone())
            .then_expect_error(AppointmentError::WrongState { status });
    }
    given(vec![requested(), AppointmentEvent::Cancelled {}])
        .when(asked)
        .then_expect_events(vec![AppointmentEvent::Reinstated { visit: visit(), revision: 1 }]);
}

#[test]
fn what_is_offered_is_taken_by_its_guest_and_by_nobody_else() {
    let offered = AppointmentEvent::Requested {
        visit: visit(),
        choice: None,
        expires_at: at(EXPIRY),
        waitlist_id: Some(WaitlistId::new(Uuid::from_u128(9))),
    };
    let (confirmed, accept) = (AppointmentEvent::Confirmed {}, AppointmentCommand::Accept);
    given(vec![offered.clone()]).when(accept.clone()).then_expect_events(vec![confirmed.clone()]);
    given(vec![offered.clone()])
        .when(AppointmentCommand::Confirm)
        .then_expect_error(AppointmentError::AwaitsGuest);
    given(vec![offered.clone()])
        .when(AppointmentCommand::Decline)
        .then_expect_events(vec![AppointmentEvent::Declined {}]);
    // Nobody agrees to their own request.
    given(vec![requested()]).when(accept.clone()).then_expect_error(AppointmentError::NotAnOffer);
    for (event, status) in [
        (confirmed, Status::Booked),
        (AppointmentEvent::Expired {}, Status::Expired),
        (AppointmentEvent::Cancelled {}, Status::Cancelled),
    ] {
        given(vec![offered.clone(), event])
            .when(accept.clone())
            .then_expect_error(AppointmentError::WrongState { status });
    }
}
