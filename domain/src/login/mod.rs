//! One sign-in: the session that it opened and how that ended, or that it was refused.

mod aggregate;
mod command;
mod error;
mod event;
#[cfg(test)]
mod tests;

pub use aggregate::Login;
pub use command::LoginCommand;
pub use error::LoginError;
pub use event::{EndReason, LoginEvent, Means};
