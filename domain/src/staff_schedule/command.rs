use super::Hours;

/// What can be asked of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StaffScheduleCommand {
    /// Put these hours in place of the present ones.
    SetHours {
        /// The new hours, whole.
        hours: Hours,
        /// Refuse when the schedule is no longer in this version; `None` takes any.
        expected: Option<u64>,
    },
}
