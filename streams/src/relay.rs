//! Hands every event of the log to `JetStream`, in order.
//!
//! The cursor moves only over what the broker acknowledged, so an event may be published twice (the
//! message id and the consumers' checkpoints see to it) but never skipped.

use std::time::Duration;

use async_nats::jetstream::context::PublishAckFuture;
use futures::StreamExt;
use sqlx::{PgConnection, Row};
use tokio_util::sync::CancellationToken;

use crate::{
    BoxError, Cursor, Database, Nudge, broker::Broker, crash_point, envelope, feed, leader,
    log::Recorded, nudge::SUBJECT, topology,
};

const JOB: &str = "relay";
const BATCH: i64 = 1_000;
/// As for consumers: under load the next batch is let grow.
const GROWING: std::ops::Range<usize> = 4..100;
const GROW: Duration = Duration::from_millis(5);
/// A lost nudge costs this much.
const POLL: Duration = Duration::from_millis(250);
/// How often an idle relay looks whether the stream is still the one it wrote to.
const LOOK: Duration = Duration::from_secs(2);
/// How often it tries to keep the streams on as many servers as wanted.
const PLACE: Duration = Duration::from_secs(10);
const BACK_OFF: Duration = Duration::from_millis(500);

/// Runs until stopped; one process at a time does the work.
pub async fn run(database: Database, broker: Broker, nudge: Nudge, stop: CancellationToken) {
    let work = || async {
        let relayed = relay(&database, &broker, &nudge, &stop).await;
        relayed.inspect_err(|_| metrics::counter!("apptremind_relay_restarts_total").increment(1))
    };
    leader::until_stopped(JOB, BACK_OFF, &stop, work).await;
}

async fn relay(
    database: &Database,
    broker: &Broker,
    nudge: &Nudge,
    stop: &CancellationToken,
) -> Result<(), BoxError> {
    let Some(mut connection) = leader::lead(database, JOB, stop).await? else { return Ok(()) };
    // A cursor that a failing server forgets publishes its events again, which consumers skip.
    sqlx::query("SET synchronous_commit = off").execute(&mut connection).await?;
    let mut elsewhere = broker.client().subscribe(SUBJECT).await?;
    let mut connects = broker.connects();
    let mut stored = None;
    let (mut placed, mut place_at) = (false, tokio::time::Instant::now());
    loop {
        connects.mark_unchanged();
        let mut cursor = reconcile(&mut connection, broker, &mut stored).await?;
        tracing::debug!(%cursor, "relaying");
        let mut looked = tokio::time::Instant::now();
        let mut ahead = None;
        if !placed && place_at <= looked {
            placed = topology::replicate(broker).await;
            place_at = looked + PLACE;
        }
        while !connects.has_changed()?
            && looked.elapsed() < LOOK
            && (placed || tokio::time::Instant::now() < place_at)
        {
            let batch = match ahead.take() {
                Some(batch) => batch,
                None => feed::after(&mut connection, cursor, BATCH).await?,
            };
            if batch.is_empty() {
                tokio::select! {
                    () = nudge.received() => {}
                    _ = elsewhere.next() => {}
                    () = tokio::time::sleep(POLL) => {}
                }
                continue;
            }
            crash_point(JOB, "read").await;
            let sent = send(broker, cursor, &batch).await;
            let acknowledged = acknowledged(sent);
            let more = i64::try_from(batch.len()) == Ok(BATCH);
            let published = match batch.last().filter(|_| more) {
                // What comes next is read while the broker stores these.
                Some(last) => {
                    let next = feed::after(&mut connection, last.cursor, BATCH);
                    let (published, next) = tokio::join!(acknowledged, next);
                    ahead = Some(next?);
                    published
                }
                None => acknowledged.await,
            };
            if let Some(last) = published.acknowledged {
                cursor = last;
                stored = stored.max(published.stored);
                crash_point(JOB, "published").await;
                save(&mut connection, cursor).await?;
                crash_point(JOB, "saved").await;
                looked = tokio::time::Instant::now();
            }
            if let Some(error) = published.error {
                return Err(error);
            }
            if GROWING.contains(&batch.len()) {
                tokio::time::sleep(GROW).await;
            }
        }
    }
}

/// What is on its way to the broker.
#[derive(Default)]
struct Sent {
    acks: Vec<(Cursor, PublishAckFuture)>,
    error: Option<BoxError>,
}

/// What the broker has.
#[derive(Default)]
struct Published {
    /// The last event of the contiguous acknowledged prefix.
    acknowledged: Option<Cursor>,
    /// The highest number in the stream that an acknowledgement named.
    stored: Option<u64>,
    error: Option<BoxError>,
}

/// Publishes pipelined: one by one is eight times slower.
async fn send(broker: &Broker, after: Cursor, batch: &[Recorded]) -> Sent {
    let mut sent = Sent::default();
    if !broker.is_connected() {
        sent.error = Some("NATS is away".into());
        return sent;
    }
    sent.acks.reserve(batch.len());
    let mut previous = after;
    for event in batch {
        let headers = envelope::headers(event, previous);
        let payload = event.payload.to_string().into();
        let subject = envelope::subject(event);
        match broker.jetstream().publish_with_headers(subject, headers, payload).await {
            Ok(ack) => sent.acks.push((event.cursor, ack)),
            Err(error) => {
                sent.error = Some(error.into());
                break;
            }
        }
        previous = event.cursor;
    }
    sent
}

async fn acknowledged(sent: Sent) -> Published {
    let mut published = Published { error: sent.error, ..Published::default() };
    let mut count = 0;
    for (cursor, ack) in sent.acks {
        match ack.await {
            Ok(ack) => {
                count += 1;
                published.acknowledged = Some(cursor);
                published.stored = published.stored.max(Some(ack.sequence));
            }
            Err(error) => {
                published.error = Some(error.into());
                break;
            }
        }
    }
    metrics::counter!("apptremind_relay_published_total").increment(count);
    published
}

async fn save(connection: &mut PgConnection, cursor: Cursor) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE relay_cursor SET transaction_id = $1::text::xid8, position = $2")
        .bind(cursor.xid())
        .bind(cursor.position)
        .execute(connection)
        .await?;
    Ok(())
}

/// Compares the cursor with what the stream really holds, and steps back behind what it lost: to
/// the last event it has, or to the lowest checkpoint of a consumer when it is a new one. A stream
/// that reaches as far as our acknowledgements lost nothing, even if its last event is not the
/// newest: what was published again lies behind newer events.
async fn reconcile(
    connection: &mut PgConnection,
    broker: &Broker,
    stored: &mut Option<u64>,
) -> Result<Cursor, BoxError> {
    let info = topology::ensure(broker, connection).await?;
    let created = info.created.to_string();
    let row = sqlx::query(
        "SELECT transaction_id::text::bigint AS transaction_id, position, stream_created
           FROM relay_cursor",
    )
    .fetch_one(&mut *connection)
    .await?;
    let saved = Cursor::new(row.try_get("transaction_id")?, row.try_get("position")?);
    let known: Option<String> = row.try_get("stream_created")?;
    let same = known.as_deref() == Some(created.as_str());
    let held = if same { topology::last_held(broker, &info).await? } else { None };
    if !same {
        *stored = None;
    }
    let whole = stored.is_some_and(|stored| stored <= info.state.last_sequence);
    let cursor = match held {
        _ if whole => saved,
        Some(last) => saved.min(last),
        // All that it held has aged away.
        None if same && info.state.last_sequence > 0 => saved,
        None => saved.min(lowest_checkpoint(connection).await?),
    };
    if cursor != saved {
        *stored = None;
    }
    if cursor != saved || !same {
        if known.is_some() {
            tracing::warn!(%saved, %cursor, "JetStream lost events: publishing them again");
            metrics::counter!("apptremind_relay_rewinds_total").increment(1);
        }
        sqlx::query(
            "UPDATE relay_cursor
                SET transaction_id = $1::text::xid8, position = $2, stream_created = $3",
        )
        .bind(cursor.xid())
        .bind(cursor.position)
        .bind(created)
        .execute(connection)
        .await?;
    }
    Ok(cursor)
}

async fn lowest_checkpoint(connection: &mut PgConnection) -> Result<Cursor, sqlx::Error> {
    let row = sqlx::query(
        "SELECT transaction_id::text::bigint AS transaction_id, position
           FROM consumer_checkpoint ORDER BY transaction_id, position LIMIT 1",
    )
    .fetch_optional(connection)
    .await?;
    // `xid8` sorts as a number, so the first row is the lowest pair.
    row.map_or(Ok(Cursor::START), |row| {
        Ok(Cursor::new(row.try_get("transaction_id")?, row.try_get("position")?))
    })
}
