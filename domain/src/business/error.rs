use crate::FieldError;

/// Why a business was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusinessError {
    /// This id is taken.
    #[error("the business is registered already")]
    AlreadyRegistered,
    /// Another business has the handle.
    #[error("the handle is taken")]
    HandleTaken,
    /// No such business, service, staff member, resource or closure, or not any more.
    #[error("not found")]
    NotFound,
    /// A field breaks a rule.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// Somebody changed the resource meanwhile.
    #[error("it was changed meanwhile: it is in version {current} now")]
    Stale {
        /// The version in force.
        current: u64,
    },
    /// A list of the business is full.
    #[error("a business has at most {limit} {what}")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// How many there can be.
        limit: usize,
    },
}
