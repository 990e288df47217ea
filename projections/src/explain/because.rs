use domain::{
    Aggregate, DomainEvent, ServiceId, StaffId,
    availability::{Refusal, Subject},
    business::{Business, BusinessEvent, BusinessState},
    resource_calendar::{Holder, ResourceCalendar, ResourceCalendarEvent},
    staff_calendar::{StaffCalendar, StaffCalendarEvent},
    staff_schedule::StaffSchedule,
};
use streams::log::{Histories, Recorded};

use super::{Because, Deciding, ExplainQuery};
use crate::ReadError;

/// The event that made the rule refuse.
pub(super) fn because(
    refusal: &Refusal,
    (query, state): (&ExplainQuery, &BusinessState),
    (facts, calendars): (&Histories, &Histories),
    deciding: &Deciding,
) -> Result<Option<Because>, ReadError> {
    let asked = query.service_id;
    let service = state.services.get(&asked).map(|service| &service.value);
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
        Refusal::TooSoon { .. } => {
            set_by(service.is_some_and(|own| own.min_notice_minutes.is_some()))
        }
        Refusal::TooFar { .. } => set_by(service.is_some_and(|own| own.window_days.is_some())),
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
        Refusal::InClass { by } => calendar(
            &|event| matches!(event, StaffCalendarEvent::SeatsTaken { class, .. } if class.session_id == *by),
        ),
        Refusal::ClassFull { .. } => calendar(
            &|event| matches!(event, StaffCalendarEvent::SeatsTaken { slot, .. } if slot.start() == query.start),
        ),
        Refusal::NoResource { by: Some(by), .. } => taken_by(*by, calendars, deciding),
        // There is too little of it: since the service asks for it, or since it is gone.
        Refusal::NoResource { by: None, .. } => last::<Business>(business(), |event| {
            of_service(event, asked) || matches!(event, BusinessEvent::ResourceRemoved { .. })
        }),
        Refusal::Away { during } => calendar(
            &|event| matches!(event, StaffCalendarEvent::TimeOffAdded { time_off_id, .. } if time_off_id == during),
        ),
    }
}

/// When the resource was taken.
fn taken_by(
    by: Holder,
    calendars: &Histories,
    deciding: &Deciding,
) -> Result<Option<Because>, ReadError> {
    let mut found = None;
    for key in &deciding.resources {
        let is = |event: &ResourceCalendarEvent| matches!(event, ResourceCalendarEvent::Taken { holder, .. } if *holder == by);
        found = found.or(last::<ResourceCalendar>(calendars.events(key), is)?);
    }
    Ok(found)
}

/// The newest event of a stream that is meant.
pub(super) fn last<A>(
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
