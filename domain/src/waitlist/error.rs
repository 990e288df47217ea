use super::EntryStatus;

/// Why an entry of the waitlist was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitlistError {
    /// Nobody waits under this id.
    #[error("not found")]
    NotFound,
    /// The id belongs to another wish.
    #[error("the entry exists already")]
    AlreadyJoined,
    /// It is in a state in which this cannot be.
    #[error("the entry is {status}")]
    WrongState {
        /// What it is now.
        status: EntryStatus,
    },
    /// All of the range lies in the past.
    #[error("the range is over")]
    RangeOver,
    /// What is offered is not what the guest waits for.
    #[error("the guest does not wait for this")]
    Unwanted,
}
