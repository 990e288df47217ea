//! Why an instant can be booked, or why not: every rule that refuses, with the event behind it. Read
//! from the log, so that it can be asked as of any instant.

mod because;

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    BusinessId, CalendarWeek, FieldError, Fields, ResourceId, ServiceId, StaffId, TimeSlot,
    appointment::Appointment,
    availability::{self, Able, Asked, Counts, Refusal, Rules, Shape, Step},
    business::{Business, BusinessEvent, BusinessState},
    resource_calendar::{self, ResourceCalendar},
    staff_calendar::{Busy, BusyKind, StaffCalendar, stream_id},
    staff_schedule::StaffSchedule,
};
use jiff::Timestamp;
use streams::{
    Cursor, Database,
    log::{self, Histories, StreamKey},
};
use uuid::Uuid;

use because::{because, last};

use crate::ReadError;

/// Answers from the log.
#[derive(Debug, Clone)]
pub struct Explanations {
    database: Database,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ExplainQuery {
    /// Whose business.
    pub business_id: BusinessId,
    /// What is to be done.
    pub service_id: ServiceId,
    /// By whom.
    pub staff_id: StaffId,
    /// What follows, in order.
    pub also: Vec<Asked>,
    /// So many come.
    pub subjects: u32,
    /// When it is to start.
    pub start: Timestamp,
    /// When somebody wants to know: what lies before it is past.
    pub now: Timestamp,
    /// Only what was recorded by then; everything when absent.
    pub as_of: Option<Timestamp>,
}

/// All that speaks against a start.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What speaks against it; it can be booked when that is nothing.
    pub reasons: Vec<Reason>,
    /// The last event behind the answer.
    pub position: Cursor,
}

/// A rule that refuses.
#[derive(Debug, Clone)]
pub struct Reason {
    /// Its name, stable for programs.
    pub rule: &'static str,
    /// In words.
    pub detail: String,
    /// The event that made it so; `None` for what follows from the clock or was never set.
    pub event: Option<Because>,
}

/// An event that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Because {
    /// Its id.
    pub event_id: Uuid,
    /// When it was decided.
    pub at: Timestamp,
}

/// The streams that decide.
struct Deciding {
    business: StreamKey,
    schedule: StreamKey,
    /// Of everybody who could do something, the first staff member's first.
    weeks: Vec<StreamKey>,
    resources: Vec<StreamKey>,
}

impl Explanations {
    /// Over this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Why; `None` when the business has no such service or staff member then.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn explain(&self, query: &ExplainQuery) -> Result<Option<Explanation>, ReadError> {
        let mut deciding = Deciding {
            business: StreamKey::of::<Business>(query.business_id),
            schedule: StreamKey::of::<StaffSchedule>(query.staff_id),
            weeks: vec![],
            resources: vec![],
        };
        let keys = [deciding.business.clone(), deciding.schedule.clone()];
        let facts = self.load(query, &keys).await?;
        let business = facts.fold::<Business>(&deciding.business)?.state;
        let Some(state) = business.registered() else { return Ok(None) };
        let first = Asked { service_id: query.service_id, staff_id: Some(query.staff_id) };
        let asked: Vec<Asked> = std::iter::once(first).chain(query.also.iter().copied()).collect();
        let known = |asked: &Asked| asked.staff_id.is_none_or(|id| state.staff.contains_key(&id));
        let Some(shape) =
            Shape::of(state, &asked, query.subjects).filter(|_shape| asked.iter().all(known))
        else {
            return Ok(None);
        };
        let mut fields = Fields::default();
        shape.validate(&mut fields);
        if let Err(errors) = fields.done() {
            return Ok(Some(Explanation::impossible(errors)));
        }
        let zone = &state.profile.value.timezone;
        let span = shape.deciding_range(zone, query.start, query.start);
        let staff = Staff::of(query, &shape, state);
        deciding.weeks = staff.0.iter().flat_map(|id| weeks(*id, &span)).collect();
        deciding.resources =
            shape.things(state).flat_map(|(id, _)| of_resource(id, &span)).collect();
        let schedules = staff.0.iter().map(StreamKey::of::<StaffSchedule>);
        let all: Vec<StreamKey> =
            deciding.weeks.iter().chain(&deciding.resources).cloned().chain(schedules).collect();
        let calendars = self.load(query, &all).await?;
        let counts = self.counts(query, (state, &shape), &facts, &deciding.business).await?;
        let refusals = refusals(query, (state, &shape), (&calendars, &span), &staff, &counts)?;
        let Some(refusals) = refusals else { return Ok(None) };
        let mut reasons = Vec::new();
        for asked in &asked {
            let staff_id = asked.staff_id;
            let able =
                state.staff_for(asked.service_id).any(|able| staff_id.is_none_or(|id| id == able));
            if !able {
                reasons.push(not_offered(&facts, &deciding, asked, state)?);
            }
        }
        for refusal in refusals {
            let event = because(&refusal, (query, state), (&facts, &calendars), &deciding)?;
            let (rule, detail) = (refusal.rule(), refusal.to_string());
            reasons.push(Reason { rule, detail, event });
        }
        let decided = keys.iter().flat_map(|key| facts.events(key));
        let decided = decided.chain(all.iter().flat_map(|key| calendars.events(key)));
        let position = decided.map(|event| event.cursor).max().unwrap_or(Cursor::START);
        Ok(Some(Explanation { reasons, position }))
    }

    /// What begins in that week, where a limit wants to know: of everybody who ever worked there.
    async fn counts(
        &self,
        query: &ExplainQuery,
        (state, shape): (&BusinessState, &Shape),
        facts: &Histories,
        business: &StreamKey,
    ) -> Result<Counts, ReadError> {
        let mut counts = Counts::default();
        let limited = |step: &Step| state.is_limited(step.service_id, Shape::able(state, step));
        if !shape.steps().iter().any(limited) {
            return Ok(counts);
        }
        let zone = &state.profile.value.timezone;
        let end = TimeSlot::lasting(query.start, shape.minutes());
        let end = end.map_or(query.start, |slot| slot.end());
        let range = availability::counting_range(zone, query.start, end);
        let mut keys = Vec::new();
        for recorded in facts.events(business) {
            let event = recorded.decode::<Business>();
            if let BusinessEvent::StaffAdded { staff_id, .. } =
                event.map_err(|error| ReadError::Store(error.into()))?
            {
                keys.extend(weeks(staff_id, &range).into_iter().map(|key| (staff_id, key)));
            }
        }
        let streams: Vec<StreamKey> = keys.iter().map(|(_, key)| key.clone()).collect();
        let calendars = self.load(query, &streams).await?;
        // What lies across a cut stands in two streams, and a visit of several services in as many.
        let (mut visits, mut classes) = (BTreeSet::new(), BTreeMap::new());
        let begins = |at: Timestamp| range.start() <= at && at < range.end();
        for (staff_id, key) in &keys {
            for busy in calendars.fold::<StaffCalendar>(key)?.state.busy() {
                match busy.kind {
                    BusyKind::Visit(id) => drop(visits.insert(id)),
                    BusyKind::Class(class) => {
                        let meeting = (busy.slot.start(), *staff_id, class.service_id);
                        classes.insert(class.session_id, meeting);
                    }
                    BusyKind::TimeOff(_) => {}
                }
            }
        }
        for (start, staff_id, service_id) in classes.into_values().filter(|(at, ..)| begins(*at)) {
            counts.add(zone, start, true, staff_id, Some(service_id));
        }
        let streams: Vec<StreamKey> = visits.iter().map(StreamKey::of::<Appointment>).collect();
        let visits = self.load(query, &streams).await?;
        for key in &streams {
            let appointment = visits.fold::<Appointment>(key)?.state;
            let parts = appointment.known().map(|(visit, _)| visit.parts()).unwrap_or_default();
            for (n, part) in parts.iter().enumerate().filter(|(_, p)| begins(p.slot.start())) {
                let (start, service_id) = (part.slot.start(), Some(part.service_id));
                counts.add(zone, start, n == 0, part.staff_id, service_id);
            }
        }
        Ok(counts)
    }

    async fn load(&self, query: &ExplainQuery, keys: &[StreamKey]) -> Result<Histories, ReadError> {
        Ok(log::as_of(
            &mut *self.database.tenant(query.business_id).await?,
            query.business_id,
            keys,
            query.as_of,
        )
        .await?)
    }
}

fn weeks(staff_id: StaffId, span: &TimeSlot) -> Vec<StreamKey> {
    CalendarWeek::touched_by(span)
        .map(|week| StreamKey::of::<StaffCalendar>(stream_id(staff_id, week)))
        .collect()
}

fn of_resource(id: ResourceId, span: &TimeSlot) -> Vec<StreamKey> {
    CalendarWeek::touched_by(span)
        .map(|week| StreamKey::of::<ResourceCalendar>(resource_calendar::stream_id(id, week)))
        .collect()
}

/// Everybody who could do something of it, the first staff member first.
struct Staff(Vec<StaffId>);

impl Staff {
    fn of(query: &ExplainQuery, shape: &Shape, state: &BusinessState) -> Self {
        let mut all = vec![query.staff_id];
        for id in shape.followers(state) {
            if !all.contains(&id) {
                all.push(id);
            }
        }
        Self(all)
    }
}

impl Explanation {
    /// Fields break rules, whenever it is to start.
    fn impossible(errors: Vec<FieldError>) -> Self {
        let reason = |FieldError { field, message }| Reason {
            rule: "invalid",
            detail: format!("{field} {message}"),
            event: None,
        };
        Self { reasons: errors.into_iter().map(reason).collect(), position: Cursor::START }
    }
}

/// Every rule that refuses; `None` when there is no such staff member.
fn refusals(
    query: &ExplainQuery,
    (state, shape): (&BusinessState, &Shape),
    (calendars, span): (&Histories, &TimeSlot),
    staff: &Staff,
    counts: &Counts,
) -> Result<Option<Vec<Refusal>>, ReadError> {
    let (mut busy, mut schedules) = (BTreeMap::new(), BTreeMap::new());
    for staff_id in &staff.0 {
        let own: &mut Vec<Busy> = busy.entry(*staff_id).or_default();
        for key in weeks(*staff_id, span) {
            own.extend(calendars.fold::<StaffCalendar>(&key)?.state.busy());
        }
        let schedule =
            calendars.fold::<StaffSchedule>(&StreamKey::of::<StaffSchedule>(staff_id))?;
        schedules.insert(*staff_id, schedule.state);
    }
    let mut uses: BTreeMap<ResourceId, Vec<_>> = BTreeMap::new();
    for (id, _) in shape.things(state) {
        for key in of_resource(id, span) {
            let week = calendars.fold::<ResourceCalendar>(&key)?.state;
            uses.entry(id).or_default().extend(week.uses());
        }
    }
    let able = |staff_id| {
        let member = &state.staff.get(&staff_id)?.value;
        let (hours, busy) = (schedules.get(&staff_id)?.hours(), busy.get(&staff_id)?);
        Some(Able { staff_id, member, hours, busy })
    };
    let beside = shape.beside(state, able, |id| uses.get(&id).cloned().unwrap_or_default());
    let (Some(own), Some(schedule), Some((service_id, service))) =
        (busy.get(&query.staff_id), schedules.get(&query.staff_id), shape.first())
    else {
        return Ok(None);
    };
    let service = (service_id, &*service);
    let rules = Rules::with(state, service, query.staff_id, schedule.hours(), counts);
    let Some(rules) = rules else { return Ok(None) };
    let rules = Rules { beside: &beside, ..rules };
    Ok(Some(availability::refusals(&rules, own, query.start, query.now)))
}

fn not_offered(
    facts: &Histories,
    deciding: &Deciding,
    asked: &Asked,
    state: &BusinessState,
) -> Result<Reason, ReadError> {
    let about = |event: &BusinessEvent| match event {
        BusinessEvent::ServiceAdded { service_id, .. }
        | BusinessEvent::ServiceChanged { service_id, .. } => *service_id == asked.service_id,
        BusinessEvent::StaffAdded { staff_id, .. }
        | BusinessEvent::StaffChanged { staff_id, .. } => Some(*staff_id) == asked.staff_id,
        BusinessEvent::Registered { .. }
        | BusinessEvent::ProfileChanged { .. }
        | BusinessEvent::ServiceArchived { .. }
        | BusinessEvent::StaffRemoved { .. }
        | BusinessEvent::ClosureAdded { .. }
        | BusinessEvent::ClosureRemoved { .. }
        | BusinessEvent::ResourceAdded { .. }
        | BusinessEvent::ResourceChanged { .. }
        | BusinessEvent::ResourceRemoved { .. } => false,
    };
    let member = asked.staff_id.and_then(|id| state.staff.get(&id));
    let name = member.map_or("nobody", |member| member.value.name.as_str());
    let verb = if member.is_some() { "does not offer" } else { "offers" };
    Ok(Reason {
        rule: "not_offered",
        detail: format!("{name} {verb} this service"),
        event: last::<Business>(facts.events(&deciding.business), about)?,
    })
}
