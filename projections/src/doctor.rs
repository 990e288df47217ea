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
             ON a.staff_id = b.staff_id AND a.during && b.during
            AND (a.appointment_id, a.part) < (b.appointment_id, b.part)",
    ),
    (
        "no two booked appointments of a staff member overlap",
        "SELECT a.id || ' / ' || b.id FROM booked a JOIN booked b
             ON a.staff = b.staff AND a.holder < b.holder AND a.during && b.during",
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
                             WHERE r.appointment_id = b.holder AND r.part = b.part
                               AND r.staff_id = substr(b.staff, 7)::uuid
                               AND r.during = b.during)",
    ),
    (
        "every reserved time has its booked appointment or its request",
        "SELECT r.appointment_id::text FROM reserved_time r
          WHERE NOT EXISTS (SELECT FROM booked b
                             WHERE b.holder = r.appointment_id AND b.part = r.part)",
    ),
    (
        "every booked appointment stands in its calendar",
        "SELECT b.id FROM booked b
          WHERE NOT EXISTS (SELECT FROM events e
                             WHERE e.aggregate_type = 'staff_calendar'
                               AND e.event_type IN ('staff.calendar.reserved.v1',
                                                    'staff.calendar.seats_taken.v1')
                               AND e.payload->>'appointment_id' = b.id
                               AND starts_with(e.aggregate_id, b.staff || ':')
                               AND (e.payload->'slot'->>'start')::timestamptz <= lower(b.during)
                               AND (e.payload->'slot'->>'end')::timestamptz >= upper(b.during))",
    ),
    (
        "every class has as many guests as its seats say, and no more than there are seats",
        "SELECT r.appointment_id::text FROM reserved_time r
          WHERE r.seats IS NOT NULL
            AND (r.seats > r.capacity
              OR r.seats <> (SELECT sum(b.seats) FROM booked b WHERE b.holder = r.appointment_id))",
    ),
    (
        "no resource is used more at once than there ever was of it",
        "SELECT u.resource_id::text || ' ' || u.starts_at FROM reserved_resource u
          WHERE (SELECT sum(o.quantity) FROM reserved_resource o
                  WHERE o.resource_id = u.resource_id
                    AND o.starts_at <= u.starts_at AND u.starts_at < o.ends_at)
              > (SELECT max((e.payload->'resource'->>'capacity')::integer) FROM events e
                  WHERE e.aggregate_type = 'business' AND e.payload ? 'resource'
                    AND e.payload->>'resource_id'
                        = 'res_' || replace(u.resource_id::text, '-', ''))",
    ),
    (
        "every resource in use is used by a booked appointment, as it was agreed",
        "SELECT u.holder_id::text FROM reserved_resource u
          WHERE NOT EXISTS (SELECT FROM booked b WHERE b.holder = u.holder_id)
         UNION ALL
         SELECT b.id FROM booked b, jsonb_array_elements(b.resources) AS used
          WHERE NOT EXISTS (SELECT FROM reserved_resource u
                             WHERE u.holder_id = b.holder
                               AND u.resource_id = substr(used->>'resource_id', 5)::uuid
                               AND u.quantity = (used->>'quantity')::integer
                               AND u.starts_at = (used->'slot'->>'start')::timestamptz
                               AND u.ends_at = (used->'slot'->>'end')::timestamptz)",
    ),
    (
        "whoever stands for a merged customer is known and not merged, and the log says so too",
        "SELECT c.customer_id::text FROM customer c
          WHERE c.merged_into IS NOT NULL
            AND (NOT EXISTS (SELECT FROM customer s
                              WHERE s.customer_id = c.merged_into
                                AND s.business_id = c.business_id AND s.merged_into IS NULL)
              OR NOT EXISTS (SELECT FROM events e
                              WHERE e.aggregate_type = 'customer'
                                AND e.aggregate_id = 'cust_' || replace(c.customer_id::text, '-', '')
                                AND e.event_type = 'customer.merged.v1'))",
    ),
    (
        "every customer is in the version of the last event about them",
        "SELECT c.customer_id::text FROM customer c
          WHERE c.version <> coalesce(
                  (SELECT max(e.sequence) FROM events e
                    WHERE e.aggregate_type = 'customer'
                      AND e.aggregate_id = 'cust_' || replace(c.customer_id::text, '-', '')), 0)",
    ),
    (
        "every template has the words of its last change, and knows the last event about it",
        "SELECT t.template_id::text
           FROM (SELECT *, 'tmpl_' || replace(template_id::text, '-', '') AS id
                   FROM message_template) t
           LEFT JOIN events e ON e.aggregate_type = 'message_template' AND e.aggregate_id = t.id
                             AND e.sequence = t.version
          WHERE t.subject IS DISTINCT FROM e.payload->>'subject'
             OR t.text IS DISTINCT FROM e.payload->>'text'
             OR t.html IS DISTINCT FROM e.payload->>'html'
             OR t.sms IS DISTINCT FROM e.payload->>'sms'
             OR t.sequence <> (SELECT max(l.sequence) FROM events l
                                WHERE l.aggregate_type = 'message_template'
                                  AND l.aggregate_id = t.id)",
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
        "SELECT e.aggregate_id FROM seen e
          WHERE e.event_type IN ('booking.appointment.booked.v1',
                  'booking.appointment.requested.v1', 'booking.appointment.confirmed.v1',
                  'booking.appointment.rescheduled.v1', 'booking.appointment.reinstated.v1')
            AND ((SELECT count(*) FROM notification n
                   WHERE n.appointment_id = e.appointment_id AND n.version = 1 + e.revision
                     AND n.kind = CASE WHEN e.asked AND e.offered THEN 'offered'
                           WHEN e.asked THEN 'requested'
                           WHEN e.event_type = 'booking.appointment.rescheduled.v1'
                           THEN 'rescheduled' ELSE 'confirmation' END)
                 <> CASE WHEN e.repeats THEN 0 ELSE 1 END
              -- What was agreed later, as by another policy, comes on top.
              OR e.event_type IN ('booking.appointment.booked.v1', 'booking.appointment.rescheduled.v1')
                 AND NOT e.asked AND NOT (
                 (SELECT coalesce(array_agg(n.offset_minutes), '{}')
                    FROM notification n
                   WHERE n.appointment_id = e.appointment_id AND n.version = 1 + e.revision
                     AND n.kind = 'reminder')
                 @> (SELECT coalesce(array_agg(minutes::integer), '{}')
                       FROM jsonb_array_elements_text(
                              e.visit->'reminder_offsets_minutes') AS o (minutes))))",
    ),
    (
        "every cancellation that the scheduler has seen has its message planned",
        "SELECT e.aggregate_id FROM seen e, message_kind_since s
          WHERE e.event_type = 'booking.appointment.cancelled.v1' AND s.kind = 'cancellation'
            AND (e.transaction_id, e.position) >= (s.transaction_id, s.position)
            AND NOT EXISTS (SELECT FROM notification n
                             WHERE n.appointment_id = e.appointment_id AND n.kind = s.kind
                               AND n.version = 1 + e.revision)",
    ),
    (
        "every booking, move and cancellation that the scheduler has seen has its notice to the host planned, where the business wants it",
        "SELECT e.aggregate_id FROM seen e
           JOIN message_kind_since s
             ON s.kind = CASE e.event_type
                  WHEN 'booking.appointment.booked.v1' THEN 'host_booked'
                  WHEN 'booking.appointment.requested.v1'
                  THEN CASE WHEN NOT e.offered THEN 'host_requested' END
                  WHEN 'booking.appointment.confirmed.v1' THEN 'host_booked'
                  WHEN 'booking.appointment.reinstated.v1' THEN 'host_booked'
                  WHEN 'booking.appointment.rescheduled.v1'
                  THEN CASE WHEN e.asked AND NOT e.offered THEN 'host_requested'
                            WHEN NOT e.asked THEN 'host_rescheduled' END
                  WHEN 'booking.appointment.cancelled.v1' THEN 'host_cancelled' END
            AND (e.transaction_id, e.position) >= (s.transaction_id, s.position)
          WHERE EXISTS (SELECT FROM notification n
                         WHERE n.appointment_id = e.appointment_id AND n.kind = s.kind
                           AND n.version = 1 + e.revision)
             <> (SELECT coalesce((b.payload->'profile'->>'host_notices')::boolean, true)
                        AND NOT e.repeats
                   FROM events b
                  WHERE b.aggregate_type = 'business'
                    AND b.aggregate_id = 'biz_' || replace(e.business_id::text, '-', '')
                    AND b.event_type IN ('business.registered.v1', 'business.updated.v1')
                    AND (b.transaction_id, b.position) < (e.transaction_id, e.position)
                  ORDER BY b.sequence DESC LIMIT 1)",
    ),
    (
        "every end of a request that the scheduler has seen has its message planned",
        "SELECT e.aggregate_id FROM seen e
          WHERE e.event_type IN ('booking.appointment.declined.v1',
                                 'booking.appointment.expired.v1')
            AND NOT EXISTS (SELECT FROM notification n
                             WHERE n.appointment_id = e.appointment_id
                               AND n.version = 1 + e.revision
                               AND n.kind = split_part(e.event_type, '.', 3))",
    ),
    (
        "the scheduler knows of every request that waits for its answer, and of no other",
        "SELECT coalesce(r.id, p.appointment_id::text)
           FROM (SELECT q.id, q.expires_at, b.during FROM requested q JOIN booked b USING (id)
                  WHERE b.part = 0 AND q.agreed IS NULL) r
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

/// Services of appointments that are asked for, booked, kept or missed, as they were agreed last: their
/// time is theirs. Those who come to one meeting of a class hold its time together. And all that ever was
/// asked for, with the event that made it a booking; and the events of appointments that the scheduler
/// has seen, each with what was agreed at the time: of those who were booked as a series the first speaks
/// for all.
const BOOKED: &str = "
WITH agreed AS (
  SELECT DISTINCT ON (aggregate_id) aggregate_id, sequence, payload->'visit' AS visit
    FROM events
   WHERE aggregate_type = 'appointment' AND payload ? 'visit'
   ORDER BY aggregate_id, sequence DESC
), booked AS MATERIALIZED (
  SELECT a.aggregate_id AS id, (n - 1)::integer AS part, p->>'staff_id' AS staff,
         tstzrange((p->'slot'->>'start')::timestamptz, (p->'slot'->>'end')::timestamptz) AS during,
         coalesce(substr(a.visit->'class'->>'session_id', 5), substr(a.aggregate_id, 6))::uuid
           AS holder,
         (a.visit->'class'->>'seats')::integer AS seats,
         CASE WHEN n = 1 THEN coalesce(a.visit->'resources', '[]') ELSE '[]' END AS resources
    FROM agreed a
   CROSS JOIN LATERAL jsonb_array_elements(coalesce(a.visit->'parts', jsonb_build_array(a.visit)))
         WITH ORDINALITY AS parts (p, n)
   WHERE NOT EXISTS (SELECT FROM events c
                      WHERE c.aggregate_type = 'appointment' AND c.aggregate_id = a.aggregate_id
                        AND c.event_type IN ('booking.appointment.cancelled.v1',
                                             'booking.appointment.declined.v1',
                                             'booking.appointment.expired.v1')
                        AND c.sequence > a.sequence)
), requested AS MATERIALIZED (
  SELECT e.aggregate_id AS id, (e.payload->>'expires_at')::timestamptz AS expires_at,
         e.payload ? 'waitlist_id' AS offered,
         (SELECT min(f.sequence) FROM events f
           WHERE f.aggregate_type = 'appointment' AND f.aggregate_id = e.aggregate_id
             AND f.event_type IN ('booking.appointment.confirmed.v1',
                                  'booking.appointment.reinstated.v1')) AS agreed
    FROM events e
   WHERE e.aggregate_type = 'appointment'
     AND e.event_type = 'booking.appointment.requested.v1'
), seen AS (
  SELECT e.*, substr(e.aggregate_id, 6)::uuid AS appointment_id, a.payload->'visit' AS visit,
         coalesce((a.payload->>'revision')::integer, 0) AS revision,
         EXISTS (SELECT FROM requested r WHERE r.id = e.aggregate_id
                    AND (r.agreed IS NULL OR e.sequence < r.agreed)) AS asked,
         EXISTS (SELECT FROM requested r WHERE r.id = e.aggregate_id AND r.offered) AS offered,
         e.event_type IN ('booking.appointment.booked.v1', 'booking.appointment.confirmed.v1')
           AND coalesce((a.payload->'visit'->'series'->>'number')::integer, 1) > 1 AS repeats
    FROM events e
    JOIN consumer_checkpoint c ON c.consumer = 'schedule-reminders'
     AND (e.transaction_id, e.position) <= (c.transaction_id, c.position)
   CROSS JOIN LATERAL (
         SELECT payload FROM events
          WHERE aggregate_type = 'appointment' AND aggregate_id = e.aggregate_id
            AND sequence <= e.sequence AND payload ? 'visit'
          ORDER BY sequence DESC LIMIT 1) AS a
   WHERE e.aggregate_type = 'appointment')";

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
        "SELECT bool_or(rolsuper OR rolbypassrls OR has_table_privilege(oid, 'events', 'UPDATE')
                                 OR has_table_privilege(oid, 'events', 'DELETE'))
           FROM pg_roles WHERE rolname IN (session_user, current_user)",
    )
    .fetch_one(connection)
    .await?;
    Ok(Finding {
        invariant: "the application signs in to Postgres as a role that cannot change events",
        broken: i64::from(allowed),
        example: None,
    })
}
