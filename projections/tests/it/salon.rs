//! A business whose events are written here, and whose model moves only when it is told to.

use std::collections::HashMap;

use domain::{
    Aggregate, AppointmentId, BusinessId, CalendarWeek, ClosureId, Decide, Money, ServiceId,
    StaffId, TimeOffId, TimeSlot, Zone,
    business::{Business, BusinessCommand, BusinessEvent, Profile, Service, StaffMember},
    staff_calendar::{self, StaffCalendar, StaffCalendarEvent},
    staff_schedule::{Hours, StaffSchedule, StaffScheduleEvent},
};
use jiff::Timestamp;
use projections::{
    Positions,
    availability::{
        Answers, Availability, AvailabilityProjector, Body, OfferedSlot, Place, SlotList,
        SlotQuery, SlotSpan,
    },
};
use sqlx::Connection;
use streams::{
    Actor, CommandContext, Cursor, Database, Nudge, Origin,
    consumer::Projector,
    feed,
    log::{Log, ReservedTime, StreamKey, UnitOfWork},
};

/// What was listed, as it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listed(pub(crate) Vec<OfferedSlot>, pub(crate) String);

impl Body for Listed {
    fn of(list: &SlotList) -> Self {
        Self(list.slots.clone(), list.zone.to_string())
    }

    fn bytes(&self) -> usize {
        self.0.len() * 64
    }
}

/// As another process would have it.
pub(crate) fn process(url: &str) -> Answers<Listed> {
    let database = Database::new(url, 2).unwrap();
    Answers::new(Availability::new(database.clone()), Positions::new(database.clone()), database)
}

/// A visit that stands.
#[derive(Debug, Clone)]
pub(crate) struct Booked {
    pub(crate) id: AppointmentId,
    pub(crate) staff_id: StaffId,
    pub(crate) slot: TimeSlot,
}

/// A business, and all that was written about it.
pub(crate) struct Salon {
    pub(crate) id: BusinessId,
    pub(crate) state: Business,
    pub(crate) service_id: ServiceId,
    pub(crate) staff: Vec<StaffId>,
    pub(crate) booked: Vec<Booked>,
    pub(crate) away: Vec<(TimeOffId, StaffId, TimeSlot)>,
    sequences: HashMap<StreamKey, u64>,
    log: Log,
}

pub(crate) fn id() -> uuid::Uuid {
    streams::clock::new_id()
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl Salon {
    /// Registered, with a service of half an hour and staff who work around the week.
    pub(crate) async fn open(url: &str, staff: usize) -> Self {
        let log = Log::new(Database::new(url, 4).unwrap(), Nudge::default());
        let business_id = BusinessId::new(id());
        let handle = format!("salon-{}", business_id.uuid().simple());
        let profile = Profile::new("Salon".to_owned(), handle, Zone::UTC);
        let mut salon = Self {
            id: business_id,
            state: Business::default(),
            service_id: ServiceId::new(id()),
            staff: vec![],
            booked: vec![],
            away: vec![],
            sequences: HashMap::new(),
            log,
        };
        let service_id = salon.service_id;
        salon.change(BusinessCommand::Register { profile }).await;
        salon.change(BusinessCommand::AddService { service_id, service: service(30) }).await;
        for n in 0..staff {
            let staff_id = StaffId::new(id());
            let member = StaffMember::new(format!("Staff {n}"));
            salon.change(BusinessCommand::AddStaff { staff_id, member }).await;
            salon.set_hours(staff_id, Hours::office()).await;
            salon.staff.push(staff_id);
        }
        salon
    }

    pub(crate) fn unit(&self) -> UnitOfWork {
        UnitOfWork::new(CommandContext {
            business_id: self.id,
            actor: Actor::System("test"),
            now: streams::clock::now(),
            origin: Origin::of_our_own(),
        })
    }

    pub(crate) fn append<E: domain::DomainEvent>(
        &mut self,
        unit: &mut UnitOfWork,
        stream: &StreamKey,
        events: Vec<E>,
    ) {
        let sequence = self.sequences.entry(stream.clone()).or_default();
        let count = events.len() as u64;
        unit.append_after(stream, *sequence, events).unwrap();
        *sequence += count;
    }

    pub(crate) async fn commit(&self, unit: &UnitOfWork) -> Cursor {
        self.log.commit(unit).await.unwrap()
    }

    /// One of its closures.
    pub(crate) fn closed(&self) -> Option<ClosureId> {
        self.state.registered().and_then(|state| state.closures.iter().next()).map(|(id, _)| id)
    }

    /// Also lists the names, as the commands do, in the same transaction.
    pub(crate) async fn change(&mut self, command: BusinessCommand) -> Cursor {
        let events = self.state.decide(command).unwrap();
        let old = self.handle();
        let mut unit = self.unit();
        for event in &events {
            self.state.apply(event.clone());
        }
        self.append(&mut unit, &StreamKey::of::<Business>(self.id), events.clone());
        let mut writing = self.log.begin_system().await.unwrap();
        let position = writing.append(&unit).await.unwrap();
        let mut listed = vec![];
        for event in &events {
            match event {
                BusinessEvent::ServiceAdded { service_id, .. } => {
                    listed.push(service_id.to_string())
                }
                BusinessEvent::StaffAdded { staff_id, .. } => listed.push(staff_id.to_string()),
                BusinessEvent::Registered { .. }
                | BusinessEvent::ProfileChanged { .. }
                | BusinessEvent::ServiceChanged { .. }
                | BusinessEvent::ServiceArchived { .. }
                | BusinessEvent::StaffChanged { .. }
                | BusinessEvent::StaffRemoved { .. }
                | BusinessEvent::ClosureAdded { .. }
                | BusinessEvent::ClosureRemoved { .. }
                | BusinessEvent::ResourceAdded { .. }
                | BusinessEvent::ResourceChanged { .. }
                | BusinessEvent::ResourceRemoved { .. } => {}
            }
        }
        if self.handle() != old {
            listed.extend(self.handle().map(|handle| format!("handle:{handle}")));
            sqlx::query("DELETE FROM directory WHERE key = $1")
                .bind(old.map(|handle| format!("handle:{handle}")))
                .execute(writing.connection())
                .await
                .unwrap();
        }
        for key in listed {
            sqlx::query("INSERT INTO directory (key, business_id) VALUES ($1, $2)")
                .bind(key)
                .bind(self.id.uuid())
                .execute(writing.connection())
                .await
                .unwrap();
        }
        writing.commit().await.unwrap();
        position
    }

    pub(crate) fn handle(&self) -> Option<String> {
        self.state.registered().map(|state| state.profile.value.handle.clone())
    }

    pub(crate) async fn set_hours(&mut self, staff_id: StaffId, hours: Hours) -> Cursor {
        let mut unit = self.unit();
        let stream = StreamKey::of::<StaffSchedule>(staff_id);
        self.append(&mut unit, &stream, vec![StaffScheduleEvent::HoursSet { hours }]);
        self.commit(&unit).await
    }

    /// Everything that a booking writes about the calendar.
    pub(crate) fn booking(&mut self, offered: OfferedSlot) -> (UnitOfWork, Booked) {
        let OfferedSlot { slot, staff_id, .. } = offered;
        let appointment_id = AppointmentId::new(id());
        let (before, after) = self.buffers();
        let mut unit = self.unit();
        for week in weeks(staff_id, &slot.padded(before, after)) {
            let reserved = StaffCalendarEvent::Reserved {
                appointment_id,
                slot,
                buffer_before_minutes: before,
                buffer_after_minutes: after,
            };
            self.append(&mut unit, &week, vec![reserved]);
        }
        unit.reserve(ReservedTime {
            holder: appointment_id.into(),
            part: 0,
            staff_id,
            service_id: self.service_id,
            slot,
            buffer_before_minutes: before,
            buffer_after_minutes: after,
            seats: None,
        });
        (unit, Booked { id: appointment_id, staff_id, slot })
    }

    pub(crate) async fn book(&mut self, offered: OfferedSlot) -> Cursor {
        let (unit, booked) = self.booking(offered);
        self.booked.push(booked);
        self.commit(&unit).await
    }

    pub(crate) async fn cancel(&mut self, n: usize) -> Cursor {
        let Booked { id: appointment_id, staff_id, slot } = self.booked.remove(n);
        let mut unit = self.unit();
        // With the widest buffers that it may have been booked with.
        for week in weeks(staff_id, &slot.padded(60, 60)) {
            if self.sequences.contains_key(&week) {
                self.append(
                    &mut unit,
                    &week,
                    vec![StaffCalendarEvent::Released { appointment_id }],
                );
            }
        }
        unit.release(appointment_id);
        self.commit(&unit).await
    }

    pub(crate) async fn leave(&mut self, staff_id: StaffId, slot: TimeSlot) -> Cursor {
        let time_off_id = TimeOffId::new(id());
        self.away.push((time_off_id, staff_id, slot));
        let mut unit = self.unit();
        for week in weeks(staff_id, &slot) {
            let added = StaffCalendarEvent::TimeOffAdded { time_off_id, slot };
            self.append(&mut unit, &week, vec![added]);
        }
        self.commit(&unit).await
    }

    pub(crate) async fn come_back(&mut self, n: usize) -> Cursor {
        let (time_off_id, staff_id, slot) = self.away.remove(n);
        let mut unit = self.unit();
        for week in weeks(staff_id, &slot) {
            self.append(&mut unit, &week, vec![StaffCalendarEvent::TimeOffRemoved { time_off_id }]);
        }
        self.commit(&unit).await
    }

    fn buffers(&self) -> (u32, u32) {
        let service = &self.state.registered().unwrap().services[&self.service_id].value;
        (service.buffer_before_minutes, service.buffer_after_minutes)
    }

    /// The slots of the business over these dates, named by its service.
    pub(crate) fn query(&self, first: &str, last: &str) -> SlotQuery {
        let (first, last) = (first.parse().unwrap(), last.parse().unwrap());
        let span = SlotSpan::Dates { first, last, zone: None };
        SlotQuery::plain(Place::Service(self.service_id), Some(self.service_id), None, span)
    }
}

pub(crate) fn service(minutes: u32) -> Service {
    Service::new("Cut", minutes, Money { amount: 4500, currency: "USD".parse().unwrap() })
}

fn weeks(staff_id: StaffId, span: &TimeSlot) -> Vec<StreamKey> {
    CalendarWeek::touched_by(span)
        .map(|week| StreamKey::of::<StaffCalendar>(staff_calendar::stream_id(staff_id, week)))
        .collect()
}

/// Moves the model over the next events, as the consumer would; gives how many there were.
pub(crate) async fn project(url: &str, most: i64) -> usize {
    let mut connection = Database::new(url, 1).unwrap().connect().await.unwrap();
    let (name, schema) = (AvailabilityProjector::NAME, AvailabilityProjector::SCHEMA);
    let checkpoints = streams::consumer::checkpoints(&mut connection).await.unwrap();
    let from = checkpoints.iter().find(|c| c.consumer == name).map_or(Cursor::START, |c| c.cursor);
    let batch = feed::after(&mut connection, from, most).await.unwrap();
    let Some(last) = batch.last() else { return 0 };
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("SELECT set_config('search_path', $1, true)")
        .bind(schema)
        .execute(&mut *transaction)
        .await
        .unwrap();
    AvailabilityProjector.project(&mut transaction, &batch).await.unwrap();
    sqlx::query(
        "INSERT INTO public.consumer_checkpoint (consumer, transaction_id, position)
         VALUES ($1, $2::text::xid8, $3)
         ON CONFLICT (consumer) DO UPDATE
         SET transaction_id = excluded.transaction_id, position = excluded.position",
    )
    .bind(name)
    .bind(last.cursor.xid())
    .bind(last.cursor.position)
    .execute(&mut *transaction)
    .await
    .unwrap();
    transaction.commit().await.unwrap();
    batch.len()
}

/// Moves the model over all there is. Another test's transactions may hold the feed back a little.
pub(crate) async fn catch_up(url: &str, position: Cursor) {
    let database = Database::new(url, 1).unwrap();
    testkit::eventually("the model has every event", async || {
        project(url, 10_000).await;
        let all = streams::consumer::checkpoints(database.system()).await.unwrap();
        all.iter().any(|c| c.cursor >= position).then_some(())
    })
    .await;
}
