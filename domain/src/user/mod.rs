//! A person who signs in. Their e-mail address and password are kept outside the events.

mod aggregate;
mod command;
mod error;
mod event;

pub use aggregate::{Role, UnknownRole, User};
pub use command::UserCommand;
pub use error::UserError;
pub use event::UserEvent;
