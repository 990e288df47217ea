use serde::{Deserialize, Serialize};

use crate::{CustomerId, notification::Channel, pure::event_types};

/// Stored for ever: add, never change. The stream of a customer whom nobody has changed is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CustomerEvent {
    /// The business knows something else of them now. What that is stands outside the events.
    DetailsChanged {
        /// Of which something was said.
        fields: Vec<CustomerField>,
    },
    /// They want to be reminded otherwise.
    PreferencesChanged {
        /// By these alone, of those that the business uses; `None` by whatever it uses, an empty list by none.
        #[serde(default)]
        reminder_channels: Option<Vec<Channel>>,
    },
    /// They turned out to be another customer, who stands for them from now on.
    Merged {
        /// Who that is.
        into: CustomerId,
    },
    /// They stand for another customer from now on.
    Absorbed {
        /// For whom.
        customer_id: CustomerId,
    },
}

/// Something that a business knows of a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum CustomerField {
    Name,
    Email,
    Phone,
    Notes,
}

event_types!(CustomerEvent {
    DetailsChanged => "customer.details_changed.v1",
    PreferencesChanged => "customer.preferences_changed.v1",
    Merged => "customer.merged.v1",
    Absorbed => "customer.absorbed.v1",
});
