//! What was agreed before a visit was moved or ended: the events of an end do not say it, and that of a
//! move does not say who was to serve.

use std::collections::HashMap;

use domain::{
    Aggregate,
    appointment::{Appointment, AppointmentEvent, Visit},
};
use serde_json::Value;
use sqlx::PgConnection;
use streams::{consumer::Failure, log::Recorded};
use uuid::Uuid;

/// A visit right before an event.
pub(crate) struct Agreed {
    pub(crate) visit: Visit,
    /// How often it had been changed.
    pub(crate) revision: u32,
    /// Whether it was only asked for.
    pub(crate) asked: bool,
    /// Whether it was asked of a guest who waited.
    pub(crate) offered: bool,
}

/// By event: what was agreed right before it.
pub(crate) async fn before(
    connection: &mut PgConnection,
    changes: &[&Recorded],
) -> Result<HashMap<Uuid, Agreed>, Failure> {
    if changes.is_empty() {
        return Ok(HashMap::new());
    }
    let sequence = |event: &&Recorded| i64::try_from(event.sequence).unwrap_or(i64::MAX);
    let rows: Vec<(Uuid, String, String, Value, bool, bool)> = sqlx::query_as(
        "SELECT change.event, e.event_type, e.event_version, e.payload,
                EXISTS (SELECT FROM events q
                         WHERE q.aggregate_type = $4 AND q.aggregate_id = change.stream
                           AND q.sequence = 1
                           AND q.event_type = 'booking.appointment.requested.v1')
                AND NOT EXISTS (SELECT FROM events q
                         WHERE q.aggregate_type = $4 AND q.aggregate_id = change.stream
                           AND q.sequence < change.sequence
                           AND q.event_type IN ('booking.appointment.confirmed.v1',
                                                'booking.appointment.reinstated.v1')) AS asked,
                EXISTS (SELECT FROM events q
                         WHERE q.aggregate_type = $4 AND q.aggregate_id = change.stream
                           AND q.sequence = 1 AND q.payload ? 'waitlist_id') AS offered
           FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS change (event, stream, sequence)
          CROSS JOIN LATERAL (
                SELECT event_type, event_version, payload FROM events
                 WHERE aggregate_type = $4 AND aggregate_id = change.stream
                   AND sequence < change.sequence AND payload ? 'visit'
                 ORDER BY sequence DESC LIMIT 1) AS e",
    )
    .bind(changes.iter().map(|event| event.event_id).collect::<Vec<_>>())
    .bind(changes.iter().map(|event| event.stream.id.as_str()).collect::<Vec<_>>())
    .bind(changes.iter().map(sequence).collect::<Vec<_>>())
    .bind(Appointment::TYPE)
    .fetch_all(connection)
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for (event, kind, version, payload, asked, offered) in rows {
        let fact: AppointmentEvent =
            serde_json::from_value(domain::upcast(&kind, &version, payload))
                .map_err(|error| Failure::Poison(error.into()))?;
        let agreed = |(visit, revision)| (event, Agreed { visit, revision, asked, offered });
        found.extend(fact.agreed().map(agreed));
    }
    Ok(found)
}
