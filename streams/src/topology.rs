//! The streams on the broker: created when missing, and again after a loss.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, Info, RetentionPolicy, StorageType};

use sqlx::PgConnection;

use crate::{BoxError, Cursor, broker::Broker, envelope, feed};

/// Every event of the log: `ev.<partition>.<business>.<aggregate>.<event>`.
pub const EVENTS: &str = "EVENTS";
/// Messages that fell due: `notify.<channel>.<business>`. Each is worked on once.
pub const NOTIFY: &str = "NOTIFY";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Creates the streams that are missing and tells about [`EVENTS`]. One that holds events which the
/// log does not have, as after Postgres was restored to an earlier moment, is made anew.
///
/// # Errors
/// When the broker or Postgres is away or refuses.
pub async fn ensure(broker: &Broker, connection: &mut PgConnection) -> Result<Info, BoxError> {
    let info = ensure_streams(broker).await?;
    let held = last_held(broker, &info).await?;
    // What is published was visible to readers, so it is never beyond their head.
    if held <= Some(feed::head(connection).await?) {
        return Ok(info);
    }
    tracing::error!(?held, "JetStream holds events that the log does not: making the stream anew");
    metrics::counter!("apptremind_stream_discarded_total").increment(1);
    broker.jetstream().delete_stream(EVENTS).await?;
    ensure_streams(broker).await
}

/// Creates the streams that are missing and tells about [`EVENTS`].
///
/// # Errors
/// When the broker is away or refuses.
pub async fn ensure_streams(broker: &Broker) -> Result<Info, BoxError> {
    let jetstream = broker.jetstream();
    jetstream
        .get_or_create_stream(Config {
            name: NOTIFY.to_owned(),
            subjects: vec!["notify.>".to_owned()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            max_age: DAY,
            duplicate_window: Duration::from_secs(120),
            num_replicas: broker.replicas(),
            ..Config::default()
        })
        .await?;
    let mut events = jetstream
        .get_or_create_stream(Config {
            name: EVENTS.to_owned(),
            subjects: vec!["ev.>".to_owned()],
            storage: StorageType::File,
            max_age: 7 * DAY,
            duplicate_window: Duration::from_secs(120),
            num_replicas: broker.replicas(),
            ..Config::default()
        })
        .await?;
    Ok(events.info().await?.clone())
}

/// Keeps the streams that are there on as many servers as this process is told; consumers follow
/// their stream. Says whether that is so now: a broker that has not enough servers yet goes on with
/// those it has.
pub(crate) async fn replicate(broker: &Broker) -> bool {
    let mut placed = true;
    for name in [NOTIFY, EVENTS] {
        if let Err(error) = replicate_stream(broker, name).await {
            tracing::warn!(%error, stream = name, "not kept on as many servers as wanted");
            placed = false;
        }
    }
    placed
}

async fn replicate_stream(broker: &Broker, name: &str) -> Result<(), BoxError> {
    let stream = broker.jetstream().get_stream(name).await?;
    let mut config = stream.cached_info().config.clone();
    if config.num_replicas != broker.replicas() {
        tracing::info!(
            stream = name,
            from = config.num_replicas,
            to = broker.replicas(),
            "placing"
        );
        config.num_replicas = broker.replicas();
        broker.jetstream().update_stream(&config).await?;
    }
    Ok(())
}

/// The cursor of the newest event that the stream holds; `None` when it holds none.
pub(crate) async fn last_held(broker: &Broker, info: &Info) -> Result<Option<Cursor>, BoxError> {
    if info.state.messages == 0 {
        return Ok(None);
    }
    let stream = broker.jetstream().get_stream_no_info(EVENTS).await?;
    let message = stream.get_raw_message(info.state.last_sequence).await?;
    Ok(envelope::cursor(&message.headers))
}
