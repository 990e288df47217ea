use super::MOST;

/// Why a series was not booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// It is booked already, with other visits.
    #[error("the series is booked already")]
    AlreadyBooked,
    /// One visit is no series, and nobody plans for ever.
    #[error("a series has 2 to {MOST} visits")]
    Length,
}
