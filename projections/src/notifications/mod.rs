//! The evidence of every message: requested, due, each attempt, the outcome.

mod projector;
mod query;

pub use projector::NotificationsProjector;
pub use query::{NotificationRow, Notifications};
