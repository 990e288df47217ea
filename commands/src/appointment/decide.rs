//! One booking, decided on what is known of the business. Nothing here waits for anything.

use std::collections::BTreeSet;

use domain::{
    CalendarWeek, Decide, Fields, ServiceId, StaffId, TimeSlot, Zone,
    appointment::{Appointment, AppointmentCommand, Candidate, StaffChoice, Visit},
    availability::{self, Asked, Refusal, Shape},
    business::BusinessState,
    staff_calendar::Busy,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use streams::{
    Actor, CommandContext,
    log::{
        CommitError, Contact, GuestAddress, KnownCustomer, Loaded, PendingRequest, StreamKey,
        UnitOfWork,
    },
};

use super::{
    BookAppointment, Booked, BookingRefused, Start,
    guest::Customer,
    holding::{Holding, Kept, NotKept},
    known::{self, Known, unread},
};
use crate::{
    Policy,
    error::Attempt,
    idempotency::IdempotencyKey,
    mailbox::{CountedVisit, Guests, State, Wanted},
};

type Tried<T> = Result<T, Attempt<BookingRefused>>;

/// What follows from a booking that the rules allow.
pub(super) struct Decision {
    pub(super) unit: UnitOfWork,
    pub(super) booked: Booked,
    /// What becomes true of calendars and resources.
    pub(super) kept: Kept,
    /// What becomes true of the weeks in which it counts, when there is a limit.
    pub(super) counted: Vec<CountedVisit>,
    /// Who becomes known, with the address by which they are found again.
    pub(super) guest: Option<(Option<GuestAddress>, KnownCustomer)>,
}

fn refuse<T>(refused: BookingRefused) -> Tried<T> {
    Err(Attempt::Refused(refused))
}

impl From<NotKept> for Attempt<Refusal> {
    fn from(error: NotKept) -> Self {
        match error {
            NotKept::Refused(refusal) => Self::Refused(refusal),
            NotKept::Commit(error) => Self::Commit(error),
        }
    }
}

/// Notes what the booking needs to know of hours, calendars and resources.
pub(super) fn wants(state: &State, book: &BookAppointment, wanted: &mut Wanted) {
    let Some(business) = state.registered() else { return };
    let Ok(shape) = shape(business, book) else { return };
    let zone = &business.profile.value.timezone;
    let Ok(start) = instant(book.start, zone) else { return };
    let candidates = candidates(business, book).unwrap_or_default();
    // Whom to choose of several depends on how much each has to do in that week.
    let week = book.staff_id.is_none().then(|| availability::counting_range(zone, start, start));
    if let Some(week) = week {
        let parts: Vec<CalendarWeek> = CalendarWeek::touched_by(&week).collect();
        let all = candidates.iter().flat_map(|id| parts.iter().map(|week| (*id, *week)));
        wanted.weeks.extend(all);
    }
    known::wants(business, &shape, candidates, start, wanted);
}

/// How long before the visit its guest is reminded, in minutes, as the business wants it now.
pub(super) fn offsets(business: &BusinessState, service_id: Option<ServiceId>) -> Vec<u32> {
    let policy = service_id.map(|service_id| business.reminders(service_id));
    policy.map(|policy| policy.offsets_minutes).unwrap_or_default()
}

/// The staff members whose calendars decide about the booking.
pub(super) fn could_serve(state: &State, book: &BookAppointment) -> BTreeSet<StaffId> {
    let Some(business) = state.registered() else { return BTreeSet::new() };
    let further = shape(business, book).map(|shape| shape.followers(business).collect::<Vec<_>>());
    let first = candidates(business, book).unwrap_or_default();
    first.into_iter().chain(further.unwrap_or_default()).collect()
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
    let Some(registered) = business.state.registered() else {
        return refuse(BookingRefused::UnknownService);
    };
    let shape = shape(registered, book)?;
    let mut fields = Fields::default();
    shape.validate(&mut fields);
    fields.done().map_err(|errors| Attempt::Refused(BookingRefused::Invalid(errors)))?;
    answered(registered, book, context)?;
    let profile = &registered.profile.value;
    let start = instant(book.start, &profile.timezone)?;
    let candidates = candidates(registered, book)?;
    let week = book.staff_id.is_none();
    let week = week.then(|| availability::counting_range(&profile.timezone, start, start));
    let candidates = by_load(state, week.as_ref(), candidates)?;
    let unavailable = |attempt| match attempt {
        Attempt::Refused(refusal) => {
            Attempt::Refused(BookingRefused::Unavailable { start, refusal })
        }
        Attempt::Commit(error) => Attempt::Commit(error),
    };
    let known = Known::of(state, registered, &shape, start, None);
    let (place, planned) =
        known.choose(&candidates, start, context.now, book.waived).map_err(unavailable)?;
    let found = week.map(|week| StaffChoice {
        week: week.start(),
        considered: candidates.iter().take(place + 1).copied().collect(),
    });
    let met = book.series.and_then(|series| series.customer);
    let customer = met.map_or_else(|| book.guest.as_customer(guests), Customer::Known);
    let reminders = offsets(registered, planned.parts.first().map(|part| part.service_id));
    let visit = planned.visit(&shape, customer.id(), reminders, &profile.timezone);
    let visit = visit.ok_or_else(|| CommitError::Store("a plan of nothing".into()))?;
    let visit = Visit { series: book.series.map(|series| series.place), ..visit };
    let (rules, begins) = (&profile.booking_policy, visit.slot.start());
    let wanted = shape.steps().iter().any(|step| step.service.requires_approval);
    let expires_at = match (book.waitlist_id, &context.actor) {
        (Some(_), _) => Some(rules.offer_expires_at(context.now, begins)),
        (None, Actor::Guest) if wanted => Some(rules.request_expires_at(context.now, begins)),
        (None, Actor::Guest | Actor::User(_) | Actor::Key(_) | Actor::System(_)) => None,
    };
    let booked = Booked::of(book.appointment_id, &visit, expires_at);
    let mut unit = UnitOfWork::new(context.clone());
    let holding = Holding { id: book.appointment_id, from: None, to: Some(&visit), meeting: &[] };
    let counted = known.count(&mut unit, book.appointment_id, &visit, context.business_id)?;
    let looked_at = known.looked_at(&mut unit, &visit)?;
    let kept = holding.keep(&mut unit, state, &looked_at);
    let kept = kept.map_err(|error| unavailable(error.into()))?;
    agree(&mut unit, book, visit, found, expires_at)?;
    unit.guard(business);
    unit.guard(plan);
    customer.guard(&mut unit);
    unit.count(month_of(context.now), 1, plan.state.monthly_cap(policy.free_monthly_cap));
    let guest = keep(&mut unit, book, customer);
    if let Some(key) = key {
        let answer =
            serde_json::to_value(&booked).map_err(|error| CommitError::Store(error.into()))?;
        unit.answer(key.row(answer));
    }
    Ok(Decision { unit, booked, kept, counted, guest })
}

/// What is to be done: first the service itself, then what follows.
fn shape(business: &BusinessState, book: &BookAppointment) -> Tried<Shape> {
    let first = Asked { service_id: book.service_id, staff_id: book.staff_id };
    let further = book.also.iter().map(Asked::from);
    let asked: Vec<Asked> = std::iter::once(first).chain(further).collect();
    for wanted in &asked {
        able(business, wanted)?;
    }
    let shape = Shape::of(business, &asked, book.come());
    shape.ok_or(Attempt::Refused(BookingRefused::UnknownService))
}

/// Guests answer all that is required. Owners, who book for somebody on the phone, what they know.
fn answered(
    business: &BusinessState,
    book: &BookAppointment,
    context: &CommandContext,
) -> Tried<()> {
    let all = matches!(context.actor, Actor::Guest);
    let Some(service) = business.services.get(&book.service_id) else { return Ok(()) };
    let checked = service.value.intake_fields.check(&book.answers, all).done();
    checked.map_err(|errors| Attempt::Refused(BookingRefused::Invalid(errors)))
}

pub(super) fn instant(start: Start, zone: &Zone) -> Tried<Timestamp> {
    match start {
        Start::At(start) => Ok(start),
        Start::Local(local) => {
            zone.instant_of(local).map_err(|error| Attempt::Refused(error.into()))
        }
    }
}

/// Who could serve first.
fn candidates(state: &BusinessState, book: &BookAppointment) -> Tried<Vec<StaffId>> {
    able(state, &Asked { service_id: book.service_id, staff_id: book.staff_id })
}

/// Who could do a service: the staff member asked for, or everybody who offers it.
fn able(state: &BusinessState, asked: &Asked) -> Tried<Vec<StaffId>> {
    if !state.services.contains_key(&asked.service_id) {
        return refuse(BookingRefused::UnknownService);
    }
    let able: Vec<StaffId> = state.staff_for(asked.service_id).collect();
    match asked.staff_id {
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
    let mut found = Vec::with_capacity(candidates.len());
    for staff_id in candidates {
        let Some(week) = week else {
            found.push(Candidate { booked_minutes: 0, staff_id });
            continue;
        };
        let mut busy: Vec<Busy> = Vec::new();
        for part in CalendarWeek::touched_by(week) {
            busy.extend(state.weeks.get(&(staff_id, part)).ok_or_else(unread)?.state.busy());
        }
        found.push(Candidate::weigh(staff_id, &busy, week));
    }
    found.sort_unstable();
    Ok(found)
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
) -> Option<(Option<GuestAddress>, KnownCustomer)> {
    unit.contact(Contact {
        appointment_id: book.appointment_id,
        name: book.guest.name.clone(),
        email: book.guest.email.clone(),
        phone: book.guest.phone.clone(),
        timezone: book.timezone.as_ref().map(|zone| zone.name().to_owned()),
        notes: book.notes.clone(),
        answers: book.answers.clone(),
        subjects: book.subjects.clone(),
    });
    let Customer::New(new) = customer else { return None };
    let known = KnownCustomer { customer_id: new.customer_id, version: 0 };
    unit.customer(new);
    Some((book.guest.address(), known))
}

/// The cap counts by the UTC month in which an appointment is made.
fn month_of(now: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(now).date().first_of_month()
}
