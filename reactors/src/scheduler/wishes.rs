//! Changes of policy, which ask for reminders to be planned again.

use domain::{
    BusinessId, ServiceId,
    business::{Business, BusinessEvent},
};
use sqlx::PgConnection;
use streams::{consumer::Failure, log::Recorded};
use uuid::Uuid;

use crate::policies::{Policies, Told};

/// Visits of a business, or of one of its services, are to be planned again.
pub(super) struct Wish<'a> {
    event: &'a Recorded,
    service_id: Option<ServiceId>,
}

/// What a batch changes of when and by what guests are reminded.
pub(super) async fn of<'a>(
    connection: &mut PgConnection,
    batch: &'a [Recorded],
) -> Result<Vec<Wish<'a>>, Failure> {
    let mut changes = Vec::new();
    for event in batch {
        let service_id = match event.of::<Business>()? {
            Some(BusinessEvent::ProfileChanged { .. }) => None,
            Some(
                BusinessEvent::ServiceChanged { service_id, .. }
                | BusinessEvent::ServiceArchived { service_id, .. },
            ) => Some(service_id),
            _ => continue,
        };
        changes.push(Wish { event, service_id });
    }
    if changes.is_empty() {
        return Ok(changes);
    }
    let mut businesses: Vec<BusinessId> = changes.iter().map(|w| w.event.business_id).collect();
    businesses.sort_unstable();
    businesses.dedup();
    let mut policies = Policies::read(connection, &businesses).await?;
    changes.retain(|Wish { event, service_id }| {
        let of = |told: Told<'_>| told.summary(*service_id);
        let before = policies.at(event.business_id, event.cursor).map(of);
        let after = policies.through(event.business_id, event.cursor).map(of);
        before.is_some() && before != after
    });
    Ok(changes)
}

/// Notes them for whoever plans again. Not before the transaction's events are appended.
pub(super) async fn note(
    connection: &mut PgConnection,
    wishes: &[Wish<'_>],
) -> Result<(), sqlx::Error> {
    for Wish { event, service_id } in wishes {
        let origin = event.origin();
        sqlx::query(
            "INSERT INTO replan (business_id, service_id, transaction_id, position, correlation_id,
                                 traceparent)
             VALUES ($1, $2, $3::text::xid8, $4, $5, $6)
             ON CONFLICT (transaction_id, position) DO NOTHING",
        )
        .bind(event.business_id.uuid())
        .bind(service_id.map(|id: ServiceId| -> Uuid { id.uuid() }))
        .bind(event.cursor.xid())
        .bind(event.cursor.position)
        .bind(origin.correlation_id)
        .bind(origin.traceparent)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
