use super::Tier;

/// What can be asked of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionCommand {
    /// Begin, with the registration of the business.
    Activate {
        /// What is subscribed to.
        tier: Tier,
    },
}
