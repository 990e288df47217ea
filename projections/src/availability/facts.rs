use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{
    Aggregate, AppointmentId, BusinessId, ResourceId, ServiceId, SessionId, StaffId, TimeOffId,
    TimeSlot, Zone,
    availability::Counts,
    business::{Business, BusinessState},
    resource_calendar::{Holder, Use},
    staff_calendar::{Busy, BusyKind, Class, StaffCalendar},
    staff_schedule::{Hours, StaffSchedule},
};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, Row, postgres::PgRow};
use streams::{Cursor, consumer::Projector};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    Availability, AvailabilityProjector, Place, SlotsError,
    change::{Change, Shown},
    known::{Known, Parsed},
    micros::Micros,
};
use crate::ReadError;

/// All that the slots of a business depend on, of one moment.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) business_id: BusinessId,
    pub(super) state: Arc<BusinessState>,
    /// The identity of the model's tables, and how far it had come.
    pub(super) model: i64,
    pub(super) position: Cursor,
    pub(super) hours: HashMap<StaffId, Arc<Hours>>,
    /// Of everybody whose calendar was read.
    pub(super) busy: HashMap<StaffId, Arc<Vec<Busy>>>,
    /// What begins when, where limits are in force. It cannot be brought up to date: events of
    /// calendars do not say for which service a visit is.
    pub(super) counts: Option<Arc<Counts>>,
    /// What is used of the resources that were asked for.
    pub(super) uses: Arc<HashMap<ResourceId, Vec<(Holder, Use)>>>,
    /// Nothing in the log is missing in them, whether or not the model has applied it.
    pub(super) complete: bool,
}

impl Facts {
    /// Brings a calendar up to date; false when it is none of those that were read.
    pub(super) fn apply(&mut self, change: &Change) -> bool {
        let Some(busy) = self.busy.get_mut(&change.staff_id) else { return false };
        change.apply(Arc::make_mut(busy));
        true
    }
}

/// Whose calendars are read, and from when until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reach {
    /// `None` for the whole roster.
    pub(super) staff: Option<Vec<StaffId>>,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// In which stretch the visits of the whole business are counted; `None` where nothing limits
    /// them.
    pub(super) counted: Option<TimeSlot>,
    /// Which resources; `None` for all there are.
    pub(super) resources: Option<Vec<ResourceId>>,
}

impl Reach {
    /// Nobody's: for the business alone.
    pub(super) const NOTHING: Self = Self {
        staff: Some(vec![]),
        from: Timestamp::UNIX_EPOCH,
        until: Timestamp::UNIX_EPOCH,
        counted: None,
        resources: Some(vec![]),
    };

    pub(super) fn covers(&self, other: &Self) -> bool {
        let staff = match (&self.staff, &other.staff) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(all), Some(wanted)) => wanted.iter().all(|id| all.contains(id)),
        };
        let counted = match (&self.counted, &other.counted) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(all), Some(wanted)) => all.start() <= wanted.start() && wanted.end() <= all.end(),
        };
        let resources = match (&self.resources, &other.resources) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(all), Some(wanted)) => wanted.iter().all(|id| all.contains(id)),
        };
        staff && counted && resources && self.from <= other.from && other.until <= self.until
    }
}

/// Settings of the connections that answer: with them the plan is the same for ten rows and for ten
/// million, and made once.
pub(super) const SETUP: &str = "SET statement_timeout = '3s'; SET enable_seqscan = off; \
    SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; \
    SET plan_cache_mode = force_generic_plan";

/// A read that takes longer has lost its server.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Everything in one statement: one round trip, one snapshot. The visits also come from the second
/// wall, which is written with the booking itself: a booked slot is never listed again. A visit that
/// stands in both does no harm. `late` is what the log has and the model has not applied yet.
const FACTS: &str = "
SELECT named.id AS business_id,
       EXISTS (SELECT FROM directory d WHERE d.business_id = named.id) AS listed,
       b.tableoid::bigint AS model, stamp.now AS stamp,
       CASE WHEN b.business_id = $3 AND stamp.now = $4 THEN NULL ELSE b.state::text END AS state,
       c.transaction_id::text::bigint AS transaction_id, c.position,
       roster.ids AS roster, hours.staff, hours.stamps, hours.texts,
       busy.who, busy.sources, busy.visits, busy.starts, busy.ends, busy.ahead, busy.behind,
       busy.services, busy.seats, busy.capacities,
       counted.counted_firsts, counted.counted_staff, counted.counted_services,
       counted.counted_starts,
       used.things, used.holders, used.quantities, used.used_from, used.used_until,
       late.looked, late.kinds, late.streams, late.types, late.versions, late.payloads
  FROM (SELECT coalesce($2, (SELECT d.business_id FROM directory d WHERE d.key = $1)) AS id) named
  LEFT JOIN consumer_checkpoint c ON c.consumer = $5
  LEFT JOIN availability.business b ON b.business_id = named.id
 CROSS JOIN LATERAL (SELECT (b.tableoid::bigint << 32) | b.xmin::text::bigint AS now) stamp
 CROSS JOIN LATERAL (SELECT coalesce($6::uuid[], ARRAY(
         SELECT substr(key, 7)::uuid FROM jsonb_object_keys(b.state -> 'staff') AS key)) AS ids
       ) roster
 CROSS JOIN LATERAL (
       SELECT array_agg(w.staff_id) AS staff, array_agg(w.stamp) AS stamps,
              array_agg(CASE WHEN w.stamp = s.known THEN NULL ELSE w.hours::text END) AS texts
         FROM unnest(roster.ids, $7::bigint[]) AS s (id, known)
         JOIN LATERAL (
              SELECT h.staff_id, h.hours, (h.tableoid::bigint << 32) | h.xmin::text::bigint AS stamp
                FROM availability.working_hours h
               WHERE h.staff_id = s.id AND h.business_id = b.business_id) w ON true
       ) hours
 CROSS JOIN LATERAL (
       SELECT array_agg(s.n::integer) AS who, array_agg(o.source) AS sources,
              array_agg(o.visit) AS visits, array_agg(o.starts) AS starts,
              array_agg(o.ends) AS ends, array_agg(o.before) AS ahead,
              array_agg(o.after) AS behind, array_agg(o.service) AS services,
              array_agg(o.seats) AS seats, array_agg(o.capacity) AS capacities
         FROM unnest(roster.ids) WITH ORDINALITY AS s (id, n)
        CROSS JOIN LATERAL (
              SELECT y.source_id AS source, y.kind = 'visit' AS visit, y.starts_at AS starts,
                     y.ends_at AS ends, y.buffer_before_minutes AS before,
                     y.buffer_after_minutes AS after, NULL::uuid AS service,
                     NULL::integer AS seats, NULL::integer AS capacity
                FROM availability.busy y
               WHERE y.staff_id = s.id AND y.business_id = b.business_id
                 AND y.ends_at > $8 AND y.starts_at < $9
               UNION ALL
              SELECT r.appointment_id, true, lower(r.during), upper(r.during),
                     r.buffer_before_minutes, r.buffer_after_minutes, r.service_id, r.seats,
                     r.capacity
                FROM reserved_time r
               WHERE r.staff_id = s.id AND r.business_id = b.business_id
                 AND r.during && tstzrange($8, $9)) o
       ) busy
 CROSS JOIN LATERAL (
       SELECT array_agg(v.part = 0) AS counted_firsts, array_agg(v.staff_id) AS counted_staff, array_agg(v.service_id) AS counted_services,
              array_agg(lower(v.during)) AS counted_starts
         FROM reserved_time v
        WHERE v.business_id = b.business_id AND lower(v.during) >= $12 AND lower(v.during) < $13
       ) counted
 CROSS JOIN LATERAL (
       SELECT array_agg(x.resource_id) AS things, array_agg(x.holder_id) AS holders,
              array_agg(x.quantity) AS quantities, array_agg(x.starts_at) AS used_from,
              array_agg(x.ends_at) AS used_until
         FROM unnest(coalesce($14::uuid[], ARRAY(
              SELECT substr(key, 5)::uuid FROM jsonb_object_keys(b.state -> 'resources') AS key)))
                AS thing (id)
         JOIN reserved_resource x
           ON x.resource_id = thing.id AND x.business_id = b.business_id
          AND x.starts_at >= $8::timestamptz - interval '4 days' AND x.starts_at < $9
          AND x.ends_at > $8
       ) used
 CROSS JOIN LATERAL (
       SELECT count(*) AS looked,
              array_agg(e.aggregate_type) FILTER (WHERE e.theirs) AS kinds,
              array_agg(e.aggregate_id) FILTER (WHERE e.theirs) AS streams,
              array_agg(e.event_type) FILTER (WHERE e.theirs) AS types,
              array_agg(e.event_version) FILTER (WHERE e.theirs) AS versions,
              array_agg(e.payload::text) FILTER (WHERE e.theirs) AS payloads
         FROM (SELECT *, business_id = b.business_id AND aggregate_type = ANY($10) AS theirs
                 FROM events
                WHERE (transaction_id, position) > (c.transaction_id, c.position)
                ORDER BY transaction_id, position LIMIT $11) e
       ) late";

/// A model that is farther behind is not made up for.
const MOST_LATE: i64 = 1_000;

impl Availability {
    /// Reads the facts. `reach` says how far, from the state that was known so far, if one was; when
    /// what was read turns out to need more, it reads again, as far as anything can reach.
    pub(super) async fn facts(
        &self,
        place: &Place,
        reach: impl Fn(Option<&BusinessState>) -> Reach,
    ) -> Result<Facts, SlotsError> {
        if !place.can_be() {
            return Err(SlotsError::NotFound);
        }
        let known = self.known.business(place);
        let near = reach(known.as_ref().map(|(_, parsed)| parsed.value.as_ref()));
        let mut facts = self.read(place, &near).await?;
        let mut needed = reach(Some(&facts.state));
        if !near.covers(&needed) {
            facts = self.read(place, &reach(None)).await?;
            needed = reach(Some(&facts.state));
        }
        if needed.counted.is_none() {
            facts.counts = None;
        }
        Ok(facts)
    }

    async fn read(&self, place: &Place, reach: &Reach) -> Result<Facts, SlotsError> {
        let question = Question::new(place, reach, &self.known);
        let row = match timeout(ATTEMPT, self.ask(&question)).await {
            Ok(row) => row.map_err(ReadError::from)?,
            Err(_elapsed) => return Err(ReadError::silent().into()),
        };
        question.facts(&row, &self.known)
    }

    async fn ask(&self, question: &Question<'_>) -> Result<PgRow, sqlx::Error> {
        loop {
            let mut lane = self.lanes.take().await?;
            match question.ask(&mut lane.connection).await {
                Ok(row) => {
                    lane.keep();
                    return Ok(row);
                }
                Err(error) if lane.fresh => return Err(error),
                // The server may have been away since it was used last.
                Err(_broken) => lane.close(),
            }
        }
    }
}

/// What is asked, and what was known when it was asked: Postgres does not send that again.
#[derive(Debug)]
struct Question<'a> {
    place: &'a Place,
    reach: &'a Reach,
    business: Option<(BusinessId, Parsed<BusinessState>)>,
    hours: HashMap<StaffId, Parsed<Hours>>,
}

impl<'a> Question<'a> {
    fn new(place: &'a Place, reach: &'a Reach, known: &Known) -> Self {
        let staff = reach.staff.as_deref().unwrap_or_default();
        let hours = staff.iter().filter_map(|id| Some((*id, known.hours(*id)?))).collect();
        Self { place, reach, business: known.business(place), hours }
    }

    async fn ask(&self, connection: &mut PgConnection) -> Result<PgRow, sqlx::Error> {
        let staff = self.reach.staff.as_deref();
        let uuids = |ids: &[StaffId]| ids.iter().map(|id| id.uuid()).collect::<Vec<Uuid>>();
        let stamp = |id: &StaffId| self.hours.get(id).map(|hours| hours.stamp);
        let stamps = |ids: &[StaffId]| ids.iter().map(&stamp).collect::<Vec<Option<i64>>>();
        sqlx::query(FACTS)
            .bind(self.place.key())
            .bind(self.place.id().map(BusinessId::uuid))
            .bind(self.business.as_ref().map(|(id, _)| id.uuid()))
            .bind(self.business.as_ref().map(|(_, parsed)| parsed.stamp))
            .bind(AvailabilityProjector::NAME)
            .bind(staff.map(uuids))
            .bind(staff.map(stamps))
            .bind(self.reach.from.to_sqlx())
            .bind(self.reach.until.to_sqlx())
            .bind([Business::TYPE, StaffSchedule::TYPE, StaffCalendar::TYPE])
            .bind(MOST_LATE)
            .bind(self.reach.counted.map(|span| span.start().to_sqlx()))
            .bind(self.reach.counted.map(|span| span.end().to_sqlx()))
            .bind(self.reach.resources.as_deref().map(things))
            .fetch_one(connection)
            .await
    }

    fn facts(self, row: &PgRow, known: &Known) -> Result<Facts, SlotsError> {
        let id: Option<Uuid> = row.try_get("business_id")?;
        let (Some(id), true) = (id, row.try_get("listed")?) else {
            return Err(SlotsError::NotFound);
        };
        let business_id = BusinessId::new(id);
        let stamp: Option<i64> = row.try_get("stamp")?;
        let transaction_id: Option<i64> = row.try_get("transaction_id")?;
        // It is registered: that the model does not know it yet is no reason to deny it.
        let (Some(stamp), Some(transaction_id)) = (stamp, transaction_id) else {
            return Err(ReadError::Lagging.into());
        };
        let position = Cursor { transaction_id, position: row.try_get("position")? };
        known.learn_place(self.place, business_id);
        let state = match row.try_get::<Option<&str>, _>("state")? {
            Some(json) => known.learn_business(business_id, stamp, json)?,
            None => self.business.map(|(_, parsed)| parsed.value),
        };
        let state = state.ok_or(SlotsError::NotFound)?;
        let mut facts = Facts {
            business_id,
            counts: Some(Arc::new(counts(row, &state.profile.value.timezone)?)),
            state,
            model: row.try_get("model")?,
            position,
            hours: hours(row, &self.hours, known)?,
            busy: busy(row)?,
            uses: Arc::new(uses(row)?),
            complete: row.try_get::<i64, _>("looked")? < MOST_LATE,
        };
        for shown in late(row)? {
            match shown.change() {
                Some(change) => drop(facts.apply(&change)),
                None if shown.is_in_the_wall() => {}
                None => facts.complete = false,
            }
        }
        Ok(facts)
    }
}

fn late(row: &PgRow) -> Result<impl Iterator<Item = Shown>, sqlx::Error> {
    let (kinds, streams) = (column::<String>(row, "kinds")?, column::<String>(row, "streams")?);
    let (types, versions) = (column::<String>(row, "types")?, column::<String>(row, "versions")?);
    let payloads: Vec<String> = column(row, "payloads")?;
    let all = kinds.into_iter().zip(streams).zip(types.into_iter().zip(versions)).zip(payloads);
    Ok(all.map(|(((kind, stream), (event_type, event_version)), payload)| Shown {
        kind,
        stream,
        event_type,
        event_version,
        payload,
    }))
}

fn column<'r, T>(row: &'r PgRow, name: &str) -> Result<Vec<T>, sqlx::Error>
where
    Vec<T>: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    // Nothing to gather is NULL, and not an empty array.
    Ok(row.try_get::<Option<Vec<T>>, _>(name)?.unwrap_or_default())
}

fn hours(
    row: &PgRow,
    before: &HashMap<StaffId, Parsed<Hours>>,
    known: &Known,
) -> Result<HashMap<StaffId, Arc<Hours>>, ReadError> {
    let staff: Vec<Uuid> = column(row, "staff")?;
    let stamps: Vec<i64> = column(row, "stamps")?;
    let texts: Vec<Option<String>> = column(row, "texts")?;
    let mut all = HashMap::with_capacity(staff.len());
    for ((id, stamp), text) in staff.into_iter().map(StaffId::new).zip(stamps).zip(texts) {
        let hours = match (text, before.get(&id)) {
            (Some(json), _) => known.learn_hours(id, stamp, &json)?,
            (None, Some(parsed)) => Arc::clone(&parsed.value),
            (None, None) => return Err(ReadError::Store("hours without a text".into())),
        };
        all.insert(id, hours);
    }
    Ok(all)
}

fn counts(row: &PgRow, zone: &Zone) -> Result<Counts, ReadError> {
    let staff: Vec<Uuid> = column(row, "counted_staff")?;
    let services: Vec<Option<Uuid>> = column(row, "counted_services")?;
    let starts: Vec<Micros> = column(row, "counted_starts")?;
    let firsts: Vec<bool> = column(row, "counted_firsts")?;
    let mut counts = Counts::default();
    let all = staff.into_iter().zip(services).zip(firsts.into_iter().zip(starts));
    for ((staff_id, service_id), (first, start)) in all {
        let service_id = service_id.map(ServiceId::new);
        counts.add(zone, start.instant()?, first, StaffId::new(staff_id), service_id);
    }
    Ok(counts)
}

fn things(ids: &[ResourceId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}

fn uses(row: &PgRow) -> Result<HashMap<ResourceId, Vec<(Holder, Use)>>, ReadError> {
    let things: Vec<Uuid> = column(row, "things")?;
    let holders: Vec<Uuid> = column(row, "holders")?;
    let quantities: Vec<i32> = column(row, "quantities")?;
    let starts: Vec<Micros> = column(row, "used_from")?;
    let ends: Vec<Micros> = column(row, "used_until")?;
    let mut all: HashMap<ResourceId, Vec<(Holder, Use)>> = HashMap::new();
    let spans = quantities.into_iter().zip(starts.into_iter().zip(ends));
    for ((thing, holder), (quantity, (start, end))) in things.into_iter().zip(holders).zip(spans) {
        let slot = TimeSlot::try_new(start.instant()?, end.instant()?)
            .map_err(|error| ReadError::Store(error.into()))?;
        // Whether it is a visit or a class does not matter to those who list.
        let holder = Holder::Visit(AppointmentId::new(holder));
        let used = Use { slot, quantity: quantity.unsigned_abs() };
        all.entry(ResourceId::new(thing)).or_default().push((holder, used));
    }
    Ok(all)
}

fn busy(row: &PgRow) -> Result<HashMap<StaffId, Arc<Vec<Busy>>>, ReadError> {
    let roster: Vec<Uuid> = column(row, "roster")?;
    let who: Vec<i32> = column(row, "who")?;
    let sources: Vec<Uuid> = column(row, "sources")?;
    let visits: Vec<bool> = column(row, "visits")?;
    let starts: Vec<Micros> = column(row, "starts")?;
    let ends: Vec<Micros> = column(row, "ends")?;
    let ahead: Vec<i32> = column(row, "ahead")?;
    let behind: Vec<i32> = column(row, "behind")?;
    let mut all: HashMap<StaffId, Vec<Busy>> =
        roster.iter().map(|id| (StaffId::new(*id), vec![])).collect();
    let services: Vec<Option<Uuid>> = column(row, "services")?;
    let seats: Vec<Option<i32>> = column(row, "seats")?;
    let capacities: Vec<Option<i32>> = column(row, "capacities")?;
    let spans = starts.into_iter().zip(ends).zip(ahead.into_iter().zip(behind));
    let classes = services.into_iter().zip(seats).zip(capacities);
    let rows = who.into_iter().zip(sources).zip(visits).zip(spans).zip(classes);
    for ((((n, source), visit), ((start, end), (before, after))), class) in rows {
        // Ordinals count from one.
        let Some(id) = usize::try_from(n - 1).ok().and_then(|n| roster.get(n)) else { continue };
        let slot = TimeSlot::try_new(start.instant()?, end.instant()?)
            .map_err(|error| ReadError::Store(error.into()))?;
        all.entry(StaffId::new(*id)).or_default().push(Busy {
            kind: match class {
                ((Some(service), Some(seats)), Some(capacity)) => BusyKind::Class(Class {
                    session_id: SessionId::new(source),
                    service_id: ServiceId::new(service),
                    seats: seats.unsigned_abs(),
                    capacity: capacity.unsigned_abs(),
                }),
                _ if visit => BusyKind::Visit(AppointmentId::new(source)),
                _ => BusyKind::TimeOff(TimeOffId::new(source)),
            },
            slot,
            buffer_before_minutes: before.unsigned_abs(),
            buffer_after_minutes: after.unsigned_abs(),
        });
    }
    Ok(all.into_iter().map(|(id, busy)| (id, Arc::new(busy))).collect())
}
