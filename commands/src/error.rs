use streams::{BoxError, log::CommitError};

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError<E> {
    /// A rule said no. Safe to show.
    #[error("{0}")]
    Refused(E),
    /// The key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The request with this key is being worked on.
    #[error("the request with this idempotency key is in progress")]
    InProgress,
    /// Others changed it all the while. Safe to retry.
    #[error("too many others were at it")]
    Conflict,
    /// Postgres is away or full. Safe to retry with the same key.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// Our fault. Log it; do not show it.
    #[error("{0}")]
    Store(#[source] BoxError),
}

impl<E> CommandError<E> {
    pub(crate) fn store(error: BoxError) -> Self {
        if streams::log::is_unavailable(error.as_ref()) {
            Self::Unavailable(error)
        } else {
            Self::Store(error)
        }
    }
}

impl<E> From<CommitError> for CommandError<E> {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Store(error) => Self::store(error),
            CommitError::Conflict => Self::Conflict,
            CommitError::TimeReserved
            | CommitError::Repeat
            | CommitError::Limit { .. }
            | CommitError::Taken { .. } => Self::Store(error.into()),
        }
    }
}

/// One try of a command.
#[derive(Debug)]
pub(crate) enum Attempt<E> {
    /// A rule said no, on what was loaded.
    Refused(E),
    /// The log did not take it.
    Commit(CommitError),
}

impl<E> From<CommitError> for Attempt<E> {
    fn from(error: CommitError) -> Self {
        Self::Commit(error)
    }
}

/// Of a step that other commands take, too: what failed there fails here.
impl<E> From<CommandError<E>> for Attempt<E> {
    fn from(error: CommandError<E>) -> Self {
        match error {
            CommandError::Refused(refused) => Self::Refused(refused),
            CommandError::Conflict => Self::Commit(CommitError::Conflict),
            CommandError::KeyReused | CommandError::InProgress => {
                Self::Commit(CommitError::Store("a step of a command has no key".into()))
            }
            CommandError::Unavailable(error) | CommandError::Store(error) => {
                Self::Commit(CommitError::Store(error))
            }
        }
    }
}

impl<E> From<sqlx::Error> for Attempt<E> {
    fn from(error: sqlx::Error) -> Self {
        // Sorted: a unique index may be a rule, and a deadlock is worth another try.
        Self::Commit(error.into())
    }
}

impl<E> From<sqlx::Error> for CommandError<E> {
    fn from(error: sqlx::Error) -> Self {
        // Sorted: a deadlock is worth another try.
        CommitError::from(error).into()
    }
}
