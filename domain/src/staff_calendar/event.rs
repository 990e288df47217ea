use serde::{Deserialize, Serialize};

use super::Class;
use crate::{AppointmentId, TimeOffId, TimeSlot, pure::event_types};

/// Stored for ever: add, never change. A fact stands in every week that its span touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StaffCalendarEvent {
    /// Time is kept for a visit.
    Reserved {
        /// Whose time it is.
        appointment_id: AppointmentId,
        /// The visit, without buffers.
        slot: TimeSlot,
        /// Minutes kept free in front.
        buffer_before_minutes: u32,
        /// Minutes kept free behind.
        buffer_after_minutes: u32,
    },
    /// The time of a visit is free again.
    Released {
        /// Whose time it was.
        appointment_id: AppointmentId,
    },
    /// Seats of a class are kept for a visit.
    SeatsTaken {
        /// Whose seats they are.
        appointment_id: AppointmentId,
        /// Of which meeting, how many, and of how many.
        #[serde(flatten)]
        class: Class,
        /// When it meets, without buffers.
        slot: TimeSlot,
        /// Minutes kept free in front.
        buffer_before_minutes: u32,
        /// Minutes kept free behind.
        buffer_after_minutes: u32,
    },
    /// The seats of a visit are free again; with the last of them the time is.
    SeatsGivenBack {
        /// Whose seats they were.
        appointment_id: AppointmentId,
    },
    /// The staff member is away.
    TimeOffAdded {
        /// Which time off.
        time_off_id: TimeOffId,
        /// When.
        slot: TimeSlot,
    },
    /// The staff member is back.
    TimeOffRemoved {
        /// Which time off.
        time_off_id: TimeOffId,
    },
}

event_types!(StaffCalendarEvent {
    Reserved => "staff.calendar.reserved.v1",
    Released => "staff.calendar.released.v1",
    SeatsTaken => "staff.calendar.seats_taken.v1",
    SeatsGivenBack => "staff.calendar.seats_given_back.v1",
    TimeOffAdded => "staff.calendar.time_off_added.v1",
    TimeOffRemoved => "staff.calendar.time_off_removed.v1",
});
