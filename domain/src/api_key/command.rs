use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Scope;

/// What can be asked of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKeyCommand {
    /// Let it be good.
    Create {
        /// What the owner calls it.
        name: String,
        /// What may be done with it.
        scopes: BTreeSet<Scope>,
        /// Until when; for ever when `None`.
        expires_at: Option<Timestamp>,
        /// When this is asked.
        now: Timestamp,
    },
    /// Let it be good no more.
    Revoke,
}
