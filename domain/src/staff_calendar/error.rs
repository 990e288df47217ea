use crate::{AppointmentId, SessionId, TimeOffId};

/// Why a calendar was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaffCalendarError {
    /// A visit, or the buffer of one, has this time.
    #[error("the time is taken")]
    Taken {
        /// By whom.
        by: AppointmentId,
    },
    /// A class meets then.
    #[error("a class has the time")]
    InClass {
        /// Which meeting.
        by: SessionId,
    },
    /// The class has fewer seats left than are wanted.
    #[error("{left} seats are left")]
    Full {
        /// So many.
        left: u32,
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
