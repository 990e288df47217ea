use std::{pin::Pin, time::Duration};

use async_nats::jetstream::{
    Message,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use futures::{Stream, StreamExt, stream::ReadyChunks};

use sqlx::PgConnection;

use crate::{BoxError, broker::Broker, topology};

type Chunks = ReadyChunks<Pin<Box<dyn Stream<Item = Result<Message, BoxError>> + Send>>>;

/// A subscription to the events on the broker, in batches of what is ready.
pub(super) struct Live {
    chunks: Chunks,
}

impl Live {
    /// Finds or makes the durable consumer. Everything in the stream is delivered; what the
    /// checkpoint has passed is skipped, so where the durable stands never matters.
    pub(super) async fn subscribe(
        broker: &Broker,
        connection: &mut PgConnection,
        name: &str,
        batch: usize,
    ) -> Result<Self, BoxError> {
        topology::ensure(broker, connection).await?;
        let stream = broker.jetstream().get_stream_no_info(topology::EVENTS).await?;
        let consumer = stream
            .get_or_create_consumer(
                name,
                pull::Config {
                    durable_name: Some(name.to_owned()),
                    deliver_policy: DeliverPolicy::All,
                    ack_policy: AckPolicy::All,
                    ack_wait: Duration::from_secs(30),
                    max_deliver: -1,
                    max_ack_pending: 10_000,
                    ..pull::Config::default()
                },
            )
            .await?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(batch)
            .expires(Duration::from_secs(5))
            .heartbeat(Duration::from_secs(1))
            .messages()
            .await?
            .map(|message| message.map_err(BoxError::from));
        let messages: Pin<Box<dyn Stream<Item = Result<Message, BoxError>> + Send>> =
            Box::pin(messages);
        Ok(Self { chunks: messages.ready_chunks(batch) })
    }

    /// What has arrived, or nothing after `patience`.
    pub(super) async fn next(&mut self, patience: Duration) -> Result<Vec<Message>, BoxError> {
        match tokio::time::timeout(patience, self.chunks.next()).await {
            Err(_elapsed) => Ok(vec![]),
            Ok(None) => Err("the subscription ended".into()),
            Ok(Some(messages)) => messages.into_iter().collect(),
        }
    }
}
