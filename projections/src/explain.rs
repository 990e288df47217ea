//! Why an instant can be booked, or why not: every rule that refuses, with the event behind it. Read
//! from the log, so that it can be asked as of any instant.

use std::collections::BTreeMap;

use domain::{
    Aggregate, BusinessId, CalendarWeek, DomainEvent, ServiceId, StaffId, TimeSlot,
    appointment::Appointment,
    availability::{self, Counts, Refusal, Rules, Subject},
    business::{Business, BusinessEvent, BusinessState, Service},
    staff_calendar::{Busy, BusyKind, StaffCalendar, StaffCalendarEvent, stream_id},
    staff_schedule::StaffSchedule,
};
use jiff::Timestamp;
use streams::{
    Cursor, Database,
    log::{self, Histories, Recorded, StreamKey},
};
use uuid::Uuid;

use crate::ReadError;

/// Answers from the log.
#[derive(Debug, Clone)]
pub struct Explanations {
    database: Database,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct ExplainQuery {
    /// Whose business.
    pub business_id: BusinessId,
    /// What is to be done.
    pub service_id: ServiceId,
    /// By whom.
    pub staff_id: StaffId,
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
    weeks: Vec<StreamKey>,
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
        let business_key = StreamKey::of::<Business>(query.business_id);
        let mut deciding = Deciding {
            business: business_key,
            schedule: StreamKey::of::<StaffSchedule>(query.staff_id),
            weeks: vec![],
        };
        let keys = [deciding.business.clone(), deciding.schedule.clone()];
        let facts = self.load(query, &keys).await?;
        let business = facts.fold::<Business>(&deciding.business)?.state;
        let schedule = facts.fold::<StaffSchedule>(&deciding.schedule)?.state;
        let Some(state) = business.registered() else { return Ok(None) };
        let (Some(service), true) =
            (state.services.get(&query.service_id), state.staff.contains_key(&query.staff_id))
        else {
            return Ok(None);
        };
        let zone = &state.profile.value.timezone;
        let span = availability::deciding_range(zone, &service.value, query.start, query.start);
        deciding.weeks = weeks(query.staff_id, &span);
        let calendars = self.load(query, &deciding.weeks).await?;
        let mut busy: Vec<Busy> = Vec::new();
        for key in &deciding.weeks {
            busy.extend(calendars.fold::<StaffCalendar>(key)?.state.busy());
        }
        let counts = self.counts(query, state, &facts, &deciding.business).await?;
        let (service_id, staff_id) = (query.service_id, query.staff_id);
        let rules = Rules::of(state, service_id, staff_id, schedule.hours(), &counts);
        let Some(rules) = rules else { return Ok(None) };
        let refusals = availability::refusals(&rules, &busy, query.start, query.now);
        let mut reasons = Vec::new();
        if !state.staff_for(query.service_id).any(|able| able == query.staff_id) {
            reasons.push(not_offered(&facts, &deciding, query, state)?);
        }
        for refusal in refusals {
            let service = (query.service_id, &service.value);
            let event = because(&refusal, service, (&facts, &calendars), &deciding)?;
            let (rule, detail) = (refusal.rule(), refusal.to_string());
            reasons.push(Reason { rule, detail, event });
        }
        let all = keys.iter().flat_map(|key| facts.events(key));
        let all = all.chain(deciding.weeks.iter().flat_map(|key| calendars.events(key)));
        let position = all.map(|event| event.cursor).max().unwrap_or(Cursor::START);
        Ok(Some(Explanation { reasons, position }))
    }

    /// What begins in that week, where a limit wants to know: of everybody who ever worked there.
    async fn counts(
        &self,
        query: &ExplainQuery,
        state: &BusinessState,
        facts: &Histories,
        business: &StreamKey,
    ) -> Result<Counts, ReadError> {
        let mut counts = Counts::default();
        if !state.is_limited(query.service_id, [query.staff_id]) {
            return Ok(counts);
        }
        let zone = &state.profile.value.timezone;
        let range = availability::counting_range(zone, query.start, query.start);
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
        // What lies across a cut stands in two streams.
        let mut begins = BTreeMap::new();
        for (staff_id, key) in &keys {
            for busy in calendars.fold::<StaffCalendar>(key)?.state.busy() {
                let start = busy.slot.start();
                if let BusyKind::Visit(id) = busy.kind
                    && range.start() <= start
                    && start < range.end()
                {
                    begins.insert(id, (*staff_id, start));
                }
            }
        }
        let streams: Vec<StreamKey> = begins.keys().map(StreamKey::of::<Appointment>).collect();
        let visits = self.load(query, &streams).await?;
        for ((staff_id, start), key) in begins.values().zip(&streams) {
            let appointment = visits.fold::<Appointment>(key)?.state;
            let service_id = appointment.known().map(|(visit, _)| visit.service_id);
            counts.add(zone, *start, *staff_id, service_id);
        }
        Ok(counts)
    }

    async fn load(&self, query: &ExplainQuery, keys: &[StreamKey]) -> Result<Histories, ReadError> {
        Ok(log::as_of(self.database.pool(), query.business_id, keys, query.as_of).await?)
    }
}

fn weeks(staff_id: StaffId, span: &TimeSlot) -> Vec<StreamKey> {
    CalendarWeek::touched_by(span)
        .map(|week| StreamKey::of::<StaffCalendar>(stream_id(staff_id, week)))
        .collect()
}

fn not_offered(
    facts: &Histories,
    deciding: &Deciding,
    query: &ExplainQuery,
    state: &BusinessState,
) -> Result<Reason, ReadError> {
    let about = |event: &BusinessEvent| match event {
        BusinessEvent::ServiceAdded { service_id, .. }
        | BusinessEvent::ServiceChanged { service_id, .. } => *service_id == query.service_id,
        BusinessEvent::StaffAdded { staff_id, .. }
        | BusinessEvent::StaffChanged { staff_id, .. } => *staff_id == query.staff_id,
        BusinessEvent::Registered { .. }
        | BusinessEvent::ProfileChanged { .. }
        | BusinessEvent::ServiceArchived { .. }
        | BusinessEvent::StaffRemoved { .. }
        | BusinessEvent::ClosureAdded { .. }
        | BusinessEvent::ClosureRemoved { .. } => false,
    };
    let name = state.staff.get(&query.staff_id).map(|member| member.value.name.as_str());
    Ok(Reason {
        rule: "not_offered",
        detail: format!("{} does not offer this service", name.unwrap_or("the staff member")),
        event: last::<Business>(facts.events(&deciding.business), about)?,
    })
}

/// The event that made the rule refuse.
fn because(
    refusal: &Refusal,
    (asked, service): (ServiceId, &Service),
    (facts, calendars): (&Histories, &Histories),
    deciding: &Deciding,
) -> Result<Option<Because>, ReadError> {
    let business = || facts.events(&deciding.business);
    let calendar = |is: &dyn Fn(&StaffCalendarEvent) -> bool| {
        let mut found = None;
        for key in &deciding.weeks {
            found = found.or(last::<StaffCalendar>(calendars.events(key), is)?);
        }
        Ok(found)
    };
    let profile = |event: &BusinessEvent| {
        matches!(event, BusinessEvent::Registered { .. } | BusinessEvent::ProfileChanged { .. })
    };
    let of_service = |event: &BusinessEvent, id: ServiceId| {
        matches!(event, BusinessEvent::ServiceAdded { service_id, .. }
                        | BusinessEvent::ServiceChanged { service_id, .. } if *service_id == id)
    };
    let of_member = |event: &BusinessEvent, id: StaffId| {
        matches!(event, BusinessEvent::StaffAdded { staff_id, .. }
                        | BusinessEvent::StaffChanged { staff_id, .. } if *staff_id == id)
    };
    // A service may have a notice and a window of its own.
    let set_by = |own: bool| {
        let is =
            |event: &BusinessEvent| if own { of_service(event, asked) } else { profile(event) };
        last::<Business>(business(), is)
    };
    match refusal {
        Refusal::SlotInPast => Ok(None),
        Refusal::TooSoon { .. } => set_by(service.min_notice_minutes.is_some()),
        Refusal::TooFar { .. } => set_by(service.window_days.is_some()),
        Refusal::Closed { by } => last::<Business>(
            business(),
            |event| matches!(event, BusinessEvent::ClosureAdded { closure_id, .. } if closure_id == by),
        ),
        Refusal::LimitReached { limit, .. } => {
            last::<Business>(business(), |event| match limit.subject {
                Subject::Business => profile(event),
                Subject::Service(id) => of_service(event, id),
                Subject::Staff(id) => of_member(event, id),
            })
        }
        Refusal::OutsideHours | Refusal::OffGrid => {
            last::<StaffSchedule>(facts.events(&deciding.schedule), |_hours| true)
        }
        Refusal::Taken { by } => calendar(
            &|event| matches!(event, StaffCalendarEvent::Reserved { appointment_id, .. } if appointment_id == by),
        ),
        Refusal::Away { during } => calendar(
            &|event| matches!(event, StaffCalendarEvent::TimeOffAdded { time_off_id, .. } if time_off_id == during),
        ),
    }
}

/// The newest event of a stream that is meant.
fn last<A>(
    events: &[Recorded],
    is: impl Fn(&A::Event) -> bool,
) -> Result<Option<Because>, ReadError>
where
    A: Aggregate,
    A::Event: DomainEvent,
{
    for recorded in events.iter().rev() {
        let event = recorded.decode::<A>().map_err(|error| ReadError::Store(error.into()))?;
        if is(&event) {
            let (event_id, at) = (recorded.event_id, recorded.occurred_at);
            return Ok(Some(Because { event_id, at }));
        }
    }
    Ok(None)
}
