use super::{Holder, Use};

/// What can be asked of one week of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceCalendarCommand {
    /// Use it.
    Take {
        /// For what.
        holder: Holder,
        /// How much, and when.
        used: Use,
        /// How much of it there is.
        capacity: u32,
    },
    /// Use it no longer.
    GiveBack {
        /// For what it was used.
        holder: Holder,
    },
}
