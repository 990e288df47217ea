//! What slots are computed from: rules, hours, and what occupies the calendars.

mod busy;
mod changes;
mod projector;
mod query;
mod slots;

pub(crate) use changes::AvailabilityChanges;
pub use projector::AvailabilityProjector;
pub use query::{Availability, StaffHours, TimeOffRow};
pub use slots::{OfferedSlot, SlotList, SlotQuery};
