use serde::{Deserialize, Serialize};

use super::Role;
use crate::{BusinessId, pure::event_types};

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
}

event_types!(UserEvent { Created => "auth.user.created.v1" });
