//! The rules of `ApptRemind`, and nothing else: no clock, no I/O, no async work of its own.
//!
//! Each aggregate has a folder {`command`, `event`, `error`, `aggregate`, `tests`}. Time, new ids
//! and looked-up facts travel inside the commands; [`availability`] is the one function that says
//! which instants can be booked, for listing, booking and explaining alike.

pub mod api_key;
pub mod appointment;
pub mod availability;
pub mod business;
mod catalogue;
pub mod customer;
mod ids;
pub mod invitation;
mod locale;
pub mod login;
pub mod message_template;

mod money;
pub mod notification;
mod pure;
pub mod resource_calendar;
pub mod series;
mod slot;
pub mod staff_calendar;
pub mod staff_schedule;
pub mod subscription;
pub mod team;
mod text;
pub mod user;
pub mod waitlist;
mod week;
mod zone;

pub use catalogue::{EVENT_TYPES, is_upcast, upcast};
pub use cqrs_es::{Aggregate, DomainEvent};
pub use ids::{
    ApiKeyId, AppointmentId, BusinessId, ClosureId, CustomerId, IdError, InvitationId, LoginId,
    MessageTemplateId, NotificationId, ResetId, ResourceId, SeriesId, ServiceId, SessionId,
    StaffId, TimeOffId, UserId, WaitlistId,
};
pub use locale::{Locale, NotALocale};
pub use money::{Currency, CurrencyError, Money};
pub use pure::Decide;
pub use slot::{EmptySlot, TimeSlot};
pub use text::{FieldError, Fields};
pub use week::CalendarWeek;
pub use zone::{LocalTimeError, UnknownZone, Zone};
