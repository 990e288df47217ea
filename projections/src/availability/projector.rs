use std::collections::{BTreeMap, HashMap};

use domain::{
    Aggregate, StaffId, TimeSlot,
    business::Business,
    staff_calendar::{StaffCalendar, StaffCalendarEvent},
    staff_schedule::{Hours, StaffSchedule, StaffScheduleEvent},
};
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use streams::{
    consumer::{Failure, Projector},
    log::Recorded,
};
use uuid::Uuid;

/// Builds `availability`.
#[derive(Debug, Clone, Copy)]
pub struct AvailabilityProjector;

impl Projector for AvailabilityProjector {
    const NAME: &'static str = "project-availability";
    const SCHEMA: &'static str = "availability";

    async fn project(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        businesses(connection, batch).await?;
        hours(connection, batch).await?;
        let mut changes = Calendars::default();
        for event in batch {
            if let Some(fact) = event.of::<StaffCalendar>()? {
                changes.take(event, &fact)?;
            }
        }
        changes.write(connection).await
    }
}

/// Folds each business once, however many of its events are in the batch.
async fn businesses(connection: &mut PgConnection, batch: &[Recorded]) -> Result<(), Failure> {
    let ids: Vec<Uuid> = batch
        .iter()
        .filter(|event| event.stream.kind == Business::TYPE)
        .map(|event| event.business_id.uuid())
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    let rows: Vec<(Uuid, sqlx::types::Json<Business>)> =
        sqlx::query_as("SELECT business_id, state FROM business WHERE business_id = ANY($1)")
            .bind(&ids)
            .fetch_all(&mut *connection)
            .await?;
    let mut states: BTreeMap<Uuid, (i64, Business)> =
        rows.into_iter().map(|(id, state)| (id, (0, state.0))).collect();
    for event in batch {
        if let Some(fact) = event.of::<Business>()? {
            let (sequence, state) = states.entry(event.business_id.uuid()).or_default();
            *sequence = i64::try_from(event.sequence).unwrap_or(i64::MAX);
            state.apply(fact);
        }
    }
    for (id, (sequence, state)) in states {
        sqlx::query(
            "INSERT INTO business (business_id, sequence, state) VALUES ($1, $2, $3)
             ON CONFLICT (business_id)
             DO UPDATE SET sequence = excluded.sequence, state = excluded.state",
        )
        .bind(id)
        .bind(sequence)
        .bind(sqlx::types::Json(state))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn hours(connection: &mut PgConnection, batch: &[Recorded]) -> Result<(), Failure> {
    let mut latest: BTreeMap<Uuid, (Uuid, i64, Hours)> = BTreeMap::new();
    for event in batch {
        if let Some(StaffScheduleEvent::HoursSet { hours }) = event.of::<StaffSchedule>()? {
            let staff_id: StaffId = id_of(&event.stream.id)?;
            let version = i64::try_from(event.sequence).unwrap_or(i64::MAX);
            latest.insert(staff_id.uuid(), (event.business_id.uuid(), version, hours));
        }
    }
    for (staff_id, (business_id, version, hours)) in latest {
        sqlx::query(
            "INSERT INTO working_hours (staff_id, business_id, version, hours)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (staff_id) DO UPDATE SET version = excluded.version, hours = excluded.hours",
        )
        .bind(staff_id)
        .bind(business_id)
        .bind(version)
        .bind(sqlx::types::Json(hours))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

fn id_of<T: std::str::FromStr>(text: &str) -> Result<T, Failure>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().map_err(|error: T::Err| Failure::Poison(error.into()))
}

#[derive(Debug)]
struct BusyRow {
    business_id: Uuid,
    staff_id: Uuid,
    kind: &'static str,
    slot: TimeSlot,
    before: u32,
    after: u32,
}

/// The net effect of a batch on the calendars, by (stream, source).
#[derive(Debug, Default)]
struct Calendars(HashMap<(String, Uuid), Option<BusyRow>>);

impl Calendars {
    fn take(&mut self, event: &Recorded, fact: &StaffCalendarEvent) -> Result<(), Failure> {
        let staff: StaffId = id_of(event.stream.id.split(':').next().unwrap_or_default())?;
        let row = |kind, slot, before, after| BusyRow {
            business_id: event.business_id.uuid(),
            staff_id: staff.uuid(),
            kind,
            slot,
            before,
            after,
        };
        let (source, row) = match *fact {
            StaffCalendarEvent::Reserved {
                appointment_id,
                slot,
                buffer_before_minutes,
                buffer_after_minutes,
            } => {
                let busy = row("visit", slot, buffer_before_minutes, buffer_after_minutes);
                (appointment_id.uuid(), Some(busy))
            }
            StaffCalendarEvent::Released { appointment_id } => (appointment_id.uuid(), None),
            StaffCalendarEvent::TimeOffAdded { time_off_id, slot } => {
                (time_off_id.uuid(), Some(row("time_off", slot, 0, 0)))
            }
            StaffCalendarEvent::TimeOffRemoved { time_off_id } => (time_off_id.uuid(), None),
        };
        self.0.insert((event.stream.id.clone(), source), row);
        Ok(())
    }

    async fn write(self, connection: &mut PgConnection) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let (streams, sources): (Vec<String>, Vec<Uuid>) = self.0.keys().cloned().unzip();
        sqlx::query(
            "DELETE FROM busy USING unnest($1::text[], $2::uuid[]) AS gone (stream, source)
              WHERE busy.stream_id = gone.stream AND busy.source_id = gone.source",
        )
        .bind(streams)
        .bind(sources)
        .execute(&mut *connection)
        .await?;
        let rows: Vec<(&String, &Uuid, &BusyRow)> = self
            .0
            .iter()
            .filter_map(|((stream, source), row)| Some((stream, source, row.as_ref()?)))
            .collect();
        let minutes = |m: u32| i32::try_from(m).unwrap_or(i32::MAX);
        sqlx::query(
            "INSERT INTO busy (stream_id, source_id, kind, business_id, staff_id, starts_at, ends_at,
                               buffer_before_minutes, buffer_after_minutes)
             SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[],
                                  $6::timestamptz[], $7::timestamptz[], $8::integer[], $9::integer[])",
        )
        .bind(rows.iter().map(|(stream, _, _)| stream.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, source, _)| **source).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, row)| row.kind).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, row)| row.business_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, row)| row.staff_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, row)| row.slot.start().to_sqlx()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, row)| row.slot.end().to_sqlx()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, row)| minutes(row.before)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, row)| minutes(row.after)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
        Ok(())
    }
}
