use super::Role;
use crate::BusinessId;

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
}
