use std::{sync::Arc, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{
        Message,
        consumer::{AckPolicy, pull},
        context::PublishAckFuture,
    },
};
use domain::notification::Channel;
use futures::StreamExt;
use streams::{BoxError, broker::Broker, crash_point, topology};
use tokio_util::sync::CancellationToken;

use super::{Notifier, Offer, POINT};
use crate::work::Work;

const AT_ONCE: usize = 16;
/// How often businesses are forgotten that have not sent of late.
const FORGET: Duration = Duration::from_secs(60);
const BACK_OFF: Duration = Duration::from_millis(500);

/// Puts offers into the work queue; answers how many of them, from the first, the broker took.
pub(crate) async fn publish(broker: &Broker, offers: &[Work]) -> usize {
    if !broker.is_connected() {
        return 0;
    }
    let mut acks: Vec<PublishAckFuture> = Vec::with_capacity(offers.len());
    for work in offers {
        let mut headers = HeaderMap::new();
        // An offer made again is another message; the same one published twice is not.
        let id = format!("{}:{}:{}", work.notification_id, work.version, work.offers + 1);
        headers.insert("Nats-Msg-Id", id);
        let subject = format!("notify.{}.{}", work.channel, work.business_id);
        let payload = work.notification_id.to_string().into();
        match broker.jetstream().publish_with_headers(subject, headers, payload).await {
            Ok(ack) => acks.push(ack),
            Err(_) => break,
        }
    }
    let mut taken = 0;
    for ack in acks {
        if let Err(error) = ack.await {
            tracing::warn!(%error, "the work queue did not take an offer");
            break;
        }
        taken += 1;
    }
    taken
}

/// Takes offers from the work queue until stopped. Each channel has a consumer of its own: a provider that
/// stalls holds up nobody else's messages.
pub(crate) async fn run(broker: Broker, notifier: Arc<Notifier>, stop: CancellationToken) {
    let channels = Channel::ALL.map(|channel| take(channel, &broker, &notifier, &stop));
    let forgetting = async {
        while stop.run_until_cancelled(tokio::time::sleep(FORGET)).await.is_some() {
            notifier.forget();
        }
    };
    tokio::join!(futures::future::join_all(channels), forgetting);
    notifier.drain().await;
}

async fn take(
    channel: Channel,
    broker: &Broker,
    notifier: &Arc<Notifier>,
    stop: &CancellationToken,
) {
    while !stop.is_cancelled() {
        let worked = tokio::select! {
            () = stop.cancelled() => break,
            worked = work(channel, broker, notifier) => worked,
        };
        if let Err(error) = worked {
            tracing::debug!(%error, "the work queue is away");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(BACK_OFF) => {}
        }
    }
}

async fn work(channel: Channel, broker: &Broker, notifier: &Arc<Notifier>) -> Result<(), BoxError> {
    if !broker.is_connected() {
        return Ok(());
    }
    topology::ensure_streams(broker).await?;
    let stream = broker.jetstream().get_stream_no_info(topology::NOTIFY).await?;
    let name = format!("notify-{channel}");
    let config = pull::Config {
        durable_name: Some(name.clone()),
        filter_subject: format!("notify.{channel}.>"),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(90),
        max_deliver: -1,
        max_ack_pending: 1_000,
        ..pull::Config::default()
    };
    let consumer = stream.get_or_create_consumer(&name, config).await?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(AT_ONCE * 2)
        .expires(Duration::from_secs(5))
        .heartbeat(Duration::from_secs(1))
        .messages()
        .await?;
    let broken = messages
        .map(|message| async move {
            handle(notifier, message.map_err(BoxError::from)?).await;
            Ok::<(), BoxError>(())
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(|outcome| async move { outcome.err() });
    match std::pin::pin!(broken).next().await {
        Some(error) => Err(error),
        None => Err("the subscription ended".into()),
    }
}

/// From `notify.<channel>.<business>`, and the message's id in it.
fn offered(message: &Message) -> Option<Offer> {
    let mut parts = message.subject.split('.').skip(1);
    let channel = Channel::named(parts.next()?)?;
    let business_id = parts.next()?.parse().ok()?;
    let id = std::str::from_utf8(&message.payload).ok()?.parse().ok()?;
    Some(Offer { id, channel, business_id })
}

/// Acknowledged whatever came of it: the row, not the message, says what is still to be done.
async fn handle(notifier: &Arc<Notifier>, message: Message) {
    crash_point(POINT, "received").await;
    match offered(&message) {
        Some(offer) => {
            if let Err(error) = notifier.start(offer).await {
                tracing::error!(notification = %offer.id, %error, "a send failed");
            }
        }
        None => tracing::error!(subject = %message.subject, "odd message in the work queue"),
    }
    crash_point(POINT, "recorded").await;
    if let Err(error) = message.ack().await {
        tracing::debug!(%error, "not acknowledged");
    }
}
