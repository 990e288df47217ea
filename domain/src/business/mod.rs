//! A business: its profile and policy, the services it offers, the people and things that they
//! need, and when all of it is closed.

mod aggregate;
mod branding;
mod closure;
mod command;
mod error;
mod event;
mod intake;
mod limits;
mod policy;
mod profile;
mod reminders;
mod resource;
mod service;
mod skills;
mod staff;
#[cfg(test)]
mod tests;

pub use aggregate::{Business, BusinessState, Versioned};
pub use branding::{Branding, BrandingChange};
pub use closure::{Closure, Closures};
pub use command::BusinessCommand;
pub use error::BusinessError;
pub use event::BusinessEvent;
pub use intake::{Answer, Answers, IntakeField, IntakeFields, IntakeKind};
pub use limits::Limits;
pub use policy::{BookingPolicy, BufferRule, PolicyChange, SlotGrid};
pub use profile::{Profile, ProfileChange};
pub use reminders::{QuietHours, ReminderPolicy, ServiceReminders, check_each_once};
pub(crate) use resource::same;
pub use resource::{Resource, ResourceChange, ResourceNeed, Resources};
pub(crate) use service::MAX_MINUTES;
pub use service::{Service, ServiceChange};
pub use skills::Skills;
pub use staff::{StaffChange, StaffMember};
