//! Booking a visit or asking for it, and ending it.

mod batch;
mod book;
mod by_guest;
mod decide;
mod end;
mod forward;
mod guest;
mod offer;
mod request;
mod reschedule;

pub(crate) use batch::BookTask;
pub use book::{BookAppointment, Booked, BookingRefused, Start};
pub use by_guest::{AcceptByGuest, CancelByGuest, GuestRefused};
pub use end::{EndAppointment, Ended, Ending, EndingRefused};
pub use guest::Guest;
pub use offer::{OfferRefused, OfferTime, OfferedTime};
pub use request::{AnswerRequest, RequestAnswer};
pub use reschedule::{MoveRefused, RescheduleAppointment};
