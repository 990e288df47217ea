//! The streams on the broker: created when missing, and again after a loss.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, Info, RetentionPolicy, StorageType};

use crate::{BoxError, broker::Broker};

/// Every event of the log: `ev.<partition>.<business>.<aggregate>.<event>`.
pub const EVENTS: &str = "EVENTS";
/// Messages that fell due: `notify.<channel>.<business>`. Each is worked on once.
pub const NOTIFY: &str = "NOTIFY";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Creates the streams that are missing and tells about [`EVENTS`].
///
/// # Errors
/// When the broker is away or refuses.
pub async fn ensure(broker: &Broker) -> Result<Info, BoxError> {
    let jetstream = broker.jetstream();
    jetstream
        .get_or_create_stream(Config {
            name: NOTIFY.to_owned(),
            subjects: vec!["notify.>".to_owned()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            max_age: DAY,
            duplicate_window: Duration::from_secs(120),
            ..Config::default()
        })
        .await?;
    let events = jetstream
        .get_or_create_stream(Config {
            name: EVENTS.to_owned(),
            subjects: vec!["ev.>".to_owned()],
            storage: StorageType::File,
            max_age: 7 * DAY,
            duplicate_window: Duration::from_secs(120),
            ..Config::default()
        })
        .await?;
    Ok(events.cached_info().clone())
}
