//! A visit at another time, or with another staff member; or one that was called off, again.

use std::collections::BTreeSet;

use domain::{
    AppointmentId, Decide, StaffId, TimeSlot,
    appointment::{Appointment, AppointmentCommand, AppointmentError, AppointmentEvent, Visit},
    availability::{self, Refusal, Rules, Waived},
    business::{Business, BusinessState, Service},
    staff_calendar::{Busy, BusyKind, StaffCalendar, StaffCalendarCommand, StaffCalendarEvent},
    staff_schedule::StaffSchedule,
};
use jiff::Timestamp;
use streams::{
    Actor, CommandContext,
    log::{CommitError, Histories, Loaded, PendingRequest, ReservedTime, StreamKey, UnitOfWork},
};

use super::{BookingRefused, Ended, Start, decide};
use crate::{
    CommandError, Commands, Done,
    again::until_decided,
    error::Attempt,
    mailbox::{CountedWeek, week_of},
    staff_calendar::week_keys,
};

/// A visit to move.
#[derive(Debug, Clone)]
pub struct RescheduleAppointment {
    /// Which.
    pub appointment_id: AppointmentId,
    /// To when.
    pub start: Start,
    /// To whom; `None` leaves it with whoever has it.
    pub staff_id: Option<StaffId>,
    /// What the owner sets aside.
    pub waived: Waived,
    /// The version that a guest saw: the change is made on it or not at all, so it can be made once.
    pub seen: Option<u64>,
}

/// Why a visit was not moved or booked again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoveRefused {
    /// The appointment has changed since the guest saw it, perhaps by this very request.
    #[error("the appointment has changed since it was looked at")]
    Spent,
    /// The appointment's own rule.
    #[error(transparent)]
    Appointment(#[from] AppointmentError),
    /// The new time, or who is to serve.
    #[error(transparent)]
    Booking(#[from] BookingRefused),
}

type Tried<T> = Result<T, Attempt<MoveRefused>>;

fn refuse<T>(refused: impl Into<MoveRefused>) -> Tried<T> {
    Err(Attempt::Refused(refused.into()))
}

/// A visit as it was found, with all that decides about a change.
struct Found<'a> {
    appointment: Loaded<Appointment>,
    visit: Visit,
    business: &'a BusinessState,
}

impl Commands {
    /// Moves a visit, its time in the calendars and in the second wall at once. Moving it to where it
    /// is changes nothing.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(appointment.id = %wish.appointment_id))]
    pub async fn reschedule_appointment(
        &self,
        wish: &RescheduleAppointment,
        context: &CommandContext,
    ) -> Result<Done<Ended>, CommandError<MoveRefused>> {
        let _turn = self.turn(context.business_id).await?;
        until_decided("reschedule_appointment", || self.try_move(wish, context), |_| None).await
    }

    /// Books a visit again that was called off, as it was, if its time is still free.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(appointment.id = %appointment_id))]
    pub async fn reinstate_appointment(
        &self,
        appointment_id: AppointmentId,
        context: &CommandContext,
    ) -> Result<Done<Ended>, CommandError<MoveRefused>> {
        let _turn = self.turn(context.business_id).await?;
        let attempt = || self.try_reinstate(appointment_id, context);
        until_decided("reinstate_appointment", attempt, |_| None).await
    }

    async fn try_move(
        &self,
        wish: &RescheduleAppointment,
        context: &CommandContext,
    ) -> Tried<Done<Ended>> {
        let (key, business_key) = keys_of(wish.appointment_id, context);
        let read = self.log.load(context.business_id, &[key.clone(), business_key.clone()]).await?;
        let business: Loaded<Business> = read.fold(&business_key)?;
        let found = find(&read, &key, &business)?;
        if wish.seen.is_some_and(|version| version != found.appointment.sequence) {
            return refuse(MoveRefused::Spent);
        }
        let profile = &found.business.profile.value;
        let start = decide::instant(wish.start, &profile.timezone).map_err(booking)?;
        let staff_id = server(&found, wish.staff_id)?;
        let service = agreed(&found);
        let span = availability::deciding_range(&profile.timezone, &service, start, start);
        let schedule_key = StreamKey::of::<StaffSchedule>(staff_id);
        let mut keys: BTreeSet<StreamKey> =
            week_keys(staff_id, &span).into_iter().chain(weeks_of(&found.visit)).collect();
        keys.insert(schedule_key.clone());
        let keys: Vec<StreamKey> = keys.into_iter().collect();
        let calendars = self.log.load(context.business_id, &keys).await?;
        let schedule: Loaded<StaffSchedule> = calendars.fold(&schedule_key)?;
        let counted = self.counted(wish.appointment_id, &found, staff_id, start, context).await?;
        let facts = (&service, &schedule.state, &counted);
        let rules = rules_of(&found, staff_id, facts).ok_or_else(unknown_staff)?;
        let mut busy: Vec<Busy> = Vec::new();
        for key in week_keys(staff_id, &span) {
            busy.extend(calendars.fold::<StaffCalendar>(&key)?.state.busy());
        }
        let slot = free(&rules, busy, wish, start, context)
            .map_err(|refusal| booking_refused(start, refusal))?;
        let visit = Visit { staff_id, slot, ..found.visit.clone() };
        let policy = &profile.booking_policy;
        let command = match context.actor {
            Actor::Guest => AppointmentCommand::RescheduleByGuest {
                visit: visit.clone(),
                limit: policy.reschedule_limit,
                notice_minutes: policy.cancel_notice_minutes,
                now: context.now,
            },
            Actor::User(_) | Actor::System(_) => {
                AppointmentCommand::Reschedule { visit: visit.clone(), limit: None }
            }
        };
        let mut unit = UnitOfWork::new(context.clone());
        unit.guard(&business);
        unit.guard(&schedule);
        let places = counted.places(&rules, context.business_id, wish.appointment_id, start);
        places.into_iter().for_each(|place| unit.take_place(place));
        let others: Vec<StreamKey> = keys.into_iter().filter(|key| *key != schedule_key).collect();
        let change = Change { from: Some(&found.visit), to: &visit, weeks: &others };
        self.change(unit, &found, command, &change, (&read, &calendars)).await
    }

    async fn try_reinstate(
        &self,
        appointment_id: AppointmentId,
        context: &CommandContext,
    ) -> Tried<Done<Ended>> {
        let (key, business_key) = keys_of(appointment_id, context);
        let read = self.log.load(context.business_id, &[key.clone(), business_key.clone()]).await?;
        let business: Loaded<Business> = read.fold(&business_key)?;
        let found = find(&read, &key, &business)?;
        let weeks = weeks_of(&found.visit);
        let calendars = self.log.load(context.business_id, &weeks).await?;
        let mut unit = UnitOfWork::new(context.clone());
        unit.guard(&business);
        let (staff_id, start) = (found.visit.staff_id, found.visit.slot.start());
        let counted = self.counted(appointment_id, &found, staff_id, start, context).await?;
        let (service, schedule) = (agreed(&found), StaffSchedule::default());
        // Whoever has left the roster has no limits any more.
        if let Some(rules) = rules_of(&found, staff_id, (&service, &schedule, &counted)) {
            if let Some(refusal) = availability::limit_reached(&rules, start) {
                return Err(booking_refused(start, refusal));
            }
            let places = counted.places(&rules, context.business_id, appointment_id, start);
            places.into_iter().for_each(|place| unit.take_place(place));
        }
        let change = Change { from: None, to: &found.visit, weeks: &weeks };
        let command = AppointmentCommand::Reinstate { now: context.now };
        self.change(unit, &found, command, &change, (&read, &calendars)).await
    }

    /// What stands in the week of the new time besides the visit itself, where a limit wants to know.
    async fn counted(
        &self,
        appointment_id: AppointmentId,
        found: &Found<'_>,
        staff_id: StaffId,
        start: Timestamp,
        context: &CommandContext,
    ) -> Result<CountedWeek, CommitError> {
        if !found.business.is_limited(found.visit.service_id, [staff_id]) {
            return Ok(CountedWeek::default());
        }
        let zone = &found.business.profile.value.timezone;
        let week = (zone, week_of(zone, start));
        CountedWeek::load(&self.log, context.business_id, week, Some(appointment_id)).await
    }

    /// The appointment's own part, the calendars' and the second wall's, in one statement.
    async fn change(
        &self,
        mut unit: UnitOfWork,
        found: &Found<'_>,
        command: AppointmentCommand,
        change: &Change<'_>,
        (read, calendars): (&Histories, &Histories),
    ) -> Tried<Done<Ended>> {
        let appointment = &found.appointment;
        let appointment_id =
            appointment.key.id.parse().map_err(|error: domain::IdError| {
                Attempt::Commit(CommitError::Store(error.into()))
            })?;
        let events: Vec<AppointmentEvent> = appointment.state.decide(command).or_else(refuse)?;
        let version = appointment.sequence + events.len() as u64;
        let mut after = appointment.state.clone();
        events.iter().for_each(|event| after.evolve(event.clone()));
        let Some((visit, status)) = after.known() else {
            return refuse(AppointmentError::NotFound);
        };
        let ended = Ended { visit: visit.clone(), status, version };
        if events.is_empty() {
            let position = self.last_position(read, &appointment.key).await?;
            return Ok(Done::new(ended, position));
        }
        unit.append(appointment, events)?;
        change.of_calendars(&mut unit, appointment_id, found, calendars)?;
        if let Some(expires_at) = after.expires_at() {
            unit.ask(PendingRequest { appointment_id, expires_at });
        }
        if change.from.is_some() {
            unit.release(appointment_id);
        }
        unit.reserve(ReservedTime {
            appointment_id,
            staff_id: change.to.staff_id,
            service_id: change.to.service_id,
            slot: change.to.slot,
            buffer_before_minutes: change.to.buffer_before_minutes,
            buffer_after_minutes: change.to.buffer_after_minutes,
        });
        let position = self.log.commit(&unit).await?;
        Ok(Done::new(ended, position))
    }
}

/// Time that is given back, and time that is taken.
struct Change<'a> {
    from: Option<&'a Visit>,
    to: &'a Visit,
    /// All calendar streams that were looked at.
    weeks: &'a [StreamKey],
}

impl Change<'_> {
    /// In every week: first given back, then taken. A week that was only looked at must not change.
    fn of_calendars(
        &self,
        unit: &mut UnitOfWork,
        appointment_id: AppointmentId,
        found: &Found<'_>,
        calendars: &Histories,
    ) -> Tried<()> {
        let from: Vec<StreamKey> = self.from.into_iter().flat_map(weeks_of).collect();
        let to = weeks_of(self.to);
        let buffers = found.business.profile.value.booking_policy.buffers;
        for key in self.weeks {
            let week: Loaded<StaffCalendar> = calendars.fold(key)?;
            let (mut state, mut events) = (week.state.clone(), Vec::new());
            let mut take = |command| {
                let decided: Vec<StaffCalendarEvent> = state
                    .decide(command)
                    .map_err(|error| booking(decide::calendar(&error, self.to.slot.start())))?;
                decided.iter().for_each(|event| state.evolve(event.clone()));
                events.extend(decided);
                Tried::Ok(())
            };
            if from.contains(key) {
                take(StaffCalendarCommand::Release { appointment_id })?;
            }
            if to.contains(key) {
                take(StaffCalendarCommand::Reserve {
                    appointment_id,
                    slot: self.to.slot,
                    buffer_before_minutes: self.to.buffer_before_minutes,
                    buffer_after_minutes: self.to.buffer_after_minutes,
                    buffers,
                })?;
            }
            if events.is_empty() {
                unit.guard(&week);
            } else {
                unit.append(&week, events)?;
            }
        }
        Ok(())
    }
}

fn keys_of(appointment_id: AppointmentId, context: &CommandContext) -> (StreamKey, StreamKey) {
    let key = StreamKey::of::<Appointment>(appointment_id);
    (key, StreamKey::of::<Business>(context.business_id))
}

fn find<'a>(read: &Histories, key: &StreamKey, business: &'a Loaded<Business>) -> Tried<Found<'a>> {
    let appointment: Loaded<Appointment> = read.fold(key)?;
    let visit = appointment.state.known().map(|(visit, _)| visit.clone());
    match (visit, business.state.registered()) {
        (Some(visit), Some(business)) => Ok(Found { appointment, visit, business }),
        _ => refuse(AppointmentError::NotFound),
    }
}

/// The streams that hold the time of a visit.
fn weeks_of(visit: &Visit) -> Vec<StreamKey> {
    week_keys(visit.staff_id, &visit.padded())
}

/// Who is to serve: whoever has the visit keeps it even when they no longer offer the service.
fn server(found: &Found<'_>, asked: Option<StaffId>) -> Tried<StaffId> {
    let there = found.visit.staff_id;
    let staff_id = asked.unwrap_or(there);
    if !found.business.staff.contains_key(&staff_id) {
        return refuse(BookingRefused::UnknownStaff);
    }
    let able = staff_id == there
        || found.business.staff_for(found.visit.service_id).any(|able| able == staff_id);
    if able { Ok(staff_id) } else { refuse(BookingRefused::NotOffered) }
}

/// The service as it was agreed for this visit: it keeps its length and its buffers.
fn agreed(found: &Found<'_>) -> Service {
    let Visit { slot, buffer_before_minutes, buffer_after_minutes, price, .. } = found.visit;
    let minutes = slot.start().duration_until(slot.end()).as_mins();
    let service = found.business.services.get(&found.visit.service_id);
    let now = service.map(|service| service.value.clone());
    Service {
        duration_minutes: u32::try_from(minutes).unwrap_or_default(),
        buffer_before_minutes,
        buffer_after_minutes,
        price,
        // No longer offered: the visit stands all the same.
        ..now.unwrap_or_else(|| Service::new("", 0, price))
    }
}

/// The rules of the visit; `None` when the staff member has left the roster.
fn rules_of<'a>(
    found: &Found<'a>,
    staff_id: StaffId,
    (service, schedule, counted): (&'a Service, &'a StaffSchedule, &'a CountedWeek),
) -> Option<Rules<'a>> {
    let service = (found.visit.service_id, service);
    Rules::with(found.business, service, staff_id, schedule.hours(), &counted.counts)
}

fn unknown_staff() -> Attempt<MoveRefused> {
    Attempt::Refused(BookingRefused::UnknownStaff.into())
}

/// The new time, if it is free. What the visit itself occupies is free for it; a start that is listed
/// because of what it occupies can be had, too.
fn free(
    rules: &Rules<'_>,
    mut busy: Vec<Busy>,
    wish: &RescheduleAppointment,
    start: Timestamp,
    context: &CommandContext,
) -> Result<TimeSlot, Refusal> {
    let check =
        |busy: &[Busy]| availability::check_waiving(rules, busy, start, context.now, wish.waived);
    let listed = check(&busy);
    busy.retain(|busy| busy.kind != BusyKind::Visit(wish.appointment_id));
    listed.or_else(|_taken_by_itself| check(&busy))
}

fn booking_refused(start: Timestamp, refusal: Refusal) -> Attempt<MoveRefused> {
    Attempt::Refused(BookingRefused::Unavailable { start, refusal }.into())
}

fn booking(attempt: Attempt<BookingRefused>) -> Attempt<MoveRefused> {
    match attempt {
        Attempt::Refused(refused) => Attempt::Refused(refused.into()),
        Attempt::Commit(error) => Attempt::Commit(error),
    }
}
