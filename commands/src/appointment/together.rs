//! Visits of one series that are called off or moved together: all of them, or none.

use std::collections::BTreeSet;

use domain::{
    AppointmentId, CalendarWeek, Decide, ResourceId, Zone,
    appointment::{
        Appointment, AppointmentCommand, AppointmentError, AppointmentEvent, Status, Visit,
    },
    availability::Shape,
    business::BusinessState,
    resource_calendar::Use,
    series::{Scope, Series},
};
use jiff::{Timestamp, civil::DateTime};
use streams::{
    Actor, CommandContext, Cursor,
    log::{CommitError, Loaded, PendingRequest, StreamKey, UnitOfWork},
};

use super::{
    BookingRefused, Clash, MoveRefused, RescheduleAppointment, SeriesRefused, decide,
    end::check_reason,
    holding::{Holding, Kept, NotKept, Week},
    known::{self, Known},
};
use crate::{
    CommandError, Commands, Done,
    again::until_decided,
    error::Attempt,
    mailbox::{State, Wanted},
};

/// Visits of a series to call off.
#[derive(Debug, Clone)]
pub struct CancelTogether {
    /// One of them.
    pub appointment_id: AppointmentId,
    /// And which of the others.
    pub scope: Scope,
    /// In somebody's words: personal, so not in events.
    pub reason: Option<String>,
    /// The version of the one that its guest saw.
    pub seen: Option<u64>,
}

/// Why visits of a series were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TogetherRefused {
    /// What would be refused for a single visit, too.
    #[error(transparent)]
    One(#[from] MoveRefused),
    /// Some of them cannot be moved, so none is.
    #[error(transparent)]
    Series(#[from] SeriesRefused),
}

type Tried<T> = Result<T, Attempt<TogetherRefused>>;

fn refuse<T>(refused: impl Into<MoveRefused>) -> Tried<T> {
    Err(Attempt::Refused(TogetherRefused::One(refused.into())))
}

/// On the clock of the business, and the instant that it names, if it names one.
type NewStart = (DateTime, Result<Timestamp, BookingRefused>);

/// A visit that is changed with others.
struct Member {
    id: AppointmentId,
    appointment: Loaded<Appointment>,
    visit: Visit,
    meeting: Vec<(ResourceId, Use)>,
}

/// Those who are changed, the one that was named first, and what is known.
struct Found {
    members: Vec<Member>,
    state: State,
    business: BusinessState,
    position: Cursor,
}

impl Commands {
    /// Calls visits of a series off: all that are meant and still to come, or none.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(appointment.id = %cancel.appointment_id))]
    pub async fn cancel_together(
        &self,
        cancel: &CancelTogether,
        context: &CommandContext,
    ) -> Result<Done<()>, CommandError<TogetherRefused>> {
        let refused = |errors| {
            let invalid = MoveRefused::from(BookingRefused::Invalid(errors));
            CommandError::Refused(TogetherRefused::One(invalid))
        };
        check_reason(cancel.reason.as_deref()).map_err(refused)?;
        let _turn = self.turn(context.business_id).await?;
        let attempt = || self.try_cancel_together(cancel, context);
        until_decided("cancel_together", attempt, |_| None).await
    }

    async fn try_cancel_together(
        &self,
        cancel: &CancelTogether,
        context: &CommandContext,
    ) -> Tried<Done<()>> {
        let asked = (cancel.appointment_id, cancel.scope, cancel.seen);
        let mut found = self.find_together(asked, context).await?;
        let mut wanted = Wanted::default();
        found.members.iter().for_each(|member| member.leaving().wants(&mut wanted));
        found.state.load(&self.log, context.business_id, &wanted).await?;
        let policy = &found.business.profile.value.booking_policy;
        let (mut units, mut ids) = (vec![], vec![]);
        for member in &found.members {
            let command = match context.actor {
                Actor::Guest => AppointmentCommand::CancelByGuest {
                    notice_minutes: policy.cancel_notice_minutes,
                    now: context.now,
                },
                Actor::User(_) | Actor::Key(_) | Actor::System(_) => AppointmentCommand::Cancel,
            };
            let events = member.appointment.state.decide(command).or_else(refuse)?;
            if events.is_empty() {
                continue;
            }
            let mut unit = UnitOfWork::new(context.clone());
            unit.append(&member.appointment, events)?;
            let leaving = take_in(&mut found.state, &member.leaving(), &mut unit, &BTreeSet::new());
            leaving.map_err(NotKept::given_back)?;
            unit.answer_request(member.id);
            if let (Actor::Guest, Some(business)) = (&context.actor, &found.state.business) {
                unit.guard(business);
            }
            units.push(unit);
            ids.push(member.id);
        }
        if units.is_empty() {
            return Ok(Done::new((), found.position));
        }
        let reason = cancel.reason.as_deref();
        let position = self.commit_with_reasons(&units, &ids, reason, context).await?;
        Ok(Done::new((), position))
    }

    /// Moves visits of a series by as many days, to the same time of day: all that are meant and still
    /// to come, or none.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(appointment.id = %wish.appointment_id))]
    pub async fn move_together(
        &self,
        wish: &RescheduleAppointment,
        scope: Scope,
        context: &CommandContext,
    ) -> Result<Done<()>, CommandError<TogetherRefused>> {
        let _turn = self.turn(context.business_id).await?;
        let attempt = || self.try_move_together(wish, scope, context);
        until_decided("move_together", attempt, |_| None).await
    }

    async fn try_move_together(
        &self,
        wish: &RescheduleAppointment,
        scope: Scope,
        context: &CommandContext,
    ) -> Tried<Done<()>> {
        let asked = (wish.appointment_id, scope, wish.seen);
        let mut found = self.find_together(asked, context).await?;
        let zone = found.business.profile.value.timezone.clone();
        let start = decide::instant(wish.start, &zone).map_err(booking)?;
        let starts = starts(&found.members, start, &zone);
        let shapes: Vec<Shape> = found
            .members
            .iter()
            .map(|member| Shape::of_visit(&found.business, &member.visit))
            .collect();
        self.read_together(&mut found, wish, (&shapes, &starts), context).await?;
        // First all of them leave, so that none is in the way of another.
        let mut units = Vec::with_capacity(2 * found.members.len());
        for member in &found.members {
            let mut unit = UnitOfWork::new(context.clone());
            let leaving = take_in(&mut found.state, &member.leaving(), &mut unit, &BTreeSet::new());
            leaving.map_err(NotKept::given_back)?;
            units.push(unit);
        }
        let (mut clashes, mut changed) = (vec![], false);
        for ((member, (local_start, at)), shape) in found.members.iter().zip(&starts).zip(&shapes) {
            let clash = |refused| {
                let number = member.visit.series.map_or(1, |series| series.number);
                Clash { number, local_start: *local_start, refused }
            };
            let at = match at {
                Ok(at) => *at,
                Err(refused) => {
                    clashes.push(clash(refused.clone()));
                    continue;
                }
            };
            let moving = Moving { member, shape, at, wish, business: &found.business };
            let mut unit = UnitOfWork::new(context.clone());
            match moving.decide(&mut found.state, &mut unit, context) {
                Ok(moved) => {
                    changed |= moved;
                    units.push(unit);
                }
                Err(Attempt::Refused(TogetherRefused::One(MoveRefused::Booking(
                    refused @ BookingRefused::Unavailable { .. },
                )))) => clashes.push(clash(refused)),
                Err(error) => return Err(error),
            }
        }
        if !clashes.is_empty() {
            return Err(Attempt::Refused(SeriesRefused::Clashes(clashes).into()));
        }
        if !changed {
            return Ok(Done::new((), found.position));
        }
        let position = self.log.commit_together(units.into()).await?;
        Ok(Done::new((), position))
    }

    /// The visits that are meant: the one that is named, and of the others those that are booked and
    /// still to come.
    async fn find_together(
        &self,
        (id, scope, seen): (AppointmentId, Scope, Option<u64>),
        context: &CommandContext,
    ) -> Tried<Found> {
        let key = StreamKey::of::<Appointment>(id);
        let read = self.log.load(context.business_id, std::slice::from_ref(&key)).await?;
        let one: Loaded<Appointment> = read.fold(&key)?;
        let Some((visit, _)) = one.state.known() else {
            return refuse(AppointmentError::NotFound);
        };
        if seen.is_some_and(|version| version != one.sequence) {
            return refuse(MoveRefused::Spent);
        }
        let position = self.last_position(&read, &key).await?;
        let mut ids = vec![id];
        if let Some(series) = visit.series {
            let key = StreamKey::of::<Series>(series.series_id);
            let read = self.log.load(context.business_id, std::slice::from_ref(&key)).await?;
            ids = read.fold::<Series>(&key)?.state.meant(id, scope);
        }
        let keys: Vec<StreamKey> = ids.iter().map(StreamKey::of::<Appointment>).collect();
        let read = self.log.load(context.business_id, &keys).await?;
        let mut members = Vec::with_capacity(ids.len());
        for (member, key) in ids.into_iter().zip(&keys) {
            let appointment: Loaded<Appointment> = read.fold(key)?;
            let Some((visit, status)) = appointment.state.known() else { continue };
            let stands = matches!(status, Status::Booked | Status::Requested);
            let to_come = stands && visit.slot.start() > context.now;
            if member == id || to_come {
                let visit = visit.clone();
                let meeting = self.meeting(&visit, context).await?;
                members.push(Member { id: member, appointment, visit, meeting });
            }
        }
        let mut state = State::default();
        state.load(&self.log, context.business_id, &Wanted::default()).await?;
        match state.registered().cloned() {
            Some(business) => Ok(Found { members, state, business, position }),
            None => refuse(AppointmentError::NotFound),
        }
    }

    /// Reads what decides about all of them, limits besides what is about to be moved.
    async fn read_together(
        &self,
        found: &mut Found,
        wish: &RescheduleAppointment,
        (shapes, starts): (&[Shape], &[NewStart]),
        context: &CommandContext,
    ) -> Result<(), CommitError> {
        let mut wanted = Wanted::default();
        for ((member, shape), (_, at)) in found.members.iter().zip(shapes).zip(starts) {
            member.leaving().wants(&mut wanted);
            if let Ok(at) = at {
                let staff_id = wish.staff_id.unwrap_or(member.visit.staff_id);
                known::wants(&found.business, shape, vec![staff_id], *at, &mut wanted);
            }
        }
        let counted = std::mem::take(&mut wanted.counted);
        found.state.load(&self.log, context.business_id, &wanted).await?;
        for member in &found.members {
            found.state.without.push(member.id.uuid());
            if let Some(class) = member.visit.class {
                let week = (member.visit.staff_id, CalendarWeek::of(member.visit.slot.start()));
                let seats = found.state.weeks.get(&week);
                if seats.is_some_and(|week| week.state.seats_of(class.session_id) <= class.seats) {
                    found.state.without.push(class.session_id.uuid());
                }
            }
        }
        let wanted = Wanted { counted, ..Wanted::default() };
        found.state.load(&self.log, context.business_id, &wanted).await
    }

    /// The reason is personal: it stands beside the events, in the same transaction.
    async fn commit_with_reasons(
        &self,
        units: &[UnitOfWork],
        ids: &[AppointmentId],
        reason: Option<&str>,
        context: &CommandContext,
    ) -> Result<Cursor, CommitError> {
        let mut writing = self.log.begin(context.business_id).await?;
        let position = writing.append_all(units).await?;
        if let Some(reason) = reason {
            sqlx::query(
                "UPDATE appointment_private SET cancel_reason = $3
                  WHERE appointment_id = ANY($1) AND business_id = $2",
            )
            .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
            .bind(context.business_id.uuid())
            .bind(reason)
            .execute(writing.connection())
            .await?;
        }
        writing.commit().await?;
        Ok(position)
    }
}

impl Member {
    fn leaving(&self) -> Holding<'_> {
        Holding { id: self.id, from: Some(&self.visit), to: None, meeting: &self.meeting }
    }
}

/// A visit that takes its new time, on what the others leave.
struct Moving<'a> {
    member: &'a Member,
    shape: &'a Shape,
    at: Timestamp,
    wish: &'a RescheduleAppointment,
    business: &'a BusinessState,
}

impl Moving<'_> {
    /// Whether it moves at all: that is part of the unit, then.
    fn decide(
        &self,
        state: &mut State,
        unit: &mut UnitOfWork,
        context: &CommandContext,
    ) -> Tried<bool> {
        let Self { member, shape, at, wish, business } = *self;
        let staff_id =
            super::reschedule::server(business, &member.visit, wish.staff_id).map_err(one)?;
        let known = Known::of(state, business, shape, at, None);
        let unavailable = |error| one(super::reschedule::unavailable(at, error));
        let plan = known.check(staff_id, at, context.now, wish.waived).map_err(unavailable)?;
        let reminders = super::decide::offsets(business, Some(member.visit.service_id));
        let zone = &business.profile.value.timezone;
        let planned = plan.visit(shape, member.visit.customer_id, reminders, zone);
        let to = super::reschedule::moved(&member.visit, planned.ok_or_else(known::unread)?);
        let command =
            super::reschedule::command(context, &to, &business.profile.value.booking_policy);
        let events: Vec<AppointmentEvent> =
            member.appointment.state.decide(command).or_else(refuse)?;
        let moved = !events.is_empty();
        let mut after = member.appointment.state.clone();
        events.iter().for_each(|event| after.evolve(event.clone()));
        if let Some(expires_at) = after.expires_at() {
            unit.ask(PendingRequest { appointment_id: member.id, expires_at });
        }
        unit.append(&member.appointment, events)?;
        let counted = known.count(unit, member.id, &to, context.business_id)?;
        let looked_at = known.looked_at(unit, &to)?;
        if let Some(business) = &state.business {
            unit.guard(business);
        }
        let holding = Holding { id: member.id, from: None, to: Some(&to), meeting: &[] };
        let taken = take_in(state, &holding, unit, &looked_at);
        taken.map_err(|error| unavailable(error.into()))?;
        counted.iter().for_each(|visit| state.evolve_counted(visit));
        Ok(moved)
    }
}

/// What the visit keeps or gives back becomes true for those who are decided after it.
fn take_in(
    state: &mut State,
    holding: &Holding<'_>,
    unit: &mut UnitOfWork,
    looked_at: &BTreeSet<Week>,
) -> Result<(), NotKept> {
    let Kept { weeks, stock } = holding.keep(unit, state, looked_at)?;
    weeks.into_iter().for_each(|(week, events)| state.evolve_week(week, events));
    stock.into_iter().for_each(|(week, events)| state.evolve_stock(week, events));
    Ok(())
}

/// When each is to be: as many days later as the first, at its time of day.
fn starts(members: &[Member], start: Timestamp, zone: &Zone) -> Vec<NewStart> {
    let local = |at: Timestamp| zone.tz().to_datetime(at);
    let first = members.first().map_or(start, |member| member.visit.slot.start());
    let new = local(start);
    let days = local(first).date().until(new.date()).unwrap_or_default();
    let of = |(n, member): (usize, &Member)| {
        if n == 0 {
            return (new, Ok(start));
        }
        let date = local(member.visit.slot.start()).date();
        let at = date.saturating_add(days).to_datetime(new.time());
        (at, zone.instant_of(at).map_err(BookingRefused::from))
    };
    members.iter().enumerate().map(of).collect()
}

fn one(attempt: Attempt<MoveRefused>) -> Attempt<TogetherRefused> {
    match attempt {
        Attempt::Refused(refused) => Attempt::Refused(refused.into()),
        Attempt::Commit(error) => Attempt::Commit(error),
    }
}

fn booking(attempt: Attempt<BookingRefused>) -> Attempt<TogetherRefused> {
    match attempt {
        Attempt::Refused(refused) => Attempt::Refused(MoveRefused::from(refused).into()),
        Attempt::Commit(error) => Attempt::Commit(error),
    }
}
