use serde::{Deserialize, Serialize};

use super::{CustomerCommand, CustomerError, CustomerEvent};
use crate::{CustomerId, Decide, pure::pure_aggregate};

/// A guest as one business knows them. Whether there is one is said by the table of customers: each
/// that is there can be changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    merged_into: Option<CustomerId>,
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
            CustomerCommand::Merge { into } => CustomerEvent::Merged { into },
            CustomerCommand::Absorb { customer_id } => CustomerEvent::Absorbed { customer_id },
        }])
    }

    fn evolve(&mut self, event: CustomerEvent) {
        self.sequence += 1;
        match event {
            CustomerEvent::Merged { into } => self.merged_into = Some(into),
            CustomerEvent::DetailsChanged { .. } | CustomerEvent::Absorbed { .. } => {}
        }
    }
}
