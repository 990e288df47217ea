//! An event as a message: `CloudEvents` 1.0 attributes in the headers, the payload as data.

use async_nats::{HeaderMap, jetstream::Message};
use domain::BusinessId;
use uuid::Uuid;

use crate::{
    BoxError, Cursor,
    log::{Recorded, StreamKey},
};

/// A business and all its events belong to one partition, so that order is kept within it.
const PARTITIONS: u128 = 16;

const CURSOR: &str = "ar-cursor";
const PREVIOUS: &str = "ar-previous";

pub(crate) fn subject(event: &Recorded) -> String {
    // The end of the id is random, so it spreads evenly.
    let partition = event.business_id.uuid().as_u128() % PARTITIONS;
    let kind = event.event_type.replace('.', "-");
    format!("ev.{partition:02}.{}.{}.{kind}", event.business_id, event.stream.kind)
}

pub(crate) fn headers(event: &Recorded, previous: Cursor) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", event.event_id.to_string());
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", event.event_id.to_string());
    headers.insert("ce-source", "apptremind");
    headers.insert("ce-type", event.event_type.as_str());
    headers.insert("ce-time", event.occurred_at.to_string());
    headers.insert("ce-datacontenttype", "application/json");
    headers.insert(CURSOR, event.cursor.to_string());
    headers.insert(PREVIOUS, previous.to_string());
    headers.insert("ar-business", event.business_id.to_string());
    headers.insert("ar-aggregate", event.stream.kind.as_str());
    headers.insert("ar-stream", event.stream.id.as_str());
    headers.insert("ar-sequence", event.sequence.to_string());
    headers.insert("ar-version", event.event_version.as_str());
    headers.insert("ar-actor", event.actor.as_str());
    headers.insert("ar-correlation", event.correlation_id.to_string());
    if let Some(causation_id) = event.causation_id {
        headers.insert("ar-causation", causation_id.to_string());
    }
    if let Some(traceparent) = &event.traceparent {
        headers.insert("traceparent", traceparent.as_str());
    }
    headers
}

/// An event and the one before it in the feed.
pub(crate) struct Received {
    pub(crate) event: Recorded,
    pub(crate) previous: Cursor,
}

pub(crate) fn parse(message: &Message) -> Result<Received, BoxError> {
    let headers = message.headers.as_ref().ok_or("a message without headers")?;
    let optional = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
    let text =
        |name: &'static str| optional(name).ok_or_else(|| format!("header {name} is missing"));
    let event = Recorded {
        cursor: text(CURSOR)?.parse()?,
        event_id: text("ce-id")?.parse()?,
        business_id: text("ar-business")?.parse::<BusinessId>()?,
        stream: StreamKey {
            kind: text("ar-aggregate")?.to_owned(),
            id: text("ar-stream")?.to_owned(),
        },
        sequence: text("ar-sequence")?.parse()?,
        event_type: text("ce-type")?.to_owned(),
        event_version: text("ar-version")?.to_owned(),
        payload: serde_json::from_slice(&message.payload)?,
        actor: text("ar-actor")?.to_owned(),
        correlation_id: text("ar-correlation")?.parse()?,
        causation_id: optional("ar-causation").map(str::parse::<Uuid>).transpose()?,
        traceparent: optional("traceparent").map(str::to_owned),
        occurred_at: text("ce-time")?.parse()?,
    };
    Ok(Received { event, previous: text(PREVIOUS)?.parse()? })
}

/// The cursor of a stored message.
pub(crate) fn cursor(headers: &HeaderMap) -> Option<Cursor> {
    headers.get(CURSOR)?.as_str().parse().ok()
}
