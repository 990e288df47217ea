use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Scope;
use crate::pure::event_types;

/// Stored for ever: add, never change. The key itself is nowhere: only its hash is kept, outside the
/// events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ApiKeyEvent {
    /// The key is good from now on.
    Created {
        /// What the owner calls it.
        name: String,
        /// What may be done with it.
        scopes: BTreeSet<Scope>,
        /// Until when; for ever when missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    /// The key is good no more.
    Revoked {},
}

event_types!(ApiKeyEvent {
    Created => "auth.api_key.created.v1",
    Revoked => "auth.api_key.revoked.v1",
});
