//! What slots are computed from: rules, hours, what occupies the calendars, and what limits count.
//!
//! `facts` reads all of it in one round trip and `slots` lists. `answers` keeps both, and asks the
//! `pulse` what has changed since.

mod answers;
mod busy;
mod change;
mod changes;
mod facts;
mod known;
mod micros;
mod place;
mod projector;
mod pulse;
mod query;
mod slots;

pub use answers::{Answer, Answers, Body};
pub(crate) use changes::AvailabilityChanges;
pub use place::Place;
pub use projector::AvailabilityProjector;
pub use query::{Availability, StaffHours, TimeOffRow};
pub use slots::{OfferedSlot, SlotList, SlotQuery, SlotSpan, SlotsError};
