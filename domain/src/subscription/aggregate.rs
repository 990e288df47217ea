use std::fmt;

use serde::{Deserialize, Serialize};

use super::{SubscriptionCommand, SubscriptionError, SubscriptionEvent};
use crate::{Decide, pure::pure_aggregate};

/// A plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Costs nothing; the number of appointments a month is capped by a setting.
    Free,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "free",
        })
    }
}

/// The plan of one business.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Subscription {
    /// Not begun: nothing is included.
    #[default]
    Inactive,
    /// In force.
    Active {
        /// What is subscribed to.
        tier: Tier,
    },
}

pure_aggregate!(
    Subscription,
    "subscription",
    SubscriptionCommand,
    SubscriptionEvent,
    SubscriptionError
);

impl Subscription {
    /// How many appointments can be made in one UTC month, where `free_cap` is the setting for the
    /// free tier.
    #[must_use]
    pub const fn monthly_cap(&self, free_cap: u32) -> u32 {
        match self {
            Self::Inactive => 0,
            Self::Active { tier: Tier::Free } => free_cap,
        }
    }
}

impl Decide for Subscription {
    fn decide(
        &self,
        command: SubscriptionCommand,
    ) -> Result<Vec<SubscriptionEvent>, SubscriptionError> {
        let SubscriptionCommand::Activate { tier } = command;
        match self {
            Self::Inactive => Ok(vec![SubscriptionEvent::Activated { tier }]),
            Self::Active { tier: there } if *there == tier => Ok(vec![]),
            Self::Active { tier } => Err(SubscriptionError::Active { tier: *tier }),
        }
    }

    fn evolve(&mut self, event: Self::Event) {
        match event {
            SubscriptionEvent::Activated { tier } => *self = Self::Active { tier },
        }
    }
}
