use crate::FieldError;

/// Why a key was not made or revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// The id belongs to another key.
    #[error("the key exists already")]
    AlreadyThere,
    /// There is none.
    #[error("there is no such key")]
    NotFound,
    /// A field breaks a rule.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
}
