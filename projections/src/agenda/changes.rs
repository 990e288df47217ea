use std::collections::BTreeMap;

use domain::{
    Aggregate, AppointmentId, CustomerId,
    appointment::{Appointment, AppointmentEvent, Part, Status, Visit},
    customer::{Customer, CustomerEvent},
};
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use streams::{consumer::Failure, log::Fact};
use uuid::Uuid;

use super::merged::{self, Merged};
use crate::{
    changes::{Changes, id_of},
    rebuild::Rows,
};

#[derive(Debug)]
struct AppointmentRow {
    business_id: Uuid,
    visit: Visit,
    status: Status,
    sequence: i64,
}

/// What a batch changes in `agenda`.
#[derive(Debug, Default)]
pub(crate) struct AgendaChanges {
    booked: BTreeMap<Uuid, AppointmentRow>,
    /// Of visits that were booked before the batch.
    changed: BTreeMap<Uuid, Changed>,
    /// In order.
    merged: Vec<Merged>,
}

/// What becomes of a visit that has its row; `None` leaves what is there.
#[derive(Debug)]
struct Changed {
    status: Option<Status>,
    moved: Option<Visit>,
    sequence: i64,
}

const COLUMNS: &str = "appointment_id, business_id, staff_id, service_id, customer_id, starts_at, \
    ends_at, status, price_amount, price_currency, sequence, also_staff, also_services, series_id";

/// Who does the services after the first, and which they are; `None` for one service.
fn further<T>(visit: &Visit, of: impl Fn(&Part) -> T) -> Option<Vec<T>> {
    let parts = visit.parts.get(1..)?;
    Some(parts.iter().map(of).collect())
}

/// As text, because a list of lists is not one in Postgres.
fn array(ids: Option<Vec<Uuid>>) -> Option<String> {
    let ids: Vec<String> = ids?.iter().map(ToString::to_string).collect();
    Some(format!("{{{}}}", ids.join(",")))
}

fn staff(visit: &Visit) -> Option<Vec<Uuid>> {
    further(visit, |part| part.staff_id.uuid())
}

fn services(visit: &Visit) -> Option<Vec<Uuid>> {
    further(visit, |part| part.service_id.uuid())
}

impl Changes for AgendaChanges {
    const KINDS: &'static [&'static str] = &[Appointment::TYPE, Customer::TYPE];

    fn take(&mut self, fact: &Fact<'_>) -> Result<(), Failure> {
        if let Some(event) = fact.of::<Customer>()? {
            return self.take_customer(fact, &event);
        }
        let Some(event) = fact.of::<Appointment>()? else { return Ok(()) };
        let id = id_of::<AppointmentId>(fact.stream_id)?.uuid();
        let (status, moved) = match event {
            AppointmentEvent::Booked { visit, .. } => {
                return self.begin(id, fact, visit, Status::Booked);
            }
            AppointmentEvent::Requested { visit, .. } => {
                return self.begin(id, fact, visit, Status::Requested);
            }
            // What is only asked for stays so when it is moved.
            AppointmentEvent::Rescheduled { visit, .. } => (None, Some(visit)),
            AppointmentEvent::Reinstated { visit, .. } => (Some(Status::Booked), Some(visit)),
            AppointmentEvent::Confirmed {} => (Some(Status::Booked), None),
            AppointmentEvent::Declined {} => (Some(Status::Declined), None),
            AppointmentEvent::Expired {} => (Some(Status::Expired), None),
            AppointmentEvent::Cancelled {} => (Some(Status::Cancelled), None),
            AppointmentEvent::Completed {} => (Some(Status::Completed), None),
            AppointmentEvent::MissedByGuest {} => (Some(Status::NoShow), None),
        };
        let sequence = fact.sequence;
        if let Some(row) = self.booked.get_mut(&id) {
            (row.status, row.sequence) = (status.unwrap_or(row.status), sequence);
            if let Some(visit) = moved {
                // Whose visit it is, and of which series, a move leaves: as in `update`.
                let Visit { customer_id, series, .. } = row.visit;
                row.visit = Visit { customer_id, series, ..visit };
            }
        } else {
            let earlier = self.changed.remove(&id);
            let status = status.or(earlier.as_ref().and_then(|changed| changed.status));
            let moved = moved.or(earlier.and_then(|changed| changed.moved));
            self.changed.insert(id, Changed { status, moved, sequence });
        }
        Ok(())
    }

    async fn write(self, connection: &mut PgConnection) -> Result<(), Failure> {
        insert(connection, &self.booked).await?;
        update(connection, &self.changed).await?;
        self.merge(connection).await
    }

    async fn copy(self, connection: &mut PgConnection) -> Result<(), Failure> {
        let customers = self.booked.values().map(|row| row.visit.customer_id.uuid());
        let now = merged::of(connection, customers).await?;
        let mut rows = Rows::new(14);
        for (id, AppointmentRow { business_id, visit, status, sequence }) in &self.booked {
            rows.begin();
            rows.uuid(*id);
            rows.uuid(*business_id);
            rows.uuid(visit.staff_id.uuid());
            rows.uuid(visit.service_id.uuid());
            let customer_id = visit.customer_id.uuid();
            rows.uuid(now.get(&customer_id).copied().unwrap_or(customer_id));
            rows.instant(visit.slot.start());
            rows.instant(visit.slot.end());
            rows.text(status.as_str());
            rows.bigint(visit.price.amount);
            rows.text(&visit.price.currency.to_string());
            rows.bigint(*sequence);
            rows.maybe(staff(visit), |rows, ids| rows.uuids(&ids));
            rows.maybe(services(visit), |rows, ids| rows.uuids(&ids));
            rows.maybe(visit.series, |rows, series| rows.uuid(series.series_id.uuid()));
        }
        rows.send(connection, "appointment", COLUMNS).await?;
        update(connection, &self.changed).await?;
        self.merge(connection).await
    }
}

impl AgendaChanges {
    fn take_customer(&mut self, fact: &Fact<'_>, event: &CustomerEvent) -> Result<(), Failure> {
        match event {
            CustomerEvent::Merged { into } => self.merged.push(Merged {
                business_id: fact.business_id.uuid(),
                customer_id: id_of::<CustomerId>(fact.stream_id)?.uuid(),
                into: into.uuid(),
            }),
            // The other half says nothing more, and details are read where they stand.
            CustomerEvent::Absorbed { .. }
            | CustomerEvent::DetailsChanged { .. }
            | CustomerEvent::PreferencesChanged { .. } => {}
        }
        Ok(())
    }

    /// Behind the visits, so that those of the same batch follow too.
    async fn merge(&self, connection: &mut PgConnection) -> Result<(), Failure> {
        for merged in &self.merged {
            merged.write(connection).await?;
        }
        Ok(())
    }
}

impl AgendaChanges {
    fn begin(
        &mut self,
        id: Uuid,
        fact: &Fact<'_>,
        visit: Visit,
        status: Status,
    ) -> Result<(), Failure> {
        let (business_id, sequence) = (fact.business_id.uuid(), fact.sequence);
        let row = AppointmentRow { business_id, visit, status, sequence };
        match self.booked.insert(id, row) {
            None => Ok(()),
            Some(_) => Err(Failure::Poison("the visit is booked already".into())),
        }
    }
}

async fn insert(
    connection: &mut PgConnection,
    booked: &BTreeMap<Uuid, AppointmentRow>,
) -> Result<(), Failure> {
    if booked.is_empty() {
        return Ok(());
    }
    let rows = || booked.values();
    let sql = format!(
        "INSERT INTO appointment ({COLUMNS})
         SELECT id, business, staff, service, coalesce(m.into_id, customer), starts, ends, status,
                amount, currency, sequence, also_staff::uuid[], also_services::uuid[], series
           FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[],
                       $6::timestamptz[], $7::timestamptz[], $8::text[], $9::bigint[],
                       $10::text[], $11::bigint[], $12::text[], $13::text[], $14::uuid[])
             AS new (id, business, staff, service, customer, starts, ends, status, amount,
                     currency, sequence, also_staff, also_services, series)
           LEFT JOIN merged_customer m ON m.customer_id = new.customer"
    );
    sqlx::query(&sql)
        .bind(booked.keys().copied().collect::<Vec<_>>())
        .bind(rows().map(|row| row.business_id).collect::<Vec<_>>())
        .bind(rows().map(|row| row.visit.staff_id.uuid()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.visit.service_id.uuid()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.visit.customer_id.uuid()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.visit.slot.start().to_sqlx()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.visit.slot.end().to_sqlx()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.status.as_str()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.visit.price.amount).collect::<Vec<_>>())
        .bind(rows().map(|row| row.visit.price.currency.to_string()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.sequence).collect::<Vec<_>>())
        .bind(rows().map(|row| array(staff(&row.visit))).collect::<Vec<_>>())
        .bind(rows().map(|row| array(services(&row.visit))).collect::<Vec<_>>())
        .bind(rows().map(|row| Some(row.visit.series?.series_id.uuid())).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

async fn update(
    connection: &mut PgConnection,
    changed: &BTreeMap<Uuid, Changed>,
) -> Result<(), Failure> {
    if changed.is_empty() {
        return Ok(());
    }
    let rows = || changed.values();
    let moved = || rows().map(|row| row.moved.as_ref());
    sqlx::query(
        "UPDATE appointment a
            SET status = coalesce(new.status, a.status), sequence = new.sequence,
                staff_id = coalesce(new.staff_id, a.staff_id),
                service_id = coalesce(new.service_id, a.service_id),
                starts_at = coalesce(new.starts_at, a.starts_at),
                ends_at = coalesce(new.ends_at, a.ends_at),
                price_amount = coalesce(new.amount, a.price_amount),
                price_currency = coalesce(new.currency, a.price_currency),
                also_staff = coalesce(new.also_staff::uuid[], a.also_staff)
           FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::uuid[], $5::uuid[],
                       $6::timestamptz[], $7::timestamptz[], $8::bigint[], $9::text[],
                       $10::text[])
             AS new (id, status, sequence, staff_id, service_id, starts_at, ends_at, amount,
                     currency, also_staff)
          WHERE a.appointment_id = new.id",
    )
    .bind(changed.keys().copied().collect::<Vec<_>>())
    .bind(rows().map(|row| row.status.map(Status::as_str)).collect::<Vec<_>>())
    .bind(rows().map(|row| row.sequence).collect::<Vec<_>>())
    .bind(moved().map(|visit| Some(visit?.staff_id.uuid())).collect::<Vec<_>>())
    .bind(moved().map(|visit| Some(visit?.service_id.uuid())).collect::<Vec<_>>())
    .bind(moved().map(|visit| Some(visit?.slot.start().to_sqlx())).collect::<Vec<_>>())
    .bind(moved().map(|visit| Some(visit?.slot.end().to_sqlx())).collect::<Vec<_>>())
    .bind(moved().map(|visit| Some(visit?.price.amount)).collect::<Vec<_>>())
    .bind(moved().map(|visit| Some(visit?.price.currency.to_string())).collect::<Vec<_>>())
    .bind(moved().map(|visit| array(staff(visit?))).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
