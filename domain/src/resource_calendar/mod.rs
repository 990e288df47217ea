//! What is used of one resource, one stream a week.

mod aggregate;
mod command;
mod error;
mod event;
#[cfg(test)]
mod tests;

pub use aggregate::{Holder, ResourceCalendar, Use, most_at_once, stream_id, touching};
pub use command::ResourceCalendarCommand;
pub use error::ResourceCalendarError;
pub use event::ResourceCalendarEvent;
