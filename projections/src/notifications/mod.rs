//! The evidence of every message: requested, due, each attempt, the outcome.

mod changes;
mod daily;
mod projector;
mod query;

pub(crate) use changes::NotificationsChanges;
pub use daily::DayRow;
pub use projector::NotificationsProjector;
pub use query::{
    AttemptRow, Evidence, NotificationCursor, NotificationFilter, NotificationRow, Notifications,
};
