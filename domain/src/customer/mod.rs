//! A guest as one business knows them. What is known of them is personal and kept outside the events; these
//! say only that it was changed, and who stands for whom.

mod aggregate;
mod command;
mod error;
mod event;
#[cfg(test)]
mod tests;

pub use aggregate::Customer;
pub use command::CustomerCommand;
pub use error::CustomerError;
pub use event::{CustomerEvent, CustomerField};
