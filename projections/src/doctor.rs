//! Checks the promises on a live system, from the tables themselves and not by our own rules.

use serde::Serialize;
use sqlx::PgConnection;
use streams::Database;

use crate::{ReadError, status};

/// The outcome of one check.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What should hold, in one sentence.
    pub invariant: &'static str,
    /// How often it does not.
    pub broken: i64,
    /// One place where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

/// (what should hold, a query of the places where it does not). Events and reserved times are
/// compared in one snapshot, so a live system shows no false alarms.
const CHECKS: &[(&str, &str)] = &[
    (
        "no two visits of a staff member overlap",
        "SELECT a.appointment_id::text || ' / ' || b.appointment_id::text
           FROM reserved_time a JOIN reserved_time b
             ON a.staff_id = b.staff_id AND a.appointment_id < b.appointment_id
            AND a.during && b.during",
    ),
    (
        "no two booked appointments of a staff member overlap",
        "SELECT a.id || ' / ' || b.id FROM booked a JOIN booked b
             ON a.staff = b.staff AND a.id < b.id AND a.during && b.during",
    ),
    (
        "no stream has a gap",
        "SELECT aggregate_type || ' ' || aggregate_id FROM events
          GROUP BY aggregate_type, aggregate_id
         HAVING min(sequence) <> 1 OR max(sequence) <> count(*)",
    ),
    (
        "every booked appointment and every request has its reserved time",
        "SELECT b.id FROM booked b
          WHERE NOT EXISTS (SELECT FROM reserved_time r
                             WHERE r.appointment_id = substr(b.id, 6)::uuid
                               AND r.staff_id = substr(b.staff, 7)::uuid
                               AND r.during = b.during)",
    ),
    (
        "every reserved time has its booked appointment or its request",
        "SELECT r.appointment_id::text FROM reserved_time r
          WHERE NOT EXISTS (SELECT FROM booked b
                             WHERE b.id = 'appt_' || replace(r.appointment_id::text, '-', ''))",
    ),
    (
        "every booked appointment stands in its calendar",
        "SELECT b.id FROM booked b
          WHERE NOT EXISTS (SELECT FROM events e
                             WHERE e.aggregate_type = 'staff_calendar'
                               AND e.event_type = 'staff.calendar.reserved.v1'
                               AND e.payload->>'appointment_id' = b.id
                               AND starts_with(e.aggregate_id, b.staff || ':')
                               AND e.payload->'slot' = b.slot)",
    ),
    (
        "every stored answer names an appointment that was booked, and no two the same",
        "SELECT k.key FROM idempotency_key k
          WHERE k.answer ? 'appointment_id'
            AND (NOT EXISTS (SELECT FROM events e WHERE e.aggregate_type = 'appointment'
                               AND e.aggregate_id = k.answer->>'appointment_id' AND e.sequence = 1)
              OR EXISTS (SELECT FROM idempotency_key o
                          WHERE o.answer->>'appointment_id' = k.answer->>'appointment_id'
                            AND (o.business_id, o.key) <> (k.business_id, k.key)))",
    ),
    (
        "the month's usage counts every appointment made",
        "SELECT u.business_id::text || ' ' || u.month FROM monthly_usage u
          WHERE u.used <> (SELECT count(*) FROM events e
                            WHERE e.event_type IN ('booking.appointment.booked.v1',
                                                   'booking.appointment.requested.v1')
                              AND e.business_id = u.business_id
                              AND date_trunc('month', e.occurred_at AT TIME ZONE 'UTC') = u.month)",
    ),
    (
        "every booking and move that the scheduler has seen has its messages planned",
        "SELECT e.aggregate_id FROM events e, consumer_checkpoint c
          WHERE e.aggregate_type = 'appointment' AND e.payload ? 'visit'
            AND c.consumer = 'schedule-reminders'
            AND (e.transaction_id, e.position) <= (c.transaction_id, c.position)
            AND (SELECT count(*) FROM notification n
                  WHERE n.appointment_id = substr(e.aggregate_id, 6)::uuid
                    AND n.version = 1 + coalesce((e.payload->>'revision')::integer, 0))
                < 1 + CASE WHEN EXISTS (SELECT FROM requested r WHERE r.id = e.aggregate_id
                                           AND (r.agreed IS NULL OR e.sequence < r.agreed))
                           THEN 0
                           ELSE jsonb_array_length(e.payload->'visit'->'reminder_offsets_minutes') END",
    ),
    (
        "every answer to a request that the scheduler has seen has its messages planned",
        "SELECT e.aggregate_id FROM events e, consumer_checkpoint c
          WHERE e.aggregate_type = 'appointment' AND e.event_type IN ('booking.appointment.confirmed.v1',
                 'booking.appointment.declined.v1', 'booking.appointment.expired.v1')
            AND c.consumer = 'schedule-reminders'
            AND (e.transaction_id, e.position) <= (c.transaction_id, c.position)
            AND (SELECT count(*) FROM notification n
                  WHERE n.appointment_id = substr(e.aggregate_id, 6)::uuid
                    AND n.kind IN ('confirmation', 'reminder', 'declined', 'expired'))
                < 1 + CASE WHEN e.event_type = 'booking.appointment.confirmed.v1'
                           THEN (SELECT jsonb_array_length(f.payload->'visit'->'reminder_offsets_minutes')
                                   FROM events f WHERE f.aggregate_type = 'appointment'
                                    AND f.aggregate_id = e.aggregate_id AND f.sequence = 1)
                           ELSE 0 END",
    ),
    (
        "the scheduler knows of every request that waits for its answer, and of no other",
        "SELECT coalesce(r.id, p.appointment_id::text)
           FROM (SELECT q.id, q.expires_at, b.during FROM requested q JOIN booked b USING (id)
                  WHERE q.agreed IS NULL) r
           FULL JOIN pending_request p ON p.appointment_id = substr(r.id, 6)::uuid
          WHERE p.appointment_id IS NULL OR r.id IS NULL
             OR p.expires_at > lower(r.during) OR p.expires_at > r.expires_at",
    ),
    (
        "no request is a minute past its time",
        "SELECT appointment_id::text FROM pending_request
          WHERE expires_at < now() - interval '1 minute'",
    ),
    (
        "every entry of the waitlist is where its events say",
        "SELECT e.waitlist_id::text FROM waitlist_entry e
          WHERE e.status IS DISTINCT FROM
                (SELECT CASE v.event_type WHEN 'booking.waitlist.joined.v1' THEN 'waiting'
                                          ELSE split_part(v.event_type, '.', 3) END
                   FROM events v WHERE v.aggregate_type = 'waitlist_entry'
                    AND v.aggregate_id = 'wait_' || replace(e.waitlist_id::text, '-', '')
                  ORDER BY v.sequence DESC LIMIT 1)",
    ),
    (
        "nobody who waits was offered two times",
        "SELECT min(e.aggregate_id) FROM events e
          WHERE e.aggregate_type = 'appointment'
            AND e.event_type = 'booking.appointment.requested.v1' AND e.payload ? 'waitlist_id'
          GROUP BY e.payload->>'waitlist_id' HAVING count(*) > 1",
    ),
    (
        "every message in the work table has as many events as it says",
        "SELECT n.notification_id::text FROM notification n
          WHERE n.sequence <> (SELECT count(*) FROM events e
                 WHERE e.aggregate_type = 'notification'
                   AND e.aggregate_id = 'ntf_' || replace(n.notification_id::text, '-', ''))",
    ),
];

/// Appointments that are asked for, booked, kept or missed, as they were agreed last: their time is
/// theirs. And all that ever was asked for, with the event that made it a booking.
const BOOKED: &str = "
WITH agreed AS (
  SELECT DISTINCT ON (aggregate_id) aggregate_id, sequence, payload->'visit' AS visit
    FROM events
   WHERE aggregate_type = 'appointment' AND payload ? 'visit'
   ORDER BY aggregate_id, sequence DESC
), booked AS MATERIALIZED (
  SELECT a.aggregate_id AS id, a.visit->>'staff_id' AS staff, a.visit->'slot' AS slot,
         tstzrange((a.visit->'slot'->>'start')::timestamptz,
                   (a.visit->'slot'->>'end')::timestamptz) AS during
    FROM agreed a
   WHERE NOT EXISTS (SELECT FROM events c
                      WHERE c.aggregate_type = 'appointment' AND c.aggregate_id = a.aggregate_id
                        AND c.event_type IN ('booking.appointment.cancelled.v1',
                                             'booking.appointment.declined.v1',
                                             'booking.appointment.expired.v1')
                        AND c.sequence > a.sequence)
), requested AS MATERIALIZED (
  SELECT e.aggregate_id AS id, (e.payload->>'expires_at')::timestamptz AS expires_at,
         (SELECT min(f.sequence) FROM events f
           WHERE f.aggregate_type = 'appointment' AND f.aggregate_id = e.aggregate_id
             AND f.event_type IN ('booking.appointment.confirmed.v1',
                                  'booking.appointment.reinstated.v1')) AS agreed
    FROM events e
   WHERE e.aggregate_type = 'appointment'
     AND e.event_type = 'booking.appointment.requested.v1')";

/// Runs every check; those that hold are in the list with zero.
///
/// # Errors
/// When Postgres does not answer.
pub async fn examine(database: &Database) -> Result<Vec<Finding>, ReadError> {
    let mut connection = database.connect().await?;
    sqlx::query("SET statement_timeout = '10min'").execute(&mut connection).await?;
    let mut findings = Vec::with_capacity(CHECKS.len() + 2);
    for (invariant, query) in CHECKS {
        findings.push(check(&mut connection, invariant, query).await?);
    }
    findings.push(superuser(&mut connection).await?);
    for model in status(database, 1).await? {
        if let Some(reason) = model.halted {
            findings.push(Finding {
                invariant: "no consumer has stopped",
                broken: 1,
                example: Some(format!("{}: {reason}", model.consumer)),
            });
        }
    }
    Ok(findings)
}

async fn check(
    connection: &mut PgConnection,
    invariant: &'static str,
    query: &str,
) -> Result<Finding, ReadError> {
    let sql =
        format!("{BOOKED}, found (example) AS ({query}) SELECT count(*), min(example) FROM found");
    let (broken, example): (i64, Option<String>) =
        sqlx::query_as(&sql).fetch_one(connection).await?;
    Ok(Finding { invariant, broken, example })
}

/// A superuser passes by every right that the schema withholds.
async fn superuser(connection: &mut PgConnection) -> Result<Finding, ReadError> {
    let allowed: bool = sqlx::query_scalar(
        "SELECT rolsuper OR has_table_privilege('events', 'UPDATE')
                         OR has_table_privilege('events', 'DELETE')
           FROM pg_roles WHERE rolname = current_user",
    )
    .fetch_one(connection)
    .await?;
    Ok(Finding {
        invariant: "the application signs in to Postgres as a role that cannot change events",
        broken: i64::from(allowed),
        example: None,
    })
}
