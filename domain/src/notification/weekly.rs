//! The weeks that owners are told about.

use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{Date, Time},
};
use serde::{Deserialize, Serialize};

use crate::{Zone, availability::start_of_day};

/// A week is told of on the Monday after it, at this time on the clock of the business.
const AT: Time = Time::constant(7, 0, 0, 0);
/// Who was not told by then need not be told any more.
const GOOD_FOR: SignedDuration = SignedDuration::from_hours(24);
/// The first week that has a number.
const FIRST: Date = Date::constant(1970, 1, 5);
const HOURS: i64 = 7 * 24;

/// A week from Monday to Sunday on the clock of whoever asks, named after its Monday. It is an ISO week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Date", into = "Date")]
pub struct LocalWeek(Date);

/// The date is not a Monday, or lies before weeks are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a Monday from 1970 on")]
pub struct NotAWeek;

impl LocalWeek {
    /// The week that holds this date.
    #[must_use]
    pub fn of(date: Date) -> Self {
        let since_monday = i64::from(date.weekday().to_monday_zero_offset());
        Self(date.checked_sub(since_monday.days()).unwrap_or(FIRST).max(FIRST))
    }

    /// The Monday that it begins with.
    #[must_use]
    pub const fn monday(self) -> Date {
        self.0
    }

    /// The Sunday that it ends with.
    #[must_use]
    pub fn sunday(self) -> Date {
        self.day(6)
    }

    /// The date so many days behind its Monday. The last date of all is followed by itself.
    #[must_use]
    pub fn day(self, behind: u8) -> Date {
        self.0.checked_add(i64::from(behind).days()).unwrap_or(Date::MAX)
    }

    /// The week behind it. The last of all is followed by itself.
    #[must_use]
    pub fn next(self) -> Self {
        self.0.checked_add(7.days()).map_or(self, Self)
    }

    /// Weeks are counted from 1, which began on 1970-01-05.
    #[must_use]
    pub fn number(self) -> u32 {
        let before = self.0.duration_since(FIRST).as_hours() / HOURS;
        u32::try_from(before).unwrap_or(0) + 1
    }

    /// The week with this number; `None` when no calendar goes so far.
    #[must_use]
    pub fn numbered(number: u32) -> Option<Self> {
        let before = i64::from(number.checked_sub(1)?);
        FIRST.checked_add(SignedDuration::from_hours(before * HOURS)).ok().map(Self)
    }

    /// When each of its days begins in this zone.
    #[must_use]
    pub fn days(self, zone: &Zone) -> [Timestamp; 7] {
        [0, 1, 2, 3, 4, 5, 6].map(|behind| start_of_day(zone, self.day(behind)))
    }

    /// When owners are told of it: on the Monday behind it at 07:00. Where that does not exist, right behind
    /// the gap; where it occurs twice, at the first.
    #[must_use]
    pub fn told_at(self, zone: &Zone) -> Timestamp {
        let local = self.next().0.to_datetime(AT);
        let told = zone.tz().to_ambiguous_zoned(local).compatible();
        told.map_or(Timestamp::MAX, |told| told.timestamp())
    }

    /// From when on it is not told any more, when it was to be told at `due_at`.
    #[must_use]
    pub fn untold_from(due_at: Timestamp) -> Timestamp {
        due_at.checked_add(GOOD_FOR).unwrap_or(Timestamp::MAX)
    }

    /// The first week that is told of after this instant.
    #[must_use]
    pub fn first_told_after(zone: &Zone, now: Timestamp) -> Self {
        // That of the day before a week ago is told of on the Monday of today's week at the latest.
        let today = Self::of(zone.tz().to_datetime(now).date());
        let last = today.0.checked_sub(7.days()).map_or(today, Self::of);
        if last.told_at(zone) > now { last } else { last.next() }
    }

    /// The first week that is still worth telling of at this instant.
    #[must_use]
    pub fn first_worth_telling(zone: &Zone, now: Timestamp) -> Self {
        Self::first_told_after(zone, now.checked_sub(GOOD_FOR).unwrap_or(Timestamp::MIN))
    }
}

impl TryFrom<Date> for LocalWeek {
    type Error = NotAWeek;

    fn try_from(date: Date) -> Result<Self, NotAWeek> {
        let week = Self::of(date);
        if week.0 == date { Ok(week) } else { Err(NotAWeek) }
    }
}

impl From<LocalWeek> for Date {
    fn from(week: LocalWeek) -> Self {
        week.0
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::{Weekday, date};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn zone(name: &str) -> Zone {
        name.parse().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_week_is_told_of_on_its_monday_morning_whatever_the_clocks_did_meanwhile() {
        let told = [
            // The clocks go forward, and back, on the Sunday before.
            ("America/Los_Angeles", date(2026, 3, 2), "2026-03-09T14:00:00Z"),
            ("America/Los_Angeles", date(2026, 2, 23), "2026-03-02T15:00:00Z"),
            ("America/Los_Angeles", date(2026, 10, 26), "2026-11-02T15:00:00Z"),
            ("Europe/London", date(2026, 3, 23), "2026-03-30T06:00:00Z"),
            ("Europe/London", date(2026, 10, 19), "2026-10-26T07:00:00Z"),
            ("Australia/Sydney", date(2026, 3, 30), "2026-04-05T21:00:00Z"),
            ("Australia/Sydney", date(2026, 9, 28), "2026-10-04T20:00:00Z"),
        ];
        for (name, monday, when) in told {
            let week = LocalWeek::try_from(monday).unwrap();
            assert_eq!(week.told_at(&zone(name)), at(when), "{name} {monday}");
        }
    }

    #[test]
    fn days_are_as_long_as_the_clocks_make_them() {
        for (name, monday, hours) in [
            ("America/Los_Angeles", date(2026, 3, 2), 23),
            ("America/Los_Angeles", date(2026, 10, 26), 25),
            ("Europe/London", date(2026, 3, 23), 23),
            ("Australia/Sydney", date(2026, 3, 30), 25),
            ("Australia/Sydney", date(2026, 9, 28), 23),
        ] {
            let week = LocalWeek::of(monday);
            let (days, next) = (week.days(&zone(name)), week.next().days(&zone(name)));
            assert_eq!(days[1].duration_since(days[0]).as_hours(), 24);
            assert_eq!(next[0].duration_since(days[6]).as_hours(), hours, "{name} {monday}");
        }
    }

    #[test]
    fn a_week_begins_on_a_monday_and_nothing_else_names_one() {
        let week = LocalWeek::of(date(2026, 3, 8));
        assert_eq!((week.monday(), week.sunday()), (date(2026, 3, 2), date(2026, 3, 8)));
        assert_eq!(serde_json::to_value(week).unwrap(), json!("2026-03-02"));
        assert!(serde_json::from_value::<LocalWeek>(json!("2026-03-03")).is_err());
        assert_eq!(LocalWeek::try_from(date(1969, 12, 29)), Err(NotAWeek));
        assert_eq!(LocalWeek::of(date(1970, 1, 5)).number(), 1);
        assert_eq!((LocalWeek::numbered(0), LocalWeek::numbered(u32::MAX)), (None, None));
    }

    #[test]
    fn what_was_missed_on_monday_is_told_until_tuesday() {
        let (london, week) = (zone("Europe/London"), LocalWeek::of(date(2026, 3, 2)));
        let worth = |now: &str| LocalWeek::first_worth_telling(&london, at(now));
        assert_eq!(worth("2026-03-09T06:59:59Z"), week);
        assert_eq!(LocalWeek::first_told_after(&london, at("2026-03-09T06:59:59Z")), week);
        assert_eq!(LocalWeek::first_told_after(&london, at("2026-03-09T07:00:00Z")), week.next());
        assert_eq!(worth("2026-03-10T06:59:59Z"), week);
        assert_eq!(worth("2026-03-10T07:00:00Z"), week.next());
        let due_at = week.told_at(&london);
        assert_eq!(LocalWeek::untold_from(due_at), at("2026-03-10T07:00:00Z"));
    }

    fn any_zone() -> impl Strategy<Value = Zone> {
        let names = jiff::tz::db().available();
        let zones: Vec<Zone> = names.filter_map(|name| name.as_str().parse().ok()).collect();
        assert!(zones.len() > 300, "{}", zones.len());
        proptest::sample::select(zones)
    }

    proptest! {
        #[test]
        fn every_week_is_told_of_on_a_monday_at_seven(zone in any_zone(), second in 0..4_000_000_000_i64) {
            let now = Timestamp::from_second(second).unwrap();
            let week = LocalWeek::first_told_after(&zone, now);
            let due_at = week.told_at(&zone);
            let local = zone.tz().to_datetime(due_at);
            prop_assert_eq!(local.date().weekday(), Weekday::Monday);
            prop_assert_eq!(local.time(), AT);
            prop_assert_eq!(local.date(), week.next().monday());
            // It is the next one: a week with its clocks put back is an hour or so longer.
            prop_assert!(due_at > now);
            prop_assert!(due_at.duration_since(now) <= SignedDuration::from_hours(HOURS + 3));
            prop_assert_eq!(LocalWeek::numbered(week.number()), Some(week));
            let days = week.days(&zone);
            prop_assert!(days.is_sorted() && days[0] < days[6] && days[6] < due_at);
        }
    }
}
