//! The event log in Postgres and its fan-out on JetStream.
//!
//! Postgres is the only truth: [`log`] appends and loads, [`feed`] reads in order. JetStream is
//! fan-out that can be deleted: [`relay`] publishes the feed, [`consumer`] follows it, and what the
//! broker loses is read from Postgres again.

pub mod broker;
pub mod clock;
pub mod consumer;
mod context;
mod crash_point;
mod cursor;
mod database;
mod envelope;
pub mod feed;
pub mod leader;
pub mod log;
mod nudge;
pub mod peers;
pub mod relay;
mod silence;
pub mod topology;

pub use context::{Actor, CommandContext, Origin};
pub use crash_point::crash_point;
pub use cursor::{Cursor, CursorError};
pub use database::{Database, DatabaseError};
pub use nudge::Nudge;

/// An error of another library, kept whole for the log file.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
