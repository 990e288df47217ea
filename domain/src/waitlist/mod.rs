//! Guests who wait for a time to become free: one entry is one guest, one service and one range.

mod aggregate;
mod command;
mod error;
mod event;
#[cfg(test)]
mod tests;

pub use aggregate::{EntryStatus, Offer, WaitlistEntry, Wish};
pub use command::WaitlistCommand;
pub use error::WaitlistError;
pub use event::WaitlistEvent;
