use cqrs_es::test::TestFramework;

use super::*;

fn window(start: &str, end: &str) -> Window {
    Window { start: start.parse().unwrap(), end: end.parse().unwrap() }
}

fn set(hours: Hours, expected: Option<u64>) -> StaffScheduleCommand {
    StaffScheduleCommand::SetHours { hours, expected }
}

#[test]
fn setting_the_same_hours_again_changes_nothing() {
    TestFramework::<StaffSchedule>::with(())
        .given(vec![StaffScheduleEvent::HoursSet { hours: Hours::office() }])
        .when(set(Hours::office(), None))
        .then_expect_events(vec![]);
}

#[test]
fn a_stale_version_is_refused() {
    TestFramework::<StaffSchedule>::with(())
        .given(vec![StaffScheduleEvent::HoursSet { hours: Hours::office() }])
        .when(set(Hours::default(), Some(0)))
        .then_expect_error(StaffScheduleError::Stale { current: 1 });
}

#[test]
fn a_window_that_ends_before_it_starts_is_named() {
    let hours = Hours {
        weekly: vec![
            DayWindow { day: 0, window: window("09:00", "12:00") },
            DayWindow { day: 7, window: window("17:00", "09:00") },
        ],
        ..Hours::default()
    };
    let errors = hours.validate().unwrap_err();
    let named: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(named, ["weekly[1].day", "weekly[1].end"]);
}

#[test]
fn midnight_may_be_the_end_and_odd_times_are_refused() {
    assert_eq!("24:00".parse::<WallMinute>().unwrap().minutes(), 1440);
    for odd in ["24:01", "9:00", "09:60", "0900", "+9:00", "09:00:00", ""] {
        assert!(odd.parse::<WallMinute>().is_err(), "{odd}");
    }
}
