//! Messages that are planned and called off, and their rows.

use std::collections::HashMap;

use domain::{
    Aggregate, BusinessId, Decide,
    notification::{Notification, NotificationCommand, NotificationEvent, Plan, notification_id},
};
use jiff_sqlx::ToSqlx;
use serde_json::Value;
use sqlx::PgConnection;
use streams::{
    Origin,
    consumer::Failure,
    log::{CommitError, Recorded, StreamKey},
};
use uuid::Uuid;

use crate::work::{self, Append, Work};

/// A message to be planned, and perhaps called off by a later event of the same batch.
pub(crate) struct Planned {
    pub(crate) business_id: BusinessId,
    pub(crate) origin: Origin,
    pub(crate) plan: Plan,
    pub(crate) events: Vec<NotificationEvent>,
    /// What its stream says already, when only its row is missing.
    pub(crate) there: Option<There>,
}

impl Planned {
    /// What has ended already, such as a skipped reminder, stays as it is.
    pub(super) fn call_off(&mut self) {
        let mut notification = Notification::default();
        for event in &self.events {
            notification.apply(event.clone());
        }
        self.events.extend(
            notification.decide(NotificationCommand::Cancel { reason: None }).unwrap_or_default(),
        );
    }
}

/// The end of a stream whose row is missing.
pub(crate) struct There {
    sequence: u64,
    state: &'static str,
}

/// A message that was planned and is of no use any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CalledOff<'a> {
    pub(crate) work: &'a Work,
    /// A code of ours, where it is not the visit that changed.
    pub(crate) reason: Option<&'static str>,
}

/// What is being sent now is stopped by the sender itself, which looks at the appointment.
pub(crate) fn can_stop(work: &Work) -> bool {
    matches!(work.state.as_str(), "pending" | "offered")
}

/// `needless` says why nobody needs it.
pub(crate) fn plan_one(
    event: &Recorded,
    plan: Plan,
    needless: Option<&'static str>,
) -> Result<Planned, Failure> {
    let command = match needless {
        Some(reason) => NotificationCommand::Skip { plan: plan.clone(), reason: reason.to_owned() },
        None => NotificationCommand::Request { plan: plan.clone(), now: event.occurred_at },
    };
    let events = Notification::default().decide(command).map_err(poison)?;
    let (business_id, origin) = (event.business_id, event.origin());
    Ok(Planned { business_id, origin, plan, events, there: None })
}

pub(crate) async fn known(
    connection: &mut PgConnection,
    appointments: &[Uuid],
) -> Result<HashMap<Uuid, Work>, Failure> {
    let sql = format!("SELECT {} FROM notification WHERE appointment_id = ANY($1)", work::COLUMNS);
    let rows = sqlx::query(&sql).bind(appointments).fetch_all(connection).await?;
    let mut known = HashMap::with_capacity(rows.len());
    for row in &rows {
        let work = work::from_row(row)?;
        known.insert(work.notification_id.uuid(), work);
    }
    Ok(known)
}

/// A message whose stream has begun and whose row is gone, as after a repair, gets the row that the
/// stream asks for; what it would be planned with has happened.
pub(crate) async fn complete(
    connection: &mut PgConnection,
    planned: &mut [Planned],
) -> Result<(), Failure> {
    let ids = || planned.iter().map(|planned| notification_id(&planned.plan));
    // Streams without a row in one look at both: who plans the same at this moment writes both at once, and is
    // met at the first event.
    let rows: Vec<(String, i64, String, String, Value)> = sqlx::query_as(
        "SELECT DISTINCT ON (e.aggregate_id)
                e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload
           FROM unnest($1::text[], $2::uuid[]) AS planned (stream, id)
           JOIN events e ON e.aggregate_type = 'notification' AND e.aggregate_id = planned.stream
          WHERE NOT EXISTS (SELECT FROM notification n WHERE n.notification_id = planned.id)
          ORDER BY e.aggregate_id, e.sequence DESC",
    )
    .bind(ids().map(|id| id.to_string()).collect::<Vec<_>>())
    .bind(ids().map(|id| id.uuid()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    for (stream, sequence, kind, version, payload) in rows {
        let last: NotificationEvent =
            serde_json::from_value(domain::upcast(&kind, &version, payload)).map_err(poison)?;
        let own = planned.iter_mut().find(|p| notification_id(&p.plan).to_string() == stream);
        let Some(own) = own else { continue };
        tracing::warn!(notification = stream, "a message had lost its row");
        let state = match work::state_after(&last) {
            // Whoever held the offer held it in the row.
            "offered" => "pending",
            state => state,
        };
        own.events.clear();
        own.there = Some(There { sequence: sequence.unsigned_abs(), state });
    }
    Ok(())
}

/// Leaves out messages whose row and stream disagree, which `doctor` shows: their sender finds out by
/// itself that the visit does not stand, and the others need not wait.
pub(crate) async fn agreeing(
    connection: &mut PgConnection,
    called_off: &mut Vec<CalledOff<'_>>,
) -> Result<(), Failure> {
    if called_off.is_empty() {
        return Ok(());
    }
    let streams: Vec<String> =
        called_off.iter().map(|off| off.work.notification_id.to_string()).collect();
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT aggregate_id, max(sequence) FROM events
          WHERE aggregate_type = 'notification' AND aggregate_id = ANY($1) GROUP BY aggregate_id",
    )
    .bind(streams)
    .fetch_all(connection)
    .await?;
    let last: HashMap<String, u64> =
        rows.into_iter().map(|(id, sequence)| (id, sequence.unsigned_abs())).collect();
    called_off.retain(|CalledOff { work, .. }| {
        let agree = last.get(&work.notification_id.to_string()) == Some(&work.sequence);
        if !agree {
            tracing::warn!(notification = %work.notification_id, "row and stream of a message disagree");
            metrics::counter!("apptremind_notification_conflicts_total").increment(1);
        }
        agree
    });
    Ok(())
}

pub(crate) async fn write(
    connection: &mut PgConnection,
    planned: &[Planned],
    called_off: &[CalledOff<'_>],
) -> Result<(), Failure> {
    let new = planned.iter().map(|p| Append {
        business_id: p.business_id,
        origin: p.origin.clone(),
        stream: StreamKey::of::<Notification>(notification_id(&p.plan)),
        sequence: 0,
        events: p.events.clone(),
    });
    let mut ended = Vec::with_capacity(called_off.len());
    for CalledOff { work, reason } in called_off {
        let cancel = NotificationCommand::Cancel { reason: reason.map(str::to_owned) };
        let events = work.notification().decide(cancel).map_err(poison)?;
        ended.push(work.append(events));
    }
    work::append(connection, "scheduler", new.chain(ended)).await.map_err(refused)?;
    insert(connection, planned).await?;
    let stopped = sqlx::query(
        "UPDATE notification n SET state = 'cancelled', sequence = n.sequence + 1
           FROM unnest($1::uuid[], $2::bigint[]) AS c (id, read)
          WHERE n.notification_id = c.id AND n.sequence = c.read
            AND n.state IN ('pending', 'offered')",
    )
    .bind(called_off.iter().map(|off| off.work.notification_id.uuid()).collect::<Vec<_>>())
    .bind(
        called_off
            .iter()
            .map(|off| i64::try_from(off.work.sequence).unwrap_or(i64::MAX))
            .collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    // A sender took one this very moment: what is true then is folded again.
    if stopped.rows_affected() < called_off.len() as u64 {
        return Err(Failure::Transient("a message was taken while it was called off".into()));
    }
    Ok(())
}

/// A conflict means that a sender was faster: the batch is folded again on what is true then.
pub(crate) fn refused(error: CommitError) -> Failure {
    match error {
        CommitError::Conflict => Failure::Transient(error.into()),
        CommitError::Store(inner) => match inner.downcast::<sqlx::Error>() {
            Ok(error) => Failure::from(*error),
            Err(inner) => Failure::Poison(inner),
        },
        CommitError::TimeReserved
        | CommitError::Repeat
        | CommitError::Limit { .. }
        | CommitError::Taken { .. } => Failure::Poison(error.into()),
    }
}

async fn insert(connection: &mut PgConnection, planned: &[Planned]) -> Result<(), Failure> {
    if planned.is_empty() {
        return Ok(());
    }
    let state = |p: &Planned| {
        let last = p.events.last().map_or("pending", work::state_after);
        p.there.as_ref().map_or(last, |there| there.state)
    };
    let sequence = |p: &Planned| {
        let sequence = p.there.as_ref().map_or(p.events.len() as u64, |there| there.sequence);
        i64::try_from(sequence).unwrap_or(i64::MAX)
    };
    let plans = || planned.iter().map(|p| &p.plan);
    sqlx::query(
        "INSERT INTO notification (notification_id, business_id, appointment_id, kind, channel,
                                   offset_minutes, version, state, due_at, next_at, expires_at, sequence,
                                   correlation_id, traceparent, round, attempts)
         SELECT n.id, n.business, n.appointment, n.kind, n.channel, n.minutes, n.version, n.state,
                n.due, n.due, n.expires, n.sequence, n.correlation, n.traceparent, n.round,
                -- Of a message that had lost its row.
                coalesce((SELECT max(a.attempt) FROM notification_attempt a
                           WHERE a.notification_id = n.id), 0)
           FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::integer[],
                       $7::integer[], $8::text[], $9::timestamptz[], $10::timestamptz[],
                       $11::bigint[], $12::uuid[], $13::text[], $14::integer[])
             AS n (id, business, appointment, kind, channel, minutes, version, state, due, expires,
                   sequence, correlation, traceparent, round)",
    )
    .bind(plans().map(|p| notification_id(p).uuid()).collect::<Vec<_>>())
    .bind(planned.iter().map(|p| p.business_id.uuid()).collect::<Vec<_>>())
    .bind(plans().map(|p| p.appointment_id.uuid()).collect::<Vec<_>>())
    .bind(plans().map(|p| p.kind.as_str()).collect::<Vec<_>>())
    .bind(plans().map(|p| p.channel.as_str()).collect::<Vec<_>>())
    .bind(plans().map(|p| i32::try_from(p.offset_minutes).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(plans().map(|p| i32::try_from(p.version).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(planned.iter().map(state).collect::<Vec<_>>())
    .bind(plans().map(|p| p.due_at.to_sqlx()).collect::<Vec<_>>())
    .bind(plans().map(|p| p.expires_at.to_sqlx()).collect::<Vec<_>>())
    .bind(planned.iter().map(sequence).collect::<Vec<_>>())
    .bind(planned.iter().map(|p| p.origin.correlation_id).collect::<Vec<_>>())
    .bind(planned.iter().map(|p| p.origin.traceparent.as_deref()).collect::<Vec<_>>())
    .bind(plans().map(|p| i32::try_from(p.round).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

fn poison<E: std::error::Error + Send + Sync + 'static>(error: E) -> Failure {
    Failure::Poison(error.into())
}
