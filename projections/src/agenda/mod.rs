//! Appointments as lists show them.

mod changes;
mod detail;
mod guest;
mod merged;
mod projector;
mod query;
mod story;

pub(crate) use changes::AgendaChanges;
pub use detail::{AppointmentDetail, Contact, Subject};
pub use guest::GuestView;
pub use projector::AgendaProjector;
pub use query::{Agenda, AgendaFilter, AgendaPage, AgendaRow, PageCursor};
pub use story::HistoryEntry;
