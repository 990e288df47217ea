//! The event log: load streams, decide elsewhere, append all that follows in one statement.

mod append;
mod error;
mod group;
mod load;
mod recorded;
mod statement;
mod unit;

pub use append::{Log, Writing};
pub use error::{CommitError, is_unavailable};
pub use load::{Histories, Loaded};
pub(crate) use recorded::{COLUMNS, from_row};
pub use recorded::{Recorded, StreamKey, Unreadable};
pub use unit::{Contact, IdempotencyRow, NewCustomer, ReservedTime, UnitOfWork};
