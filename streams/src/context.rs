use std::fmt;

use domain::{ApiKeyId, BusinessId, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// Somebody who is signed in.
    User(UserId),
    /// A program, by a key of the business.
    Key(ApiKeyId),
    /// Somebody on the public page.
    Guest,
    /// One of our own roles, by its name.
    System(&'static str),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::Key(id) => id.fmt(f),
            Self::Guest => f.write_str("guest"),
            Self::System(name) => write!(f, "system:{name}"),
        }
    }
}

/// What caused a command: everything that follows from one request carries the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Ties together all that follows from one request.
    pub correlation_id: Uuid,
    /// The event that caused this, when one did.
    pub causation_id: Option<Uuid>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Origin {
    /// Something that nobody outside asked for.
    #[must_use]
    pub fn of_our_own() -> Self {
        Self { correlation_id: crate::clock::new_id(), causation_id: None, traceparent: None }
    }
}

/// What every event of one command is stamped with.
#[derive(Debug, Clone)]
pub struct CommandContext {
    /// The tenant, from the token or the directory, never from a body.
    pub business_id: BusinessId,
    /// Who asked.
    pub actor: Actor,
    /// The present, for all rules of this command alike.
    pub now: Timestamp,
    /// What caused it.
    pub origin: Origin,
}
