use std::collections::BTreeMap;

use domain::{
    AppointmentId, BusinessId, Currency, CustomerId, DomainEvent, Money, NotificationId, ServiceId,
    StaffId, TimeOffId, TimeSlot, Zone,
    appointment::{Appointment, AppointmentEvent, Visit},
    business::{Business, BusinessEvent, Profile, StaffMember},
    customer::{Customer, CustomerEvent},
    notification::{Channel, Kind, Notification, NotificationEvent, Plan, Receipt},
    staff_calendar::{StaffCalendar, StaffCalendarEvent},
    staff_schedule::{Hours, StaffSchedule, StaffScheduleEvent},
};
use jiff::{SignedDuration, Timestamp};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use streams::{
    Actor, CommandContext, Nudge, Origin, clock, feed,
    log::{Log, StreamKey, UnitOfWork},
};
use testkit::{eventually, postgres::TestDatabase};
use uuid::Uuid;

use super::*;
use crate::changes;

/// Something that happens to one of a few things.
#[derive(Debug, Clone, Copy)]
struct Step {
    room: u8,
    thing: u8,
    what: u8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        (0..7_u8, 0..4_u8, 0..11_u8).prop_map(|(room, thing, what)| Step { room, thing, what });
    prop::collection::vec(step, 20..60)
}

/// A log that grows by steps. Rules of the domain are not asked: the models must agree on anything.
struct World {
    log: Log,
    business: Uuid,
    sequences: BTreeMap<StreamKey, u64>,
}

fn later(n: u8) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(i64::from(n))
}

fn slot(n: u8) -> TimeSlot {
    TimeSlot::lasting(later(n), 30).unwrap()
}

impl World {
    fn id(&self, thing: u8) -> Uuid {
        Uuid::from_u128(self.business.as_u128() ^ u128::from(thing + 1))
    }

    async fn append<E: DomainEvent>(&mut self, stream: StreamKey, event: E) {
        let mut unit = UnitOfWork::new(CommandContext {
            business_id: BusinessId::new(self.business),
            actor: Actor::System("test"),
            now: clock::now(),
            origin: Origin::of_our_own(),
        });
        let sequence = self.sequences.entry(stream.clone()).or_default();
        unit.append_after(&stream, *sequence, vec![event]).unwrap();
        *sequence += 1;
        self.log.commit(&unit).await.unwrap();
    }

    async fn happen(&mut self, Step { room, thing, what }: Step) {
        let id = self.id(thing);
        match room {
            0 => self.appointment(id, what).await,
            1 | 2 => self.calendar(thing, what).await,
            3 | 4 => self.message(id, what).await,
            5 => self.edit(id, what).await,
            _ => self.customer(thing, what).await,
        }
    }

    async fn appointment(&mut self, id: Uuid, what: u8) {
        let stream = StreamKey::of::<Appointment>(AppointmentId::new(id));
        let visit = Visit {
            staff_id: StaffId::new(id),
            service_id: ServiceId::new(id),
            customer_id: CustomerId::new(self.id(what % 4)),
            slot: slot(what),
            buffer_before_minutes: 0,
            buffer_after_minutes: 5,
            price: Money { amount: what.into(), currency: Currency::USD },
            reminder_offsets_minutes: vec![],
            parts: vec![],
            resources: vec![],
            class: None,
            subjects: 1,
            series: None,
            offset_seconds: None,
        };
        let (previous, expires_at) = (slot(0), visit.slot.start());
        let event = match (self.sequences.contains_key(&stream), what % 6) {
            (false, 0..3) => AppointmentEvent::Booked { visit, choice: None },
            (false, _) => {
                AppointmentEvent::Requested { visit, choice: None, expires_at, waitlist_id: None }
            }
            (true, 0) => AppointmentEvent::Cancelled {},
            (true, 1) => AppointmentEvent::Completed {},
            (true, 2) => AppointmentEvent::Confirmed {},
            (true, 3) => AppointmentEvent::Expired {},
            (true, 4) => AppointmentEvent::Rescheduled { visit, previous, revision: 1 },
            (true, _) => AppointmentEvent::MissedByGuest {},
        };
        self.append(stream, event).await;
    }

    /// Into somebody who may be merged already; bookings for either may come before and after.
    async fn customer(&mut self, thing: u8, what: u8) {
        let stream = StreamKey::of::<Customer>(CustomerId::new(self.id(thing)));
        let event = if thing == 0 || self.sequences.contains_key(&stream) {
            CustomerEvent::DetailsChanged { fields: vec![] }
        } else {
            CustomerEvent::Merged { into: CustomerId::new(self.id(what % thing)) }
        };
        self.append(stream, event).await;
    }

    /// Also what the rules forbid: time that is reserved twice, or given back by nobody.
    async fn calendar(&mut self, thing: u8, what: u8) {
        let staff = StaffId::new(self.id(thing % 2));
        let stream = StreamKey::of::<StaffCalendar>(format!("{staff}:2026-03-0{}", what % 2 + 1));
        let source = self.id(thing / 2 + 10);
        let (appointment_id, time_off_id) = (AppointmentId::new(source), TimeOffId::new(source));
        let event = match what / 2 {
            0 | 1 => StaffCalendarEvent::Reserved {
                appointment_id,
                slot: slot(what),
                buffer_before_minutes: what.into(),
                buffer_after_minutes: 0,
            },
            2 => StaffCalendarEvent::Released { appointment_id },
            _ if thing == 0 => StaffCalendarEvent::TimeOffRemoved { time_off_id },
            _ => StaffCalendarEvent::TimeOffAdded { time_off_id, slot: slot(thing) },
        };
        self.append(stream, event).await;
    }

    async fn message(&mut self, id: Uuid, what: u8) {
        let stream = StreamKey::of::<Notification>(NotificationId::new(id));
        let plan = Plan {
            appointment_id: AppointmentId::new(id),
            kind: Kind::Reminder,
            channel: if what.is_multiple_of(2) { Channel::Email } else { Channel::Sms },
            offset_minutes: what.into(),
            version: 1,
            round: 0,
            due_at: later(what),
            moved_from: (what > 4).then(|| later(what)),
            expires_at: later(what + 1),
        };
        let (attempt, reason) = (u32::from(what), format!("reason_{what}"));
        let event = match (self.sequences.contains_key(&stream), what) {
            (false, 0) => NotificationEvent::Skipped { plan, reason },
            (false, 1) => NotificationEvent::Requested { plan },
            (false, _) => NotificationEvent::ReminderRequested { plan },
            (true, 0) => {
                let (provider, provider_id) = (String::from("p"), Some(reason));
                let receipt = Some(Receipt { provider, provider_id });
                NotificationEvent::Sent { attempt, receipt }
            }
            (true, 1 | 2) => NotificationEvent::Deferred { attempt, reason, next_at: later(what) },
            (true, 3) => NotificationEvent::Failed { attempt, reason },
            (true, 4) => NotificationEvent::BecameUncertain { attempt, reason },
            (true, 5) => NotificationEvent::Cancelled { reason: Some(reason) },
            (true, 6) => NotificationEvent::Expired {},
            (true, 7) => NotificationEvent::Delivered {},
            (true, 9) => NotificationEvent::Retried {},
            (true, 8) => NotificationEvent::Undelivered { reason },
            (true, _) => NotificationEvent::FellDue {},
        };
        self.append(stream, event).await;
    }

    async fn edit(&mut self, id: Uuid, what: u8) {
        if what.is_multiple_of(2) {
            let hours = StaffScheduleEvent::HoursSet { hours: Hours::default() };
            return self.append(StreamKey::of::<StaffSchedule>(StaffId::new(id)), hours).await;
        }
        let stream = StreamKey::of::<Business>(BusinessId::new(self.business));
        let event = if self.sequences.contains_key(&stream) {
            let name = format!("Staff {what}");
            let member = StaffMember::new(name);
            BusinessEvent::StaffAdded { staff_id: StaffId::new(id), member }
        } else {
            BusinessEvent::Registered { profile: Profile::new("N".into(), "n".into(), Zone::UTC) }
        };
        self.append(stream, event).await;
    }
}

/// The live model, brought to the log's end in batches of this size.
async fn follow<M: Rebuilt>(database: &Database, from: Cursor, batch: i64) -> Cursor {
    let mut connection = database.connect().await.unwrap();
    let path = format!("SET search_path = {}, public", M::SCHEMA);
    sqlx::query(&path).execute(&mut connection).await.unwrap();
    let mut cursor = from;
    loop {
        let read = feed::after(&mut connection, cursor, batch).await.unwrap();
        let Some(last) = read.last() else { break };
        cursor = last.cursor;
        changes::project::<M::Changes>(&mut connection, &read).await.unwrap();
    }
    sqlx::query(
        "INSERT INTO consumer_checkpoint (consumer, transaction_id, position)
         VALUES ($1, $2::text::xid8, $3) ON CONFLICT (consumer)
         DO UPDATE SET transaction_id = excluded.transaction_id, position = excluded.position",
    )
    .bind(M::NAME)
    .bind(cursor.xid())
    .bind(cursor.position)
    .execute(&mut connection)
    .await
    .unwrap();
    cursor
}

async fn agrees<M: Rebuilt>(database: &Database, from: Cursor, batch: i64, page: i64) -> Cursor {
    let end = follow::<M>(database, from, batch).await;
    let shadow = Shadow::create::<M>(database, true).await.unwrap();
    let mut build = Build::<M>::begin(database, shadow, page..=page, &|_| {}).await.unwrap();
    if batch % 2 == 0 {
        // What happened before is trusted, and still there.
        build.begin_behind(database, from).await.unwrap();
    }
    let compared = compare::compare(&mut build, database).await.unwrap();
    assert!(compared.difference.is_none(), "{batch} {page}: {:?}", compared.difference);
    assert_eq!(compared.position, end);
    end
}

#[test]
fn batches_and_pages_of_any_size_make_the_same_rows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let test = runtime.block_on(TestDatabase::create());
    let database = runtime.block_on(async { Database::owner(&test.owner_url()).unwrap() });
    let at = std::cell::Cell::new(Cursor::START);
    let life = (steps(), 1..40_i64, 1..40_i64);
    let check = |(steps, batch, page): (Vec<Step>, i64, i64)| {
        runtime.block_on(async {
            let log = Log::new(database.clone(), Nudge::default());
            let business = clock::new_id();
            let mut world = World { log, business, sequences: BTreeMap::new() };
            for step in steps {
                world.happen(step).await;
            }
            // Other tests of the same server hold the feed up for a moment.
            let written = world.sequences.values().sum::<u64>();
            eventually("the feed shows all events", async || {
                let seen = feed::after(database.system(), at.get(), 1_000).await.unwrap();
                (seen.len() as u64 >= written).then_some(())
            })
            .await;
            use crate::{
                agenda::AgendaProjector, audit::AuditProjector,
                availability::AvailabilityProjector, notifications::NotificationsProjector,
            };
            let from = at.get();
            at.set(agrees::<AvailabilityProjector>(&database, from, batch, page).await);
            agrees::<AgendaProjector>(&database, from, batch, page).await;
            let left = "SELECT a.appointment_id::text FROM agenda.appointment a
                          JOIN agenda.merged_customer m USING (customer_id)
                         UNION ALL
                        SELECT m.customer_id::text FROM agenda.merged_customer m
                          JOIN agenda.merged_customer n ON n.customer_id = m.into_id";
            assert!(test.texts(left).await.is_empty(), "somebody else stands for them");
            agrees::<NotificationsProjector>(&database, from, batch, page).await;
            agrees::<AuditProjector>(&database, from, batch, page).await;
        });
        Ok(())
    };
    let config = Config { cases: 6, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&life, check).unwrap();
}
