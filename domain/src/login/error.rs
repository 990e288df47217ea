/// Why nothing came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The id belongs to another sign-in.
    #[error("the session exists already")]
    AlreadyThere,
    /// Nobody was let in under this id.
    #[error("there is no such session")]
    NotFound,
}
