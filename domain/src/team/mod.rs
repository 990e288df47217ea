//! Who belongs to a business: what they may do there, and whose calendar is theirs.

mod aggregate;
mod command;
mod error;
mod event;
#[cfg(test)]
mod tests;

pub use aggregate::{Place, Team};
pub use command::TeamCommand;
pub use error::TeamError;
pub use event::TeamEvent;
