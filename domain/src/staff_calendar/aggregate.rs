use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Class, StaffCalendarCommand, StaffCalendarError, StaffCalendarEvent, class::Session};
use crate::{
    AppointmentId, CalendarWeek, Decide, SessionId, StaffId, TimeOffId, TimeSlot,
    business::BufferRule, pure::pure_aggregate,
};

/// What occupies a stretch of a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BusyKind {
    /// A visit, with its buffers around it.
    Visit(AppointmentId),
    /// A meeting of a class, with the seats that are taken; buffers around it.
    Class(Class),
    /// An absence; the buffers of visits may reach into it.
    TimeOff(TimeOffId),
}

/// An occupied stretch of a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    /// By what.
    pub kind: BusyKind,
    /// When, without buffers.
    pub slot: TimeSlot,
    /// Minutes kept free in front; zero for time off.
    pub buffer_before_minutes: u32,
    /// Minutes kept free behind; zero for time off.
    pub buffer_after_minutes: u32,
}

impl Busy {
    /// Minutes that must lie between the end of this and the start of a visit that wants `before`.
    #[must_use]
    pub const fn gap_behind(&self, before: u32, buffers: BufferRule) -> u32 {
        match self.kind {
            BusyKind::Visit(_) | BusyKind::Class(_) => {
                buffers.between(self.buffer_after_minutes, before)
            }
            BusyKind::TimeOff(_) => 0,
        }
    }

    /// Minutes that must lie between the end of a visit that wants `after` and the start of this.
    #[must_use]
    pub const fn gap_ahead(&self, after: u32, buffers: BufferRule) -> u32 {
        match self.kind {
            BusyKind::Visit(_) | BusyKind::Class(_) => {
                buffers.between(after, self.buffer_before_minutes)
            }
            BusyKind::TimeOff(_) => 0,
        }
    }

    /// Whether a visit with these buffers cannot stand beside this.
    #[must_use]
    pub fn excludes(&self, slot: &TimeSlot, before: u32, after: u32, buffers: BufferRule) -> bool {
        self.slot
            .padded(self.gap_ahead(after, buffers), self.gap_behind(before, buffers))
            .overlaps(slot)
    }
}

impl StaffCalendarEvent {
    /// What it is about, and what that occupies from now on: nothing any more in the inner `None`. Of
    /// the seats of a class an event alone does not tell.
    #[must_use]
    pub const fn effect(&self) -> Option<(BusyKind, Option<Busy>)> {
        Some(match *self {
            Self::Reserved {
                appointment_id,
                slot,
                buffer_before_minutes,
                buffer_after_minutes,
            } => {
                let kind = BusyKind::Visit(appointment_id);
                (kind, Some(Busy { kind, slot, buffer_before_minutes, buffer_after_minutes }))
            }
            Self::Released { appointment_id } => (BusyKind::Visit(appointment_id), None),
            Self::TimeOffAdded { time_off_id, slot } => {
                let kind = BusyKind::TimeOff(time_off_id);
                let away = Busy { kind, slot, buffer_before_minutes: 0, buffer_after_minutes: 0 };
                (kind, Some(away))
            }
            Self::TimeOffRemoved { time_off_id } => (BusyKind::TimeOff(time_off_id), None),
            Self::SeatsTaken { .. } | Self::SeatsGivenBack { .. } => return None,
        })
    }
}

/// One week of one staff member's calendar.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaffCalendar {
    visits: BTreeMap<AppointmentId, Busy>,
    time_off: BTreeMap<TimeOffId, Busy>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    classes: BTreeMap<SessionId, Session>,
}

pure_aggregate!(
    StaffCalendar,
    "staff_calendar",
    StaffCalendarCommand,
    StaffCalendarEvent,
    StaffCalendarError
);

/// The stream of one week: closed weeks never change, and loading stays short.
#[must_use]
pub fn stream_id(staff_id: StaffId, week: CalendarWeek) -> String {
    format!("{staff_id}:{week}")
}

impl StaffCalendar {
    /// Everything that occupies time this week.
    pub fn busy(&self) -> impl Iterator<Item = Busy> {
        let alone = self.visits.values().chain(self.time_off.values()).copied();
        alone.chain(self.classes.values().map(Session::busy))
    }

    /// The seats that are taken of a meeting.
    #[must_use]
    pub fn seats_of(&self, session_id: SessionId) -> u32 {
        self.classes.get(&session_id).map_or(0, Session::taken)
    }

    /// Everybody who comes to a meeting.
    pub fn guests_of(&self, session_id: SessionId) -> impl Iterator<Item = AppointmentId> {
        self.classes.get(&session_id).into_iter().flat_map(|there| there.seats.keys().copied())
    }

    fn seat(
        &self,
        appointment_id: AppointmentId,
        class: Class,
        wanted: Busy,
        buffers: BufferRule,
    ) -> Result<Vec<StaffCalendarEvent>, StaffCalendarError> {
        let there = self.classes.get(&class.session_id);
        let same = there.filter(|there| there.busy.slot == wanted.slot);
        let own = same.and_then(|there| there.seats.get(&appointment_id)).copied();
        if own == Some(class.seats) {
            return Ok(vec![]);
        }
        let taken = same.map_or(0, Session::taken) - own.unwrap_or_default();
        let left = class.capacity.saturating_sub(taken);
        if class.seats > left {
            return Err(StaffCalendarError::Full { left });
        }
        let others = self.busy().filter(|busy| same.is_none_or(|same| busy.slot != same.busy.slot));
        free_beside(others, &wanted, buffers)?;
        let Busy { slot, buffer_before_minutes, buffer_after_minutes, .. } = wanted;
        Ok(vec![StaffCalendarEvent::SeatsTaken {
            appointment_id,
            class,
            slot,
            buffer_before_minutes,
            buffer_after_minutes,
        }])
    }

    fn reserve(
        &self,
        wanted: Busy,
        appointment_id: AppointmentId,
        buffers: BufferRule,
    ) -> Result<Vec<StaffCalendarEvent>, StaffCalendarError> {
        free_beside(self.busy(), &wanted, buffers)?;
        let Busy { slot, buffer_before_minutes, buffer_after_minutes, .. } = wanted;
        Ok(vec![StaffCalendarEvent::Reserved {
            appointment_id,
            slot,
            buffer_before_minutes,
            buffer_after_minutes,
        }])
    }

    /// What is given back of a visit: its time, its seats, or nothing.
    fn release(&self, appointment_id: AppointmentId) -> Option<StaffCalendarEvent> {
        if self.visits.contains_key(&appointment_id) {
            return Some(StaffCalendarEvent::Released { appointment_id });
        }
        let seated = self.classes.values().any(|there| there.seats.contains_key(&appointment_id));
        seated.then_some(StaffCalendarEvent::SeatsGivenBack { appointment_id })
    }

    fn leave(&mut self, appointment_id: AppointmentId) {
        self.classes.retain(|_, there| {
            there.seats.remove(&appointment_id);
            !there.seats.is_empty()
        });
    }
}

fn free_beside(
    mut others: impl Iterator<Item = Busy>,
    wanted: &Busy,
    buffers: BufferRule,
) -> Result<(), StaffCalendarError> {
    let Busy { slot, buffer_before_minutes: before, buffer_after_minutes: after, .. } = *wanted;
    match others.find(|busy| busy.excludes(&slot, before, after, buffers)).map(|busy| busy.kind) {
        None => Ok(()),
        Some(BusyKind::Visit(by)) => Err(StaffCalendarError::Taken { by }),
        Some(BusyKind::Class(Class { session_id: by, .. })) => {
            Err(StaffCalendarError::InClass { by })
        }
        Some(BusyKind::TimeOff(during)) => Err(StaffCalendarError::Away { during }),
    }
}

impl Decide for StaffCalendar {
    fn decide(
        &self,
        command: StaffCalendarCommand,
    ) -> Result<Vec<StaffCalendarEvent>, StaffCalendarError> {
        match command {
            StaffCalendarCommand::Reserve {
                appointment_id,
                slot,
                buffer_before_minutes,
                buffer_after_minutes,
                buffers,
            } => {
                let kind = BusyKind::Visit(appointment_id);
                let wanted = Busy { kind, slot, buffer_before_minutes, buffer_after_minutes };
                if self.visits.get(&appointment_id) == Some(&wanted) {
                    return Ok(vec![]);
                }
                self.reserve(wanted, appointment_id, buffers)
            }
            StaffCalendarCommand::TakeSeats {
                appointment_id,
                class,
                slot,
                buffer_before_minutes,
                buffer_after_minutes,
                buffers,
            } => {
                let kind = BusyKind::Class(class);
                let wanted = Busy { kind, slot, buffer_before_minutes, buffer_after_minutes };
                self.seat(appointment_id, class, wanted, buffers)
            }
            StaffCalendarCommand::Release { appointment_id } => {
                Ok(self.release(appointment_id).into_iter().collect())
            }
            StaffCalendarCommand::AddTimeOff { time_off_id, slot } => {
                if self.time_off.get(&time_off_id).is_some_and(|there| there.slot == slot) {
                    return Ok(vec![]);
                }
                match self.time_off.iter().find(|(_, there)| there.slot.overlaps(&slot)) {
                    Some((with, _)) => Err(StaffCalendarError::TimeOffOverlaps { with: *with }),
                    None => Ok(vec![StaffCalendarEvent::TimeOffAdded { time_off_id, slot }]),
                }
            }
            StaffCalendarCommand::RemoveTimeOff { time_off_id } => {
                let away = self.time_off.contains_key(&time_off_id);
                let event = StaffCalendarEvent::TimeOffRemoved { time_off_id };
                Ok(away.then_some(event).into_iter().collect())
            }
        }
    }

    fn evolve(&mut self, event: Self::Event) {
        match event {
            StaffCalendarEvent::SeatsTaken {
                appointment_id,
                class,
                slot,
                buffer_before_minutes,
                buffer_after_minutes,
            } => {
                let kind = BusyKind::Class(class);
                let busy = Busy { kind, slot, buffer_before_minutes, buffer_after_minutes };
                let there = self.classes.entry(class.session_id).or_insert(Session::at(busy));
                there.busy.kind = kind;
                there.seats.insert(appointment_id, class.seats);
            }
            StaffCalendarEvent::SeatsGivenBack { appointment_id } => self.leave(appointment_id),
            event @ (StaffCalendarEvent::Reserved { .. }
            | StaffCalendarEvent::Released { .. }
            | StaffCalendarEvent::TimeOffAdded { .. }
            | StaffCalendarEvent::TimeOffRemoved { .. }) => match event.effect() {
                Some((BusyKind::Visit(id), Some(busy))) => drop(self.visits.insert(id, busy)),
                Some((BusyKind::Visit(id), None)) => drop(self.visits.remove(&id)),
                Some((BusyKind::TimeOff(id), Some(busy))) => drop(self.time_off.insert(id, busy)),
                Some((BusyKind::TimeOff(id), None)) => drop(self.time_off.remove(&id)),
                Some((BusyKind::Class(_), _)) | None => {}
            },
        }
    }
}
