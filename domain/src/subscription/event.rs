use serde::{Deserialize, Serialize};

use super::Tier;
use crate::pure::event_types;

/// Stored for ever: add, never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SubscriptionEvent {
    /// The business may use what the tier includes.
    Activated {
        /// What is subscribed to.
        tier: Tier,
    },
}

event_types!(SubscriptionEvent { Activated => "billing.subscription.activated.v1" });
