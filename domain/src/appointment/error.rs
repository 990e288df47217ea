use jiff::Timestamp;

use super::Status;

/// Why an appointment was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppointmentError {
    /// Nothing was booked under this id.
    #[error("not found")]
    NotFound,
    /// The id belongs to another visit.
    #[error("the appointment is booked already")]
    AlreadyBooked,
    /// The visit has ended another way.
    #[error("the appointment is {status}")]
    WrongState {
        /// What it is now.
        status: Status,
    },
    /// It is offered to a guest, who has to take it.
    #[error("the appointment is offered to a guest, who has to accept it")]
    AwaitsGuest,
    /// Nobody offered it: the business has to confirm it.
    #[error("the appointment is not an offer")]
    NotAnOffer,
    /// The business wants to know earlier.
    #[error("guests can cancel until {deadline}, {notice_minutes} minutes before the start")]
    TooLateToCancel {
        /// Until when it could be called off.
        deadline: Timestamp,
        /// How long before the start that is.
        notice_minutes: u32,
    },
    /// The business wants to know earlier.
    #[error("guests can move it until {deadline}, {notice_minutes} minutes before the start")]
    TooLateToMove {
        /// Until when it could be moved.
        deadline: Timestamp,
        /// How long before the start that is.
        notice_minutes: u32,
    },
    /// It was moved as often as the business allows.
    #[error("the appointment was moved {limit} times already")]
    RescheduleLimit {
        /// So often.
        limit: u32,
    },
    /// What has begun cannot be booked again.
    #[error("the appointment began at {start}")]
    Begun {
        /// When it began.
        start: Timestamp,
    },
    /// A visit can be kept or missed only once it has begun.
    #[error("the appointment begins only at {start}")]
    NotBegun {
        /// When it begins.
        start: Timestamp,
    },
}
