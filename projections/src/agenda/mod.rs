//! Appointments as lists show them.

mod detail;
mod projector;
mod query;

pub use detail::{AppointmentDetail, Contact, HistoryEntry};
pub use projector::AgendaProjector;
pub use query::{Agenda, AgendaFilter, AgendaPage, AgendaRow, PageCursor};
