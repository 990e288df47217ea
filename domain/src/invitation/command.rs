use jiff::Timestamp;

use crate::{UserId, team::Place, user::Role};

/// What can be asked of an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvitationCommand {
    /// Ask somebody.
    Send {
        /// To be what.
        place: Place,
        /// What whoever asks is.
        by: Role,
        /// Until when the mailed link is good.
        expires_at: Timestamp,
    },
    /// Say yes.
    Accept {
        /// Who says it.
        user_id: UserId,
    },
    /// Ask them no more.
    Withdraw,
}
