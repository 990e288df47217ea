//! What was agreed when a visit ended: the events of an end do not say it.

use std::collections::HashMap;

use domain::{
    Aggregate,
    appointment::{Appointment, AppointmentEvent, Visit},
};
use serde_json::Value;
use sqlx::PgConnection;
use streams::{consumer::Failure, log::Recorded};
use uuid::Uuid;

/// The visit, and how often it had been changed.
pub(crate) type Agreed = (Visit, u32);

/// By the event of the end: what was agreed right before it.
pub(crate) async fn before(
    connection: &mut PgConnection,
    ends: &[&Recorded],
) -> Result<HashMap<Uuid, Agreed>, Failure> {
    if ends.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, String, String, Value)> = sqlx::query_as(
        "SELECT ended.event, e.event_type, e.event_version, e.payload
           FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS ended (event, stream, sequence)
          CROSS JOIN LATERAL (
                SELECT event_type, event_version, payload FROM events
                 WHERE aggregate_type = $4 AND aggregate_id = ended.stream
                   AND sequence < ended.sequence AND payload ? 'visit'
                 ORDER BY sequence DESC LIMIT 1) AS e",
    )
    .bind(ends.iter().map(|end| end.event_id).collect::<Vec<_>>())
    .bind(ends.iter().map(|end| end.stream.id.as_str()).collect::<Vec<_>>())
    .bind(ends.iter().map(|e| i64::try_from(e.sequence).unwrap_or(i64::MAX)).collect::<Vec<_>>())
    .bind(Appointment::TYPE)
    .fetch_all(connection)
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for (event, kind, version, payload) in rows {
        let fact: AppointmentEvent =
            serde_json::from_value(domain::upcast(&kind, &version, payload))
                .map_err(|error| Failure::Poison(error.into()))?;
        found.extend(fact.agreed().map(|agreed| (event, agreed)));
    }
    Ok(found)
}
