//! The calendar of a staff member as it was known at an instant. Always read from the log: no read
//! model remembers what it held before.

use std::collections::{BTreeMap, HashMap};

use domain::{
    AppointmentId, BusinessId, CalendarWeek, ServiceId, StaffId, TimeSlot, Zone,
    appointment::{Appointment, Status},
    availability::start_of_day,
    business::{Business, BusinessEvent},
    staff_calendar::{self, Busy, BusyKind, StaffCalendar},
};
use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date};
use streams::{
    Cursor, Database,
    log::{self, Histories, StreamKey},
};
use uuid::Uuid;

use crate::ReadError;

/// Answers from the log.
#[derive(Debug, Clone)]
pub struct Calendars {
    database: Database,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct CalendarQuery {
    /// Whose business.
    pub business_id: BusinessId,
    /// Whose calendar.
    pub staff_id: StaffId,
    /// The first date, in the business's zone.
    pub first: Date,
    /// The last date.
    pub last: Date,
    /// Only what was recorded by then; everything when absent.
    pub as_of: Option<Timestamp>,
}

/// A calendar at an instant.
#[derive(Debug, Clone)]
pub struct Calendar {
    /// What dates were read in.
    pub zone: Zone,
    /// The last event behind the answer; the start of the log when there is none.
    pub position: Cursor,
    /// By start.
    pub items: Vec<CalendarItem>,
}

/// What occupies a stretch of a calendar.
#[derive(Debug, Clone)]
pub struct CalendarItem {
    /// When and by what.
    pub busy: Busy,
    /// About the visit, unless it is time off or a class, to which many come.
    pub visit: Option<VisitItem>,
}

/// A visit in a calendar.
#[derive(Debug, Clone)]
pub struct VisitItem {
    /// What is done.
    pub service_id: ServiceId,
    /// Where it stood.
    pub status: Status,
    /// Who comes, as known today; `None` once erased.
    pub customer_name: Option<String>,
}

impl Calendars {
    /// Over this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// The calendar; `None` when the business never had such a staff member.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn get(&self, query: &CalendarQuery) -> Result<Option<Calendar>, ReadError> {
        let business_key = StreamKey::of::<Business>(query.business_id);
        let today = self.load(query, std::slice::from_ref(&business_key), None).await?;
        if !ever_hired(&today, &business_key, query.staff_id)? {
            return Ok(None);
        }
        let mut keys: Vec<StreamKey> = weeks(query)
            .map(|week| {
                StreamKey::of::<StaffCalendar>(staff_calendar::stream_id(query.staff_id, week))
            })
            .collect();
        keys.push(business_key.clone());
        let then = self.load(query, &keys, query.as_of).await?;
        let zone = match zone(&then, &business_key)? {
            Some(zone) => zone,
            // Nobody had registered yet, and nothing was booked.
            None => zone(&today, &business_key)?.unwrap_or(Zone::UTC),
        };
        let after = query.last.checked_add(1.day()).unwrap_or(query.last);
        let window =
            TimeSlot::try_new(start_of_day(&zone, query.first), start_of_day(&zone, after));
        let mut position = last_of(&then, &keys);
        let Ok(window) = window else {
            return Ok(Some(Calendar { zone, position, items: vec![] }));
        };

        let mut found: BTreeMap<(Timestamp, BusyKind), Busy> = BTreeMap::new();
        for key in keys.iter().filter(|key| **key != business_key) {
            let week = then.fold::<StaffCalendar>(key)?.state;
            // What lies across a cut stands in both weeks, once each.
            found.extend(
                week.busy()
                    .filter(|busy| busy.slot.overlaps(&window))
                    .map(|busy| ((busy.slot.start(), busy.kind), busy)),
            );
        }
        let visits = self.visits(query, found.values(), &mut position).await?;
        let item = |busy: Busy| match busy.kind {
            BusyKind::TimeOff(_) | BusyKind::Class(_) => Some(CalendarItem { busy, visit: None }),
            // The instant lies between the events of one command: that visit had ended or not begun.
            BusyKind::Visit(id) => {
                visits.get(&id).map(|visit| CalendarItem { busy, visit: Some(visit.clone()) })
            }
        };
        let items = found.into_values().filter_map(item).collect();
        Ok(Some(Calendar { zone, position, items }))
    }

    async fn load(
        &self,
        query: &CalendarQuery,
        keys: &[StreamKey],
        at: Option<Timestamp>,
    ) -> Result<Histories, ReadError> {
        Ok(log::as_of(
            &mut *self.database.tenant(query.business_id).await?,
            query.business_id,
            keys,
            at,
        )
        .await?)
    }

    async fn visits(
        &self,
        query: &CalendarQuery,
        found: impl Iterator<Item = &Busy>,
        position: &mut Cursor,
    ) -> Result<HashMap<AppointmentId, VisitItem>, ReadError> {
        let visit = |busy: &Busy| match busy.kind {
            BusyKind::Visit(id) => Some(id),
            BusyKind::Class(_) | BusyKind::TimeOff(_) => None,
        };
        let ids: Vec<AppointmentId> = found.filter_map(visit).collect();
        let keys: Vec<StreamKey> = ids.iter().map(StreamKey::of::<Appointment>).collect();
        let then = self.load(query, &keys, query.as_of).await?;
        *position = last_of(&then, &keys).max(*position);
        let names = self.names(query.business_id, &ids).await?;
        let mut visits = HashMap::with_capacity(ids.len());
        for (id, key) in ids.into_iter().zip(&keys) {
            let appointment = then.fold::<Appointment>(key)?.state;
            if let Some((visit, status)) = appointment.known()
                && status.holds_time()
            {
                let customer_name = names.get(&id.uuid()).cloned();
                let service_id = visit.service_id;
                visits.insert(id, VisitItem { service_id, status, customer_name });
            }
        }
        Ok(visits)
    }

    /// Personal, so not in events: joined when reading, as it is today.
    async fn names(
        &self,
        business_id: BusinessId,
        ids: &[AppointmentId],
    ) -> Result<HashMap<Uuid, String>, ReadError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        let rows: Vec<(Uuid, String)> = sqlx::query_as(
            "SELECT appointment_id, name FROM appointment_private
              WHERE business_id = $1 AND appointment_id = ANY($2)",
        )
        .bind(business_id.uuid())
        .bind(ids)
        .fetch_all(&mut *self.database.tenant(business_id).await?)
        .await?;
        Ok(rows.into_iter().collect())
    }
}

/// The weeks that the dates touch in any zone: offsets are less than a day.
fn weeks(query: &CalendarQuery) -> impl Iterator<Item = CalendarWeek> + use<> {
    let day = SignedDuration::from_hours(24);
    let from = start_of_day(&Zone::UTC, query.first);
    let until = start_of_day(&Zone::UTC, query.last);
    let span = TimeSlot::try_new(
        from.checked_sub(day).unwrap_or(Timestamp::MIN),
        until.checked_add(day * 2).unwrap_or(Timestamp::MAX),
    );
    span.ok().into_iter().flat_map(|span| CalendarWeek::touched_by(&span))
}

fn ever_hired(
    histories: &Histories,
    key: &StreamKey,
    staff_id: StaffId,
) -> Result<bool, ReadError> {
    for event in histories.events(key) {
        let event = event.decode::<Business>().map_err(|error| ReadError::Store(error.into()))?;
        if let BusinessEvent::StaffAdded { staff_id: hired, .. } = event
            && hired == staff_id
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn zone(histories: &Histories, key: &StreamKey) -> Result<Option<Zone>, ReadError> {
    let business = histories.fold::<Business>(key)?.state;
    Ok(business.registered().map(|state| state.profile.value.timezone.clone()))
}

fn last_of(histories: &Histories, keys: &[StreamKey]) -> Cursor {
    let events = keys.iter().flat_map(|key| histories.events(key));
    events.map(|event| event.cursor).max().unwrap_or(Cursor::START)
}
