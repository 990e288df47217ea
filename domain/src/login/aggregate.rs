use serde::{Deserialize, Serialize};

use super::{LoginCommand, LoginError, LoginEvent};
use crate::{Decide, pure::pure_aggregate};

/// One sign-in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// Nobody tried under this id.
    #[default]
    Unknown,
    /// Somebody is signed in.
    Open,
    /// Nobody was let in.
    Refused,
    /// They are signed in no more.
    Ended,
}

pure_aggregate!(Login, "login", LoginCommand, LoginEvent, LoginError);

impl Decide for Login {
    fn decide(&self, command: LoginCommand) -> Result<Vec<LoginEvent>, LoginError> {
        match (self, command) {
            (Self::Unknown, LoginCommand::Open { user_id, means }) => {
                Ok(vec![LoginEvent::Opened { user_id, means }])
            }
            (Self::Unknown, LoginCommand::Refuse { user_id }) => {
                Ok(vec![LoginEvent::Refused { user_id }])
            }
            (Self::Open, LoginCommand::End { reason }) => Ok(vec![LoginEvent::Ended { reason }]),
            (Self::Ended, LoginCommand::End { .. }) => Ok(vec![]),
            (Self::Unknown | Self::Refused, LoginCommand::End { .. }) => Err(LoginError::NotFound),
            (
                Self::Open | Self::Refused | Self::Ended,
                LoginCommand::Open { .. } | LoginCommand::Refuse { .. },
            ) => Err(LoginError::AlreadyThere),
        }
    }

    fn evolve(&mut self, event: LoginEvent) {
        *self = match event {
            LoginEvent::Opened { .. } => Self::Open,
            LoginEvent::Refused { .. } => Self::Refused,
            LoginEvent::Ended { .. } => Self::Ended,
        };
    }
}
