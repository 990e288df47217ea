use std::collections::BTreeMap;

use domain::{
    Aggregate, StaffId,
    business::{Business, BusinessEvent},
    staff_calendar::StaffCalendar,
    staff_schedule::{Hours, StaffSchedule, StaffScheduleEvent},
};
use sqlx::{PgConnection, types::Json};
use streams::{consumer::Failure, log::Fact};
use uuid::Uuid;

use super::busy::BusyChanges;
use crate::changes::{Changes, id_of};

/// What a batch changes in `availability`. A rebuild locks the tables in the order in which they
/// are written here.
#[derive(Debug, Default)]
pub(crate) struct AvailabilityChanges {
    businesses: BTreeMap<Uuid, Vec<(i64, BusinessEvent)>>,
    hours: BTreeMap<Uuid, HoursRow>,
    busy: BusyChanges,
}

#[derive(Debug)]
struct HoursRow {
    business_id: Uuid,
    version: i64,
    hours: Hours,
}

impl Changes for AvailabilityChanges {
    const KINDS: &'static [&'static str] =
        &[Business::TYPE, StaffSchedule::TYPE, StaffCalendar::TYPE];

    fn take(&mut self, fact: &Fact<'_>) -> Result<(), Failure> {
        if let Some(event) = fact.of::<StaffCalendar>()? {
            return self.busy.take(fact, &event);
        }
        let business_id = fact.business_id.uuid();
        if let Some(event) = fact.of::<Business>()? {
            self.businesses.entry(business_id).or_default().push((fact.sequence, event));
        }
        if let Some(StaffScheduleEvent::HoursSet { hours }) = fact.of::<StaffSchedule>()? {
            let staff_id: StaffId = id_of(fact.stream_id)?;
            let row = HoursRow { business_id, version: fact.sequence, hours };
            self.hours.insert(staff_id.uuid(), row);
        }
        Ok(())
    }

    async fn write(self, connection: &mut PgConnection) -> Result<(), Failure> {
        businesses(connection, self.businesses).await?;
        hours(connection, &self.hours).await?;
        self.busy.write(connection).await
    }

    async fn copy(self, connection: &mut PgConnection) -> Result<(), Failure> {
        // There are few of these, and they change rows more than they make them.
        businesses(connection, self.businesses).await?;
        hours(connection, &self.hours).await?;
        self.busy.copy(connection).await
    }
}

/// Folds each business once, however many of its events are in the batch.
async fn businesses(
    connection: &mut PgConnection,
    mut changes: BTreeMap<Uuid, Vec<(i64, BusinessEvent)>>,
) -> Result<(), Failure> {
    if changes.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = changes.keys().copied().collect();
    let rows: Vec<(Uuid, Json<Business>)> =
        sqlx::query_as("SELECT business_id, state FROM business WHERE business_id = ANY($1)")
            .bind(&ids)
            .fetch_all(&mut *connection)
            .await?;
    let mut states: BTreeMap<Uuid, Business> =
        rows.into_iter().map(|(id, state)| (id, state.0)).collect();
    let (mut sequences, mut folded) = (Vec::new(), Vec::new());
    for id in &ids {
        let (mut state, mut last) = (states.remove(id).unwrap_or_default(), 0);
        for (sequence, event) in changes.remove(id).unwrap_or_default() {
            state.apply(event);
            last = sequence;
        }
        sequences.push(last);
        folded.push(Json(state));
    }
    sqlx::query(
        "INSERT INTO business (business_id, sequence, state)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::jsonb[])
         ON CONFLICT (business_id)
         DO UPDATE SET sequence = excluded.sequence, state = excluded.state",
    )
    .bind(ids)
    .bind(sequences)
    .bind(folded)
    .execute(connection)
    .await?;
    Ok(())
}

async fn hours(
    connection: &mut PgConnection,
    latest: &BTreeMap<Uuid, HoursRow>,
) -> Result<(), Failure> {
    if latest.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO working_hours (staff_id, business_id, version, hours)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::jsonb[])
         ON CONFLICT (staff_id) DO UPDATE SET version = excluded.version, hours = excluded.hours",
    )
    .bind(latest.keys().copied().collect::<Vec<_>>())
    .bind(latest.values().map(|row| row.business_id).collect::<Vec<_>>())
    .bind(latest.values().map(|row| row.version).collect::<Vec<_>>())
    .bind(latest.values().map(|row| Json(&row.hours)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
