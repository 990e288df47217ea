//! One booking, decided on what is known of the business. Nothing here waits for anything.

use std::collections::BTreeSet;

use domain::{
    CalendarWeek, CustomerId, Decide, ServiceId, StaffId, TimeSlot, Zone,
    appointment::{Appointment, AppointmentCommand, Candidate, StaffChoice, Visit},
    availability::{self, Counts, Refusal, Rules},
    business::{BusinessState, Service},
    staff_calendar::{
        Busy, StaffCalendar, StaffCalendarCommand, StaffCalendarError, StaffCalendarEvent,
    },
    staff_schedule::StaffSchedule,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use streams::{
    Actor, CommandContext,
    log::{CommitError, Contact, Loaded, PendingRequest, ReservedTime, StreamKey, UnitOfWork},
};

use super::{BookAppointment, Booked, BookingRefused, Start, guest::Customer};
use crate::{
    Policy,
    error::Attempt,
    idempotency::IdempotencyKey,
    mailbox::{CountedVisit, Guests, State, Wanted, week_of},
};

type Tried<T> = Result<T, Attempt<BookingRefused>>;
type Week = (StaffId, CalendarWeek);

/// What follows from a booking that the rules allow.
pub(super) struct Decision {
    pub(super) unit: UnitOfWork,
    pub(super) booked: Booked,
    /// What becomes true of the calendar.
    pub(super) weeks: Vec<(Week, Vec<StaffCalendarEvent>)>,
    /// What becomes true of the week in which it counts, when there is a limit.
    pub(super) counted: Option<CountedVisit>,
    /// Who becomes known, by address.
    pub(super) guest: Option<(String, CustomerId)>,
}

/// What is booked, once the rules agreed.
struct Choice<'a> {
    /// Among the candidates.
    place: usize,
    staff_id: StaffId,
    slot: TimeSlot,
    weeks: Vec<(Week, &'a Loaded<StaffCalendar>)>,
    schedule: &'a Loaded<StaffSchedule>,
    counted: Option<CountedVisit>,
}

fn refuse<T>(refused: BookingRefused) -> Tried<T> {
    Err(Attempt::Refused(refused))
}

/// Notes what the booking needs to know of hours and calendars.
pub(super) fn wants(state: &State, book: &BookAppointment, wanted: &mut Wanted) {
    let Some(business) = registered(state) else { return };
    let Ok(service) = service(business, book.service_id) else { return };
    let zone = &business.profile.value.timezone;
    let Ok(start) = instant(book.start, zone) else { return };
    let span = availability::deciding_range(zone, service, start, start);
    // Whom to choose of several depends on how much each has to do in that week.
    let week = book.staff_id.is_none().then(|| availability::counting_range(zone, start, start));
    let weeks: BTreeSet<CalendarWeek> =
        [Some(span), week].iter().flatten().flat_map(CalendarWeek::touched_by).collect();
    let could_serve = could_serve(state, book);
    if business.is_limited(book.service_id, could_serve.iter().copied()) {
        wanted.counted.insert(week_of(zone, start));
    }
    for staff_id in could_serve {
        wanted.schedules.insert(staff_id);
        wanted.weeks.extend(weeks.iter().map(|week| (staff_id, *week)));
    }
}

/// The staff members whose calendars decide about the booking.
pub(super) fn could_serve(state: &State, book: &BookAppointment) -> BTreeSet<StaffId> {
    let candidates = registered(state).map(|business| candidates(business, book));
    candidates.and_then(Result::ok).unwrap_or_default().into_iter().collect()
}

/// Decides one booking on what is known.
pub(super) fn decide(
    state: &State,
    guests: &Guests,
    policy: Policy,
    book: &BookAppointment,
    key: Option<&IdempotencyKey>,
    context: &CommandContext,
) -> Tried<Decision> {
    let (Some(business), Some(plan)) = (&state.business, &state.plan) else {
        return Err(CommitError::Store("business and plan were not read".into()).into());
    };
    let Some(known) = business.state.registered() else {
        return refuse(BookingRefused::UnknownService);
    };
    let service = service(known, book.service_id)?;
    let profile = &known.profile.value;
    let start = instant(book.start, &profile.timezone)?;
    let candidates = candidates(known, book)?;
    let anybody = book.staff_id.is_none();
    let week = anybody.then(|| availability::counting_range(&profile.timezone, start, start));
    let candidates = by_load(state, week.as_ref(), candidates)?;
    let choice = choose(state, context, known, book, &candidates, start)?;
    let found = week.map(|week| StaffChoice {
        week: week.start(),
        considered: candidates.iter().take(choice.place + 1).copied().collect(),
    });
    let customer = book.guest.as_customer(guests);
    let visit = Visit {
        staff_id: choice.staff_id,
        service_id: book.service_id,
        customer_id: customer.id(),
        slot: choice.slot,
        buffer_before_minutes: service.buffer_before_minutes,
        buffer_after_minutes: service.buffer_after_minutes,
        price: service.price,
        reminder_offsets_minutes: profile.reminder_offsets_minutes.clone(),
    };
    let (rules, start) = (&profile.booking_policy, visit.slot.start());
    let expires_at = match (book.waitlist_id, &context.actor) {
        (Some(_), _) => Some(rules.offer_expires_at(context.now, start)),
        (None, Actor::Guest) if service.requires_approval => {
            Some(rules.request_expires_at(context.now, start))
        }
        (None, Actor::Guest | Actor::User(_) | Actor::System(_)) => None,
    };
    let booked = Booked::of(book.appointment_id, &visit, expires_at);
    let mut unit = UnitOfWork::new(context.clone());
    let weeks = reserve(&mut unit, book, &visit, &choice, known)?;
    agree(&mut unit, book, visit, found, expires_at)?;
    unit.guard(business);
    unit.guard(plan);
    unit.guard(choice.schedule);
    unit.count(month_of(context.now), 1, plan.state.monthly_cap(policy.free_monthly_cap));
    let guest = keep(&mut unit, book, customer);
    if let Some(key) = key {
        let answer =
            serde_json::to_value(&booked).map_err(|error| CommitError::Store(error.into()))?;
        unit.answer(key.row(answer));
    }
    Ok(Decision { unit, booked, weeks, counted: choice.counted, guest })
}

fn registered(state: &State) -> Option<&BusinessState> {
    state.business.as_ref()?.state.registered()
}

/// The first candidate whose rules agree. When none does: that the time is taken, if it is for
/// any of them, or why the first does not.
fn choose<'a>(
    state: &'a State,
    context: &CommandContext,
    business: &BusinessState,
    book: &BookAppointment,
    candidates: &[Candidate],
    start: Timestamp,
) -> Tried<Choice<'a>> {
    let (zone, service) = (&business.profile.value.timezone, service(business, book.service_id)?);
    let span = availability::deciding_range(zone, service, start, start);
    let unread = || CommitError::Store("a calendar was not read".into());
    let monday = week_of(zone, start);
    let counted = state.counted.get(&monday);
    if counted.is_none()
        && business
            .is_limited(book.service_id, candidates.iter().map(|candidate| candidate.staff_id))
    {
        return Err(CommitError::Store("visits were not counted".into()).into());
    }
    let no_counts = Counts::default();
    let counts = counted.map_or(&no_counts, |week| &week.counts);
    let mut refused: Option<Refusal> = None;
    for (place, &Candidate { staff_id, .. }) in candidates.iter().enumerate() {
        let schedule = state.schedules.get(&staff_id).ok_or_else(unread)?;
        let mut weeks = Vec::with_capacity(2);
        for week in CalendarWeek::touched_by(&span) {
            let week = (staff_id, week);
            weeks.push((week, state.weeks.get(&week).ok_or_else(unread)?));
        }
        let busy: Vec<Busy> =
            weeks.iter().flat_map(|(_, week)| week.state.busy().copied()).collect();
        let hours = schedule.state.hours();
        let rules = Rules::of(business, book.service_id, staff_id, hours, counts);
        let rules = rules.ok_or_else(unread)?;
        match availability::check_waiving(&rules, &busy, start, context.now, book.waived) {
            Ok(slot) => {
                let counted = counted.map(|week| CountedVisit {
                    monday,
                    start,
                    staff_id,
                    service_id: book.service_id,
                    places: week.places(&rules, context.business_id, book.appointment_id, start),
                });
                return Ok(Choice { place, staff_id, slot, weeks, schedule, counted });
            }
            Err(refusal @ Refusal::Taken { .. }) => refused = Some(refusal),
            Err(refusal) => {
                refused.get_or_insert(refusal);
            }
        }
    }
    let refusal = refused.unwrap_or(Refusal::OutsideHours);
    refuse(BookingRefused::Unavailable { start, refusal })
}

fn service(state: &BusinessState, service_id: ServiceId) -> Tried<&Service> {
    match state.services.get(&service_id) {
        Some(service) => Ok(&service.value),
        None => refuse(BookingRefused::UnknownService),
    }
}

pub(super) fn instant(start: Start, zone: &Zone) -> Tried<Timestamp> {
    match start {
        Start::At(start) => Ok(start),
        Start::Local(local) => {
            zone.instant_of(local).map_err(|error| Attempt::Refused(error.into()))
        }
    }
}

/// Who could serve: the staff member asked for, or everybody who offers the service.
fn candidates(state: &BusinessState, book: &BookAppointment) -> Tried<Vec<StaffId>> {
    let able: Vec<StaffId> = state.staff_for(book.service_id).collect();
    match book.staff_id {
        None if able.is_empty() => refuse(BookingRefused::NotOffered),
        None => Ok(able),
        Some(staff_id) if able.contains(&staff_id) => Ok(vec![staff_id]),
        Some(staff_id) if state.staff.contains_key(&staff_id) => refuse(BookingRefused::NotOffered),
        Some(_) => refuse(BookingRefused::UnknownStaff),
    }
}

/// Whoever has the least to do in that week first, and of those the first by id. Nobody is weighed
/// when the guest named somebody.
fn by_load(
    state: &State,
    week: Option<&TimeSlot>,
    candidates: Vec<StaffId>,
) -> Tried<Vec<Candidate>> {
    let unread = || CommitError::Store("a calendar was not read".into());
    let mut found = Vec::with_capacity(candidates.len());
    for staff_id in candidates {
        let Some(week) = week else {
            found.push(Candidate { booked_minutes: 0, staff_id });
            continue;
        };
        let mut busy: Vec<&Busy> = Vec::new();
        for part in CalendarWeek::touched_by(week) {
            busy.extend(state.weeks.get(&(staff_id, part)).ok_or_else(unread)?.state.busy());
        }
        found.push(Candidate::weigh(staff_id, busy, week));
    }
    found.sort_unstable();
    Ok(found)
}

/// The calendar's part: written in every week that the visit with its buffers touches, and expected
/// unchanged in the others that were looked at.
fn reserve(
    unit: &mut UnitOfWork,
    book: &BookAppointment,
    visit: &Visit,
    choice: &Choice<'_>,
    state: &BusinessState,
) -> Tried<Vec<(Week, Vec<StaffCalendarEvent>)>> {
    let touched: Vec<CalendarWeek> = CalendarWeek::touched_by(&visit.padded()).collect();
    let mut written = Vec::with_capacity(touched.len());
    for (key, week) in &choice.weeks {
        if !touched.contains(&key.1) {
            unit.guard(week);
            continue;
        }
        let command = StaffCalendarCommand::Reserve {
            appointment_id: book.appointment_id,
            slot: visit.slot,
            buffer_before_minutes: visit.buffer_before_minutes,
            buffer_after_minutes: visit.buffer_after_minutes,
            buffers: state.profile.value.booking_policy.buffers,
        };
        let events =
            week.state.decide(command).map_err(|error| calendar(&error, visit.slot.start()))?;
        unit.append(week, events.clone())?;
        written.push((*key, events));
    }
    unit.reserve(ReservedTime {
        appointment_id: book.appointment_id,
        staff_id: visit.staff_id,
        service_id: visit.service_id,
        slot: visit.slot,
        buffer_before_minutes: visit.buffer_before_minutes,
        buffer_after_minutes: visit.buffer_after_minutes,
    });
    let places = choice.counted.iter().flat_map(|counted| &counted.places);
    places.for_each(|place| unit.take_place(*place));
    Ok(written)
}

/// What a calendar said to a visit that was to start then.
pub(super) const fn calendar(
    error: &StaffCalendarError,
    start: Timestamp,
) -> Attempt<BookingRefused> {
    let refusal = match *error {
        StaffCalendarError::Taken { by } => Refusal::Taken { by },
        StaffCalendarError::Away { during }
        | StaffCalendarError::TimeOffOverlaps { with: during } => Refusal::Away { during },
    };
    Attempt::Refused(BookingRefused::Unavailable { start, refusal })
}

/// The appointment's own part: asked for when that expires, agreed otherwise. Its id was made for it,
/// so its stream is empty.
fn agree(
    unit: &mut UnitOfWork,
    book: &BookAppointment,
    visit: Visit,
    choice: Option<StaffChoice>,
    expires_at: Option<Timestamp>,
) -> Tried<()> {
    let key = StreamKey::of::<Appointment>(book.appointment_id);
    let fresh = Loaded { key, state: Appointment::default(), sequence: 0 };
    let command = match expires_at {
        None => AppointmentCommand::Book { visit, choice },
        Some(expires_at) => {
            unit.ask(PendingRequest { appointment_id: book.appointment_id, expires_at });
            let waitlist_id = book.waitlist_id;
            AppointmentCommand::Request { visit, choice, expires_at, waitlist_id }
        }
    };
    let events = fresh.state.decide(command).map_err(|error| CommitError::Store(error.into()))?;
    unit.append(&fresh, events)?;
    Ok(())
}

/// What is kept outside the events; answers the guest who becomes known by it.
fn keep(
    unit: &mut UnitOfWork,
    book: &BookAppointment,
    customer: Customer,
) -> Option<(String, CustomerId)> {
    unit.contact(Contact {
        appointment_id: book.appointment_id,
        name: book.guest.name.clone(),
        email: book.guest.email.clone(),
        phone: book.guest.phone.clone(),
        timezone: book.timezone.as_ref().map(|zone| zone.name().to_owned()),
        notes: book.notes.clone(),
    });
    let Customer::New(new) = customer else { return None };
    let guest = book.guest.address().map(|email| (email, new.customer_id));
    unit.customer(new);
    guest
}

/// The cap counts by the UTC month in which an appointment is made.
fn month_of(now: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(now).date().first_of_month()
}
