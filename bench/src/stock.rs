//! The reference from the shelf: cqrs-es with postgres-es, two aggregates and a saga between them. Our
//! own aggregates, since they are of its kind; its tables, its framework, nothing of our log.

use anyhow::Result;
use cqrs_es::AggregateError;
use domain::{
    AppointmentId, CalendarWeek, Currency, CustomerId, Money, TimeSlot,
    appointment::{Appointment, AppointmentCommand, Visit},
    business::BufferRule,
    staff_calendar::{self, StaffCalendar, StaffCalendarCommand},
};
use futures::future::try_join_all;
use postgres_es::{PostgresCqrs, postgres_cqrs};
use sqlx::postgres::PgPoolOptions;
use std::sync::Arc;
use streams::clock;
use testkit::postgres::TestDatabase;

use crate::{
    load::Outcome,
    salon::{VISIT_MINUTES, Wish},
};

/// The table that comes with postgres-es.
const TABLE: &str = "
DROP TABLE events;
CREATE TABLE events (
  aggregate_type text NOT NULL,
  aggregate_id   text NOT NULL,
  sequence       bigint CHECK (sequence >= 0) NOT NULL,
  event_type     text NOT NULL,
  event_version  text NOT NULL,
  payload        json NOT NULL,
  metadata       json NOT NULL,
  PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);
GRANT SELECT, INSERT ON events TO apptremind_app;";
const CONNECTIONS: u32 = 20;
/// As many as our own commands have.
const TRIES: usize = 10;

/// A saga over stock frameworks.
#[derive(Clone)]
pub(crate) struct Stock {
    calendars: Arc<PostgresCqrs<StaffCalendar>>,
    appointments: Arc<PostgresCqrs<Appointment>>,
    // Dropped last.
    _database: Arc<TestDatabase>,
}

impl Stock {
    pub(crate) async fn new() -> Result<Self> {
        let database = TestDatabase::create().await;
        database.execute(TABLE).await;
        let pool =
            PgPoolOptions::new().max_connections(CONNECTIONS).connect(&database.app_url()).await?;
        let connecting = (0..CONNECTIONS).map(|_| pool.acquire());
        drop(try_join_all(connecting).await?);
        Ok(Self {
            calendars: Arc::new(postgres_cqrs(pool.clone(), vec![], ())),
            appointments: Arc::new(postgres_cqrs(pool, vec![], ())),
            _database: Arc::new(database),
        })
    }

    /// Reserves, then books.
    pub(crate) async fn book(&self, wish: Wish) -> Outcome {
        let appointment_id = AppointmentId::new(clock::new_id());
        let Some(slot) = TimeSlot::lasting(wish.start, VISIT_MINUTES) else {
            return Outcome::Failed;
        };
        let week = staff_calendar::stream_id(wish.staff_id, CalendarWeek::of(wish.start));
        let reserve = StaffCalendarCommand::Reserve {
            appointment_id,
            slot,
            buffer_before_minutes: 0,
            buffer_after_minutes: 0,
            buffers: BufferRule::Add,
        };
        let mut tries = 0;
        loop {
            match self.calendars.execute(&week, reserve.clone()).await {
                Ok(()) => break,
                Err(AggregateError::AggregateConflict) if tries < TRIES => tries += 1,
                Err(AggregateError::UserError(_)) => return Outcome::Refused,
                Err(
                    AggregateError::AggregateConflict
                    | AggregateError::DatabaseConnectionError(_)
                    | AggregateError::DeserializationError(_)
                    | AggregateError::UnexpectedError(_),
                ) => return Outcome::Failed,
            }
        }
        let visit = Visit {
            staff_id: wish.staff_id,
            service_id: wish.service_id,
            customer_id: CustomerId::new(clock::new_id()),
            slot,
            buffer_before_minutes: 0,
            buffer_after_minutes: 0,
            price: Money { amount: 4_500, currency: Currency::USD },
            reminder_offsets_minutes: vec![],
            parts: vec![],
            resources: vec![],
            class: None,
            subjects: 1,
            series: None,
            offset_seconds: None,
        };
        let book = AppointmentCommand::Book { visit, choice: None };
        match self.appointments.execute(&appointment_id.to_string(), book).await {
            Ok(()) => Outcome::Done,
            Err(_) => Outcome::Failed,
        }
    }
}
