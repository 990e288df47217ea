use streams::{Cursor, consumer::Failure};

/// Why a read model was not rebuilt. The live one is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Somebody else is at it.
    #[error("another rebuild of {model} is running; the live model is untouched")]
    Running {
        /// Of what.
        model: &'static str,
    },
    /// An event that this build cannot apply.
    #[error(
        "event {event_id} ({event_type}, position {position}) cannot be applied: {reason}; the live \
         model is untouched"
    )]
    Event {
        /// Which.
        event_id: uuid::Uuid,
        /// Of what type.
        event_type: String,
        /// Its place in the feed.
        position: Cursor,
        /// Why.
        reason: String,
    },
    /// The live tables are not those that this build knows.
    #[error("{0}; the live model is untouched")]
    Unfit(String),
    /// Somebody set the checkpoint back.
    #[error(
        "the checkpoint of {consumer} was set back to {now} while the model was rebuilt up to \
         {built}: run it again"
    )]
    SetBack {
        /// Whose.
        consumer: &'static str,
        /// Where it stands.
        now: Cursor,
        /// How far the new tables are.
        built: Cursor,
    },
    /// Readers were so many or so slow that the tables could not be had for a moment.
    #[error("the live tables were never free for the swap, in {tries} tries: run it again")]
    NeverFree {
        /// How often it was tried.
        tries: u32,
    },
    /// Postgres failed.
    #[error("Postgres: {0}")]
    Postgres(#[from] sqlx::Error),
    /// Writing failed for another reason than the event.
    #[error("{0}")]
    Write(#[source] streams::BoxError),
}

impl From<Failure> for RebuildError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Transient(error) | Failure::Poison(error) | Failure::Unreadable(error) => {
                Self::Write(error)
            }
        }
    }
}
