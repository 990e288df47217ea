use std::fmt;

use serde::{Deserialize, Serialize};

use crate::appointment::Status;

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// "You are booked."
    Confirmation,
    /// "You are expected soon."
    Reminder,
    /// "You are expected at another time."
    Rescheduled,
    /// "You are not expected any more."
    Cancellation,
    /// "We have your request."
    Requested,
    /// "A time has become free."
    Offered,
    /// "We cannot take your request."
    Declined,
    /// "Your request was not answered in time."
    Expired,
    /// "Somebody comes."
    HostBooked,
    /// "Somebody wants to come: say whether they may."
    HostRequested,
    /// "They come at another time."
    HostRescheduled,
    /// "They do not come."
    HostCancelled,
}

/// Whom a message is for. Where they are reached is found out when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// Who comes.
    Guest,
    /// Who serves them; where that address is not known, the owners of the business.
    Host,
}

impl Recipient {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Host => "host",
        }
    }
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 12] = [
        Self::Confirmation,
        Self::Reminder,
        Self::Rescheduled,
        Self::Cancellation,
        Self::Requested,
        Self::Offered,
        Self::Declined,
        Self::Expired,
        Self::HostBooked,
        Self::HostRequested,
        Self::HostRescheduled,
        Self::HostCancelled,
    ];

    /// By its name in tables.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// In which state of its visit it says what is true.
    #[must_use]
    pub const fn fits(self, status: Status) -> bool {
        match self {
            Self::Confirmation
            | Self::Reminder
            | Self::Rescheduled
            | Self::HostBooked
            | Self::HostRescheduled => matches!(status, Status::Booked),
            Self::Requested | Self::Offered | Self::HostRequested => {
                matches!(status, Status::Requested)
            }
            Self::Cancellation | Self::HostCancelled => matches!(status, Status::Cancelled),
            Self::Declined => matches!(status, Status::Declined),
            Self::Expired => matches!(status, Status::Expired),
        }
    }

    /// Whether it is about a visit that is agreed.
    #[must_use]
    pub const fn is_agreed(self) -> bool {
        self.fits(Status::Booked)
    }

    /// Whether it is for a visit that does not take place. All others are for one that does, or may.
    #[must_use]
    pub const fn is_farewell(self) -> bool {
        !self.fits(Status::Booked) && !self.fits(Status::Requested)
    }

    /// Whether it says that nothing comes of a request: worth knowing also when the visit would have
    /// begun.
    pub(super) const fn ends_request(self) -> bool {
        matches!(self, Self::Declined | Self::Expired)
    }

    /// Whom it is for.
    #[must_use]
    pub const fn recipient(self) -> Recipient {
        match self {
            Self::Confirmation
            | Self::Reminder
            | Self::Rescheduled
            | Self::Cancellation
            | Self::Requested
            | Self::Offered
            | Self::Declined
            | Self::Expired => Recipient::Guest,
            Self::HostBooked
            | Self::HostRequested
            | Self::HostRescheduled
            | Self::HostCancelled => Recipient::Host,
        }
    }

    /// What the host is told when guests are told this. That a request was declined or not answered
    /// they know, and an offer concerns them once it is accepted.
    #[must_use]
    pub const fn for_host(self) -> Option<Self> {
        match self {
            Self::Confirmation => Some(Self::HostBooked),
            Self::Requested => Some(Self::HostRequested),
            Self::Rescheduled => Some(Self::HostRescheduled),
            Self::Cancellation => Some(Self::HostCancelled),
            Self::Reminder
            | Self::Offered
            | Self::Declined
            | Self::Expired
            | Self::HostBooked
            | Self::HostRequested
            | Self::HostRescheduled
            | Self::HostCancelled => None,
        }
    }

    /// The name in tables and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmation => "confirmation",
            Self::Reminder => "reminder",
            Self::Rescheduled => "rescheduled",
            Self::Cancellation => "cancellation",
            Self::Requested => "requested",
            Self::Offered => "offered",
            Self::Declined => "declined",
            Self::Expired => "expired",
            Self::HostBooked => "host_booked",
            Self::HostRequested => "host_requested",
            Self::HostRescheduled => "host_rescheduled",
            Self::HostCancelled => "host_cancelled",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
