//! Somebody who is asked to belong to a business. Their address is personal and kept outside the events.

mod aggregate;
mod command;
mod error;
mod event;
#[cfg(test)]
mod tests;

pub use aggregate::Invitation;
pub use command::InvitationCommand;
pub use error::InvitationError;
pub use event::InvitationEvent;
