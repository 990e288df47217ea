//! What providers of any channel answer, sorted.

use std::time::Duration;

use domain::notification::Receipt;

/// The provider did not take it.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// There is no point in trying again.
    pub(crate) permanent: bool,
    /// A code of ours, without personal data.
    pub(crate) reason: String,
    /// In the provider's words.
    pub(crate) answer: String,
    /// It is not about this message: the provider is not reached, or takes nothing from anybody.
    pub(crate) down: bool,
    /// Not before this, where the provider says so.
    pub(crate) not_before: Option<Duration>,
}

/// What became of the hand-over.
#[derive(Debug)]
pub(crate) enum HandOver {
    /// The provider has it.
    Accepted { answer: String, receipt: Receipt },
    /// The provider does not have it.
    Refused(Refusal),
    /// It went out, and nobody said whether it was taken.
    Unknown {
        reason: String,
        answer: String,
        /// Who takes it knows it by its id when it comes again, so it may.
        repeatable: bool,
    },
}
