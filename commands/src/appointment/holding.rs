//! What a visit keeps of calendars and resources, and what it gives back.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    AppointmentId, CalendarWeek, Decide, ResourceId, StaffId,
    appointment::Visit,
    availability::Refusal,
    business::BufferRule,
    resource_calendar::{
        Holder, ResourceCalendar, ResourceCalendarCommand, ResourceCalendarError,
        ResourceCalendarEvent, Use,
    },
    staff_calendar::{
        Class, StaffCalendar, StaffCalendarCommand, StaffCalendarError, StaffCalendarEvent,
    },
};
use streams::log::{CommitError, Loaded, ReservedResource, ReservedTime, UnitOfWork};

use crate::mailbox::{State, Wanted};

/// One week of a staff member's calendar.
pub(super) type Week = (StaffId, CalendarWeek);
/// One week of a resource.
pub(super) type StockWeek = (ResourceId, CalendarWeek);

/// A visit that takes time, gives it back, or both.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holding<'a> {
    pub(super) id: AppointmentId,
    pub(super) from: Option<&'a Visit>,
    pub(super) to: Option<&'a Visit>,
    /// What the meeting of a class uses that `from` had a seat in: whoever leaves it last gives it
    /// back.
    pub(super) meeting: &'a [(ResourceId, Use)],
}

/// What becomes true of calendars and resources.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) weeks: Vec<(Week, Vec<StaffCalendarEvent>)>,
    pub(super) stock: Vec<(StockWeek, Vec<ResourceCalendarEvent>)>,
}

/// Why time was not taken.
#[derive(Debug)]
pub(super) enum NotKept {
    Refused(Refusal),
    Commit(CommitError),
}

impl NotKept {
    /// Of time that is only given back: that is never refused.
    pub(super) fn given_back(self) -> CommitError {
        match self {
            Self::Commit(error) => error,
            Self::Refused(refusal) => CommitError::Store(refusal.into()),
        }
    }
}

impl From<CommitError> for NotKept {
    fn from(error: CommitError) -> Self {
        Self::Commit(error)
    }
}

impl From<StaffCalendarError> for NotKept {
    fn from(error: StaffCalendarError) -> Self {
        Self::Refused(match error {
            StaffCalendarError::Taken { by } => Refusal::Taken { by },
            StaffCalendarError::InClass { by } => Refusal::InClass { by },
            StaffCalendarError::Full { left } => Refusal::ClassFull { left },
            StaffCalendarError::Away { during }
            | StaffCalendarError::TimeOffOverlaps { with: during } => Refusal::Away { during },
        })
    }
}

fn unread() -> CommitError {
    CommitError::Store("a calendar was not read".into())
}

/// The weeks of calendars that a visit keeps time of.
fn weeks_of(visit: &Visit) -> impl Iterator<Item = Week> {
    visit.held().into_iter().flat_map(|held| {
        CalendarWeek::touched_by(&held.padded()).map(move |week| (held.staff_id, week))
    })
}

fn stock_weeks(resource_id: ResourceId, used: &Use) -> impl Iterator<Item = StockWeek> + use<> {
    CalendarWeek::touched_by(&used.slot).map(move |week| (resource_id, week))
}

impl Holding<'_> {
    /// Notes what must be read.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        let visits = || self.from.into_iter().chain(self.to);
        wanted.weeks.extend(visits().flat_map(weeks_of));
        let used = visits().flat_map(|visit| &visit.resources);
        let used = used.map(|used| (used.resource_id, used.usage()));
        let all = used.chain(self.meeting.iter().copied());
        wanted.stock.extend(all.flat_map(|(id, used)| stock_weeks(id, &used)));
    }

    /// The calendars' part, the resources' and the second wall's. In every week: first given back,
    /// then taken. Weeks that were only `looked_at` must not change.
    pub(super) fn keep(
        &self,
        unit: &mut UnitOfWork,
        state: &State,
        looked_at: &BTreeSet<Week>,
    ) -> Result<Kept, NotKept> {
        let mut kept = Kept::default();
        let mut seats = BTreeMap::new();
        let buffers = state
            .registered()
            .map(|business| business.profile.value.booking_policy.buffers)
            .unwrap_or_default();
        let mut commands = self.commands(buffers);
        for week in looked_at {
            commands.entry(*week).or_default();
        }
        for (week, commands) in commands {
            let loaded = state.weeks.get(&week).ok_or_else(unread)?;
            let (after, events) = decided(loaded, commands)?;
            for class in self.classes() {
                let taken = after.as_ref().unwrap_or(&loaded.state).seats_of(class.session_id);
                let most: &mut u32 = seats.entry(class.session_id).or_default();
                *most = taken.max(*most);
            }
            if events.is_empty() {
                unit.guard(loaded);
            } else {
                unit.append(loaded, events.clone())?;
                kept.weeks.push((week, events));
            }
        }
        let left = |class: &Class| seats.get(&class.session_id).copied().unwrap_or_default();
        self.wall(unit, &left);
        self.stock(unit, state, &left, &mut kept)?;
        Ok(kept)
    }

    fn classes(&self) -> impl Iterator<Item = Class> {
        self.from.into_iter().chain(self.to).filter_map(|visit| visit.class)
    }

    fn commands(&self, buffers: BufferRule) -> BTreeMap<Week, Vec<StaffCalendarCommand>> {
        let appointment_id = self.id;
        let mut all: BTreeMap<Week, Vec<StaffCalendarCommand>> = BTreeMap::new();
        for week in self.from.into_iter().flat_map(weeks_of) {
            all.entry(week).or_default().push(StaffCalendarCommand::Release { appointment_id });
        }
        if let Some(visit) = self.to {
            for held in visit.held() {
                let (slot, before, after) =
                    (held.slot, held.buffer_before_minutes, held.buffer_after_minutes);
                let command = match visit.class {
                    None => StaffCalendarCommand::Reserve {
                        appointment_id,
                        slot,
                        buffer_before_minutes: before,
                        buffer_after_minutes: after,
                        buffers,
                    },
                    Some(class) => StaffCalendarCommand::TakeSeats {
                        appointment_id,
                        class,
                        slot,
                        buffer_before_minutes: before,
                        buffer_after_minutes: after,
                        buffers,
                    },
                };
                for week in CalendarWeek::touched_by(&held.padded()) {
                    all.entry((held.staff_id, week)).or_default().push(command.clone());
                }
            }
        }
        all
    }

    /// The rows of the second wall: of a class one for its meeting, as long as somebody comes.
    fn wall(&self, unit: &mut UnitOfWork, left: &impl Fn(&Class) -> u32) {
        if let Some(visit) = self.from {
            match visit.class {
                None => unit.release(self.id),
                Some(class) if left(&class) == 0 => unit.release(class.session_id),
                // Others may have come since there are more seats than when this visit was agreed.
                Some(class) => {
                    let left = left(&class);
                    rows(unit, self.id, visit, Some((left, class.capacity.max(left))));
                }
            }
        }
        if let Some(visit) = self.to {
            let seats = visit.class.map(|class| (left(&class), class.capacity));
            rows(unit, self.id, visit, seats);
        }
    }

    fn stock(
        &self,
        unit: &mut UnitOfWork,
        state: &State,
        left: &impl Fn(&Class) -> u32,
        kept: &mut Kept,
    ) -> Result<(), NotKept> {
        let mut commands: BTreeMap<StockWeek, Vec<ResourceCalendarCommand>> = BTreeMap::new();
        if let Some(visit) = self.from {
            let holder = visit.holder(self.id);
            let of_visit = || visit.resources.iter().map(|used| (used.resource_id, used.usage()));
            let used: Vec<(ResourceId, Use)> = match visit.class {
                None => of_visit().collect(),
                Some(class) if left(&class) == 0 => self.meeting.to_vec(),
                Some(_) => vec![],
            };
            for week in used.iter().flat_map(|(id, used)| stock_weeks(*id, used)) {
                let give_back = ResourceCalendarCommand::GiveBack { holder };
                commands.entry(week).or_default().push(give_back);
            }
        }
        if let Some(visit) = self.to {
            let holder = visit.holder(self.id);
            for used in &visit.resources {
                let business = state.registered();
                let resource = business.and_then(|b| b.resources.get(&used.resource_id));
                // Nothing is left of what is there no longer.
                let capacity = resource.map_or(0, |resource| resource.value.capacity);
                let (resource_id, used) = (used.resource_id, used.usage());
                unit.take_resource(ReservedResource { holder, resource_id, used });
                for week in stock_weeks(resource_id, &used) {
                    let take = ResourceCalendarCommand::Take { holder, used, capacity };
                    commands.entry(week).or_default().push(take);
                }
            }
        }
        for (week, commands) in commands {
            let loaded: &Loaded<ResourceCalendar> = state.stock.get(&week).ok_or_else(unread)?;
            let in_use = |ResourceCalendarError::InUse { by }: ResourceCalendarError| {
                NotKept::Refused(Refusal::NoResource { kind: self.kind(week.0), by })
            };
            // The common case, on a calendar that may be full: nothing has to be copied.
            let events = match <[_; 1]>::try_from(commands) {
                Ok([command]) => loaded.state.decide(command).map_err(in_use)?,
                Err(commands) => decided_or(loaded, commands, in_use)?.1,
            };
            unit.append(loaded, events.clone())?;
            kept.stock.push((week, events));
        }
        Ok(())
    }

    fn kind(&self, resource_id: ResourceId) -> String {
        let used = self.to.into_iter().flat_map(|visit| &visit.resources);
        let mut own = used.filter(|used| used.resource_id == resource_id);
        own.next().map(|used| used.kind.clone()).unwrap_or_default()
    }
}

fn rows(unit: &mut UnitOfWork, id: AppointmentId, visit: &Visit, seats: Option<(u32, u32)>) {
    let holder: Holder = visit.holder(id);
    for (part, service) in (0..).zip(visit.parts()) {
        unit.reserve(ReservedTime {
            holder,
            part,
            staff_id: service.staff_id,
            service_id: service.service_id,
            slot: service.slot,
            buffer_before_minutes: service.buffer_before_minutes,
            buffer_after_minutes: service.buffer_after_minutes,
            seats,
        });
    }
}

/// What follows from the commands, one after the other; the state afterwards, where it was needed.
fn decided(
    loaded: &Loaded<StaffCalendar>,
    commands: Vec<StaffCalendarCommand>,
) -> Result<(Option<StaffCalendar>, Vec<StaffCalendarEvent>), NotKept> {
    // The common case, on a calendar that may be full: nothing has to be copied.
    if let [command @ StaffCalendarCommand::Reserve { .. }] = commands.as_slice() {
        return Ok((None, loaded.state.decide(command.clone())?));
    }
    let (state, events) = decided_or(loaded, commands, NotKept::from)?;
    Ok((Some(state), events))
}

fn decided_or<A: Decide + Clone>(
    loaded: &Loaded<A>,
    commands: Vec<A::Command>,
    refused: impl Fn(A::Error) -> NotKept,
) -> Result<(A, Vec<A::Event>), NotKept> {
    let (mut state, mut all) = (loaded.state.clone(), Vec::new());
    for command in commands {
        let events = state.decide(command).map_err(&refused)?;
        events.iter().for_each(|event| state.evolve(event.clone()));
        all.extend(events);
    }
    Ok((state, all))
}
