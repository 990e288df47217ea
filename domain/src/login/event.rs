use serde::{Deserialize, Serialize};

use crate::{UserId, pure::event_types};

/// Stored for ever: add, never change. From where somebody signs in is personal and kept outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LoginEvent {
    /// Somebody is signed in from now on.
    Opened {
        /// Who.
        user_id: UserId,
        /// How they proved it.
        means: Means,
    },
    /// Somebody tried to sign in to an account and could not.
    Refused {
        /// Whose account.
        user_id: UserId,
    },
    /// They are signed in no more.
    Ended {
        /// Why.
        reason: EndReason,
    },
}

/// By what somebody proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// Their password.
    Password,
    /// By making the account just now.
    Registration,
    /// By the link of an invitation.
    Invitation,
    /// By a session in another of their businesses.
    Session,
}

/// Why a session ended. One that merely expires ends without an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// They signed out.
    SignedOut,
    /// They ended it from another session of theirs.
    EndedByUser,
    /// A spent refresh token came back: somebody has a copy.
    TokenReused,
    /// The password was changed.
    PasswordChanged,
    /// They do not belong to the business any more.
    MemberLeft,
}

event_types!(LoginEvent {
    Opened => "auth.session.opened.v1",
    Refused => "auth.session.refused.v1",
    Ended => "auth.session.ended.v1",
});
