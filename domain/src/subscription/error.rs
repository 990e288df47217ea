use super::Tier;

/// Why a subscription was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// There is another one.
    #[error("the business has a {tier} subscription")]
    Active {
        /// What is subscribed to now.
        tier: Tier,
    },
}
