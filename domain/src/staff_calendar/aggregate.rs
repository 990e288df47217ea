use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{StaffCalendarCommand, StaffCalendarError, StaffCalendarEvent};
use crate::{
    AppointmentId, CalendarWeek, Decide, StaffId, TimeOffId, TimeSlot, business::BufferRule,
    pure::pure_aggregate,
};

/// What occupies a stretch of a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BusyKind {
    /// A visit, with its buffers around it.
    Visit(AppointmentId),
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
            BusyKind::Visit(_) => buffers.between(self.buffer_after_minutes, before),
            BusyKind::TimeOff(_) => 0,
        }
    }

    /// Minutes that must lie between the end of a visit that wants `after` and the start of this.
    #[must_use]
    pub const fn gap_ahead(&self, after: u32, buffers: BufferRule) -> u32 {
        match self.kind {
            BusyKind::Visit(_) => buffers.between(after, self.buffer_before_minutes),
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
    /// What it is about, and what that occupies from now on; `None` for nothing any more.
    #[must_use]
    pub const fn effect(&self) -> (BusyKind, Option<Busy>) {
        match *self {
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
        }
    }
}

/// One week of one staff member's calendar.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaffCalendar {
    visits: BTreeMap<AppointmentId, Busy>,
    time_off: BTreeMap<TimeOffId, Busy>,
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
    pub fn busy(&self) -> impl Iterator<Item = &Busy> {
        self.visits.values().chain(self.time_off.values())
    }

    fn reserve(
        &self,
        wanted: Busy,
        appointment_id: AppointmentId,
        buffers: BufferRule,
    ) -> Result<Vec<StaffCalendarEvent>, StaffCalendarError> {
        let Busy { slot, buffer_before_minutes: before, buffer_after_minutes: after, .. } = wanted;
        match self.busy().find(|busy| busy.excludes(&slot, before, after, buffers)) {
            None => Ok(vec![StaffCalendarEvent::Reserved {
                appointment_id,
                slot,
                buffer_before_minutes: before,
                buffer_after_minutes: after,
            }]),
            Some(Busy { kind: BusyKind::Visit(by), .. }) => {
                Err(StaffCalendarError::Taken { by: *by })
            }
            Some(Busy { kind: BusyKind::TimeOff(during), .. }) => {
                Err(StaffCalendarError::Away { during: *during })
            }
        }
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
            StaffCalendarCommand::Release { appointment_id } => {
                let held = self.visits.contains_key(&appointment_id);
                Ok(held
                    .then_some(StaffCalendarEvent::Released { appointment_id })
                    .into_iter()
                    .collect())
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
        match event.effect() {
            (BusyKind::Visit(id), Some(busy)) => drop(self.visits.insert(id, busy)),
            (BusyKind::Visit(id), None) => drop(self.visits.remove(&id)),
            (BusyKind::TimeOff(id), Some(busy)) => drop(self.time_off.insert(id, busy)),
            (BusyKind::TimeOff(id), None) => drop(self.time_off.remove(&id)),
        }
    }
}
