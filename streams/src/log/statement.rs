use std::collections::BTreeMap;

use jiff_sqlx::ToSqlx;
use sqlx::{PgExecutor, Postgres, Row, postgres::PgArguments, query::Query, types::Json};
use uuid::Uuid;

use super::{
    CommitError, StreamKey, UnitOfWork,
    unit::{NewEvent, ReservedTime},
};
use crate::Cursor;

/// What every command has: events, the answer, the usage count, contact and time taken. The guard
/// stands in the WHERE of the events, because in a CTE that nothing refers to it would silently never
/// run.
macro_rules! plain {
    ($columns:literal, $values:literal) => {
        concat!(
            "
WITH event AS (
  INSERT INTO events (business_id, aggregate_type, aggregate_id, sequence, event_id, event_type,
                      event_version, payload, actor, correlation_id, causation_id, traceparent,
                      occurred_at)
  SELECT e.business, e.kind, e.id, e.sequence, e.event_id, e.event_type, e.version, e.payload,
         e.actor, e.correlation, e.causation, e.traceparent, e.occurred
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::uuid[], $6::text[],
                $7::text[], $8::jsonb[], $9::text[], $10::uuid[], $11::uuid[], $12::text[],
                $13::timestamptz[])
      AS e (business, kind, id, sequence, event_id, event_type, version, payload, actor,
            correlation, causation, traceparent, occurred)
   WHERE (SELECT CASE WHEN EXISTS (
            SELECT FROM unnest($14::text[], $15::text[], $16::bigint[]) AS seen (kind, id, sequence),
                   LATERAL (SELECT FROM events e
                             WHERE e.aggregate_type = seen.kind AND e.aggregate_id = seen.id
                               AND e.sequence = seen.sequence + 1 LIMIT 1) AS newer)
          THEN guard_reads($14, $15, $16) ELSE true END)
  RETURNING transaction_id, position
), answer AS (
  INSERT INTO idempotency_key (business_id, key, request_hash, answer, position)
  SELECT a.business, a.key, a.hash, a.answer, (SELECT max(position) FROM event)
    FROM unnest($17::uuid[], $18::text[], $19::bytea[], $20::jsonb[])
      AS a (business, key, hash, answer)
), counted AS (
  INSERT INTO monthly_usage (business_id, month, used, cap)
  SELECT * FROM unnest($21::uuid[], $22::date[], $23::integer[], $24::integer[])
  ON CONFLICT (business_id, month)
  DO UPDATE SET used = monthly_usage.used + excluded.used, cap = excluded.cap
), given AS (
  INSERT INTO appointment_private (business_id, appointment_id, name, email, phone, timezone, notes",
            $columns,
            ")
  SELECT * FROM unnest($25::uuid[], $26::uuid[], $27::text[], $28::text[], $29::text[],
                       $30::text[], $31::text[]",
            $values,
            ")
)"
        )
    };
}

/// Time taken. It refers to time given back, where there is any, or it would run first and a moved
/// visit would meet its own row.
macro_rules! reserved {
    ($after:literal) => {
        concat!(
            ", reserved AS (
  INSERT INTO reserved_time (business_id, appointment_id, staff_id, during,
                             buffer_before_minutes, buffer_after_minutes, service_id, part)
  SELECT r.business, r.appointment, r.staff, tstzrange(r.starts, r.ends), r.before, r.after,
         r.service, r.part
    FROM unnest($32::uuid[], $33::uuid[], $34::uuid[], $35::timestamptz[], $36::timestamptz[],
                $37::integer[], $38::integer[], $39::uuid[], $40::smallint[])
      AS r (business, appointment, staff, starts, ends, before, after, service, part)",
            $after,
            "
)"
        )
    };
}

/// The end of either.
macro_rules! cursor {
    () => {
        "
SELECT max(transaction_id::text::bigint) AS transaction_id, max(position) AS position FROM event"
    };
}

/// Everything in one statement: one round trip, one implicit transaction, for one command or for
/// many that are flushed together. This one is for those of which none has more than most: parts
/// without rows would cost every booking of a guest who is known.
const PLAIN: &str = concat!(plain!("", ""), reserved!(""), cursor!());

/// The same with all that a command can have: customers who become known, answers and subjects,
/// resources and classes, time given back, places of days and weeks that have a limit, which are given
/// back before they are taken, too, and requests that wait for their answer.
const WHOLE: &str = concat!(
    plain!(", answers, subjects", ", $70::jsonb[], $71::jsonb[]"),
    ", known AS (
  INSERT INTO customer (business_id, customer_id, name, email, phone)
  SELECT * FROM unnest($41::uuid[], $42::uuid[], $43::text[], $44::text[], $45::text[])
), released AS (
  DELETE FROM reserved_time r USING unnest($46::uuid[], $47::uuid[]) AS gone (business, appointment)
   WHERE r.appointment_id = gone.appointment AND r.business_id = gone.business
  RETURNING r.appointment_id
), emptied AS (
  DELETE FROM visit_place p USING unnest($46::uuid[], $47::uuid[]) AS gone (business, appointment)
   WHERE p.appointment_id = gone.appointment AND p.business_id = gone.business
  RETURNING p.appointment_id
), placed AS (
  INSERT INTO visit_place (business_id, appointment_id, subject_id, period, first_date, place)
  SELECT p.business, p.appointment, p.subject, p.period, p.first, p.place
    FROM unnest($48::uuid[], $49::uuid[], $50::uuid[], $51::text[], $52::date[], $53::integer[])
      AS p (business, appointment, subject, period, first, place)
   WHERE (SELECT count(*) FROM emptied) >= 0
), returned AS (
  DELETE FROM reserved_resource r USING unnest($46::uuid[], $47::uuid[]) AS gone (business, holder)
   WHERE r.holder_id = gone.holder AND r.business_id = gone.business
  RETURNING r.holder_id
), used AS (
  INSERT INTO reserved_resource (business_id, holder_id, resource_id, starts_at, ends_at, quantity)
  SELECT u.business, u.holder, u.resource, u.starts, u.ends, u.quantity
    FROM unnest($54::uuid[], $55::uuid[], $56::uuid[], $57::timestamptz[], $58::timestamptz[],
                $59::integer[])
      AS u (business, holder, resource, starts, ends, quantity)
   WHERE (SELECT count(*) FROM returned) >= 0
), met AS (
  INSERT INTO reserved_time (business_id, appointment_id, staff_id, during,
                             buffer_before_minutes, buffer_after_minutes, service_id, seats,
                             capacity)
  SELECT m.business, m.session, m.staff, tstzrange(m.starts, m.ends), m.before, m.after, m.service,
         m.seats, m.capacity
    FROM unnest($60::uuid[], $61::uuid[], $62::uuid[], $63::timestamptz[], $64::timestamptz[],
                $65::integer[], $66::integer[], $67::uuid[], $68::integer[], $69::integer[])
      AS m (business, session, staff, starts, ends, before, after, service, seats, capacity)
   WHERE (SELECT count(*) FROM released) >= 0
  ON CONFLICT (appointment_id, part)
  DO UPDATE SET seats = excluded.seats, capacity = excluded.capacity
), asked AS (
  INSERT INTO pending_request (business_id, appointment_id, expires_at)
  SELECT * FROM unnest($72::uuid[], $73::uuid[], $74::timestamptz[])
  ON CONFLICT (appointment_id) DO UPDATE SET expires_at = excluded.expires_at
), answered AS (
  DELETE FROM pending_request p USING unnest($75::uuid[], $76::uuid[]) AS done (business, appointment)
   WHERE p.appointment_id = done.appointment AND p.business_id = done.business
)",
    reserved!("\n   WHERE (SELECT count(*) FROM released) >= 0"),
    cursor!()
);

type Statement<'a> = Query<'a, Postgres, PgArguments>;

fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn large(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The rows of one table: the tenant's id first, then a column for each closure.
macro_rules! rows {
    ($query:ident, $rows:expr, $business:expr, $($column:expr),+ $(,)?) => {{
        let rows = $rows;
        $query = $query.bind(rows.iter().map($business).collect::<Vec<Uuid>>());
        $($query = $query.bind(rows.iter().map($column).collect::<Vec<_>>());)+
    }};
}

/// Commits the units, all or none. The cursor is that of their last event.
pub(super) async fn execute(
    executor: impl PgExecutor<'_>,
    units: &[&UnitOfWork],
) -> Result<Cursor, CommitError> {
    // In the order of the primary key: two writers of the same streams then wait for each other
    // instead of deadlocking.
    let mut events: Vec<(&UnitOfWork, &NewEvent)> =
        units.iter().flat_map(|unit| unit.events.iter().map(move |event| (*unit, event))).collect();
    if events.is_empty() {
        return Err(CommitError::Store("a unit of work without events".into()));
    }
    events.sort_by(|(_, a), (_, b)| (&a.stream, a.sequence).cmp(&(&b.stream, b.sequence)));
    let mut guards: Vec<_> = units.iter().flat_map(|unit| &unit.guards).collect();
    guards.sort();
    guards.dedup();

    let more = units.iter().any(|unit| unit.has_more());
    let query = with_events(sqlx::query(if more { WHOLE } else { PLAIN }), &events, &guards);
    let query = with_rest(query, units);
    let query = if more { with_more(query, units) } else { query };
    let row = query.fetch_one(executor).await?;
    Ok(Cursor::new(row.try_get("transaction_id")?, row.try_get("position")?))
}

fn with_events<'a>(
    mut query: Statement<'a>,
    events: &[(&'a UnitOfWork, &'a NewEvent)],
    guards: &[&'a (StreamKey, u64)],
) -> Statement<'a> {
    rows!(
        query,
        events,
        |(unit, _)| unit.context.business_id.uuid(),
        |(_, e)| e.stream.kind.as_str(),
        |(_, e)| e.stream.id.as_str(),
        |(_, e)| large(e.sequence),
        |(_, e)| e.event_id,
        |(_, e)| e.event_type.as_str(),
        |(_, e)| e.event_version.as_str(),
        |(_, e)| Json(&*e.payload),
        |(unit, _)| unit.context.actor.to_string(),
        |(unit, e)| e.origin.as_ref().unwrap_or(&unit.context.origin).correlation_id,
        |(unit, e)| e.origin.as_ref().unwrap_or(&unit.context.origin).causation_id,
        |(unit, e)| e.origin.as_ref().unwrap_or(&unit.context.origin).traceparent.as_deref(),
        |(unit, _)| unit.context.now.to_sqlx(),
    );
    query
        .bind(guards.iter().map(|(key, _)| key.kind.as_str()).collect::<Vec<_>>())
        .bind(guards.iter().map(|(key, _)| key.id.as_str()).collect::<Vec<_>>())
        .bind(guards.iter().map(|(_, sequence)| large(*sequence)).collect::<Vec<_>>())
}

/// All that belongs to the events, in the same order of parameters as in the statement.
fn with_rest<'a>(mut query: Statement<'a>, units: &[&'a UnitOfWork]) -> Statement<'a> {
    rows!(
        query,
        of(units, |unit| unit.idempotency.as_ref()),
        |(unit, _)| unit.context.business_id.uuid(),
        |(_, a)| a.key.as_str(),
        |(_, a)| a.request_hash.as_slice(),
        |(_, a)| Json(&a.answer),
    );
    let usage = usage(units);
    rows!(
        query,
        &usage,
        |((business, _), _)| *business,
        |((_, month), _)| month.to_sqlx(),
        |(_, (used, _))| small(*used),
        |(_, (_, cap))| small(*cap),
    );
    rows!(
        query,
        of(units, |unit| unit.contact.as_ref()),
        |(unit, _)| unit.context.business_id.uuid(),
        |(_, c)| c.appointment_id.uuid(),
        |(_, c)| c.name.as_str(),
        |(_, c)| c.email.as_deref(),
        |(_, c)| c.phone.as_deref(),
        |(_, c)| c.timezone.as_deref(),
        |(_, c)| c.notes.as_deref(),
    );
    rows!(
        query,
        of(units, |unit| unit.reserve.iter().filter(|row| row.seats.is_none())),
        |(unit, _)| unit.context.business_id.uuid(),
        |(_, r)| r.holder.uuid(),
        |(_, r)| r.staff_id.uuid(),
        |(_, r)| r.slot.start().to_sqlx(),
        |(_, r)| r.slot.end().to_sqlx(),
        |(_, r)| small(r.buffer_before_minutes),
        |(_, r)| small(r.buffer_after_minutes),
        |(_, r)| r.service_id.uuid(),
        |(_, r)| i16::try_from(r.part).unwrap_or(i16::MAX),
    );
    query
}

/// What only some commands have.
fn with_more<'a>(mut query: Statement<'a>, units: &[&'a UnitOfWork]) -> Statement<'a> {
    rows!(
        query,
        of(units, |unit| unit.customer.as_ref()),
        |(unit, _)| unit.context.business_id.uuid(),
        |(_, c)| c.customer_id.uuid(),
        |(_, c)| c.name.as_str(),
        |(_, c)| c.email.as_deref(),
        |(_, c)| c.phone.as_deref(),
    );
    rows!(
        query,
        of(units, |unit| &unit.release),
        |(unit, _)| unit.context.business_id.uuid(),
        |(_, holder)| **holder,
    );
    rows!(
        query,
        of(units, |unit| &unit.places),
        |(unit, _)| unit.context.business_id.uuid(),
        |(_, p)| p.holder,
        |(_, p)| p.key.subject,
        |(_, p)| p.key.period.as_str(),
        |(_, p)| p.key.first.to_sqlx(),
        |(_, p)| small(p.place),
    );
    rows!(
        query,
        of(units, |unit| &unit.resources),
        |(unit, _)| unit.context.business_id.uuid(),
        |(_, r)| r.holder.uuid(),
        |(_, r)| r.resource_id.uuid(),
        |(_, r)| r.used.slot.start().to_sqlx(),
        |(_, r)| r.used.slot.end().to_sqlx(),
        |(_, r)| small(r.used.quantity),
    );
    let meetings = meetings(units);
    rows!(
        query,
        &meetings,
        |(business, _)| *business,
        |(_, m)| m.holder.uuid(),
        |(_, m)| m.staff_id.uuid(),
        |(_, m)| m.slot.start().to_sqlx(),
        |(_, m)| m.slot.end().to_sqlx(),
        |(_, m)| small(m.buffer_before_minutes),
        |(_, m)| small(m.buffer_after_minutes),
        |(_, m)| m.service_id.uuid(),
        |(_, m)| m.seats.map(|(seats, _)| small(seats)),
        |(_, m)| m.seats.map(|(_, capacity)| small(capacity)),
    );
    // In the order of the contacts of `with_rest`.
    let contacts = of(units, |unit| unit.contact.as_ref());
    let answers = contacts.iter().map(|(_, c)| some(&c.answers, c.answers.is_empty()));
    query = query.bind(answers.collect::<Vec<_>>());
    let subjects = contacts.iter().map(|(_, c)| some(&c.subjects, c.subjects.is_empty()));
    query = query.bind(subjects.collect::<Vec<_>>());
    rows!(
        query,
        of(units, |unit| &unit.asked),
        |(unit, _)| unit.context.business_id.uuid(),
        |(_, r)| r.appointment_id.uuid(),
        |(_, r)| r.expires_at.to_sqlx(),
    );
    rows!(
        query,
        of(units, |unit| &unit.answered),
        |(unit, _)| unit.context.business_id.uuid(),
        |(_, appointment)| **appointment,
    );
    query
}

/// Nothing is kept of what is empty.
fn some<T>(value: &T, is_empty: bool) -> Option<Json<&T>> {
    (!is_empty).then_some(Json(value))
}

/// Meetings of classes as the last unit leaves them: a statement cannot change one row twice.
fn meetings(units: &[&UnitOfWork]) -> Vec<(Uuid, ReservedTime)> {
    let mut all = BTreeMap::new();
    for unit in units {
        let business = unit.context.business_id.uuid();
        for holder in &unit.release {
            all.remove(&(business, *holder));
        }
        for row in unit.reserve.iter().filter(|row| row.seats.is_some()) {
            all.insert((business, row.holder.uuid()), *row);
        }
    }
    all.into_iter().map(|((business, _), row)| (business, row)).collect()
}

/// What the units have of one kind, each with its unit, in an order that all writers share.
fn of<'a, T: 'a, I: IntoIterator<Item = T>>(
    units: &[&'a UnitOfWork],
    part: impl Fn(&'a UnitOfWork) -> I,
) -> Vec<(&'a UnitOfWork, T)> {
    let mut found: Vec<_> = units
        .iter()
        .flat_map(|unit| part(unit).into_iter().map(move |part| (*unit, part)))
        .collect();
    found.sort_by_key(|(unit, _)| unit.context.business_id);
    found
}

/// Appointments made, summed by business and month: a statement cannot change one row twice.
fn usage(units: &[&UnitOfWork]) -> Vec<((Uuid, jiff::civil::Date), (u32, u32))> {
    let mut months = BTreeMap::new();
    for unit in units {
        if let Some(usage) = unit.usage {
            let month = (unit.context.business_id.uuid(), usage.month);
            let (used, cap) = months.entry(month).or_insert((0_u32, usage.cap));
            *used = used.saturating_add(usage.count);
            *cap = usage.cap;
        }
    }
    months.into_iter().collect()
}
