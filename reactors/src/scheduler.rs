//! Folds events into the work table: one row a message, in one transaction with its first event.

use std::collections::HashMap;

use domain::{
    Aggregate, AppointmentId, BusinessId, Decide, StaffId,
    appointment::{Appointment, AppointmentEvent, Visit},
    notification::{
        Kind, Notification, NotificationCommand, NotificationEvent, Plan, Recipient, host_plan,
        notification_id, plans_for,
    },
};
use jiff_sqlx::ToSqlx;
use serde_json::Value;
use sqlx::PgConnection;
use streams::{
    Origin,
    consumer::{Failure, Reactor},
    log::{CommitError, Recorded, StreamKey},
};
use uuid::Uuid;

use crate::{
    agreed::{self, Agreed},
    hosts::Hosts,
    policies::Policies,
    reach::Guests,
    since::Since,
    work::{self, Append, Work},
};

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
        let mut facts: Vec<Fact<'_>> = Vec::new();
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
        let appointments: Vec<Uuid> = facts.iter().map(|(_, id, _)| id.uuid()).collect();
        let known = known(connection, &appointments).await?;
        let mut before = before(connection, &facts).await?;
        let first = batch.first().map(|event| event.cursor).unwrap_or_default();
        let since = Since::read(connection, first).await?;
        let mut businesses: Vec<BusinessId> = batch.iter().map(|e| e.business_id).collect();
        businesses.sort_unstable();
        businesses.dedup();
        let hosts = hosts(connection, &facts, &businesses, &before).await?;
        let mut policies = Policies::read(connection, &businesses).await?;
        let guests = Guests::read(connection, &appointments).await?;
        let mut planned: Vec<Planned> = Vec::new();
        let mut called_off: Vec<&Work> = Vec::new();
        for (event, id, fact) in facts {
            let follows = what_follows(event, fact, &mut before)?;
            let Follows { kind, visit, revision, .. } = &follows;
            let stale = |work: &&Work| {
                let kind = Kind::named(&work.kind);
                work.appointment_id == id && follows.calls_off(kind, work.version.unsigned_abs())
            };
            called_off.extend(known.values().filter(stale).filter(|work| can_stop(work)));
            planned
                .iter_mut()
                .filter(|planned| planned.plan.appointment_id == id)
                .filter(|planned| follows.calls_off(Some(planned.plan.kind), planned.plan.version))
                .for_each(Planned::call_off);
            let Some(kind) = kind else { continue };
            let news = (event.occurred_at, *kind);
            let unregistered =
                || Failure::Poison("a visit of a business that nobody registered".into());
            let told = policies.at(event.business_id, event.cursor).ok_or_else(unregistered)?;
            let policy = told.reminders(visit.service_id);
            let reach = guests.of(id, &policy, told.zone());
            let host = host_plan(id, visit, news, *revision).filter(|_| told.hosts());
            for plan in plans_for(id, visit, news, *revision, reach).into_iter().chain(host) {
                let new = !known.contains_key(&notification_id(&plan).uuid());
                if new && since.plans(plan.kind, event.cursor) {
                    let needless = hosts.did_it_themselves(event, &follows.staff());
                    planned.push(plan_one(event, plan, needless)?);
                }
            }
        }
        // Two events of one batch may call off the same message.
        called_off.sort_unstable_by_key(|work| work.notification_id);
        called_off.dedup_by_key(|work| work.notification_id);
        complete(connection, &mut planned).await?;
        agreeing(connection, &mut called_off).await?;
        write(connection, &planned, &called_off).await?;
        Ok(since.note(connection).await?)
    }
}

/// What an event of a visit means for its messages.
struct Follows {
    /// The message that says so, if there is one.
    kind: Option<Kind>,
    /// What is agreed from now on, or was to the end.
    visit: Visit,
    /// How often it was changed by now.
    revision: u32,
    /// Who was to serve before, when it was moved.
    before: Vec<StaffId>,
}

impl Follows {
    /// Whether a message is of no use any more. Plans count from 1 what revisions count from 0. What is
    /// over ends all messages but the one that says so.
    fn calls_off(&self, kind: Option<Kind>, version: u32) -> bool {
        let over = self.kind.is_none_or(Kind::is_farewell);
        let expects_them = !kind.is_some_and(Kind::is_farewell);
        version <= self.revision || (over && expects_them && version == self.revision + 1)
    }

    /// Whoever serves, or was to.
    fn staff(&self) -> Vec<StaffId> {
        self.before.iter().copied().chain(staff_of(&self.visit)).collect()
    }
}

type Fact<'a> = (&'a Recorded, AppointmentId, AppointmentEvent);

/// What was agreed before each event that is not the first of its visit.
async fn before(
    connection: &mut PgConnection,
    facts: &[Fact<'_>],
) -> Result<HashMap<Uuid, Agreed>, Failure> {
    let changes = facts.iter().map(|(event, ..)| *event).filter(|event| event.sequence > 1);
    agreed::before(connection, &changes.collect::<Vec<_>>()).await
}

async fn hosts(
    connection: &mut PgConnection,
    facts: &[Fact<'_>],
    businesses: &[BusinessId],
    before: &HashMap<Uuid, Agreed>,
) -> Result<Hosts, sqlx::Error> {
    let agreed = facts.iter().filter_map(|(.., fact)| fact.clone().agreed());
    let mut staff: Vec<StaffId> = agreed.flat_map(|(visit, _)| staff_of(&visit)).collect();
    staff.extend(before.values().flat_map(|before| staff_of(&before.visit)));
    let events: Vec<&Recorded> = facts.iter().map(|(event, ..)| *event).collect();
    Hosts::read(connection, &events, businesses, &staff).await
}

/// Everybody who serves.
fn staff_of(visit: &Visit) -> Vec<StaffId> {
    visit.held().into_iter().map(|held| held.staff_id).collect()
}

/// The message that says what happened to a visit; `None` when nobody need be told.
fn message_of(fact: &AppointmentEvent, before: Option<&Agreed>) -> Option<Kind> {
    match fact {
        AppointmentEvent::Booked { .. }
        | AppointmentEvent::Reinstated { .. }
        | AppointmentEvent::Confirmed {} => Some(Kind::Confirmation),
        AppointmentEvent::Requested { waitlist_id: Some(_), .. } => Some(Kind::Offered),
        AppointmentEvent::Requested { .. } => Some(Kind::Requested),
        AppointmentEvent::Rescheduled { .. } => Some(match before {
            Some(Agreed { asked: true, offered: true, .. }) => Kind::Offered,
            Some(Agreed { asked: true, .. }) => Kind::Requested,
            Some(Agreed { .. }) | None => Kind::Rescheduled,
        }),
        AppointmentEvent::Declined {} => Some(Kind::Declined),
        AppointmentEvent::Expired {} => Some(Kind::Expired),
        AppointmentEvent::Cancelled {} => Some(Kind::Cancellation),
        AppointmentEvent::Completed {} | AppointmentEvent::MissedByGuest {} => None,
    }
}

fn what_follows(
    event: &Recorded,
    fact: AppointmentEvent,
    before: &mut HashMap<Uuid, Agreed>,
) -> Result<Follows, Failure> {
    let before = before.remove(&event.event_id);
    let kind = message_of(&fact, before.as_ref());
    let moved = matches!(fact, AppointmentEvent::Rescheduled { .. });
    let was = before.as_ref().filter(|_| moved).map(|before| staff_of(&before.visit));
    let missing = || Failure::Poison("a visit ended that was never agreed".into());
    let before = before.map(|before| (before.visit, before.revision));
    let (visit, revision) = fact.agreed().or(before).ok_or_else(missing)?;
    Ok(Follows { kind, visit, revision, before: was.unwrap_or_default() })
}

fn poison<E: std::error::Error + Send + Sync + 'static>(error: E) -> Failure {
    Failure::Poison(error.into())
}

/// What is being sent now is stopped by the sender itself, which looks at the appointment.
fn can_stop(work: &Work) -> bool {
    matches!(work.state.as_str(), "pending" | "offered")
}

/// `needless` is true when a host would be told of what they did themselves.
fn plan_one(event: &Recorded, plan: Plan, needless: bool) -> Result<Planned, Failure> {
    let command = match plan.kind.recipient() {
        Recipient::Host if needless => {
            NotificationCommand::Skip { plan: plan.clone(), reason: "own_change".to_owned() }
        }
        Recipient::Host | Recipient::Guest => {
            NotificationCommand::Request { plan: plan.clone(), now: event.occurred_at }
        }
    };
    let events = Notification::default().decide(command).map_err(poison)?;
    let (business_id, origin) = (event.business_id, event.origin());
    Ok(Planned { business_id, origin, plan, events, there: None })
}

async fn known(
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
                                   correlation_id, traceparent, round)
         SELECT n.id, n.business, n.appointment, n.kind, n.channel, n.minutes, n.version, n.state,
                n.due, n.due, n.expires, n.sequence, n.correlation, n.traceparent, n.round
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

#[cfg(test)]
mod tests {
    use domain::{Currency, CustomerId, Money, ServiceId, StaffId, TimeSlot};
    use jiff::Timestamp;

    use super::*;

    fn follows(kind: Option<Kind>, revision: u32) -> Follows {
        let visit = Visit {
            staff_id: StaffId::new(Uuid::nil()),
            service_id: ServiceId::new(Uuid::nil()),
            customer_id: CustomerId::new(Uuid::nil()),
            slot: TimeSlot::lasting(Timestamp::UNIX_EPOCH, 30).unwrap(),
            buffer_before_minutes: 0,
            buffer_after_minutes: 0,
            price: Money { amount: 0, currency: Currency::USD },
            reminder_offsets_minutes: vec![],
            offset_seconds: None,
            parts: vec![],
            resources: vec![],
            class: None,
            subjects: 1,
            series: None,
        };
        Follows { kind, visit, revision, before: vec![] }
    }

    /// The versions, from 1 to 4, that are called off.
    fn off(follows: &Follows, kind: Kind) -> Vec<u32> {
        (1..5).filter(|version| follows.calls_off(Some(kind), *version)).collect()
    }

    #[test]
    fn a_cancellation_calls_off_everything_but_its_own_message() {
        let cancelled = follows(Some(Kind::Cancellation), 1);
        assert_eq!(off(&cancelled, Kind::Reminder), [1, 2]);
        assert_eq!(off(&cancelled, Kind::Cancellation), [1]);
        let kept = follows(None, 1);
        assert_eq!(off(&kept, Kind::Confirmation), [1, 2]);
    }

    #[test]
    fn what_is_agreed_anew_calls_off_what_was_planned_before_and_nothing_later() {
        for kind in [Kind::Confirmation, Kind::Rescheduled] {
            let agreed = follows(Some(kind), 2);
            for off in [Kind::Reminder, Kind::Cancellation].map(|kind| off(&agreed, kind)) {
                assert_eq!(off, [1, 2]);
            }
        }
    }
}
