use std::collections::BTreeMap;

use domain::{
    AppointmentId,
    appointment::{Appointment, AppointmentEvent, Status, Visit},
};
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use streams::{
    consumer::{Failure, Projector},
    log::Recorded,
};
use uuid::Uuid;

/// Builds `agenda`.
#[derive(Debug, Clone, Copy)]
pub struct AgendaProjector;

impl Projector for AgendaProjector {
    const NAME: &'static str = "project-agenda";
    const SCHEMA: &'static str = "agenda";

    async fn project(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        let mut booked: Vec<(Uuid, Uuid, Visit)> = Vec::new();
        let mut statuses: BTreeMap<Uuid, (Status, i64)> = BTreeMap::new();
        for event in batch {
            let Some(fact) = event.of::<Appointment>()? else { continue };
            let id: AppointmentId = event
                .stream
                .id
                .parse()
                .map_err(|error: domain::IdError| Failure::Poison(error.into()))?;
            let status = match fact {
                AppointmentEvent::Booked { visit } => {
                    booked.push((id.uuid(), event.business_id.uuid(), visit));
                    Status::Booked
                }
                AppointmentEvent::Cancelled {} => Status::Cancelled,
                AppointmentEvent::Completed {} => Status::Completed,
                AppointmentEvent::MissedByGuest {} => Status::NoShow,
            };
            let sequence = i64::try_from(event.sequence).unwrap_or(i64::MAX);
            statuses.insert(id.uuid(), (status, sequence));
        }
        insert(connection, &booked).await?;
        update(connection, &statuses).await
    }
}

async fn insert(
    connection: &mut PgConnection,
    booked: &[(Uuid, Uuid, Visit)],
) -> Result<(), Failure> {
    if booked.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO appointment (appointment_id, business_id, staff_id, service_id, customer_id,
                                  starts_at, ends_at, status, price_amount, price_currency, sequence)
         SELECT a, b, s, v, c, starts, ends, 'booked', amount, currency, 1
           FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[],
                       $6::timestamptz[], $7::timestamptz[], $8::bigint[], $9::text[])
             AS booked (a, b, s, v, c, starts, ends, amount, currency)",
    )
    .bind(booked.iter().map(|(id, _, _)| *id).collect::<Vec<_>>())
    .bind(booked.iter().map(|(_, business, _)| *business).collect::<Vec<_>>())
    .bind(booked.iter().map(|(_, _, v)| v.staff_id.uuid()).collect::<Vec<_>>())
    .bind(booked.iter().map(|(_, _, v)| v.service_id.uuid()).collect::<Vec<_>>())
    .bind(booked.iter().map(|(_, _, v)| v.customer_id.uuid()).collect::<Vec<_>>())
    .bind(booked.iter().map(|(_, _, v)| v.slot.start().to_sqlx()).collect::<Vec<_>>())
    .bind(booked.iter().map(|(_, _, v)| v.slot.end().to_sqlx()).collect::<Vec<_>>())
    .bind(booked.iter().map(|(_, _, v)| v.price.amount).collect::<Vec<_>>())
    .bind(booked.iter().map(|(_, _, v)| v.price.currency.to_string()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(
    connection: &mut PgConnection,
    statuses: &BTreeMap<Uuid, (Status, i64)>,
) -> Result<(), Failure> {
    sqlx::query(
        "UPDATE appointment a SET status = new.status, sequence = new.sequence
           FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS new (id, status, sequence)
          WHERE a.appointment_id = new.id",
    )
    .bind(statuses.keys().copied().collect::<Vec<_>>())
    .bind(statuses.values().map(|(status, _)| status.as_str()).collect::<Vec<_>>())
    .bind(statuses.values().map(|(_, sequence)| *sequence).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
