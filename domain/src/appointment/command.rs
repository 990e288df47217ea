use jiff::Timestamp;

use super::{StaffChoice, Used, Visit};
use crate::WaitlistId;

/// What can be asked of an appointment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppointmentCommand {
    /// Book the visit. That its time is free is the calendar's rule.
    Book {
        /// All that is agreed.
        visit: Visit,
        /// How the staff member was found; `None` when the guest named one.
        choice: Option<StaffChoice>,
    },
    /// Ask for the visit. That its time is free is the calendar's rule.
    Request {
        /// All that is agreed once it is confirmed.
        visit: Visit,
        /// How the staff member was found; `None` when the guest named one.
        choice: Option<StaffChoice>,
        /// Until when it may be answered.
        expires_at: Timestamp,
        /// Whom it is offered to; `None` when a guest asks the business.
        waitlist_id: Option<WaitlistId>,
    },
    /// The business agrees to what was asked for.
    Confirm,
    /// The guest takes what was offered to them.
    Accept,
    /// The business does not take what was asked for.
    Decline,
    /// Nobody answered in time.
    Expire {
        /// The present.
        now: Timestamp,
    },
    /// Move it to another time, or to another staff member. That the new time is free is the
    /// calendar's rule.
    Reschedule {
        /// All that is agreed from now on.
        visit: Visit,
        /// How often it may be moved in all; `None` when whoever asks may always.
        limit: Option<u32>,
    },
    /// Move it, as its guest.
    RescheduleByGuest {
        /// All that is agreed from now on.
        visit: Visit,
        /// How often guests may move it in all; `None` for as often as they like.
        limit: Option<u32>,
        /// How long before the start the business wants to know, in minutes.
        notice_minutes: u32,
        /// The present.
        now: Timestamp,
    },
    /// Book it again as it was before it was called off. That its time is still free is the
    /// calendar's rule.
    Reinstate {
        /// What it uses from now on besides people: other rooms may be free than before.
        resources: Vec<Used>,
        /// The present.
        now: Timestamp,
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
