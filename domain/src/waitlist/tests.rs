use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::{AppointmentId, ServiceId, StaffId, TimeSlot};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const FROM: &str = "2026-03-02T00:00:00Z";
const UNTIL: &str = "2026-03-04T00:00:00Z";

fn wish() -> Wish {
    Wish {
        service_id: ServiceId::new(Uuid::from_u128(1)),
        staff_id: Some(StaffId::new(Uuid::from_u128(2))),
        range: TimeSlot::try_new(at(FROM), at(UNTIL)).unwrap(),
    }
}

fn offer(start: &str) -> Offer {
    Offer {
        appointment_id: AppointmentId::new(Uuid::from_u128(3)),
        staff_id: StaffId::new(Uuid::from_u128(2)),
        slot: TimeSlot::lasting(at(start), 30).unwrap(),
        expires_at: at("2026-03-01T12:00:00Z"),
    }
}

fn given(more: Vec<WaitlistEvent>) -> AggregateTestExecutor<WaitlistEntry> {
    let joined = WaitlistEvent::Joined { wish: wish() };
    TestFramework::<WaitlistEntry>::with(()).given([vec![joined], more].concat())
}

fn offered() -> WaitlistEvent {
    WaitlistEvent::Offered { offer: offer("2026-03-02T09:00:00Z") }
}

#[test]
fn a_guest_waits_for_what_is_still_to_come() {
    let join = |now| WaitlistCommand::Join { wish: wish(), now: at(now) };
    let nobody = || TestFramework::<WaitlistEntry>::with(()).given_no_previous_events();
    nobody()
        .when(join("2026-03-03T23:59:59Z"))
        .then_expect_events(vec![WaitlistEvent::Joined { wish: wish() }]);
    nobody().when(join(UNTIL)).then_expect_error(WaitlistError::RangeOver);
    given(vec![]).when(join(FROM)).then_expect_events(vec![]);
    given(vec![WaitlistEvent::Left {}])
        .when(join(FROM))
        .then_expect_error(WaitlistError::AlreadyJoined);
    nobody().when(WaitlistCommand::Leave).then_expect_error(WaitlistError::NotFound);
}

#[test]
fn only_what_the_guest_waits_for_is_offered_and_only_once() {
    let asked = |start| WaitlistCommand::Offer(offer(start));
    given(vec![]).when(asked("2026-03-02T09:00:00Z")).then_expect_events(vec![offered()]);
    given(vec![])
        .when(asked(FROM))
        .then_expect_events(vec![WaitlistEvent::Offered { offer: offer(FROM) }]);
    for unwanted in [UNTIL, "2026-03-01T23:59:59Z"] {
        given(vec![]).when(asked(unwanted)).then_expect_error(WaitlistError::Unwanted);
    }
    let elsewhere = Offer { staff_id: StaffId::new(Uuid::from_u128(9)), ..offer(FROM) };
    given(vec![])
        .when(WaitlistCommand::Offer(elsewhere))
        .then_expect_error(WaitlistError::Unwanted);
    for (event, status) in [
        (offered(), EntryStatus::Offered),
        (WaitlistEvent::Left {}, EntryStatus::Left),
        (WaitlistEvent::Expired {}, EntryStatus::Expired),
    ] {
        given(vec![event])
            .when(asked("2026-03-02T10:00:00Z"))
            .then_expect_error(WaitlistError::WrongState { status });
    }
    given(vec![offered(), WaitlistEvent::Lapsed {}])
        .when(asked("2026-03-02T10:00:00Z"))
        .then_expect_error(WaitlistError::WrongState { status: EntryStatus::Lapsed });
}

#[test]
fn an_offer_ends_one_way_and_saying_so_again_changes_nothing() {
    let ends = [
        (WaitlistCommand::Accept, WaitlistEvent::Accepted {}, EntryStatus::Accepted),
        (WaitlistCommand::Decline, WaitlistEvent::Declined {}, EntryStatus::Declined),
        (WaitlistCommand::Lapse, WaitlistEvent::Lapsed {}, EntryStatus::Lapsed),
    ];
    for (command, event, status) in ends.clone() {
        given(vec![])
            .when(command.clone())
            .then_expect_error(WaitlistError::WrongState { status: EntryStatus::Waiting });
        given(vec![offered()]).when(command.clone()).then_expect_events(vec![event.clone()]);
        for (other, _, other_status) in ends.clone() {
            let when = given(vec![offered(), event.clone()]).when(other);
            if other_status == status {
                when.then_expect_events(vec![]);
            } else {
                when.then_expect_error(WaitlistError::WrongState { status });
            }
        }
    }
}

#[test]
fn whoever_waits_leaves_at_any_time_and_an_offer_is_answered_instead() {
    given(vec![]).when(WaitlistCommand::Leave).then_expect_events(vec![WaitlistEvent::Left {}]);
    given(vec![WaitlistEvent::Left {}]).when(WaitlistCommand::Leave).then_expect_events(vec![]);
    given(vec![offered()])
        .when(WaitlistCommand::Leave)
        .then_expect_error(WaitlistError::WrongState { status: EntryStatus::Offered });
}

#[test]
fn an_entry_expires_with_its_range() {
    let expire = |now| WaitlistCommand::Expire { now: at(now) };
    given(vec![])
        .when(expire("2026-03-03T23:59:59Z"))
        .then_expect_error(WaitlistError::WrongState { status: EntryStatus::Waiting });
    given(vec![]).when(expire(UNTIL)).then_expect_events(vec![WaitlistEvent::Expired {}]);
    given(vec![WaitlistEvent::Expired {}]).when(expire(UNTIL)).then_expect_events(vec![]);
    given(vec![offered()])
        .when(expire(UNTIL))
        .then_expect_error(WaitlistError::WrongState { status: EntryStatus::Offered });
}
