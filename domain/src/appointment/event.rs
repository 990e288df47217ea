use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{StaffChoice, Visit};
use crate::{TimeSlot, WaitlistId, pure::event_types};

/// Past tense, one variant per fact. Stored for ever: add, never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AppointmentEvent {
    /// The visit is agreed.
    Booked {
        /// All that is agreed.
        visit: Visit,
        /// How the staff member was found; absent when the guest named one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        choice: Option<StaffChoice>,
    },
    /// The visit is asked for. Its time is kept until the business answers, or until it expires.
    Requested {
        /// All that is agreed once it is confirmed.
        visit: Visit,
        /// How the staff member was found; absent when the guest named one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        choice: Option<StaffChoice>,
        /// Until when it may be answered.
        expires_at: Timestamp,
        /// When it is an offer to a guest who waited: that guest answers, and not the business.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        waitlist_id: Option<WaitlistId>,
    },
    /// Whoever was asked agreed: the business, or the guest to whom it was offered.
    Confirmed {},
    /// The business does not take it. The reason is personal and kept outside the events.
    Declined {},
    /// Nobody answered in time.
    Expired {},
    /// It was moved to another time, or to another staff member.
    Rescheduled {
        /// All that is agreed from now on.
        visit: Visit,
        /// When it was to be before.
        previous: TimeSlot,
        /// How often it was changed by now, this time included.
        revision: u32,
    },
    /// It was called off and is booked again, as it was.
    Reinstated {
        /// All that is agreed again.
        visit: Visit,
        /// How often it was changed by now, this time included.
        revision: u32,
    },
    /// It was called off. The reason is personal and kept outside the events.
    Cancelled {},
    /// The guest came and was served.
    Completed {},
    /// The guest did not come.
    MissedByGuest {},
}

impl AppointmentEvent {
    /// What is agreed from then on, and how often it was changed by then; `None` when it says nothing
    /// of that.
    #[must_use]
    pub fn agreed(self) -> Option<(Visit, u32)> {
        match self {
            Self::Booked { visit, .. } | Self::Requested { visit, .. } => Some((visit, 0)),
            Self::Rescheduled { visit, revision, .. } | Self::Reinstated { visit, revision } => {
                Some((visit, revision))
            }
            Self::Confirmed {}
            | Self::Declined {}
            | Self::Expired {}
            | Self::Cancelled {}
            | Self::Completed {}
            | Self::MissedByGuest {} => None,
        }
    }
}

event_types!(AppointmentEvent {
    Booked => "booking.appointment.booked.v1",
    Requested => "booking.appointment.requested.v1",
    Confirmed => "booking.appointment.confirmed.v1",
    Declined => "booking.appointment.declined.v1",
    Expired => "booking.appointment.expired.v1",
    Rescheduled => "booking.appointment.rescheduled.v1",
    Reinstated => "booking.appointment.reinstated.v1",
    Cancelled => "booking.appointment.cancelled.v1",
    Completed => "booking.appointment.completed.v1",
    MissedByGuest => "booking.appointment.no_show.v1",
});
