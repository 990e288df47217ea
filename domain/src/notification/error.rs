use super::Outcome;

/// Why nothing was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// Nothing was planned under this id.
    #[error("not found")]
    NotFound,
    /// No provider has taken it.
    #[error("nobody has taken the message")]
    NotSent,
    /// The message has ended.
    #[error("the message is {outcome:?}")]
    Ended {
        /// How.
        outcome: Outcome,
    },
}
