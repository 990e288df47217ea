//! One visit, from booked to its end.

mod aggregate;
mod command;
mod error;
mod event;
#[cfg(test)]
mod tests;

pub use aggregate::{Appointment, Status, Visit};
pub use command::AppointmentCommand;
pub use error::AppointmentError;
pub use event::AppointmentEvent;
