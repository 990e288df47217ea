//! Folds events into the work table: one row a message, in one transaction with its first event.

mod planned;
mod wishes;

use std::collections::HashMap;

use domain::{
    AppointmentId, BusinessId, StaffId,
    appointment::{Appointment, AppointmentEvent, Visit},
    notification::{Kind, Recipient, host_plan, notification_id, plans_for},
};
use sqlx::PgConnection;
use streams::{
    consumer::{Failure, Reactor},
    log::Recorded,
};
use uuid::Uuid;

use self::planned::plan_one;
pub(crate) use self::planned::{
    CalledOff, Planned, agreeing, can_stop, complete, known, refused, write,
};
use crate::{
    agreed::{self, Agreed},
    hosts::Hosts,
    policies::Policies,
    reach::Guests,
    since::Since,
    work::Work,
};

/// Why a guest is not reminded who does not want to be.
pub(crate) const GUEST_PREFERENCE: &str = "guest_preference";

/// Plans messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scheduler;

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
        let wishes = wishes::of(connection, batch).await?;
        if facts.is_empty() {
            return Ok(wishes::note(connection, &wishes).await?);
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
        let guests = Guests::read(connection, &appointments, &customers(&facts, &before)).await?;
        let mut planned: Vec<Planned> = Vec::new();
        let mut called_off: Vec<CalledOff<'_>> = Vec::new();
        for (event, id, fact) in facts {
            let follows = what_follows(event, fact, &mut before)?;
            let Follows { kind, visit, revision, .. } = &follows;
            let stale = |work: &&Work| {
                let kind = Kind::named(&work.kind);
                work.appointment_id == id && follows.calls_off(kind, work.version)
            };
            let stale = known.values().filter(stale).filter(|work| can_stop(work));
            called_off.extend(stale.map(|work| CalledOff { work, reason: None }));
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
            let reach = guests.of(id, visit.customer_id, &policy, told.zone());
            let host = host_plan(id, visit, news, *revision).filter(|_| told.hosts());
            for plan in plans_for(id, visit, news, *revision, reach).into_iter().chain(host) {
                let new = !known.contains_key(&notification_id(&plan).uuid());
                if new && since.plans(plan.kind, event.cursor) {
                    let own = || hosts.did_it_themselves(event, &follows.staff());
                    let needless = match plan.kind.recipient() {
                        Recipient::Host if own() => Some("own_change"),
                        Recipient::Guest if plan.kind == Kind::Reminder && reach.is_declined() => {
                            Some(GUEST_PREFERENCE)
                        }
                        Recipient::Host | Recipient::Guest => None,
                    };
                    planned.push(plan_one(event, plan, needless)?);
                }
            }
        }
        // Two events of one batch may call off the same message.
        called_off.sort_unstable_by_key(|off| off.work.notification_id);
        called_off.dedup_by_key(|off| off.work.notification_id);
        complete(connection, &mut planned).await?;
        agreeing(connection, &mut called_off).await?;
        write(connection, &planned, &called_off).await?;
        wishes::note(connection, &wishes).await?;
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

/// The guests of visits that are agreed now or were before.
fn customers(facts: &[Fact<'_>], before: &HashMap<Uuid, Agreed>) -> Vec<Uuid> {
    let agreed = facts.iter().filter_map(|(.., fact)| fact.clone().agreed());
    let all = agreed.map(|(visit, _)| visit.customer_id.uuid());
    all.chain(before.values().map(|before| before.visit.customer_id.uuid())).collect()
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
