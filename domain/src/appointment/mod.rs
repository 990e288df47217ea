//! One visit, from booked to its end.

mod aggregate;
mod choice;
mod command;
mod error;
mod event;
mod subject;
mod summary;
#[cfg(test)]
mod tests;
mod visit;

pub use aggregate::{Appointment, Status};
pub use choice::{Candidate, StaffChoice};
pub use command::AppointmentCommand;
pub use error::AppointmentError;
pub use event::AppointmentEvent;
pub use subject::Subject;
pub use summary::{Doer, Teller};
pub use visit::{Held, InSeries, Part, Used, Visit};
