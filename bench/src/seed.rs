//! Histories: years of past bookings, written into the log and the tables beside it as the commands
//! would have left them.

use anyhow::Result;
use testkit::postgres::TestDatabase;

use crate::salon::Salon;

/// Six days a week, at most 28 half hours a day, which the hours of a salon hold.
const MOST_A_WEEK: u64 = 168;
/// As if all mails about what is in the log had gone out.
pub(crate) const MAILED: &str = "
INSERT INTO consumer_checkpoint (consumer, transaction_id, position)
SELECT unnest(ARRAY['schedule-reminders', 'wake-waitlists']), transaction_id, position FROM (
  SELECT transaction_id, position FROM events ORDER BY transaction_id DESC, position DESC LIMIT 1) AS last
ON CONFLICT (consumer) DO UPDATE SET transaction_id = excluded.transaction_id, position = excluded.position";
/// Regular guests of a business.
const GUESTS: u64 = 200;

/// How much past there is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Past {
    /// The first week, counted back from the present one, which is 0.
    from_week: u64,
    weeks: u64,
    /// Bookings of one staff member in one week.
    a_week: u64,
}

impl Past {
    /// So many events, two for each booking, spread evenly over so many calendars; not before `from_week`.
    pub(crate) fn of_events(events: u64, calendars: u64, from_week: u64) -> Self {
        let each = (events / 2).div_ceil(calendars.max(1)).max(1);
        let weeks = each.div_ceil(MOST_A_WEEK);
        Self { from_week, weeks, a_week: each.div_ceil(weeks) }
    }

    /// The first week that is still empty.
    pub(crate) const fn next_week(self) -> u64 {
        self.from_week + self.weeks
    }

    pub(crate) const fn events(self, calendars: u64) -> u64 {
        self.weeks * self.a_week * calendars * 2
    }
}

/// Writes the past of these businesses: what every command would have appended, reserved and kept. The
/// read models are not touched; projectors or `replay` build them.
pub(crate) async fn write(database: &TestDatabase, salons: &[Salon], past: Past) {
    database.execute(&guests(salons)).await;
    // In parts: one transaction of millions of rows would hold up everybody else's feed.
    for week in past.from_week..past.next_week() {
        database.execute(&week_of(salons, week, past.a_week)).await;
    }
    // Its mails went out at the time.
    database.execute(MAILED).await;
    database.execute("VACUUM ANALYZE").await;
}

fn guests(salons: &[Salon]) -> String {
    let businesses: Vec<String> =
        salons.iter().map(|salon| format!("'{}'::uuid", salon.business_id.uuid())).collect();
    format!(
        "INSERT INTO customer (customer_id, business_id, name, email, phone)
         SELECT md5(b || ':' || n)::uuid, b, 'Guest ' || n, 'guest' || n || '@past.example', NULL
           FROM unnest(ARRAY[{}]) AS b, generate_series(0, {GUESTS} - 1) AS n
         ON CONFLICT DO NOTHING",
        businesses.join(", ")
    )
}

/// One statement for one week. Ids grow with time, as ours do.
fn week_of(salons: &[Salon], week: u64, a_week: u64) -> String {
    let calendars: Vec<String> = salons
        .iter()
        .flat_map(|salon| {
            salon.staff.iter().map(|staff_id| {
                let (business, service) = (salon.business_id.uuid(), salon.service_id.uuid());
                format!("('{business}'::uuid, '{}'::uuid, '{service}'::uuid)", staff_id.uuid())
            })
        })
        .collect();
    format!(
        "WITH calendar (business, staff, service) AS (VALUES {calendars}),
         cut AS (
           SELECT to_timestamp(floor((extract(epoch FROM now()) - 302400) / 604800) * 604800 + 302400)
                  - {week} * interval '7 days' AS sunday
         ), visit AS (
           SELECT business, staff, service, n, sunday,
                  sunday + interval '18 hours' + (n % 6) * interval '1 day' + (n / 6) * interval '30 minutes' AS starts,
                  md5(business || ':' || (n + {week}) % {GUESTS})::uuid AS customer, md5(staff || ':' || {week} || ':' || n) AS noise
             FROM calendar, cut, generate_series(0, {a_week} - 1) AS n
         ), booked AS MATERIALIZED (
           SELECT visit.*, starts + interval '30 minutes' AS ends, starts - interval '3 days' AS asked,
                  (lpad(to_hex((extract(epoch FROM starts) * 1000)::bigint), 12, '0') || '7' || left(noise, 3) || '8' || substr(noise, 4, 15))::uuid AS id,
                  row_number() OVER (PARTITION BY staff ORDER BY starts) AS nth,
                  jsonb_build_object('start', to_char(starts, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
                                     'end', to_char(starts + interval '30 minutes', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')) AS slot
             FROM visit
         ), event (business, kind, stream, sequence, type, payload, asked, starts) AS (
           SELECT business, 'staff_calendar', 'staff_' || replace(staff::text, '-', '') || ':' || to_char(sunday, 'YYYY-MM-DD'), nth,
                  'staff.calendar.reserved.v1',
                  jsonb_build_object('type', 'reserved', 'appointment_id', 'appt_' || replace(id::text, '-', ''), 'slot', slot,
                                     'buffer_before_minutes', 0, 'buffer_after_minutes', 0), asked, starts
             FROM booked
           UNION ALL
           SELECT business, 'appointment', 'appt_' || replace(id::text, '-', ''), 1, 'booking.appointment.booked.v1',
                  jsonb_build_object('type', 'booked', 'visit', jsonb_build_object(
                    'staff_id', 'staff_' || replace(staff::text, '-', ''), 'service_id', 'svc_' || replace(service::text, '-', ''),
                    'customer_id', 'cust_' || replace(customer::text, '-', ''), 'slot', slot,
                    'buffer_before_minutes', 0, 'buffer_after_minutes', 0,
                    'price', jsonb_build_object('amount', 4500, 'currency', 'USD'), 'reminder_offsets_minutes', '[]'::jsonb)), asked, starts
             FROM booked
         ), appended AS (
           INSERT INTO events (business_id, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version,
                               payload, actor, correlation_id, occurred_at)
           SELECT business, kind, stream, sequence, gen_random_uuid(), type, '1', payload, 'guest', gen_random_uuid(), asked
             FROM event ORDER BY starts, stream
         ), given AS (
           INSERT INTO appointment_private (appointment_id, business_id, name, email)
           SELECT id, business, 'Guest', 'guest@past.example' FROM booked
         )
         INSERT INTO reserved_time (appointment_id, staff_id, business_id, during, buffer_before_minutes, buffer_after_minutes)
         SELECT id, staff, business, tstzrange(starts, ends), 0, 0 FROM booked",
        calendars = calendars.join(", ")
    )
}

/// A week of one calendar in which somebody booked and called off again and again: `pairs` times. The
/// week begins `weeks_ahead` weeks after the present one.
pub(crate) async fn churn(
    database: &TestDatabase,
    salon: &Salon,
    staff: usize,
    weeks_ahead: u64,
    pairs: u64,
) -> Result<()> {
    let staff_id = salon.staff.get(staff).copied();
    let staff_id = anyhow::Context::context(staff_id, "a staff member")?.uuid();
    let business = salon.business_id.uuid();
    database
        .execute(&format!(
            "WITH cut AS (
               SELECT to_timestamp(floor((extract(epoch FROM now()) - 302400) / 604800) * 604800 + 302400)
                      + {weeks_ahead} * interval '7 days' AS sunday
             ), pair AS (
               SELECT n, sunday, 'appt_' || md5('{staff_id}:' || n) AS id, sunday + interval '18 hours' AS starts
                 FROM cut, generate_series(0, {pairs} - 1) AS n
             ), event (sequence, type, payload, sunday) AS (
               SELECT n * 2 + 1, 'staff.calendar.reserved.v1',
                      jsonb_build_object('type', 'reserved', 'appointment_id', id, 'slot', jsonb_build_object(
                        'start', to_char(starts, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
                        'end', to_char(starts + interval '30 minutes', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')),
                        'buffer_before_minutes', 0, 'buffer_after_minutes', 0), sunday FROM pair
               UNION ALL
               SELECT n * 2 + 2, 'staff.calendar.released.v1', jsonb_build_object('type', 'released', 'appointment_id', id), sunday FROM pair
             )
             INSERT INTO events (business_id, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version,
                                 payload, actor, correlation_id, occurred_at)
             SELECT '{business}', 'staff_calendar', 'staff_' || replace('{staff_id}', '-', '') || ':' || to_char(sunday, 'YYYY-MM-DD'),
                    sequence, gen_random_uuid(), type, '1', payload, 'guest', gen_random_uuid(), now()
               FROM event ORDER BY sequence"
        ))
        .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_past_has_as_many_events_as_wished() {
        let past = Past::of_events(1_000_000, 200, 1);
        assert_eq!((past.weeks, past.a_week), (15, 167));
        assert!((1_000_000..1_010_000).contains(&past.events(200)));
        assert_eq!(past.next_week(), 16);
        assert_eq!(Past::of_events(10_000, 200, 1).a_week, 25);
        assert_eq!(Past::of_events(1, 200, 3), Past { from_week: 3, weeks: 1, a_week: 1 });
    }
}
