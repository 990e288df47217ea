use crate::FieldError;

/// Why a schedule was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaffScheduleError {
    /// A window breaks a rule.
    #[error("the working hours are not valid")]
    Invalid(Vec<FieldError>),
    /// Somebody changed the hours meanwhile.
    #[error("the hours were changed meanwhile: they are in version {current} now")]
    Stale {
        /// The version in force.
        current: u64,
    },
}
