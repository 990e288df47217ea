use super::CustomerField;
use crate::{CustomerId, notification::Channel};

/// What can be asked of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomerCommand {
    /// Change what the business knows of them.
    ChangeDetails {
        /// Of which something is said.
        fields: Vec<CustomerField>,
        /// Refuses when they are no longer in this version; `None` takes any.
        expected: Option<u64>,
    },
    /// Remind them otherwise.
    Prefer {
        /// By these alone, of those that the business uses; `None` by whatever it uses.
        reminder_channels: Option<Vec<Channel>>,
    },
    /// Let another customer stand for them.
    Merge {
        /// Who that is.
        into: CustomerId,
    },
    /// Let them stand for another customer: the other half of [`Self::Merge`], always in the same
    /// unit, so that two who merge crosswise meet in both streams.
    Absorb {
        /// For whom.
        customer_id: CustomerId,
    },
}
