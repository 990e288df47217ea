use serde::{Deserialize, Serialize};

use super::{CustomerCommand, CustomerError, CustomerEvent};
use crate::{CustomerId, Decide, notification::Channel, pure::pure_aggregate};

/// A guest as one business knows them. Whether there is one is said by the table of customers: each
/// that is there can be changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    merged_into: Option<CustomerId>,
    #[serde(default)]
    reminder_channels: Option<Vec<Channel>>,
    sequence: u64,
}

pure_aggregate!(Customer, "customer", CustomerCommand, CustomerEvent, CustomerError);

impl Decide for Customer {
    fn decide(&self, command: CustomerCommand) -> Result<Vec<CustomerEvent>, CustomerError> {
        if let Some(into) = self.merged_into {
            return match command {
                CustomerCommand::Merge { into: wanted } if wanted == into => Ok(vec![]),
                CustomerCommand::Merge { .. }
                | CustomerCommand::Absorb { .. }
                | CustomerCommand::Prefer { .. }
                | CustomerCommand::ChangeDetails { .. } => Err(CustomerError::Merged { into }),
            };
        }
        Ok(vec![match command {
            CustomerCommand::ChangeDetails { fields, expected } => {
                if expected.is_some_and(|version| version != self.sequence) {
                    return Err(CustomerError::Stale { current: self.sequence });
                }
                if fields.is_empty() {
                    return Ok(vec![]);
                }
                CustomerEvent::DetailsChanged { fields }
            }
            CustomerCommand::Prefer { reminder_channels } => {
                let reminder_channels = reminder_channels.map(|wanted| each_once(&wanted));
                if self.reminder_channels == reminder_channels {
                    return Ok(vec![]);
                }
                CustomerEvent::PreferencesChanged { reminder_channels }
            }
            CustomerCommand::Merge { into } => CustomerEvent::Merged { into },
            CustomerCommand::Absorb { customer_id } => CustomerEvent::Absorbed { customer_id },
        }])
    }

    fn evolve(&mut self, event: CustomerEvent) {
        self.sequence += 1;
        match event {
            CustomerEvent::Merged { into } => self.merged_into = Some(into),
            CustomerEvent::PreferencesChanged { reminder_channels } => {
                self.reminder_channels = reminder_channels;
            }
            CustomerEvent::DetailsChanged { .. } | CustomerEvent::Absorbed { .. } => {}
        }
    }
}

impl Customer {
    /// By what they want to be reminded, of what the business uses; `None` by whatever it uses.
    #[must_use]
    pub fn reminder_channels(&self) -> Option<&[Channel]> {
        self.reminder_channels.as_deref()
    }
}

/// In one order, so that equal wishes are equal.
fn each_once(wanted: &[Channel]) -> Vec<Channel> {
    Channel::ALL.into_iter().filter(|channel| wanted.contains(channel)).collect()
}
