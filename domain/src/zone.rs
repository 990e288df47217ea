//! Time zones by their IANA name, from the tzdb that this build carries.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};
use serde::{Deserialize, Serialize};

/// An IANA time zone, such as `America/New_York`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

/// No such zone in the tzdb of this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an IANA time zone, such as Europe/London")]
pub struct UnknownZone;

/// Why a local time without offset names no single instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LocalTimeError {
    /// The clock was put forward over it.
    #[error("{local} does not exist in {zone}: the clock is put forward over it")]
    Nonexistent {
        /// The time as given.
        local: DateTime,
        /// The zone that was asked.
        zone: Zone,
    },
    /// The clock was put back over it.
    #[error("{local} occurs twice in {zone}: {first} and {second}; name one with its offset")]
    Ambiguous {
        /// The time as given.
        local: DateTime,
        /// The zone that was asked.
        zone: Zone,
        /// The earlier of the two instants.
        first: Timestamp,
        /// The later of the two instants.
        second: Timestamp,
    },
    /// Outside the years that can be computed with.
    #[error("{local} is out of range")]
    OutOfRange {
        /// The time as given.
        local: DateTime,
    },
}

impl Zone {
    /// The UTC zone, which a business has until it names another.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The rules, for conversions.
    #[must_use]
    pub const fn tz(&self) -> &TimeZone {
        &self.0
    }

    /// How far local time is ahead of UTC at that instant, in seconds.
    #[must_use]
    pub fn offset_seconds(&self, at: Timestamp) -> i32 {
        self.0.to_offset(at).seconds()
    }

    /// The instant of a local time that occurs exactly once.
    ///
    /// # Errors
    /// When the time does not exist or occurs twice in this zone.
    pub fn instant_of(&self, local: DateTime) -> Result<Timestamp, LocalTimeError> {
        let at = |offset: jiff::tz::Offset| {
            offset.to_timestamp(local).map_err(|_out_of_range| LocalTimeError::OutOfRange { local })
        };
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => at(offset),
            AmbiguousOffset::Gap { .. } => {
                Err(LocalTimeError::Nonexistent { local, zone: self.clone() })
            }
            AmbiguousOffset::Fold { before, after } => Err(LocalTimeError::Ambiguous {
                local,
                zone: self.clone(),
                first: at(before)?,
                second: at(after)?,
            }),
        }
    }
}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        TimeZone::get(name)
            .ok()
            .filter(|zone| zone.iana_name().is_some() && zone != &TimeZone::unknown())
            .map(Self)
            .ok_or(UnknownZone)
    }
}

impl TryFrom<String> for Zone {
    type Error = UnknownZone;

    fn try_from(name: String) -> Result<Self, UnknownZone> {
        name.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name().to_owned()
    }
}
