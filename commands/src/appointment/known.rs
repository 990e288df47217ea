//! What is known that decides about a visit, put together from kept or loaded streams.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    AppointmentId, BusinessId, CalendarWeek, ResourceId, StaffId, TimeSlot,
    appointment::{Candidate, Part, Used, Visit},
    availability::{self, Able, Beside, Counts, Plan, Refusal, Rules, Shape, Step, Waived},
    business::BusinessState,
    resource_calendar::{Holder, Use},
    staff_calendar::{Busy, BusyKind},
    staff_schedule::StaffSchedule,
};
use jiff::{Timestamp, civil::Date};
use streams::log::{CommitError, Loaded, UnitOfWork};

use super::holding::Week;
use crate::{
    error::Attempt,
    mailbox::{CountedVisit, CountedWeek, State, Wanted, week_of},
};

/// What is known that decides about visits of one shape.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    state: &'a State,
    business: &'a BusinessState,
    shape: &'a Shape,
    /// What decides about the start in question.
    span: TimeSlot,
    /// What is not in the way: the visit itself, when it is moved.
    own: Option<(Holder, &'a Visit)>,
}

pub(super) fn unread() -> CommitError {
    CommitError::Store("a calendar was not read".into())
}

/// Notes what decides about a visit of this shape that starts then, with one of these first.
pub(super) fn wants(
    business: &BusinessState,
    shape: &Shape,
    first: Vec<StaffId>,
    start: Timestamp,
    wanted: &mut Wanted,
) {
    let zone = &business.profile.value.timezone;
    let span = shape.deciding_range(zone, start, start);
    let weeks: Vec<CalendarWeek> = CalendarWeek::touched_by(&span).collect();
    let all: BTreeSet<StaffId> = first.into_iter().chain(shape.followers(business)).collect();
    // Of a visit that is moved also whoever was to serve: `Known::is_limited` asks for all of them.
    let limited = |step: &Step| {
        let able = Shape::able(business, step).into_iter();
        business.is_limited(step.service_id, able.chain(all.iter().copied()))
    };
    if shape.steps().iter().any(limited) {
        let end = TimeSlot::lasting(start, shape.minutes()).map_or(start, |slot| slot.end());
        wanted.counted.extend([week_of(zone, start), week_of(zone, end)]);
    }
    let things = shape.things(business).flat_map(|(id, _)| weeks.iter().map(move |w| (id, *w)));
    wanted.stock.extend(things);
    wanted.weeks.extend(all.iter().flat_map(|id| weeks.iter().map(|week| (*id, *week))));
    wanted.schedules.extend(all);
}

impl<'a> Known<'a> {
    pub(super) fn of(
        state: &'a State,
        business: &'a BusinessState,
        shape: &'a Shape,
        start: Timestamp,
        own: Option<(Holder, &'a Visit)>,
    ) -> Self {
        let span = shape.deciding_range(&business.profile.value.timezone, start, start);
        Self { state, business, shape, span, own }
    }

    /// The same, with the visit itself in the way or not.
    pub(super) const fn besides(self, own: Option<(Holder, &'a Visit)>) -> Self {
        Self { own, ..self }
    }

    fn weeks(&self, staff_id: StaffId) -> impl Iterator<Item = Week> + use<'a> {
        CalendarWeek::touched_by(&self.span).map(move |week| (staff_id, week))
    }

    /// What occupies a staff member.
    fn busy(&self, staff_id: StaffId) -> Result<Vec<Busy>, CommitError> {
        let mut all = Vec::new();
        for week in self.weeks(staff_id) {
            all.extend(self.state.weeks.get(&week).ok_or_else(unread)?.state.busy());
        }
        if let Some((holder, visit)) = self.own {
            without(&mut all, holder, visit);
        }
        Ok(all)
    }

    /// What is used of it while a visit that starts then would.
    fn uses(&self, id: ResourceId, start: Timestamp) -> Vec<(Holder, Use)> {
        let Some(slot) = self.shape.using(start) else { return vec![] };
        let weeks = CalendarWeek::touched_by(&slot);
        let uses = weeks.filter_map(|week| self.state.stock.get(&(id, week)));
        let own = self.own.map(|(holder, _)| holder);
        let met = uses.flat_map(|loaded| loaded.state.touching(&slot));
        met.filter(|(by, _)| Some(*by) != own).collect()
    }

    fn schedule(&self, staff_id: StaffId) -> Result<&'a Loaded<StaffSchedule>, CommitError> {
        self.state.schedules.get(&staff_id).ok_or_else(unread)
    }

    /// What everybody has to do who can do a service that follows the first.
    fn followers(&self) -> Result<BTreeMap<StaffId, Vec<Busy>>, CommitError> {
        self.shape.followers(self.business).map(|id| Ok((id, self.busy(id)?))).collect()
    }

    fn beside<'s>(
        &'s self,
        followers: &'s BTreeMap<StaffId, Vec<Busy>>,
        start: Timestamp,
    ) -> Result<Beside<'s>, CommitError> {
        for (resource_id, _) in self.shape.things(self.business) {
            let mut weeks = CalendarWeek::touched_by(&self.span);
            if weeks.any(|week| !self.state.stock.contains_key(&(resource_id, week))) {
                return Err(unread());
            }
        }
        let able = |staff_id| {
            let (member, schedule) =
                (self.business.staff.get(&staff_id)?, self.schedule(staff_id).ok()?);
            let (hours, busy) = (schedule.state.hours(), followers.get(&staff_id)?);
            Some(Able { staff_id, member: &member.value, hours, busy })
        };
        Ok(self.shape.beside(self.business, able, |id| self.uses(id, start)))
    }

    /// The week of that date, when a limit is in force.
    fn counted(&self, at: Timestamp) -> Result<Option<(Date, &'a CountedWeek)>, CommitError> {
        let monday = week_of(&self.business.profile.value.timezone, at);
        match self.state.counted.get(&monday) {
            Some(week) => Ok(Some((monday, week))),
            None if self.is_limited() => Err(CommitError::Store("visits were not counted".into())),
            None => Ok(None),
        }
    }

    fn is_limited(&self) -> bool {
        let all = |step: &Step| Shape::able(self.business, step);
        let mut steps = self.shape.steps().iter();
        steps.any(|step| self.business.is_limited(step.service_id, all(step)))
    }

    /// The first candidate whose rules agree. When none does: that the time is taken, if it is for
    /// any of them, or why the first does not.
    pub(super) fn choose(
        &self,
        candidates: &[Candidate],
        start: Timestamp,
        now: Timestamp,
        waived: Waived,
    ) -> Result<(usize, Plan), Attempt<Refusal>> {
        let mut refused: Option<Refusal> = None;
        let followers = self.followers()?;
        let beside = self.beside(&followers, start)?;
        for (place, &Candidate { staff_id, .. }) in candidates.iter().enumerate() {
            match self.check_with(&beside, staff_id, start, now, waived) {
                Ok(plan) => return Ok((place, plan)),
                Err(Attempt::Refused(refusal)) if refusal.is_taken() => refused = Some(refusal),
                Err(Attempt::Refused(refusal)) => drop(refused.get_or_insert(refusal)),
                Err(Attempt::Commit(error)) => return Err(error.into()),
            }
        }
        Err(Attempt::Refused(refused.unwrap_or(Refusal::OutsideHours)))
    }

    /// Whether the rules agree with the visit, its first service done by this staff member.
    pub(super) fn check(
        &self,
        staff_id: StaffId,
        start: Timestamp,
        now: Timestamp,
        waived: Waived,
    ) -> Result<Plan, Attempt<Refusal>> {
        let followers = self.followers()?;
        self.check_with(&self.beside(&followers, start)?, staff_id, start, now, waived)
    }

    fn check_with(
        &self,
        beside: &Beside<'_>,
        staff_id: StaffId,
        start: Timestamp,
        now: Timestamp,
        waived: Waived,
    ) -> Result<Plan, Attempt<Refusal>> {
        let (no_counts, counted) = (Counts::default(), self.counted(start)?);
        let counts = counted.map_or(&no_counts, |(_, week)| &week.counts);
        let first = self.shape.first();
        let (service_id, service) = first.as_ref().ok_or_else(unread)?;
        let hours = self.schedule(staff_id)?.state.hours();
        let rules = Rules::with(self.business, (*service_id, service), staff_id, hours, counts);
        let rules = Rules { beside, ..rules.ok_or_else(unread)? };
        let busy = self.busy(staff_id)?;
        availability::check_waiving(&rules, &busy, start, now, waived).map_err(Attempt::Refused)
    }

    /// What a visit uses besides people when it starts then, whoever does what. A class that meets has
    /// all it needs.
    pub(super) fn resources(
        &self,
        visit: &Visit,
        start: Timestamp,
    ) -> Result<Vec<Used>, Attempt<Refusal>> {
        if self.meets(visit) {
            return Ok(vec![]);
        }
        let followers = BTreeMap::new();
        self.beside(&followers, start)?.stock.allot(start).map_err(Attempt::Refused)
    }

    /// The limit that lets none of the services of a visit begin, whatever else is allowed.
    ///
    /// # Errors
    /// The limit.
    pub(super) fn within_limits(&self, visit: &Visit) -> Result<(), Attempt<Refusal>> {
        if self.meets(visit) {
            return Ok(());
        }
        let (parts, zone) = (visit.parts(), &self.business.profile.value.timezone);
        for (n, (part, step)) in parts.iter().zip(self.shape.steps()).enumerate() {
            let start = part.slot.start();
            let Some((_, week)) = self.counted(start)? else { continue };
            let hours = StaffSchedule::default();
            let service = (part.service_id, &step.service);
            // What begins before this part counts as well.
            let mut counts = week.counts.clone();
            for (m, Part { slot, staff_id, service_id, .. }) in parts.iter().enumerate().take(n) {
                counts.add(zone, slot.start(), m == 0, *staff_id, Some(*service_id));
            }
            let staff_id = part.staff_id;
            let rules = Rules::with(self.business, service, staff_id, hours.hours(), &counts);
            // Whoever has left the roster has no limits any more.
            let reached =
                rules.and_then(|rules| availability::limit_reached(&rules, start, n == 0));
            if let Some(refusal) = reached {
                return Err(Attempt::Refused(refusal));
            }
        }
        Ok(())
    }

    /// Takes the places of a visit under each limit in force. A class that meets already has its own.
    pub(super) fn count(
        &self,
        unit: &mut UnitOfWork,
        id: AppointmentId,
        visit: &Visit,
        business_id: BusinessId,
    ) -> Result<Vec<CountedVisit>, CommitError> {
        let (mut counted, mut has) = (Vec::new(), Vec::new());
        if self.meets(visit) {
            return Ok(counted);
        }
        let holder = visit.holder(id).uuid();
        for (n, (part, step)) in visit.parts().iter().zip(self.shape.steps()).enumerate() {
            let (start, first) = (part.slot.start(), n == 0);
            let Some((monday, week)) = self.counted(start)? else { continue };
            let (staff_id, service_id) = (part.staff_id, part.service_id);
            let (hours, service) = (StaffSchedule::default(), (service_id, &step.service));
            let counts = &week.counts;
            let rules = Rules::with(self.business, service, staff_id, hours.hours(), counts);
            let Some(rules) = rules else { continue };
            let places = week.places(&rules, business_id, (holder, start, first), &has);
            places.iter().for_each(|place| unit.take_place(*place));
            has.extend(places.iter().copied());
            counted.push(CountedVisit { monday, start, first, staff_id, service_id, places });
        }
        Ok(counted)
    }

    /// Whether the class meets already, with others.
    fn meets(&self, visit: &Visit) -> bool {
        visit.class.is_some_and(|class| {
            let busy = self.busy(visit.staff_id).unwrap_or_default();
            busy.iter().any(|busy| {
                matches!(busy.kind, BusyKind::Class(met) if met.session_id == class.session_id)
            })
        })
    }

    /// All that was looked at for the staff members of a visit must still be so.
    pub(super) fn looked_at(
        &self,
        unit: &mut UnitOfWork,
        visit: &Visit,
    ) -> Result<BTreeSet<Week>, CommitError> {
        let staff: BTreeSet<StaffId> = visit.parts().iter().map(|part| part.staff_id).collect();
        for staff_id in &staff {
            unit.guard(self.schedule(*staff_id)?);
        }
        Ok(staff.into_iter().flat_map(|staff_id| self.weeks(staff_id)).collect())
    }
}

/// Takes the visit itself out of what is in its way.
fn without(busy: &mut Vec<Busy>, holder: Holder, visit: &Visit) {
    let seats = visit.class.map_or(0, |class| class.seats);
    busy.retain_mut(|busy| match (&mut busy.kind, holder) {
        (BusyKind::Visit(id), Holder::Visit(own)) => *id != own,
        (BusyKind::Class(class), Holder::Session(own)) if class.session_id == own => {
            class.seats = class.seats.saturating_sub(seats);
            class.seats > 0
        }
        (_, _) => true,
    });
}
