//! A visit at another time, or with another staff member; or one that was called off, again.

use std::collections::BTreeSet;

use domain::{
    AppointmentId, CalendarWeek, Decide, ResourceId, StaffId,
    appointment::{Appointment, AppointmentCommand, AppointmentError, AppointmentEvent, Visit},
    availability::{Refusal, Shape, Waived},
    business::{BookingPolicy, BusinessState},
    resource_calendar::Use,
    staff_calendar::Class,
};
use jiff::Timestamp;
use streams::{
    Actor, CommandContext,
    log::{CommitError, Histories, Loaded, PendingRequest, StreamKey, UnitOfWork},
};

use super::{
    BookingRefused, Ended, Start, decide,
    holding::{Holding, Week},
    known::{self, Known, unread},
};
use crate::{
    CommandError, Commands, Done,
    again::until_decided,
    error::Attempt,
    mailbox::{State, Wanted},
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

/// A visit as it was found, and the business as it is now.
struct Found {
    read: Histories,
    appointment: Loaded<Appointment>,
    visit: Visit,
    state: State,
    business: BusinessState,
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
        let id = wish.appointment_id;
        let mut found = self.find(id, context).await?;
        if wish.seen.is_some_and(|version| version != found.appointment.sequence) {
            return refuse(MoveRefused::Spent);
        }
        let profile = &found.business.profile.value;
        let start = decide::instant(wish.start, &profile.timezone).map_err(booking)?;
        let staff_id = server(&found.business, &found.visit, wish.staff_id)?;
        let shape = Shape::of_visit(&found.business, &found.visit);
        let meeting = self.meeting(&found.visit, context).await?;
        let from = found.visit.clone();
        let leaving = Holding { id, from: Some(&from), to: None, meeting: &meeting };
        let mut wanted = Wanted::default();
        known::wants(&found.business, &shape, vec![staff_id], start, &mut wanted);
        leaving.wants(&mut wanted);
        found.state.without = vec![id.uuid()];
        self.read(&mut found, wanted, context).await?;
        let known = Known::of(&found.state, &found.business, &shape, start, None);
        let check = |known: &Known<'_>| known.check(staff_id, start, context.now, wish.waived);
        let own = Some((from.holder(id), &from));
        // A start that is listed because of what the visit itself occupies can be had, too.
        let (known, plan) = match check(&known) {
            Ok(plan) => (known, plan),
            Err(Attempt::Refused(_taken_by_itself)) => {
                let known = known.besides(own);
                (known, check(&known).map_err(|error| unavailable(start, error))?)
            }
            Err(Attempt::Commit(error)) => return Err(error.into()),
        };
        let reminders = decide::offsets(&found.business, Some(from.service_id));
        let zone = &found.business.profile.value.timezone;
        let planned = plan.visit(&shape, from.customer_id, reminders, zone).ok_or_else(unread)?;
        let to = moved(&from, planned);
        let policy = &found.business.profile.value.booking_policy;
        let command = command(context, &to, policy);
        let mut unit = UnitOfWork::new(context.clone());
        known.count(&mut unit, id, &to, context.business_id)?;
        let looked_at = known.looked_at(&mut unit, &to)?;
        let holding = Holding { to: Some(&to), ..leaving };
        self.change(unit, &found, command, (&holding, &looked_at)).await
    }

    async fn try_reinstate(
        &self,
        id: AppointmentId,
        context: &CommandContext,
    ) -> Tried<Done<Ended>> {
        let mut found = self.find(id, context).await?;
        let (now, start) = (context.now, found.visit.slot.start());
        let again = |resources| AppointmentCommand::Reinstate { resources, now };
        // Whether it may be: before anything else is looked at.
        let as_it_was = again(found.visit.resources.clone());
        if found.appointment.state.decide(as_it_was).or_else(refuse)?.is_empty() {
            return self.unchanged(&found).await;
        }
        let shape = Shape::of_visit(&found.business, &found.visit);
        let was = found.visit.clone();
        let mut wanted = Wanted::default();
        known::wants(&found.business, &shape, vec![was.staff_id], start, &mut wanted);
        Holding { id, from: None, to: Some(&was), meeting: &[] }.wants(&mut wanted);
        self.read(&mut found, wanted, context).await?;
        let known = Known::of(&found.state, &found.business, &shape, start, None);
        known.within_limits(&was).map_err(|error| unavailable(start, error))?;
        let resources = known.resources(&was, start);
        let resources = resources.map_err(|error| unavailable(start, error))?;
        // Seats are those that the service has now.
        let capacity = shape.steps().first().map(|step| step.service.capacity);
        let seats = |class: Class| Class { capacity: capacity.unwrap_or(class.capacity), ..class };
        let to = Visit { resources: resources.clone(), class: was.class.map(seats), ..was };
        let mut unit = UnitOfWork::new(context.clone());
        known.count(&mut unit, id, &to, context.business_id)?;
        let holding = Holding { id, from: None, to: Some(&to), meeting: &[] };
        self.change(unit, &found, again(resources), (&holding, &BTreeSet::new())).await
    }

    async fn find(&self, id: AppointmentId, context: &CommandContext) -> Tried<Found> {
        let key = StreamKey::of::<Appointment>(id);
        let read = self.log.load(context.business_id, std::slice::from_ref(&key)).await?;
        let appointment: Loaded<Appointment> = read.fold(&key)?;
        let visit = appointment.state.known().map(|(visit, _)| visit.clone());
        let mut state = State::default();
        if visit.is_some() {
            state.load(&self.log, context.business_id, &Wanted::default()).await?;
        }
        match (visit, state.registered().cloned()) {
            (Some(visit), Some(business)) => {
                Ok(Found { read, appointment, visit, state, business })
            }
            _ => refuse(AppointmentError::NotFound),
        }
    }

    /// Reads calendars, then what limits are held against: besides the visit itself, and besides the
    /// meeting of a class that nobody else comes to.
    async fn read(
        &self,
        found: &mut Found,
        mut wanted: Wanted,
        context: &CommandContext,
    ) -> Result<(), CommitError> {
        let counted = std::mem::take(&mut wanted.counted);
        found.state.load(&self.log, context.business_id, &wanted).await?;
        if let Some(class) = found.visit.class.filter(|_class| !found.state.without.is_empty()) {
            let week = (found.visit.staff_id, CalendarWeek::of(found.visit.slot.start()));
            let seats = found.state.weeks.get(&week);
            if seats.is_some_and(|week| week.state.seats_of(class.session_id) <= class.seats) {
                found.state.without.push(class.session_id.uuid());
            }
        }
        let wanted = Wanted { counted, ..Wanted::default() };
        found.state.load(&self.log, context.business_id, &wanted).await
    }

    /// What the class uses that the visit has a seat in.
    pub(super) async fn meeting(
        &self,
        visit: &Visit,
        context: &CommandContext,
    ) -> Result<Vec<(ResourceId, Use)>, CommitError> {
        match visit.class {
            Some(class) => self.log.resources_of(context.business_id, class.session_id).await,
            None => Ok(vec![]),
        }
    }

    /// What was asked for is already so.
    async fn unchanged(&self, found: &Found) -> Tried<Done<Ended>> {
        let appointment = &found.appointment;
        let Some((visit, status)) = appointment.state.known() else {
            return refuse(AppointmentError::NotFound);
        };
        let ended = Ended { visit: visit.clone(), status, version: appointment.sequence };
        let position = self.last_position(&found.read, &appointment.key).await?;
        Ok(Done::new(ended, position))
    }

    /// The appointment's own part, the calendars' and the second wall's, in one statement.
    async fn change(
        &self,
        mut unit: UnitOfWork,
        found: &Found,
        command: AppointmentCommand,
        (holding, looked_at): (&Holding<'_>, &BTreeSet<Week>),
    ) -> Tried<Done<Ended>> {
        let appointment = &found.appointment;
        let events: Vec<AppointmentEvent> = appointment.state.decide(command).or_else(refuse)?;
        let version = appointment.sequence + events.len() as u64;
        let mut after = appointment.state.clone();
        events.iter().for_each(|event| after.evolve(event.clone()));
        let Some((visit, status)) = after.known() else {
            return refuse(AppointmentError::NotFound);
        };
        let ended = Ended { visit: visit.clone(), status, version };
        if events.is_empty() {
            return self.unchanged(found).await;
        }
        unit.append(appointment, events)?;
        let start = visit.slot.start();
        let kept = holding.keep(&mut unit, &found.state, looked_at);
        kept.map_err(|error| unavailable(start, error.into()))?;
        if let Some(expires_at) = after.expires_at() {
            unit.ask(PendingRequest { appointment_id: holding.id, expires_at });
        }
        if let Some(business) = &found.state.business {
            unit.guard(business);
        }
        let position = self.log.commit(&unit).await?;
        Ok(Done::new(ended, position))
    }
}

/// The visit as it is planned anew, with what stays.
pub(super) fn moved(from: &Visit, planned: Visit) -> Visit {
    let to = Visit { subjects: from.subjects, series: from.series, ..planned };
    // What stays as it is was agreed by the rules of its own day.
    let as_it_is = Visit { offset_seconds: from.offset_seconds, ..to.clone() };
    if as_it_is == *from { as_it_is } else { to }
}

/// Guests move it as often and as late as the business lets them.
pub(super) fn command(
    context: &CommandContext,
    to: &Visit,
    policy: &BookingPolicy,
) -> AppointmentCommand {
    let visit = to.clone();
    match context.actor {
        Actor::Guest => AppointmentCommand::RescheduleByGuest {
            visit,
            limit: policy.reschedule_limit,
            notice_minutes: policy.cancel_notice_minutes,
            now: context.now,
        },
        Actor::User(_) | Actor::Key(_) | Actor::System(_) => {
            AppointmentCommand::Reschedule { visit, limit: None }
        }
    }
}

/// Who is to serve: whoever has the visit keeps it even when they no longer offer the service.
pub(super) fn server(
    business: &BusinessState,
    visit: &Visit,
    asked: Option<StaffId>,
) -> Tried<StaffId> {
    let there = visit.staff_id;
    let staff_id = asked.unwrap_or(there);
    if !business.staff.contains_key(&staff_id) {
        return refuse(BookingRefused::UnknownStaff);
    }
    let able =
        staff_id == there || business.staff_for(visit.service_id).any(|able| able == staff_id);
    if able { Ok(staff_id) } else { refuse(BookingRefused::NotOffered) }
}

pub(super) fn unavailable(start: Timestamp, attempt: Attempt<Refusal>) -> Attempt<MoveRefused> {
    match attempt {
        Attempt::Refused(refusal) => {
            Attempt::Refused(BookingRefused::Unavailable { start, refusal }.into())
        }
        Attempt::Commit(error) => Attempt::Commit(error),
    }
}

fn booking(attempt: Attempt<BookingRefused>) -> Attempt<MoveRefused> {
    match attempt {
        Attempt::Refused(refused) => Attempt::Refused(refused.into()),
        Attempt::Commit(error) => Attempt::Commit(error),
    }
}
