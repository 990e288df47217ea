//! Read models, one folder each: `projector` builds it from events, `query` answers from it.
//!
//! A projector sees nothing but events, so that a rebuilt model equals the live one. Names and
//! contacts are joined when reading.

pub mod agenda;
pub mod audit;
pub mod availability;
pub mod calendars;
mod changes;
pub mod customers;
pub mod doctor;
mod error;
pub mod explain;
mod gather;
pub mod history;
mod lanes;
pub mod notifications;
pub mod rebuild;
mod status;
pub mod templates;
pub mod time_zones;
mod wait;
pub mod waitlist;
pub mod weeks;

use streams::{
    Database,
    broker::Broker,
    consumer::{self, Projecting, Projector},
};
use tokio_util::sync::CancellationToken;

pub use error::ReadError;
pub use status::{ProjectionStatus, status};
pub use wait::Positions;

/// The consumers that keep the read models.
pub const CONSUMERS: [&str; 4] = [
    availability::AvailabilityProjector::NAME,
    agenda::AgendaProjector::NAME,
    notifications::NotificationsProjector::NAME,
    audit::AuditProjector::NAME,
];

/// Keeps every read model up to date until stopped.
pub async fn run(database: Database, broker: Broker, stop: CancellationToken) {
    tokio::join!(
        consumer::run(
            Projecting(availability::AvailabilityProjector),
            database.clone(),
            broker.clone(),
            stop.clone()
        ),
        consumer::run(
            Projecting(agenda::AgendaProjector),
            database.clone(),
            broker.clone(),
            stop.clone()
        ),
        consumer::run(
            Projecting(notifications::NotificationsProjector),
            database.clone(),
            broker.clone(),
            stop.clone()
        ),
        consumer::run(Projecting(audit::AuditProjector), database, broker, stop),
    );
}
