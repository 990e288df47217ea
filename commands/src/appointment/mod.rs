//! Booking a visit or asking for it, and ending it.

mod batch;
mod book;
mod by_guest;
mod decide;
mod end;
mod forward;
mod guest;
mod holding;
mod known;
mod offer;
mod recurrence;
mod request;
mod reschedule;
mod series;
mod together;

pub(crate) use batch::BookTask;
pub use book::{Also, BookAppointment, Booked, BookingRefused, OfSeries, Start};
pub use by_guest::{AcceptByGuest, CancelByGuest, GuestRefused};
pub use end::{EndAppointment, Ended, Ending, EndingRefused};
pub use guest::Guest;
pub use offer::{OfferRefused, OfferTime, OfferedTime};
pub use request::{AnswerRequest, RequestAnswer};
pub use reschedule::{MoveRefused, RescheduleAppointment};
pub use series::{BookSeries, Clash, SeriesBooked, SeriesRefused};
pub use together::{CancelTogether, TogetherRefused};
