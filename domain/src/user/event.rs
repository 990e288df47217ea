use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Role;
use crate::{BusinessId, ResetId, pure::event_types};

/// Stored for ever: add, never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum UserEvent {
    /// The account exists.
    Created {
        /// The first business they belong to.
        business_id: BusinessId,
        /// What they are there.
        role: Role,
    },
    /// Somebody says that they forgot the password, and is mailed a link.
    PasswordResetRequested {
        /// Which link.
        reset_id: ResetId,
        /// Until when it is good.
        expires_at: Timestamp,
    },
    /// There is another password.
    PasswordChanged {
        /// By a mailed link; else by whoever knew the old one.
        by_reset: bool,
    },
}

event_types!(UserEvent {
    Created => "auth.user.created.v1",
    PasswordResetRequested => "auth.user.password_reset_requested.v1",
    PasswordChanged => "auth.user.password_changed.v1",
});
