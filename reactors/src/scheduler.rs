//! Folds events into the work table: one row a message, in one transaction with its first event.

use std::collections::HashMap;

use domain::{
    Aggregate, AppointmentId, BusinessId, Decide,
    appointment::{Appointment, AppointmentEvent, Status, Visit},
    notification::{
        Kind, Notification, NotificationCommand, NotificationEvent, Plan, notification_id,
        plans_for,
    },
};
use jiff_sqlx::ToSqlx;
use serde_json::Value;
use sqlx::PgConnection;
use streams::{
    Origin,
    consumer::{Failure, Reactor},
    log::{self, CommitError, Recorded, StreamKey},
};
use uuid::Uuid;

use crate::work::{self, Append, Work};

/// Plans messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scheduler;

/// A message to be planned, and perhaps called off by a later event of the same batch.
struct Planned {
    business_id: BusinessId,
    origin: Origin,
    plan: Plan,
    events: Vec<NotificationEvent>,
    /// What its stream says already, when only its row is missing.
    there: Option<There>,
}

impl Planned {
    /// What has ended already, such as a skipped reminder, stays as it is.
    fn call_off(&mut self) {
        let mut notification = Notification::default();
        for event in &self.events {
            notification.apply(event.clone());
        }
        self.events.extend(notification.decide(NotificationCommand::Cancel).unwrap_or_default());
    }
}

/// The end of a stream whose row is missing.
struct There {
    sequence: u64,
    state: &'static str,
}

impl Reactor for Scheduler {
    const NAME: &'static str = "schedule-reminders";

    async fn react(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        let mut facts: Vec<(&Recorded, AppointmentId, AppointmentEvent)> = Vec::new();
        for event in batch {
            if let Some(fact) = event.of::<Appointment>()? {
                let id = event.stream.id.parse().map_err(poison::<domain::IdError>)?;
                facts.push((event, id, fact));
            }
        }
        if facts.is_empty() {
            return Ok(());
        }
        // All reading comes before the first write: what is read then belongs to transactions older
        // than this one, as the feed needs it.
        let known = known(connection, facts.iter().map(|(_, id, _)| id.uuid()).collect()).await?;
        let mut planned: Vec<Planned> = Vec::new();
        let mut called_off: Vec<&Work> = Vec::new();
        let agreed = agreed(connection, &facts).await?;
        for (event, id, fact) in facts {
            let (revision, message) = what_follows(fact, agreed.get(&(id, event.sequence)));
            let plans = message.map_or_else(Vec::new, |(kind, visit, revision)| {
                plans_for(id, &visit, (event.occurred_at, kind), revision)
            });
            let is_new = |id| plans.iter().all(|plan| notification_id(plan) != id);
            // Plans count from 1 what revisions count from 0.
            let old = |appointment, version| appointment == id && version <= revision;
            let stale = |work: &&Work| old(work.appointment_id, work.version.unsigned_abs());
            // What says that it ended is of no earlier revision, also when it is folded once more.
            let stale = |work: &&Work| stale(work) && is_new(work.notification_id);
            called_off.extend(known.values().filter(stale).filter(|work| can_stop(work)));
            planned
                .iter_mut()
                .filter(|planned| old(planned.plan.appointment_id, planned.plan.version))
                .for_each(Planned::call_off);
            for plan in plans {
                if !known.contains_key(&notification_id(&plan).uuid()) {
                    planned.push(plan_one(event, plan)?);
                }
            }
        }
        // Two events of one batch may call off the same message.
        called_off.sort_unstable_by_key(|work| work.notification_id);
        called_off.dedup_by_key(|work| work.notification_id);
        complete(connection, &mut planned).await?;
        agreeing(connection, &mut called_off).await?;
        write(connection, &planned, &called_off).await
    }
}

/// The revision of the visit from now on, plans for an earlier one being off; and what is agreed or
/// asked for, of which revision, with the message that says so. `now` is the visit after an event that
/// does not say all of that itself.
fn what_follows(
    fact: AppointmentEvent,
    now: Option<&Appointment>,
) -> (u32, Option<(Kind, Visit, u32)>) {
    let known = now.and_then(Appointment::known);
    let revision = now.map_or(0, Appointment::revision);
    let say = |kind| known.map(|(visit, _)| (kind, visit.clone(), revision));
    match fact {
        AppointmentEvent::Booked { visit, .. } => (0, Some((Kind::Confirmation, visit, 0))),
        AppointmentEvent::Requested { visit, waitlist_id, .. } => {
            (0, Some((asked(waitlist_id.is_some()), visit, 0)))
        }
        AppointmentEvent::Rescheduled { visit, revision, .. } => {
            let pending = known.is_some_and(|(_, status)| status == Status::Requested);
            let offered = now.is_some_and(Appointment::is_offered);
            let kind = if pending { asked(offered) } else { Kind::Rescheduled };
            (revision, Some((kind, visit, revision)))
        }
        AppointmentEvent::Reinstated { visit, revision } => {
            (revision, Some((Kind::Confirmation, visit, revision)))
        }
        AppointmentEvent::Confirmed {} => (revision, say(Kind::Confirmation)),
        AppointmentEvent::Declined {} => (u32::MAX, say(Kind::Declined)),
        AppointmentEvent::Expired {} => (u32::MAX, say(Kind::Expired)),
        AppointmentEvent::Cancelled {}
        | AppointmentEvent::Completed {}
        | AppointmentEvent::MissedByGuest {} => (u32::MAX, None),
    }
}

/// What says that a visit is asked for, of the business or of a guest who waited.
const fn asked(offered: bool) -> Kind {
    if offered { Kind::Offered } else { Kind::Requested }
}

/// Visits as they were after those events that do not say all that is agreed.
async fn agreed(
    connection: &mut PgConnection,
    facts: &[(&Recorded, AppointmentId, AppointmentEvent)],
) -> Result<HashMap<(AppointmentId, u64), Appointment>, Failure> {
    let mut asked: HashMap<BusinessId, Vec<(AppointmentId, u64)>> = HashMap::new();
    for (event, id, fact) in facts {
        match fact {
            AppointmentEvent::Rescheduled { .. }
            | AppointmentEvent::Confirmed {}
            | AppointmentEvent::Declined {}
            | AppointmentEvent::Expired {} => {
                asked.entry(event.business_id).or_default().push((*id, event.sequence));
            }
            AppointmentEvent::Booked { .. }
            | AppointmentEvent::Requested { .. }
            | AppointmentEvent::Reinstated { .. }
            | AppointmentEvent::Cancelled {}
            | AppointmentEvent::Completed {}
            | AppointmentEvent::MissedByGuest {} => {}
        }
    }
    let mut found = HashMap::new();
    for (business_id, asked) in asked {
        let mut keys: Vec<StreamKey> =
            asked.iter().map(|(id, _)| StreamKey::of::<Appointment>(id)).collect();
        keys.sort_unstable();
        keys.dedup();
        let histories = log::as_of(&mut *connection, business_id, &keys, None).await?;
        for (id, sequence) in asked {
            let mut appointment = Appointment::default();
            for event in histories.events(&StreamKey::of::<Appointment>(id)) {
                if event.sequence <= sequence {
                    appointment.apply(event.decode::<Appointment>()?);
                }
            }
            found.insert((id, sequence), appointment);
        }
    }
    Ok(found)
}

fn poison<E: std::error::Error + Send + Sync + 'static>(error: E) -> Failure {
    Failure::Poison(error.into())
}

/// What is being sent now is stopped by the sender itself, which looks at the appointment.
fn can_stop(work: &Work) -> bool {
    matches!(work.state.as_str(), "pending" | "offered")
}

fn plan_one(event: &Recorded, plan: Plan) -> Result<Planned, Failure> {
    let command = NotificationCommand::Request { plan: plan.clone(), now: event.occurred_at };
    let events = Notification::default().decide(command).map_err(poison)?;
    let (business_id, origin) = (event.business_id, event.origin());
    Ok(Planned { business_id, origin, plan, events, there: None })
}

async fn known(
    connection: &mut PgConnection,
    appointments: Vec<Uuid>,
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
async fn complete(connection: &mut PgConnection, planned: &mut [Planned]) -> Result<(), Failure> {
    let streams: Vec<String> =
        planned.iter().map(|p| notification_id(&p.plan).to_string()).collect();
    let rows: Vec<(String, i64, String, String, Value)> = sqlx::query_as(
        "SELECT DISTINCT ON (aggregate_id) aggregate_id, sequence, event_type, event_version, payload
           FROM events
          WHERE aggregate_type = 'notification' AND aggregate_id = ANY($1)
          ORDER BY aggregate_id, sequence DESC",
    )
    .bind(streams)
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
async fn agreeing(
    connection: &mut PgConnection,
    called_off: &mut Vec<&Work>,
) -> Result<(), Failure> {
    if called_off.is_empty() {
        return Ok(());
    }
    let streams: Vec<String> = called_off.iter().map(|w| w.notification_id.to_string()).collect();
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT aggregate_id, max(sequence) FROM events
          WHERE aggregate_type = 'notification' AND aggregate_id = ANY($1) GROUP BY aggregate_id",
    )
    .bind(streams)
    .fetch_all(connection)
    .await?;
    let last: HashMap<String, u64> =
        rows.into_iter().map(|(id, sequence)| (id, sequence.unsigned_abs())).collect();
    called_off.retain(|work| {
        let agree = last.get(&work.notification_id.to_string()) == Some(&work.sequence);
        if !agree {
            tracing::warn!(notification = %work.notification_id, "row and stream of a message disagree");
            metrics::counter!("apptremind_notification_conflicts_total").increment(1);
        }
        agree
    });
    Ok(())
}

async fn write(
    connection: &mut PgConnection,
    planned: &[Planned],
    called_off: &[&Work],
) -> Result<(), Failure> {
    let new = planned.iter().map(|p| Append {
        business_id: p.business_id,
        origin: p.origin.clone(),
        stream: StreamKey::of::<Notification>(notification_id(&p.plan)),
        sequence: 0,
        events: p.events.clone(),
    });
    let mut ended = Vec::with_capacity(called_off.len());
    for work in called_off {
        let events = work.notification().decide(NotificationCommand::Cancel).map_err(poison)?;
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
    .bind(called_off.iter().map(|work| work.notification_id.uuid()).collect::<Vec<_>>())
    .bind(
        called_off
            .iter()
            .map(|work| i64::try_from(work.sequence).unwrap_or(i64::MAX))
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
fn refused(error: CommitError) -> Failure {
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
                                   correlation_id, traceparent)
         SELECT n.id, n.business, n.appointment, n.kind, n.channel, n.minutes, n.version, n.state,
                n.due, n.due, n.expires, n.sequence, n.correlation, n.traceparent
           FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::integer[],
                       $7::integer[], $8::text[], $9::timestamptz[], $10::timestamptz[],
                       $11::bigint[], $12::uuid[], $13::text[])
             AS n (id, business, appointment, kind, channel, minutes, version, state, due, expires,
                   sequence, correlation, traceparent)",
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
    .execute(connection)
    .await?;
    Ok(())
}
