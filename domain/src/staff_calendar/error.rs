use crate::{AppointmentId, TimeOffId};

/// Why a calendar was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaffCalendarError {
    /// A visit, or the buffer of one, has this time.
    #[error("the time is taken")]
    Taken {
        /// By whom.
        by: AppointmentId,
    },
    /// The staff member is away.
    #[error("the staff member is away")]
    Away {
        /// The time off.
        during: TimeOffId,
    },
    /// Time off may not overlap other time off.
    #[error("it overlaps other time off")]
    TimeOffOverlaps {
        /// The time off that is there.
        with: TimeOffId,
    },
}
