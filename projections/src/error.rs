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

impl ReadError {
    /// The same, for each of those who waited for one answer.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Lagging => Self::Lagging,
            Self::Unavailable(error) => Self::Unavailable(error.to_string().into()),
            Self::Store(error) => Self::Store(error.to_string().into()),
        }
    }

    /// Postgres did not answer in time.
    pub(crate) fn silent() -> Self {
        Self::Unavailable("no answer in time".into())
    }

    /// More wait than we can hold.
    pub(crate) fn busy() -> Self {
        Self::Unavailable("too many wait for an answer".into())
    }
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
