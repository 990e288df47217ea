//! The use cases: load, let the domain decide, append.
//!
//! Nothing here reads a read model to decide. Each command is decided on state loaded from the log
//! and committed with what it was decided on as its condition; whoever comes second decides again.

mod again;
pub mod appointment;
pub mod business;
pub mod customer;
pub mod directory;
mod email;
mod error;
pub mod idempotency;
pub mod identity;
mod mailbox;
pub mod message_template;
mod phone;
pub mod preferences;
mod quota;
mod staff_calendar;
mod staff_schedule;
mod url;
pub mod waitlist;

use std::sync::Arc;

pub use error::CommandError;
pub use quota::{Quota, UsedUp};
pub use staff_calendar::{AddTimeOff, TimeOffAdded, TimeOffRefused};
pub use staff_schedule::{HoursChanged, HoursRefused};
use streams::{Cursor, log::Log, peers::Peers};

/// What commands need to know that is not in the log.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Appointments that a business on the free tier can make in one UTC month.
    pub free_monthly_cap: u32,
}

/// Every use case. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Commands {
    log: Log,
    policy: Policy,
    mailboxes: mailbox::Mailboxes,
    directory: directory::Directory,
    running: Arc<idempotency::Running>,
    peers: Option<Peers>,
}

/// What a command did.
#[derive(Debug, Clone)]
pub struct Done<T> {
    /// The answer.
    pub value: T,
    /// Its place in the log; reads can wait for it.
    pub position: Cursor,
    /// Whether this is the stored answer to an earlier request with the same key.
    pub replayed: bool,
}

impl<T> Done<T> {
    pub(crate) const fn new(value: T, position: Cursor) -> Self {
        Self { value, position, replayed: false }
    }
}

impl Commands {
    /// Use cases over a log.
    #[must_use]
    pub fn new(log: Log, policy: Policy) -> Self {
        Self {
            log,
            policy,
            mailboxes: mailbox::Mailboxes::default(),
            directory: directory::Directory::default(),
            running: Arc::default(),
            peers: None,
        }
    }

    /// Leaves bookings to the process that owns their business.
    #[must_use]
    pub fn with_peers(self, peers: Peers) -> Self {
        Self { peers: Some(peers), ..self }
    }

    /// The log, for those who read streams.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }
}
