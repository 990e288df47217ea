use cqrs_es::test::TestFramework;
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{AppointmentId, Decide, TimeSlot};

type Calendar = TestFramework<ResourceCalendar>;

fn holder(n: u128) -> Holder {
    Holder::Visit(AppointmentId::new(Uuid::from_u128(n)))
}

fn used(start: i64, minutes: u32, quantity: u32) -> Use {
    let at = Timestamp::from_second(start * 60).unwrap();
    Use { slot: TimeSlot::lasting(at, minutes).unwrap(), quantity }
}

fn taken(n: u128, Use { slot, quantity }: Use) -> ResourceCalendarEvent {
    ResourceCalendarEvent::Taken { holder: holder(n), slot, quantity }
}

fn take(n: u128, used: Use, capacity: u32) -> ResourceCalendarCommand {
    ResourceCalendarCommand::Take { holder: holder(n), used, capacity }
}

#[test]
fn what_is_free_is_taken_and_given_back() {
    let room = used(0, 60, 1);
    Calendar::with(())
        .given_no_previous_events()
        .when(take(1, room, 1))
        .then_expect_events(vec![taken(1, room)]);
    let given_back = ResourceCalendarEvent::GivenBack { holder: holder(1) };
    Calendar::with(())
        .given(vec![taken(1, room)])
        .when(ResourceCalendarCommand::GiveBack { holder: holder(1) })
        .then_expect_events(vec![given_back.clone()]);
    Calendar::with(())
        .given(vec![taken(1, room), given_back])
        .when(take(2, room, 1))
        .then_expect_events(vec![taken(2, room)]);
}

#[test]
fn what_is_in_use_is_refused_and_a_repeat_is_already_so() {
    let room = used(0, 60, 1);
    Calendar::with(())
        .given(vec![taken(1, room)])
        .when(take(2, used(59, 60, 1), 1))
        .then_expect_error(ResourceCalendarError::InUse { by: Some(holder(1)) });
    Calendar::with(())
        .given(vec![taken(1, room)])
        .when(take(1, room, 1))
        .then_expect_events(vec![]);
    let next = used(60, 60, 1);
    Calendar::with(())
        .given(vec![taken(1, room)])
        .when(take(2, next, 1))
        .then_expect_events(vec![taken(2, next)]);
}

#[test]
fn only_what_is_used_at_one_instant_adds_up() {
    // One after the other, so that at no instant more than two of three are in use.
    let there = vec![taken(1, used(0, 30, 2)), taken(2, used(30, 30, 2))];
    let wanted = used(0, 60, 1);
    Calendar::with(())
        .given(there.clone())
        .when(take(3, wanted, 3))
        .then_expect_events(vec![taken(3, wanted)]);
    Calendar::with(())
        .given(there)
        .when(take(3, used(0, 60, 2), 3))
        .then_expect_error(ResourceCalendarError::InUse { by: Some(holder(1)) });
    Calendar::with(())
        .given_no_previous_events()
        .when(take(3, used(0, 60, 4), 3))
        .then_expect_error(ResourceCalendarError::InUse { by: None });
}

proptest! {
    #[test]
    fn whatever_is_asked_no_minute_uses_more_than_there_is(
        asked in prop::collection::vec((0_i64..200, 1_u32..60, 1_u32..4, any::<bool>()), 1..40),
    ) {
        let mut calendar = ResourceCalendar::default();
        for (n, (start, minutes, quantity, back)) in (0..).zip(asked) {
            let command = if back {
                ResourceCalendarCommand::GiveBack { holder: holder(n / 2) }
            } else {
                take(n, used(start, minutes, quantity), 3)
            };
            for event in calendar.decide(command).unwrap_or_default() {
                calendar.evolve(event);
            }
        }
        for minute in 0..260 {
            let now = used(minute, 1, 1).slot;
            let uses = calendar.uses().filter(|(_, used)| used.slot.overlaps(&now));
            prop_assert!(uses.map(|(_, used)| used.quantity).sum::<u32>() <= 3);
        }
    }
}
