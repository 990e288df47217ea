use crate::team::TeamError;

/// Why an invitation was not sent, accepted or withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// It was accepted or withdrawn before.
    #[error("the invitation is spent")]
    Spent,
    /// There is none.
    #[error("there is no such invitation")]
    NotFound,
    /// The place is not theirs to give, or not complete.
    #[error(transparent)]
    Place(#[from] TeamError),
}
