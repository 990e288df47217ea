//! One message about an appointment, an account or a week, from requested to its outcome.

mod account;
mod aggregate;
mod channel;
mod command;
mod error;
mod event;
mod kind;
mod plan;
#[cfg(test)]
mod tests;
mod weekly;

pub use account::{AccountMail, AccountPlan};
pub use aggregate::{Notification, Outcome};
pub use channel::Channel;
pub use command::NotificationCommand;
pub use error::NotificationError;
pub use event::{NotificationEvent, Receipt};
pub use kind::{Kind, Recipient};
pub use plan::{Plan, Reach, host_plan, notification_id, plans_for, reminders_for};
pub use weekly::{LocalWeek, NotAWeek};
