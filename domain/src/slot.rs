//! Half-open stretches of time.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A half-open stretch of time, `[start, end)`. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawTimeSlot")]
pub struct TimeSlot {
    start: Timestamp,
    end: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTimeSlot {
    start: Timestamp,
    end: Timestamp,
}

/// The end does not come after the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("end must come after start")]
pub struct EmptySlot;

impl TryFrom<RawTimeSlot> for TimeSlot {
    type Error = EmptySlot;

    fn try_from(raw: RawTimeSlot) -> Result<Self, EmptySlot> {
        Self::try_new(raw.start, raw.end)
    }
}

impl TimeSlot {
    /// # Errors
    /// When `end` does not come after `start`.
    pub fn try_new(start: Timestamp, end: Timestamp) -> Result<Self, EmptySlot> {
        if start < end { Ok(Self { start, end }) } else { Err(EmptySlot) }
    }

    /// The slot from `start` that lasts `minutes`. `None` for zero minutes or past the end of time.
    #[must_use]
    pub fn lasting(start: Timestamp, minutes: u32) -> Option<Self> {
        let end = start.checked_add(SignedDuration::from_mins(minutes.into())).ok()?;
        Self::try_new(start, end).ok()
    }

    /// The first instant inside.
    #[must_use]
    pub const fn start(&self) -> Timestamp {
        self.start
    }

    /// The first instant after.
    #[must_use]
    pub const fn end(&self) -> Timestamp {
        self.end
    }

    /// Touching slots do not overlap: one may start when the other ends.
    ///
    /// ```
    /// use domain::TimeSlot;
    /// let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    /// let first = TimeSlot::lasting(at("2026-03-02T09:00:00Z"), 30).unwrap();
    /// let next = TimeSlot::lasting(at("2026-03-02T09:30:00Z"), 30).unwrap();
    /// assert!(!first.overlaps(&next));
    /// ```
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The slot with `before` minutes in front and `after` minutes behind.
    #[must_use]
    pub fn padded(&self, before: u32, after: u32) -> Self {
        let back = SignedDuration::from_mins(before.into());
        let on = SignedDuration::from_mins(after.into());
        Self {
            start: self.start.checked_sub(back).unwrap_or(Timestamp::MIN),
            end: self.end.checked_add(on).unwrap_or(Timestamp::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slot() -> impl Strategy<Value = TimeSlot> {
        (0_i64..1_000, 1_i64..100).prop_map(|(start, length)| {
            let at = |s| Timestamp::from_second(s).unwrap();
            TimeSlot::try_new(at(start), at(start + length)).unwrap()
        })
    }

    proptest! {
        #[test]
        fn overlap_is_symmetric(a in slot(), b in slot()) {
            prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
        }

        #[test]
        fn a_slot_overlaps_itself_but_not_its_neighbour(a in slot()) {
            prop_assert!(a.overlaps(&a));
            let next = TimeSlot::lasting(a.end(), 1).unwrap();
            prop_assert!(!a.overlaps(&next));
        }
    }

    #[test]
    fn an_empty_slot_cannot_be_read_from_json() {
        let json = r#"{"start":"2026-03-02T09:00:00Z","end":"2026-03-02T09:00:00Z"}"#;
        assert!(serde_json::from_str::<TimeSlot>(json).is_err());
    }
}
