//! The reserved time and the time off of one staff member, one stream a week.

mod aggregate;
mod class;
mod command;
mod error;
mod event;
#[cfg(test)]
mod tests;

pub use aggregate::{Busy, BusyKind, StaffCalendar, stream_id};
pub use class::Class;
pub use command::StaffCalendarCommand;
pub use error::StaffCalendarError;
pub use event::StaffCalendarEvent;
