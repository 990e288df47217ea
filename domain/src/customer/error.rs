use crate::CustomerId;

/// Why a customer was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustomerError {
    /// Somebody changed them meanwhile.
    #[error("it was changed meanwhile: it is in version {current} now")]
    Stale {
        /// The version in force.
        current: u64,
    },
    /// Another customer stands for them.
    #[error("the customer was merged into {into}")]
    Merged {
        /// Who that is.
        into: CustomerId,
    },
}
