//! Changes of what a business or a guest wants, which ask for reminders to be planned again.

use domain::{
    BusinessId, CustomerId, ServiceId,
    business::{Business, BusinessEvent},
    customer::{Customer, CustomerEvent},
};
use sqlx::PgConnection;
use streams::{consumer::Failure, log::Recorded};
use uuid::Uuid;

use super::poison;
use crate::policies::{Policies, Told};

/// Visits of a business, or of one of its services or customers, are to be planned again.
pub(super) struct Wish<'a> {
    event: &'a Recorded,
    service_id: Option<ServiceId>,
    customer_id: Option<CustomerId>,
}

/// What a batch changes of when and by what guests are reminded.
pub(super) async fn of<'a>(
    connection: &mut PgConnection,
    batch: &'a [Recorded],
) -> Result<Vec<Wish<'a>>, Failure> {
    let mut changes = Vec::new();
    let mut guests = Vec::new();
    for event in batch {
        // Whoever comes to stand for another is reminded as they want it, of the other's visits, too.
        if let Some(CustomerEvent::PreferencesChanged { .. } | CustomerEvent::Absorbed { .. }) =
            event.of::<Customer>()?
        {
            let id = event.stream.id.parse().map_err(poison::<domain::IdError>)?;
            guests.push(Wish { event, service_id: None, customer_id: Some(id) });
            continue;
        }
        let service_id = match event.of::<Business>()? {
            Some(BusinessEvent::ProfileChanged { .. }) => None,
            Some(
                BusinessEvent::ServiceChanged { service_id, .. }
                | BusinessEvent::ServiceArchived { service_id, .. },
            ) => Some(service_id),
            _ => continue,
        };
        changes.push(Wish { event, service_id, customer_id: None });
    }
    if changes.is_empty() {
        return Ok(guests);
    }
    let mut businesses: Vec<BusinessId> = changes.iter().map(|w| w.event.business_id).collect();
    businesses.sort_unstable();
    businesses.dedup();
    let mut policies = Policies::read(connection, &businesses).await?;
    changes.retain(|Wish { event, service_id, .. }| {
        let of = |told: Told<'_>| told.summary(*service_id);
        let before = policies.at(event.business_id, event.cursor).map(of);
        let after = policies.through(event.business_id, event.cursor).map(of);
        before.is_some() && before != after
    });
    changes.append(&mut guests);
    Ok(changes)
}

/// Notes them for whoever plans again; who asked before for the same visits is served with them, since it is always
/// planned as it is wanted last. Not before the transaction's events are appended.
pub(super) async fn note(
    connection: &mut PgConnection,
    wishes: &[Wish<'_>],
) -> Result<(), sqlx::Error> {
    for Wish { event, service_id, customer_id } in wishes {
        let origin = event.origin();
        sqlx::query(
            "WITH asked AS (
               INSERT INTO replan (business_id, service_id, transaction_id, position, correlation_id,
                                   traceparent, customer_id)
               VALUES ($1, $2, $3::text::xid8, $4, $5, $6, $7)
               ON CONFLICT (transaction_id, position) DO NOTHING
               RETURNING replan_id)
             DELETE FROM replan r USING asked
              WHERE r.business_id = $1 AND r.service_id IS NOT DISTINCT FROM $2
                AND r.customer_id IS NOT DISTINCT FROM $7
                AND (r.transaction_id, r.position) < ($3::text::xid8, $4)",
        )
        .bind(event.business_id.uuid())
        .bind(service_id.map(|id: ServiceId| -> Uuid { id.uuid() }))
        .bind(event.cursor.xid())
        .bind(event.cursor.position)
        .bind(origin.correlation_id)
        .bind(origin.traceparent)
        .bind(customer_id.map(|id: CustomerId| -> Uuid { id.uuid() }))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
