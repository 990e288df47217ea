//! A key by which a program of the business calls the API.

mod aggregate;
mod command;
mod error;
mod event;
#[cfg(test)]
mod tests;

pub use aggregate::{ApiKey, Scope};
pub use command::ApiKeyCommand;
pub use error::ApiKeyError;
pub use event::ApiKeyEvent;
