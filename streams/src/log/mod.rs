//! The event log: load streams, decide elsewhere, append all that follows in one statement.

mod append;
mod customers;
mod error;
mod fact;
mod group;
mod history;
mod load;
mod places;
mod recorded;
mod statement;
mod unit;

pub use append::{Log, Writing};
pub use customers::{GuestAddress, KnownCustomer};
pub use error::{CommitError, is_unavailable};
pub(crate) use fact::STORED;
pub use fact::{Fact, Stored};
pub use history::{Entry, as_of, event, stream};
pub use load::{Histories, Loaded};
pub use places::{PlaceKey, Standing, StandingVisit, TakenPlace};
pub(crate) use recorded::{COLUMNS, from_row};
pub use recorded::{Recorded, StreamKey, Unreadable};
pub use unit::{
    Contact, IdempotencyRow, NewCustomer, PendingRequest, ReservedResource, ReservedTime,
    UnitOfWork,
};
