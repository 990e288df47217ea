use super::Place;
use crate::{UserId, user::Role};

/// What can be asked of a team. The table of members says who belongs to it and what they are: that is looked
/// up and travels in the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TeamCommand {
    /// Let them belong to it.
    Join {
        /// Who.
        user_id: UserId,
        /// As what.
        place: Place,
    },
    /// Let them be something else there.
    ChangePlace {
        /// Who.
        user_id: UserId,
        /// What they are.
        from: Place,
        /// What they are to be.
        to: Place,
        /// What whoever asks is.
        by: Role,
        /// Who else owns the business.
        other_owners: usize,
    },
    /// Let them belong to it no more.
    Leave {
        /// Who.
        user_id: UserId,
        /// What they are.
        from: Place,
        /// What whoever asks is; `None` when they go by themselves.
        by: Option<Role>,
        /// Who else owns the business.
        other_owners: usize,
    },
}
