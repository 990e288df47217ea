use serde::{Deserialize, Serialize};

use super::{InvitationCommand, InvitationError, InvitationEvent};
use crate::{
    Decide,
    pure::pure_aggregate,
    team::{Place, TeamError},
    user::Role,
};

/// One invitation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Invitation {
    /// Nobody was asked.
    #[default]
    Unknown,
    /// They may say yes.
    Open {
        /// To be what.
        place: Place,
    },
    /// They belong to the business.
    Accepted,
    /// They are not asked any more.
    Withdrawn,
}

pure_aggregate!(Invitation, "invitation", InvitationCommand, InvitationEvent, InvitationError);

impl Decide for Invitation {
    fn decide(&self, command: InvitationCommand) -> Result<Vec<InvitationEvent>, InvitationError> {
        match (self, command) {
            (Self::Unknown, InvitationCommand::Send { place, by, expires_at }) => {
                place.check()?;
                if place.role == Role::Owner && by != Role::Owner {
                    return Err(TeamError::OwnersOnly.into());
                }
                Ok(vec![InvitationEvent::Sent { place, expires_at }])
            }
            (Self::Open { .. }, InvitationCommand::Accept { user_id }) => {
                Ok(vec![InvitationEvent::Accepted { user_id }])
            }
            (Self::Open { .. }, InvitationCommand::Withdraw) => {
                Ok(vec![InvitationEvent::Withdrawn {}])
            }
            (Self::Withdrawn, InvitationCommand::Withdraw) => Ok(vec![]),
            (Self::Unknown, InvitationCommand::Accept { .. } | InvitationCommand::Withdraw) => {
                Err(InvitationError::NotFound)
            }
            (Self::Open { .. }, InvitationCommand::Send { .. })
            | (Self::Accepted | Self::Withdrawn, _) => Err(InvitationError::Spent),
        }
    }

    fn evolve(&mut self, event: InvitationEvent) {
        *self = match event {
            InvitationEvent::Sent { place, .. } => Self::Open { place },
            InvitationEvent::Accepted { .. } => Self::Accepted,
            InvitationEvent::Withdrawn {} => Self::Withdrawn,
        };
    }
}
