//! A work table full of reminders that are to go out some day, with the visits that they are about; and
//! letting some of them fall due.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result};
use domain::NotificationId;
use jiff::{SignedDuration, Timestamp};
use sqlx::{Connection, PgConnection, types::Uuid};
use streams::clock;
use testkit::postgres::TestDatabase;

use crate::salon::{Salon, VISIT_MINUTES, World};

/// In one statement: one transaction of millions of rows would hold up everybody else's feed.
const CHUNK: u64 = 50_000;
/// The first visit is so far ahead that no reminder falls due by itself.
const AHEAD: SignedDuration = SignedDuration::from_hours(72);
/// So long before a visit its guest is reminded.
const OFFSET_MINUTES: u32 = 24 * 60;
/// As if all of them had been planned and published at the time.
const PLANNED: &str = "
WITH last AS (SELECT transaction_id, position FROM events ORDER BY transaction_id DESC, position DESC LIMIT 1),
     relayed AS (UPDATE relay_cursor SET transaction_id = last.transaction_id, position = last.position FROM last)
INSERT INTO consumer_checkpoint (consumer, transaction_id, position)
SELECT unnest(ARRAY['schedule-reminders', 'wake-waitlists', 'plan-account-mails']), transaction_id, position FROM last
ON CONFLICT (consumer) DO UPDATE SET transaction_id = excluded.transaction_id, position = excluded.position";

/// Books so many visits, all businesses in turn, and plans a reminder of each. Of a visit there is what a
/// sender looks at: its stream, and the guest's contact. Calendars do not know of it.
pub(crate) async fn write(world: &World, reminders: u64) -> Result<()> {
    let now = clock::now();
    let first = Timestamp::from_second(now.as_second().div_euclid(3_600) * 3_600)? + AHEAD;
    let mut from = 0;
    while from < reminders {
        let to = (from + CHUNK).min(reminders);
        world.database.execute(&chunk(&world.salons, (from, to), reminders, first)).await;
        from = to;
    }
    world.database.execute(PLANNED).await;
    world.analyze().await;
    Ok(())
}

/// Ids grow with time, as ours do; those of messages are spread, as ours are.
fn chunk(salons: &[Salon], (from, to): (u64, u64), of: u64, first: Timestamp) -> String {
    let rows: Vec<String> = salons
        .iter()
        .enumerate()
        .filter_map(|(turn, salon)| {
            let (business, service) = (salon.business_id.uuid(), salon.service_id.uuid());
            let staff = salon.staff.first()?.uuid();
            Some(format!("({turn}, '{business}'::uuid, '{staff}'::uuid, '{service}'::uuid)"))
        })
        .collect();
    let businesses = rows.len();
    format!(
        "WITH salon (turn, business, staff, service) AS (VALUES {rows}),
         visit AS (
           SELECT n, business, staff, service, '{first}'::timestamptz + (n / {businesses}) * interval '{VISIT_MINUTES} minutes' AS starts,
                  now() - ({of} - n) * interval '1 millisecond' AS asked, md5(business || ':' || n) AS noise
             FROM generate_series({from}, {to} - 1) AS n JOIN salon ON salon.turn = n % {businesses}
         ), planned AS MATERIALIZED (
           SELECT visit.*, starts - interval '{OFFSET_MINUTES} minutes' AS due, md5('reminder' || noise)::uuid AS message,
                  (lpad(to_hex((extract(epoch FROM asked) * 1000)::bigint), 12, '0') || '7' || left(noise, 3) || '8' || substr(noise, 4, 15))::uuid AS id,
                  gen_random_uuid() AS request
             FROM visit
         ), event (n, business, kind, stream, type, payload, actor, asked, request) AS (
           SELECT n, business, 'appointment', 'appt_' || replace(id::text, '-', ''), 'booking.appointment.booked.v1',
                  jsonb_build_object('type', 'booked', 'visit', jsonb_build_object(
                    'staff_id', 'staff_' || replace(staff::text, '-', ''), 'service_id', 'svc_' || replace(service::text, '-', ''),
                    'customer_id', 'cust_' || noise,
                    'slot', jsonb_build_object('start', to_char(starts AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
                      'end', to_char((starts + interval '{VISIT_MINUTES} minutes') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')),
                    'buffer_before_minutes', 0, 'buffer_after_minutes', 0,
                    'price', jsonb_build_object('amount', 4500, 'currency', 'USD'),
                    'reminder_offsets_minutes', jsonb_build_array({OFFSET_MINUTES}))), 'guest', asked, request
             FROM planned
           UNION ALL
           SELECT n, business, 'notification', 'ntf_' || replace(message::text, '-', ''), 'booking.reminder.requested.v1',
                  jsonb_build_object('type', 'reminder_requested', 'plan', jsonb_build_object(
                    'appointment_id', 'appt_' || replace(id::text, '-', ''), 'kind', 'reminder', 'channel', 'email',
                    'offset_minutes', {OFFSET_MINUTES}, 'version', 1,
                    'due_at', to_char(due AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
                    'expires_at', to_char(starts AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'))), 'system:scheduler', asked, request
             FROM planned
         ), appended AS (
           INSERT INTO events (business_id, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version,
                               payload, actor, correlation_id, occurred_at)
           SELECT business, kind, stream, 1, gen_random_uuid(), type, '1', payload, actor, request, asked
             FROM event ORDER BY n, kind
         ), given AS (
           INSERT INTO appointment_private (appointment_id, business_id, name, email)
           SELECT id, business, 'Guest ' || n, 'guest' || n || '@guest.example' FROM planned
         )
         INSERT INTO notification (notification_id, business_id, appointment_id, kind, channel, offset_minutes, version,
                                   state, due_at, next_at, expires_at, sequence, correlation_id)
         SELECT message, business, id, 'reminder', 'email', {OFFSET_MINUTES}, 1, 'pending', due, due, starts, 1, request
           FROM planned",
        rows = rows.join(", ")
    )
}

/// Reminders that were let fall due, and when each of them does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Due(pub(crate) HashMap<NotificationId, Timestamp>);

/// Lets the next reminders fall due, all businesses in turn: the first of them at `at`, each other one
/// `apart` later than the one before.
pub(crate) async fn fall_due(
    database: &TestDatabase,
    reminders: u64,
    at: Timestamp,
    apart: Duration,
) -> Result<Due> {
    let mut connection = PgConnection::connect(&database.superuser_url()).await?;
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "UPDATE notification n SET due_at = c.at, next_at = c.at
           FROM (SELECT notification_id, timestamptz 'epoch'
                        + ($2 + (row_number() OVER (ORDER BY next_at, notification_id) - 1) * $3)
                          * interval '1 microsecond' AS at
                   FROM (SELECT notification_id, next_at FROM notification
                          WHERE state = 'pending' AND channel = 'email'
                          ORDER BY next_at, notification_id LIMIT $1) AS next) AS c
          WHERE n.notification_id = c.notification_id
         RETURNING n.notification_id, (extract(epoch FROM n.due_at) * 1000000)::bigint",
    )
    .bind(i64::try_from(reminders)?)
    .bind(at.as_microsecond())
    .bind(i64::try_from(apart.as_micros())?)
    .fetch_all(&mut connection)
    .await?;
    // Otherwise the rows as they were are in the way, which had months to be cleared away.
    sqlx::raw_sql("VACUUM ANALYZE notification").execute(&mut connection).await?;
    let due = rows
        .into_iter()
        .map(|(id, micros)| Ok((NotificationId::new(id), Timestamp::from_microsecond(micros)?)));
    Ok(Due(due.collect::<Result<_>>()?))
}

impl Due {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn ids(&self) -> Vec<Uuid> {
        self.0.keys().map(|id| id.uuid()).collect()
    }

    /// How many of them are in which state.
    pub(crate) async fn states(&self, database: &TestDatabase) -> Result<HashMap<String, i64>> {
        let mut connection = PgConnection::connect(&database.superuser_url()).await?;
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT state, count(*) FROM notification WHERE notification_id = ANY($1) GROUP BY state",
        )
        .bind(self.ids())
        .fetch_all(&mut connection)
        .await?;
        Ok(rows.into_iter().collect())
    }

    /// When the last of them was recorded as sent.
    pub(crate) async fn last_sent(&self, database: &TestDatabase) -> Result<Timestamp> {
        let mut connection = PgConnection::connect(&database.superuser_url()).await?;
        let micros: Option<i64> = sqlx::query_scalar(
            "SELECT (extract(epoch FROM max(recorded_at)) * 1000000)::bigint FROM events
              WHERE aggregate_type = 'notification' AND aggregate_id = ANY($1)
                AND event_type = 'notification.sent.v1'",
        )
        .bind(self.0.keys().map(ToString::to_string).collect::<Vec<_>>())
        .fetch_one(&mut connection)
        .await?;
        Ok(Timestamp::from_microsecond(micros.context("a mail that was sent")?)?)
    }
}
