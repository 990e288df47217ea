//! What slots are computed from: rules, hours, and what occupies the calendars.

mod projector;
mod query;
mod slots;

pub use projector::AvailabilityProjector;
pub use query::{Availability, StaffHours, TimeOffRow};
pub use slots::{OfferedSlot, SlotList, SlotQuery};
