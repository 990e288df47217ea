use streams::{BoxError, log::CommitError};

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The read model has not come so far within two seconds. Worth another try.
    #[error("the read model has not caught up yet")]
    Lagging,
    /// Postgres is away or full. Worth another try.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// Our fault.
    #[error("{0}")]
    Store(#[source] BoxError),
}

impl From<sqlx::Error> for ReadError {
    fn from(error: sqlx::Error) -> Self {
        Self::from(BoxError::from(error))
    }
}

impl From<BoxError> for ReadError {
    fn from(error: BoxError) -> Self {
        if streams::log::is_unavailable(error.as_ref()) {
            Self::Unavailable(error)
        } else {
            Self::Store(error)
        }
    }
}

impl From<serde_json::Error> for ReadError {
    fn from(error: serde_json::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<CommitError> for ReadError {
    fn from(error: CommitError) -> Self {
        if let CommitError::Store(error) = error { error.into() } else { Self::Store(error.into()) }
    }
}
