//! Booking a visit, and ending it.

mod book;
mod decide;
mod end;
mod guest;

pub use book::{BookAppointment, Booked, BookingRefused, Start};
pub use end::{EndAppointment, Ended, Ending, EndingRefused};
pub use guest::Guest;
