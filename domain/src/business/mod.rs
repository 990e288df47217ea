//! A business: its profile and policy, the services it offers, the people who work there, and when
//! all of it is closed.

mod aggregate;
mod branding;
mod closure;
mod command;
mod error;
mod event;
mod limits;
mod policy;
mod profile;
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
pub use limits::Limits;
pub use policy::{BookingPolicy, BufferRule, PolicyChange, SlotGrid};
pub use profile::{Profile, ProfileChange};
pub use service::{Service, ServiceChange};
pub use skills::Skills;
pub use staff::{StaffChange, StaffMember};
