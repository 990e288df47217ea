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
    /// Reads everything; changes what is their own.
    Staff,
}

impl Role {
    /// The name in tokens, tables and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
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
#[error("must be owner or staff")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [Self::Owner, Self::Staff].into_iter().find(|r| r.as_str() == text).ok_or(UnknownRole)
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
        let UserCommand::Create { business_id, role } = command;
        match self {
            Self::Unknown => Ok(vec![UserEvent::Created { business_id, role }]),
            Self::Created { business_id: b, role: r } if (*b, *r) == (business_id, role) => {
                Ok(vec![])
            }
            Self::Created { .. } => Err(UserError::AlreadyExists),
        }
    }

    fn evolve(&mut self, event: Self::Event) {
        let UserEvent::Created { business_id, role } = event;
        *self = Self::Created { business_id, role };
    }
}
