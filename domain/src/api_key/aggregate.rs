use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{ApiKeyCommand, ApiKeyError, ApiKeyEvent};
use crate::{Decide, Fields, pure::pure_aggregate};

/// Something that may be done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Scope {
    BusinessRead,
    BusinessWrite,
    CalendarRead,
    CalendarWrite,
    AppointmentsRead,
    AppointmentsWrite,
    CustomersRead,
    CustomersWrite,
    AuditRead,
}

impl Scope {
    /// Each of them.
    pub const ALL: [Self; 9] = [
        Self::BusinessRead,
        Self::BusinessWrite,
        Self::CalendarRead,
        Self::CalendarWrite,
        Self::AppointmentsRead,
        Self::AppointmentsWrite,
        Self::CustomersRead,
        Self::CustomersWrite,
        Self::AuditRead,
    ];

    /// The name in tables and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BusinessRead => "business:read",
            Self::BusinessWrite => "business:write",
            Self::CalendarRead => "calendar:read",
            Self::CalendarWrite => "calendar:write",
            Self::AppointmentsRead => "appointments:read",
            Self::AppointmentsWrite => "appointments:write",
            Self::CustomersRead => "customers:read",
            Self::CustomersWrite => "customers:write",
            Self::AuditRead => "audit:read",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("must be one of {known}")
        })
    }
}

impl TryFrom<String> for Scope {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.as_str().to_owned()
    }
}

/// One key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiKey {
    /// There is none.
    #[default]
    Unknown,
    /// It is good.
    Active,
    /// It is good no more.
    Revoked,
}

pure_aggregate!(ApiKey, "api_key", ApiKeyCommand, ApiKeyEvent, ApiKeyError);

impl Decide for ApiKey {
    fn decide(&self, command: ApiKeyCommand) -> Result<Vec<ApiKeyEvent>, ApiKeyError> {
        match (self, command) {
            (Self::Unknown, ApiKeyCommand::Create { name, scopes, expires_at, now }) => {
                let mut fields = Fields::default();
                fields.line("name", &name, 80);
                fields.check(!scopes.is_empty(), "scopes", "must name at least one");
                let later = expires_at.is_none_or(|at| at > now);
                fields.check(later, "expires_at", "must be in the future");
                fields.done().map_err(ApiKeyError::Invalid)?;
                Ok(vec![ApiKeyEvent::Created { name, scopes, expires_at }])
            }
            (Self::Active | Self::Revoked, ApiKeyCommand::Create { .. }) => {
                Err(ApiKeyError::AlreadyThere)
            }
            (Self::Active, ApiKeyCommand::Revoke) => Ok(vec![ApiKeyEvent::Revoked {}]),
            (Self::Revoked, ApiKeyCommand::Revoke) => Ok(vec![]),
            (Self::Unknown, ApiKeyCommand::Revoke) => Err(ApiKeyError::NotFound),
        }
    }

    fn evolve(&mut self, event: ApiKeyEvent) {
        *self = match event {
            ApiKeyEvent::Created { .. } => Self::Active,
            ApiKeyEvent::Revoked {} => Self::Revoked,
        };
    }
}
