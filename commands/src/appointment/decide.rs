use domain::{
    Decide, ServiceId, StaffId, TimeSlot, Zone,
    appointment::{Appointment, AppointmentCommand, Status, Visit},
    availability::{self, Refusal, Rules},
    business::{Business, BusinessState, Profile, Service},
    staff_calendar::{Busy, StaffCalendar, StaffCalendarCommand, StaffCalendarError},
    staff_schedule::StaffSchedule,
    subscription::Subscription,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use streams::{
    CommandContext,
    log::{CommitError, Contact, Histories, Loaded, ReservedTime, StreamKey, UnitOfWork},
};

use super::{BookAppointment, Booked, BookingRefused, Start, guest::Customer};
use crate::{
    Commands, Done, error::Attempt, idempotency::IdempotencyKey, staff_calendar::week_keys,
};

type Tried<T> = Result<T, Attempt<BookingRefused>>;

/// What is booked, once the rules agreed.
struct Choice {
    staff_id: StaffId,
    slot: TimeSlot,
    weeks: Vec<Loaded<StaffCalendar>>,
    schedule: Loaded<StaffSchedule>,
}

fn refuse<T>(refused: BookingRefused) -> Tried<T> {
    Err(Attempt::Refused(refused))
}

impl Commands {
    /// One try: load, decide, append.
    pub(super) async fn try_book(
        &self,
        book: &BookAppointment,
        key: Option<&IdempotencyKey>,
        context: &CommandContext,
    ) -> Tried<Done<Booked>> {
        let business_id = context.business_id;
        let business_key = StreamKey::of::<Business>(business_id);
        let plan_key = StreamKey::of::<Subscription>(business_id);
        let histories =
            self.log.load(business_id, &[business_key.clone(), plan_key.clone()]).await?;
        let business: Loaded<Business> = histories.fold(&business_key)?;
        let plan: Loaded<Subscription> = histories.fold(&plan_key)?;
        let Some(state) = business.state.registered() else {
            return refuse(BookingRefused::UnknownService);
        };
        let service = service(state, book.service_id)?;
        let start = instant(book.start, &state.profile.value.timezone)?;
        let candidates = candidates(state, book)?;
        let choice = self.choose(context, state, service, &candidates, start).await?;
        let customer = self.customer(business_id, &book.guest).await?;
        let visit = Visit {
            staff_id: choice.staff_id,
            service_id: book.service_id,
            customer_id: customer.id(),
            slot: choice.slot,
            buffer_before_minutes: service.buffer_before_minutes,
            buffer_after_minutes: service.buffer_after_minutes,
            price: service.price,
            reminder_offsets_minutes: state.profile.value.reminder_offsets_minutes.clone(),
        };
        let booked = Booked {
            appointment_id: book.appointment_id,
            status: Status::Booked,
            start: visit.slot.start(),
            end: visit.slot.end(),
            staff_id: visit.staff_id,
            service_id: visit.service_id,
            price: visit.price,
        };
        let mut unit = UnitOfWork::new(context.clone());
        reserve(&mut unit, book, &visit, &choice, state)?;
        agree(&mut unit, book, visit)?;
        unit.guard(&business);
        unit.guard(&plan);
        unit.guard(&choice.schedule);
        let cap = plan.state.monthly_cap(self.policy.free_monthly_cap);
        unit.count(month_of(context.now), 1, cap);
        keep(&mut unit, book, customer);
        if let Some(key) = key {
            let answer =
                serde_json::to_value(&booked).map_err(|error| CommitError::Store(error.into()))?;
            unit.answer(key.row(answer));
        }
        let position = self.log.commit(&unit).await?;
        Ok(Done::new(booked, position))
    }

    /// The first candidate whose rules agree. When none does: that the time is taken, if it is for
    /// any of them, or why the first does not.
    async fn choose(
        &self,
        context: &CommandContext,
        state: &BusinessState,
        service: &Service,
        candidates: &[StaffId],
        start: Timestamp,
    ) -> Tried<Choice> {
        let closed = StaffSchedule::default();
        let profile = &state.profile.value;
        let span = availability::deciding_range(&rules_of(profile, service, &closed), start, start);
        let mut keys = Vec::new();
        for staff_id in candidates {
            keys.push(StreamKey::of::<StaffSchedule>(staff_id));
            keys.extend(week_keys(*staff_id, &span));
        }
        let histories = self.log.load(context.business_id, &keys).await?;
        let mut refused: Option<Refusal> = None;
        for staff_id in candidates {
            let schedule: Loaded<StaffSchedule> =
                histories.fold(&StreamKey::of::<StaffSchedule>(staff_id))?;
            let weeks = weeks(&histories, *staff_id, &span)?;
            let busy: Vec<Busy> =
                weeks.iter().flat_map(|week| week.state.busy().copied()).collect();
            let rules = rules_of(profile, service, &schedule.state);
            match availability::check(&rules, &busy, start, context.now) {
                Ok(slot) => return Ok(Choice { staff_id: *staff_id, slot, weeks, schedule }),
                Err(refusal @ Refusal::Taken { .. }) => refused = Some(refusal),
                Err(refusal) => {
                    refused.get_or_insert(refusal);
                }
            }
        }
        let refusal = refused.unwrap_or(Refusal::OutsideHours);
        refuse(BookingRefused::Unavailable { start, refusal })
    }
}

fn rules_of<'a>(
    profile: &'a Profile,
    service: &'a Service,
    schedule: &'a StaffSchedule,
) -> Rules<'a> {
    Rules {
        zone: &profile.timezone,
        policy: &profile.booking_policy,
        service,
        hours: schedule.hours(),
    }
}

fn service(state: &BusinessState, service_id: ServiceId) -> Tried<&Service> {
    match state.services.get(&service_id) {
        Some(service) => Ok(&service.value),
        None => refuse(BookingRefused::UnknownService),
    }
}

fn instant(start: Start, zone: &Zone) -> Tried<Timestamp> {
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

fn weeks(
    histories: &Histories,
    staff_id: StaffId,
    span: &TimeSlot,
) -> Result<Vec<Loaded<StaffCalendar>>, CommitError> {
    week_keys(staff_id, span).iter().map(|key| histories.fold(key)).collect()
}

/// The calendar's part: written in every week that the visit with its buffers touches, and expected
/// unchanged in the others that were looked at.
fn reserve(
    unit: &mut UnitOfWork,
    book: &BookAppointment,
    visit: &Visit,
    choice: &Choice,
    state: &BusinessState,
) -> Tried<()> {
    let padded = visit.slot.padded(visit.buffer_before_minutes, visit.buffer_after_minutes);
    let touched = week_keys(choice.staff_id, &padded);
    for week in &choice.weeks {
        if !touched.contains(&week.key) {
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
        let events = week.state.decide(command).map_err(|error| {
            let refusal = match error {
                StaffCalendarError::Taken { by } => Refusal::Taken { by },
                StaffCalendarError::Away { during }
                | StaffCalendarError::TimeOffOverlaps { with: during } => Refusal::Away { during },
            };
            let start = visit.slot.start();
            Attempt::Refused(BookingRefused::Unavailable { start, refusal })
        })?;
        unit.append(week, events)?;
    }
    unit.reserve(ReservedTime {
        appointment_id: book.appointment_id,
        staff_id: visit.staff_id,
        slot: visit.slot,
        buffer_before_minutes: visit.buffer_before_minutes,
        buffer_after_minutes: visit.buffer_after_minutes,
    });
    Ok(())
}

/// The appointment's own part. Its id was made for it, so its stream is empty.
fn agree(unit: &mut UnitOfWork, book: &BookAppointment, visit: Visit) -> Tried<()> {
    let key = StreamKey::of::<Appointment>(book.appointment_id);
    let fresh = Loaded { key, state: Appointment::default(), sequence: 0 };
    let events = fresh
        .state
        .decide(AppointmentCommand::Book { visit })
        .map_err(|error| CommitError::Store(error.into()))?;
    unit.append(&fresh, events)?;
    Ok(())
}

/// What is kept outside the events.
fn keep(unit: &mut UnitOfWork, book: &BookAppointment, customer: Customer) {
    unit.contact(Contact {
        appointment_id: book.appointment_id,
        name: book.guest.name.clone(),
        email: book.guest.email.clone(),
        phone: book.guest.phone.clone(),
        timezone: book.timezone.as_ref().map(|zone| zone.name().to_owned()),
        notes: book.notes.clone(),
    });
    if let Customer::New(new) = customer {
        unit.customer(new);
    }
}

/// The cap counts by the UTC month in which an appointment is made.
fn month_of(now: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(now).date().first_of_month()
}
