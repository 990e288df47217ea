use crate::FieldError;

/// Why a template was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageTemplateError {
    /// A part breaks a rule.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// Somebody changed it meanwhile.
    #[error("it was changed meanwhile: it is in version {current} now")]
    Stale {
        /// The version in force.
        current: u64,
    },
}
