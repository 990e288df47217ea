use super::Class;
use crate::{AppointmentId, TimeOffId, TimeSlot, business::BufferRule};

/// What can be asked of one week of a calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StaffCalendarCommand {
    /// Keep time for a visit.
    Reserve {
        /// Whose time it is.
        appointment_id: AppointmentId,
        /// The visit, without buffers.
        slot: TimeSlot,
        /// Minutes kept free in front.
        buffer_before_minutes: u32,
        /// Minutes kept free behind.
        buffer_after_minutes: u32,
        /// How they combine with the neighbours' buffers.
        buffers: BufferRule,
    },
    /// Keep seats of a class for a visit; whoever comes first keeps the time for all.
    TakeSeats {
        /// Whose seats they are.
        appointment_id: AppointmentId,
        /// Of which meeting, with the seats that are wanted, and how many there are.
        class: Class,
        /// When it meets, without buffers.
        slot: TimeSlot,
        /// Minutes kept free in front.
        buffer_before_minutes: u32,
        /// Minutes kept free behind.
        buffer_after_minutes: u32,
        /// How they combine with the neighbours' buffers.
        buffers: BufferRule,
    },
    /// Give the time of a visit, or its seats, back.
    Release {
        /// Whose time it was.
        appointment_id: AppointmentId,
    },
    /// Be away. What is booked in that time stays booked.
    AddTimeOff {
        /// Chosen by the caller, so that a retry adds it once.
        time_off_id: TimeOffId,
        /// When.
        slot: TimeSlot,
    },
    /// Be back.
    RemoveTimeOff {
        /// Which time off.
        time_off_id: TimeOffId,
    },
}
