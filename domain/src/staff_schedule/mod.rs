//! When a staff member works: weekly wall-clock windows and changes for single dates.

mod aggregate;
mod command;
mod error;
mod event;
mod hours;
#[cfg(test)]
mod tests;

pub use aggregate::StaffSchedule;
pub use command::StaffScheduleCommand;
pub use error::StaffScheduleError;
pub use event::StaffScheduleEvent;
pub use hours::{DayWindow, Hours, WallMinute, WallMinuteError, Window};
