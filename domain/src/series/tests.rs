use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::{AppointmentId, Decide};

fn ids(numbers: impl IntoIterator<Item = u128>) -> Vec<AppointmentId> {
    numbers.into_iter().map(|n| AppointmentId::new(Uuid::from_u128(n))).collect()
}

fn book(appointments: Vec<AppointmentId>) -> SeriesCommand {
    SeriesCommand::Book { rule: "FREQ=WEEKLY;COUNT=3".into(), appointments }
}

fn booked(appointments: Vec<AppointmentId>) -> SeriesEvent {
    SeriesEvent::Booked { rule: "FREQ=WEEKLY;COUNT=3".into(), appointments }
}

#[test]
fn a_series_is_booked_once_and_has_two_to_fifty_two_visits() {
    let series = || TestFramework::<Series>::with(());
    let three = ids(1..=3);
    series()
        .given_no_previous_events()
        .when(book(three.clone()))
        .then_expect_events(vec![booked(three.clone())]);
    let given = || series().given(vec![booked(three.clone())]);
    given().when(book(three.clone())).then_expect_events(vec![]);
    given().when(book(ids(2..=4))).then_expect_error(SeriesError::AlreadyBooked);
    for wrong in [ids([1]), ids(1..=53)] {
        series()
            .given_no_previous_events()
            .when(book(wrong))
            .then_expect_error(SeriesError::Length);
    }
}

#[test]
fn a_change_is_for_one_for_those_behind_it_or_for_all() {
    let mut series = Series::default();
    series.evolve(booked(ids(1..=4)));
    let two = ids([2])[0];
    assert_eq!(series.meant(two, Scope::One), ids([2]));
    assert_eq!(series.meant(two, Scope::Following), ids([2, 3, 4]));
    assert_eq!(series.meant(two, Scope::All), ids([2, 1, 3, 4]));
    let other = ids([9])[0];
    assert_eq!(series.meant(other, Scope::All), vec![other]);
}
