//! The connection to NATS. It may be away at any time: everything that uses it can wait or do without.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, ConnectOptions, Event, connection::State, jetstream};
use tokio::sync::{Notify, watch};

use crate::{BoxError, nudge::SUBJECT};

/// A client that reconnects for ever.
#[derive(Debug, Clone)]
pub struct Broker {
    client: Client,
    jetstream: jetstream::Context,
    connects: watch::Receiver<u64>,
    nudge: Arc<Notify>,
    replicas: usize,
}

impl Broker {
    /// Prepares the client; the server need not answer now. Several servers of one cluster are
    /// separated by commas: any of them will do.
    ///
    /// # Errors
    /// When an address does not parse.
    pub async fn connect(urls: &str) -> Result<Self, BoxError> {
        let urls: Vec<&str> = urls.split(',').map(str::trim).collect();
        let (count, connects) = watch::channel(0_u64);
        let client = ConnectOptions::new()
            .name("apptremind")
            .retry_on_initial_connect()
            .connection_timeout(Duration::from_secs(2))
            .request_timeout(Some(Duration::from_secs(5)))
            .ping_interval(Duration::from_secs(5))
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis(50 << attempts.min(5)).min(Duration::from_secs(1))
            })
            .event_callback(move |event| {
                if matches!(event, Event::Connected) {
                    count.send_modify(|n| *n += 1);
                    tracing::info!("connected to NATS");
                } else {
                    tracing::warn!(%event, "NATS");
                }
                async {}
            })
            .connect(urls)
            .await?;
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(Duration::from_secs(3))
            .ack_timeout(Duration::from_secs(3))
            .max_ack_inflight(4_096)
            .backpressure_on_inflight(true)
            .build(client.clone());
        let nudge = Arc::new(Notify::new());
        tokio::spawn(pass_nudges(Arc::downgrade(&nudge), client.clone()));
        Ok(Self { client, jetstream, connects, nudge, replicas: 1 })
    }

    /// On so many servers of the cluster each stream is kept.
    #[must_use]
    pub fn with_replicas(self, replicas: usize) -> Self {
        Self { replicas, ..self }
    }

    pub(crate) const fn replicas(&self) -> usize {
        self.replicas
    }

    /// Whether the server answers now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Streams, consumers and publishing.
    #[must_use]
    pub const fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Counts the connects, so that a reader can see that there was a new one.
    pub(crate) fn connects(&self) -> watch::Receiver<u64> {
        self.connects.clone()
    }

    pub(crate) fn nudge(&self) {
        self.nudge.notify_one();
    }
}

/// Many nudges at once become one message.
async fn pass_nudges(nudge: std::sync::Weak<Notify>, client: Client) {
    while let Some(nudge) = nudge.upgrade() {
        // Waits a second at most, so that the task ends with the last holder of the broker.
        let waited = tokio::time::timeout(Duration::from_secs(1), nudge.notified()).await;
        if waited.is_ok()
            && client.connection_state() == State::Connected
            && let Err(error) = client.publish(SUBJECT, "".into()).await
        {
            tracing::debug!(%error, "the nudge was not sent");
        }
    }
}
