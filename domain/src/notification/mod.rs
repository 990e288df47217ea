//! One message about an appointment or an account, from requested to its outcome.

mod account;
mod aggregate;
mod command;
mod error;
mod event;
mod kind;
mod plan;
#[cfg(test)]
mod tests;

pub use account::{AccountMail, AccountPlan};
pub use aggregate::{Notification, Outcome};
pub use command::NotificationCommand;
pub use error::NotificationError;
pub use event::NotificationEvent;
pub use kind::{Kind, Recipient};
pub use plan::{Channel, Plan, host_plan, notification_id, plans_for};
