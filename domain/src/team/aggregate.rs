use serde::{Deserialize, Serialize};

use super::{TeamCommand, TeamError, TeamEvent};
use crate::{Decide, StaffId, pure::pure_aggregate, user::Role};

/// What somebody is in a business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What they may do.
    pub role: Role,
    /// Whose calendar is theirs. The role `staff` has one; others may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staff_id: Option<StaffId>,
}

impl Place {
    /// # Errors
    /// When somebody of the role `staff` has no calendar.
    pub const fn check(self) -> Result<(), TeamError> {
        match (self.role, self.staff_id) {
            (Role::Staff, None) => Err(TeamError::NoCalendar),
            (Role::Owner | Role::Admin, _) | (Role::Staff, Some(_)) => Ok(()),
        }
    }
}

/// Who belongs to a business. Who that is is in the table of members, which is read for each command after
/// this stream, and written with each of its events: whoever decides on a table that has changed since meets
/// the next event of the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    sequence: u64,
}

pure_aggregate!(Team, "team", TeamCommand, TeamEvent, TeamError);

/// Owners are made and unmade by owners, and there is always one.
fn owners_stay(
    from: Role,
    to: Option<Role>,
    by: Option<Role>,
    others: usize,
) -> Result<(), TeamError> {
    let touches = (from == Role::Owner) != (to == Some(Role::Owner));
    if touches && by.is_some_and(|by| by != Role::Owner) {
        return Err(TeamError::OwnersOnly);
    }
    if from == Role::Owner && to != Some(Role::Owner) && others == 0 {
        return Err(TeamError::LastOwner);
    }
    Ok(())
}

impl Decide for Team {
    fn decide(&self, command: TeamCommand) -> Result<Vec<TeamEvent>, TeamError> {
        match command {
            TeamCommand::Join { user_id, place } => {
                place.check()?;
                Ok(vec![TeamEvent::Joined { user_id, place }])
            }
            TeamCommand::ChangePlace { from, to, .. } if from == to => Ok(vec![]),
            TeamCommand::ChangePlace { user_id, from, to, by, other_owners } => {
                to.check()?;
                owners_stay(from.role, Some(to.role), Some(by), other_owners)?;
                Ok(vec![TeamEvent::PlaceChanged { user_id, place: to }])
            }
            TeamCommand::Leave { user_id, from, by, other_owners } => {
                owners_stay(from.role, None, by, other_owners)?;
                Ok(vec![TeamEvent::Left { user_id }])
            }
        }
    }

    fn evolve(&mut self, _: TeamEvent) {
        self.sequence += 1;
    }
}
