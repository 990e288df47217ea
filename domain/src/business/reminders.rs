use jiff::{SignedDuration, Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::{Fields, Zone, notification::Channel, staff_schedule::WallMinute};

/// When guests of a service are reminded, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReminderPolicy {
    /// How long before the start, in elapsed minutes.
    pub offsets_minutes: Vec<u32>,
    /// By each of these.
    pub channels: Vec<Channel>,
    /// When nobody is reminded.
    pub quiet_hours: Option<QuietHours>,
}

/// What a service says of reminders in place of the business.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReminders {
    /// How long before the start, in elapsed minutes; absent means as the business says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offsets_minutes: Option<Vec<u32>>,
    /// By what; absent means as the business says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<Channel>>,
}

/// Hours of each day in which nobody wants to be reminded, on the clock of whoever is. They may go over
/// midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    /// The first quiet minute.
    pub start: WallMinute,
    /// The first minute that is not quiet any more.
    pub end: WallMinute,
}

/// 60 days: longer than any reminder that peers offer.
const MAX_OFFSET: i64 = 60 * 24 * 60;
const DAY: u16 = 24 * 60;
/// A reminder that is not later than this is in time: one that was moved to before the quiet hours is due in their
/// last minute before.
const LATE: SignedDuration = SignedDuration::from_mins(15);
/// From the end of the quiet hours to what waited for it: the clock that says when it is due may be ahead of the one
/// that said until when to wait.
const BEHIND_QUIET: SignedDuration = SignedDuration::from_secs(15);

impl QuietHours {
    /// When to send what would be due in a quiet hour: in the last minute before, so that it still comes
    /// in time. `None` when nothing has to move.
    #[must_use]
    pub fn moved(self, due_at: Timestamp, zone: &Zone) -> Option<Timestamp> {
        // Where the clock skips the start the quiet begins behind the gap, and where the start comes twice
        // with the first of them: never later than the business wants it.
        let (begins, _) = self.around(due_at, zone)?;
        begins.checked_sub(SignedDuration::from_mins(1)).ok().map(|moved| moved.min(due_at))
    }

    /// Until when a reminder waits that was due at `due_at`, is only sent `now`, and is worth nothing from
    /// `expires_at` on. `None` when it goes out now: it is in time, nobody wants quiet, or the quiet lasts for as
    /// long as it is worth something, and late is better than never.
    #[must_use]
    pub fn wait(
        self,
        due_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
        zone: &Zone,
    ) -> Option<Timestamp> {
        if now.duration_since(due_at) <= LATE {
            return None;
        }
        let until = self.over(now, zone)?.checked_add(BEHIND_QUIET).ok()?;
        (until < expires_at).then_some(until)
    }

    /// When the quiet ends that this instant lies in; `None` when it lies in none.
    fn over(self, at: Timestamp, zone: &Zone) -> Option<Timestamp> {
        self.around(at, zone).map(|(_, ends)| ends).filter(|ends| *ends > at)
    }

    /// From when and until when it is quiet around this instant.
    fn around(self, at: Timestamp, zone: &Zone) -> Option<(Timestamp, Timestamp)> {
        let local = at.to_zoned(zone.tz().clone());
        let now = u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).ok()?;
        let (start, end) = (self.start.minutes() % DAY, self.end.minutes() % DAY);
        let over_midnight = start > end;
        let quiet =
            if over_midnight { now < end || now >= start } else { (start..end).contains(&now) };
        if !quiet {
            return None;
        }
        let date = local.date();
        let first = if over_midnight && now < end { date.yesterday().ok()? } else { date };
        let last = if over_midnight { first.tomorrow().ok()? } else { first };
        let instant = |date: Date, minute: u16| {
            let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
            let local = date.at(hour, minute, 0, 0).to_zoned(zone.tz().clone());
            local.ok().map(|zoned| zoned.timestamp())
        };
        Some((instant(first, start)?, instant(last, end)?))
    }

    pub(super) fn validate(self, fields: &mut Fields) {
        fields.check(
            self.start.minutes() % DAY != self.end.minutes() % DAY,
            "quiet_hours.end",
            "must be another time than the start",
        );
    }
}

impl ServiceReminders {
    pub(super) fn validate(&self, fields: &mut Fields) {
        if let Some(offsets) = &self.offsets_minutes {
            check_offsets(fields, "reminders.offsets_minutes", offsets);
        }
        if let Some(channels) = &self.channels {
            check_channels(fields, "reminders.channels", channels);
        }
    }
}

pub(super) fn check_offsets(fields: &mut Fields, field: &str, offsets: &[u32]) {
    fields.check(offsets.len() <= 5, field, "must have at most 5 offsets");
    for (i, offset) in offsets.iter().enumerate() {
        let one = format!("{field}[{i}]");
        fields.range(&one, (*offset).into(), 1, MAX_OFFSET, "minutes");
        let new = !offsets.iter().take(i).any(|o| o == offset);
        fields.check(new, one, "must not repeat another offset");
    }
}

pub(super) fn check_channels(fields: &mut Fields, field: &str, channels: &[Channel]) {
    fields.check(!channels.is_empty(), field, "must name at least one channel");
    check_each_once(fields, field, channels);
}

/// That no channel is named twice.
pub fn check_each_once(fields: &mut Fields, field: &str, channels: &[Channel]) {
    for (i, channel) in channels.iter().enumerate() {
        let new = !channels.iter().take(i).any(|c| c == channel);
        fields.check(new, format!("{field}[{i}]"), "must not repeat another channel");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(quiet: (&str, &str), due: &str, zone: &str) -> Option<String> {
        let quiet = QuietHours { start: quiet.0.parse().unwrap(), end: quiet.1.parse().unwrap() };
        let moved = quiet.moved(due.parse().unwrap(), &zone.parse().unwrap());
        moved.map(|at| at.to_string())
    }

    #[test]
    fn what_is_due_in_the_night_goes_out_in_the_last_minute_of_the_evening() {
        let night = ("21:00", "08:00");
        let london = |due| moved(night, due, "Europe/London");
        assert_eq!(london("2026-01-10T20:59:00Z"), None);
        assert_eq!(london("2026-01-10T21:00:00Z").unwrap(), "2026-01-10T20:59:00Z");
        assert_eq!(london("2026-01-11T00:30:00Z").unwrap(), "2026-01-10T20:59:00Z");
        assert_eq!(london("2026-01-11T07:59:59Z").unwrap(), "2026-01-10T20:59:00Z");
        assert_eq!(london("2026-01-11T08:00:00Z"), None);
    }

    #[test]
    fn the_quiet_is_over_when_the_clock_of_the_guest_says_so() {
        let over = |(start, end): (&str, &str), at: &str, zone: &str| {
            let quiet = QuietHours { start: start.parse().unwrap(), end: end.parse().unwrap() };
            let over = quiet.over(at.parse().unwrap(), &zone.parse().unwrap());
            over.map(|at| at.to_string())
        };
        let night = ("21:00", "08:00");
        assert_eq!(over(night, "2026-01-10T20:59:59Z", "UTC"), None);
        assert_eq!(over(night, "2026-01-10T21:00:00Z", "UTC").unwrap(), "2026-01-11T08:00:00Z");
        assert_eq!(over(night, "2026-01-11T07:59:59Z", "UTC").unwrap(), "2026-01-11T08:00:00Z");
        assert_eq!(over(night, "2026-01-11T08:00:00Z", "UTC"), None);
        let late = over(("22:00", "24:00"), "2026-01-10T23:30:00Z", "UTC").unwrap();
        assert_eq!(late, "2026-01-11T00:00:00Z");
        let siesta = over(("13:00", "15:00"), "2026-01-10T14:00:00Z", "UTC").unwrap();
        assert_eq!(siesta, "2026-01-10T15:00:00Z");
        // The night in which New York puts the clock forward is an hour shorter.
        let short = over(night, "2026-03-08T03:00:00Z", "America/New_York").unwrap();
        assert_eq!(short, "2026-03-08T12:00:00Z");
    }

    #[test]
    fn a_reminder_that_is_late_waits_for_the_end_of_the_quiet_while_it_is_worth_something() {
        let quiet = QuietHours { start: "21:00".parse().unwrap(), end: "08:00".parse().unwrap() };
        let wait = |due: &str, expires: &str, now: &str| {
            let at = |clock: &str| format!("2026-01-{clock}:00Z").parse::<Timestamp>().unwrap();
            let until = quiet.wait(at(due), at(expires), at(now), &"UTC".parse().unwrap());
            until.map(|until| until.to_string())
        };
        let (evening, noon) = ("10T20:59", "11T12:00");
        let morning = Some("2026-01-11T08:00:15Z".to_owned());
        assert_eq!(wait(evening, noon, "10T21:15"), morning);
        assert_eq!(wait(evening, noon, "11T07:59"), morning);
        // It is in time, or not quiet any more.
        assert_eq!(wait(evening, noon, "10T21:14"), None);
        assert_eq!(wait(evening, noon, "11T08:00"), None);
        // Then the visit would have begun.
        assert_eq!(wait(evening, "11T08:00", "11T03:00"), None);
        assert_eq!(wait(evening, "11T08:01", "11T03:00"), morning);
    }

    #[test]
    fn the_clock_is_the_guests_own() {
        let night = ("21:00", "08:00");
        assert_eq!(moved(night, "2026-01-11T02:00:00Z", "America/Los_Angeles"), None);
        let sydney = moved(night, "2026-01-10T20:00:00Z", "Australia/Sydney").unwrap();
        assert_eq!(sydney, "2026-01-10T09:59:00Z");
    }

    #[test]
    fn quiet_hours_may_lie_in_one_day() {
        let siesta = ("13:00", "15:00");
        assert_eq!(moved(siesta, "2026-01-10T12:59:59Z", "UTC"), None);
        assert_eq!(moved(siesta, "2026-01-10T14:00:00Z", "UTC").unwrap(), "2026-01-10T12:59:00Z");
        assert_eq!(moved(siesta, "2026-01-10T15:00:00Z", "UTC"), None);
        let from_midnight = ("00:00", "06:00");
        let early = moved(from_midnight, "2026-01-10T05:00:00Z", "UTC").unwrap();
        assert_eq!(early, "2026-01-09T23:59:00Z");
        assert_eq!(
            moved(("22:00", "24:00"), "2026-01-10T23:30:00Z", "UTC").unwrap(),
            "2026-01-10T21:59:00Z"
        );
        assert_eq!(moved(("22:00", "24:00"), "2026-01-10T00:00:00Z", "UTC"), None);
    }

    #[test]
    fn the_night_in_which_the_clock_changes_is_quiet_as_long_as_the_clock_says() {
        // New York puts the clock forward at 02:00 on 8 March 2026, and back on 1 November.
        let night = ("23:00", "07:00");
        let spring = moved(night, "2026-03-08T10:30:00Z", "America/New_York").unwrap();
        assert_eq!(spring, "2026-03-08T03:59:00Z");
        let autumn = moved(night, "2026-11-01T11:30:00Z", "America/New_York").unwrap();
        assert_eq!(autumn, "2026-11-01T02:59:00Z");
        // A start that the clock skips.
        let odd = moved(("02:30", "07:00"), "2026-03-08T10:30:00Z", "America/New_York").unwrap();
        assert_eq!(odd, "2026-03-08T07:29:00Z");
    }
}
