//! What a business pays us, and what it may use for that.

mod aggregate;
mod command;
mod error;
mod event;

pub use aggregate::{Subscription, Tier};
pub use command::SubscriptionCommand;
pub use error::SubscriptionError;
pub use event::SubscriptionEvent;
