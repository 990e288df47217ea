use jiff::Timestamp;

use super::Role;
use crate::{BusinessId, ResetId};

/// What can be asked of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserCommand {
    /// Make the account.
    Create {
        /// The first business they belong to.
        business_id: BusinessId,
        /// What they are there.
        role: Role,
    },
    /// Note that somebody says that they forgot the password.
    AskForReset {
        /// The link that they are mailed.
        reset_id: ResetId,
        /// Until when it is good.
        expires_at: Timestamp,
    },
    /// Note that there is another password.
    ChangePassword {
        /// By a mailed link; else by whoever knew the old one.
        by_reset: bool,
    },
}
