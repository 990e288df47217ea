//! Appointments as lists show them.

mod changes;
mod detail;
mod guest;
mod merged;
mod projector;
mod query;

pub(crate) use changes::AgendaChanges;
pub use detail::{AppointmentDetail, Contact, HistoryEntry, Subject};
pub use guest::GuestView;
pub use projector::AgendaProjector;
pub use query::{Agenda, AgendaFilter, AgendaPage, AgendaRow, PageCursor};
