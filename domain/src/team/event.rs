use serde::{Deserialize, Serialize};

use super::Place;
use crate::{UserId, pure::event_types};

/// Stored for ever: add, never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TeamEvent {
    /// They belong to the business from now on.
    Joined {
        /// Who.
        user_id: UserId,
        /// As what.
        place: Place,
    },
    /// They are something else there from now on.
    PlaceChanged {
        /// Who.
        user_id: UserId,
        /// As what.
        place: Place,
    },
    /// They belong to it no more.
    Left {
        /// Who.
        user_id: UserId,
    },
}

event_types!(TeamEvent {
    Joined => "auth.member.joined.v1",
    PlaceChanged => "auth.member.place_changed.v1",
    Left => "auth.member.left.v1",
});
