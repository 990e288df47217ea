use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{UserId, pure::event_types, team::Place};

/// Stored for ever: add, never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum InvitationEvent {
    /// They are asked, by mail.
    Sent {
        /// To be what.
        place: Place,
        /// Until when the mailed link is good.
        expires_at: Timestamp,
    },
    /// They belong to the business now.
    Accepted {
        /// Who they are.
        user_id: UserId,
    },
    /// They are not asked any more.
    Withdrawn {},
}

event_types!(InvitationEvent {
    Sent => "auth.invitation.sent.v1",
    Accepted => "auth.invitation.accepted.v1",
    Withdrawn => "auth.invitation.withdrawn.v1",
});
