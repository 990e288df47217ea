//! Calendars are cut by week, so that a command loads a few weeks and not years.

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};

use crate::TimeSlot;

const WEEK_SECONDS: i64 = 7 * 24 * 3600;
/// 1970-01-04T12:00:00Z, the first Sunday noon: Sunday noon UTC is the quietest hour of the week
/// around the world, so few visits lie in two weeks.
const FIRST_CUT: i64 = 3 * 24 * 3600 + 12 * 3600;

/// A week from Sunday 12:00 UTC to the next, whatever the business's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CalendarWeek(i64);

impl CalendarWeek {
    /// The week that holds this instant.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self((at.as_second() - FIRST_CUT).div_euclid(WEEK_SECONDS))
    }

    /// Every week that the slot touches, in order.
    pub fn touched_by(slot: &TimeSlot) -> impl Iterator<Item = Self> + use<> {
        // The end is the first instant after the slot, so it may belong to a week not touched.
        let last_instant =
            Timestamp::from_nanosecond(slot.end().as_nanosecond() - 1).unwrap_or(slot.end());
        (Self::of(slot.start()).0..=Self::of(last_instant).0).map(Self)
    }
}

/// The date of the Sunday that the week begins with, as it stands in stream ids.
impl fmt::Display for CalendarWeek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first week of all time began before it.
        let begins =
            Timestamp::from_second(self.0 * WEEK_SECONDS + FIRST_CUT).unwrap_or(Timestamp::MIN);
        write!(f, "{}", TimeZone::UTC.to_datetime(begins).date())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(start: &str, end: &str) -> TimeSlot {
        TimeSlot::try_new(start.parse().unwrap(), end.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_week_is_named_after_its_sunday_and_cut_at_noon() {
        let before: Timestamp = "2026-03-08T11:59:59Z".parse().unwrap();
        let after: Timestamp = "2026-03-08T12:00:00Z".parse().unwrap();
        assert_eq!(CalendarWeek::of(before).to_string(), "2026-03-01");
        assert_eq!(CalendarWeek::of(after).to_string(), "2026-03-08");
    }

    #[test]
    fn a_visit_that_ends_at_the_cut_touches_one_week_and_one_across_it_two() {
        let ends = slot("2026-03-08T11:00:00Z", "2026-03-08T12:00:00Z");
        let crosses = slot("2026-03-08T11:30:00Z", "2026-03-08T12:30:00Z");
        assert_eq!(CalendarWeek::touched_by(&ends).count(), 1);
        assert_eq!(CalendarWeek::touched_by(&crosses).count(), 2);
    }
}
