use jiff::Timestamp;

use super::Visit;

/// What can be asked of an appointment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppointmentCommand {
    /// Book the visit. That its time is free is the calendar's rule.
    Book {
        /// All that is agreed.
        visit: Visit,
    },
    /// Call it off.
    Cancel,
    /// The guest calls it off, as far ahead as the business asks for.
    CancelByGuest {
        /// How long before the start it must be, in minutes.
        notice_minutes: u32,
        /// The present.
        now: Timestamp,
    },
    /// The guest came and was served.
    Complete {
        /// The present.
        now: Timestamp,
    },
    /// The guest did not come.
    MarkNoShow {
        /// The present.
        now: Timestamp,
    },
}
