use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::Limit;
use crate::{AppointmentId, ClosureId, SessionId, TimeOffId, resource_calendar::Holder};

/// Why an instant cannot be booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// It is over.
    #[error("the start lies in the past")]
    SlotInPast,
    /// The business wants more notice.
    #[error("it is too soon: the earliest start is {earliest}")]
    TooSoon {
        /// The first instant with enough notice.
        earliest: Timestamp,
    },
    /// The business does not plan so far ahead.
    #[error("it is too far ahead: booking is open for starts before {horizon}")]
    TooFar {
        /// The first instant that is too far.
        horizon: Timestamp,
    },
    /// The whole business is closed on that date.
    #[error("the business is closed on that date")]
    Closed {
        /// By which closure.
        by: ClosureId,
    },
    /// The visit does not lie inside working hours.
    #[error("it lies outside the working hours")]
    OutsideHours,
    /// As many visits begin in that day or week as may.
    #[error("{limit}, and as many are booked")]
    LimitReached {
        /// Which limit.
        limit: Limit,
        /// The first date of the day or week.
        first: Date,
    },
    /// The staff member is away.
    #[error("the staff member is away then")]
    Away {
        /// The time off.
        during: TimeOffId,
    },
    /// Another visit, or its buffer, has the time.
    #[error("the time is taken")]
    Taken {
        /// By whom.
        by: AppointmentId,
    },
    /// A class meets then.
    #[error("the time is taken by a class")]
    InClass {
        /// Which meeting.
        by: SessionId,
    },
    /// The class meets then, and has fewer seats left than are wanted.
    #[error("the class has {left} seats left")]
    ClassFull {
        /// So many.
        left: u32,
    },
    /// Too little of a kind of resource is free.
    #[error("no {kind} is free")]
    NoResource {
        /// Of which kind.
        kind: String,
        /// One of those who use it then; `None` when there is too little of it at any time.
        by: Option<Holder>,
    },
    /// Free, but not one of the starts that are offered.
    #[error("it is not one of the starts that are offered")]
    OffGrid,
}

impl Refusal {
    /// Whether somebody else was faster, so that another time may be free.
    #[must_use]
    pub const fn is_taken(&self) -> bool {
        matches!(
            self,
            Self::Taken { .. }
                | Self::InClass { .. }
                | Self::ClassFull { .. }
                | Self::NoResource { by: Some(_), .. }
        )
    }

    /// The name of the rule, stable for programs.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::SlotInPast => "slot_in_past",
            Self::TooSoon { .. } => "too_soon",
            Self::TooFar { .. } => "too_far",
            Self::Closed { .. } => "closed",
            Self::OutsideHours => "outside_hours",
            Self::LimitReached { .. } => "limit_reached",
            Self::Away { .. } => "time_off",
            Self::Taken { .. } | Self::InClass { .. } => "slot_taken",
            Self::ClassFull { .. } => "class_full",
            Self::NoResource { .. } => "resource_taken",
            Self::OffGrid => "off_grid",
        }
    }
}
