use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{UserCommand, UserError, UserEvent};
use crate::{BusinessId, Decide, pure::pure_aggregate};

/// What somebody may do in a business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Owner,
    /// Everything but making and unmaking owners.
    Admin,
    /// What is on their own calendar, and what the business publishes.
    Staff,
}

impl Role {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Owner, Self::Admin, Self::Staff];

    /// The name in tokens, tables and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Staff => "staff",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No such role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be owner, admin or staff")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|r| r.as_str() == text).ok_or(UnknownRole)
    }
}

/// A person who signs in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum User {
    /// No account under this id.
    #[default]
    Unknown,
    /// Has an account.
    Created {
        /// The first business they belong to.
        business_id: BusinessId,
        /// What they are there.
        role: Role,
    },
}

pure_aggregate!(User, "user", UserCommand, UserEvent, UserError);

impl Decide for User {
    fn decide(&self, command: UserCommand) -> Result<Vec<UserEvent>, UserError> {
        match (self, command) {
            (Self::Unknown, UserCommand::Create { business_id, role }) => {
                Ok(vec![UserEvent::Created { business_id, role }])
            }
            (
                Self::Created { business_id: b, role: r },
                UserCommand::Create { business_id, role },
            ) if (*b, *r) == (business_id, role) => Ok(vec![]),
            (Self::Created { .. }, UserCommand::Create { .. }) => Err(UserError::AlreadyExists),
            (
                Self::Unknown,
                UserCommand::AskForReset { .. } | UserCommand::ChangePassword { .. },
            ) => Err(UserError::NotFound),
            (Self::Created { .. }, UserCommand::AskForReset { reset_id, expires_at }) => {
                Ok(vec![UserEvent::PasswordResetRequested { reset_id, expires_at }])
            }
            (Self::Created { .. }, UserCommand::ChangePassword { by_reset }) => {
                Ok(vec![UserEvent::PasswordChanged { by_reset }])
            }
        }
    }

    fn evolve(&mut self, event: Self::Event) {
        match event {
            UserEvent::Created { business_id, role } => *self = Self::Created { business_id, role },
            UserEvent::PasswordResetRequested { .. } | UserEvent::PasswordChanged { .. } => {}
        }
    }
}
