//! Visits that were booked together by one rule, such as every Monday.

mod aggregate;
mod command;
mod error;
mod event;
#[cfg(test)]
mod tests;

pub use aggregate::{MOST, Scope, Series};
pub use command::SeriesCommand;
pub use error::SeriesError;
pub use event::SeriesEvent;
