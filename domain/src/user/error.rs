/// Why a user was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// The id belongs to another account.
    #[error("the user exists already")]
    AlreadyExists,
    /// There is no such account.
    #[error("there is no such user")]
    NotFound,
}
