use super::{EndReason, Means};
use crate::UserId;

/// What can be asked of a sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginCommand {
    /// Let somebody in.
    Open {
        /// Who.
        user_id: UserId,
        /// How they proved it.
        means: Means,
    },
    /// Note that somebody was not let in.
    Refuse {
        /// Into whose account.
        user_id: UserId,
    },
    /// Let them be signed in no more.
    End {
        /// Why.
        reason: EndReason,
    },
}
