use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{ResourceCalendarCommand, ResourceCalendarError, ResourceCalendarEvent};
use crate::{
    AppointmentId, CalendarWeek, Decide, ResourceId, SessionId, TimeSlot, pure::pure_aggregate,
};

/// For what a resource is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Holder {
    /// A visit.
    Visit(AppointmentId),
    /// A meeting of a class.
    Session(SessionId),
}

impl Holder {
    /// As tables keep it.
    #[must_use]
    pub const fn uuid(self) -> uuid::Uuid {
        match self {
            Self::Visit(id) => id.uuid(),
            Self::Session(id) => id.uuid(),
        }
    }
}

impl From<AppointmentId> for Holder {
    fn from(id: AppointmentId) -> Self {
        Self::Visit(id)
    }
}

impl From<SessionId> for Holder {
    fn from(id: SessionId) -> Self {
        Self::Session(id)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Visit(id) => id.fmt(f),
            Self::Session(id) => id.fmt(f),
        }
    }
}

/// A use of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// When, with the buffers of the visit.
    pub slot: TimeSlot,
    /// How much of it.
    pub quantity: u32,
}

/// The most that these use at one instant within the slot.
#[must_use]
pub fn most_at_once<'a>(uses: impl IntoIterator<Item = &'a Use>, slot: &TimeSlot) -> u32 {
    let mut changes = Vec::new();
    for used in uses.into_iter().filter(|used| used.slot.overlaps(slot)) {
        changes.push((used.slot.start(), i64::from(used.quantity)));
        changes.push((used.slot.end(), -i64::from(used.quantity)));
    }
    // What ends when another begins makes room for it: ends are negative, and come first.
    changes.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    u32::try_from(most).unwrap_or(u32::MAX)
}

/// One week of one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceCalendar(BTreeMap<Holder, Use>);

pure_aggregate!(
    ResourceCalendar,
    "resource_calendar",
    ResourceCalendarCommand,
    ResourceCalendarEvent,
    ResourceCalendarError
);

/// The stream of one week.
#[must_use]
pub fn stream_id(resource_id: ResourceId, week: CalendarWeek) -> String {
    format!("{resource_id}:{week}")
}

impl ResourceCalendar {
    /// All that is used of it this week.
    pub fn uses(&self) -> impl Iterator<Item = (Holder, Use)> {
        self.0.iter().map(|(holder, used)| (*holder, *used))
    }
}

impl Decide for ResourceCalendar {
    fn decide(
        &self,
        command: ResourceCalendarCommand,
    ) -> Result<Vec<ResourceCalendarEvent>, ResourceCalendarError> {
        match command {
            ResourceCalendarCommand::Take { holder, used, capacity } => {
                if self.0.get(&holder) == Some(&used) {
                    return Ok(vec![]);
                }
                let others = || self.uses().filter(|(other, _)| *other != holder);
                let uses: Vec<Use> = others().map(|(_, used)| used).collect();
                let most = most_at_once(&uses, &used.slot);
                if most.saturating_add(used.quantity) > capacity {
                    let met = others().find(|(_, other)| other.slot.overlaps(&used.slot));
                    return Err(ResourceCalendarError::InUse { by: met.map(|(by, _)| by) });
                }
                let Use { slot, quantity } = used;
                Ok(vec![ResourceCalendarEvent::Taken { holder, slot, quantity }])
            }
            ResourceCalendarCommand::GiveBack { holder } => {
                let held = self.0.contains_key(&holder);
                let event = ResourceCalendarEvent::GivenBack { holder };
                Ok(held.then_some(event).into_iter().collect())
            }
        }
    }

    fn evolve(&mut self, event: Self::Event) {
        match event {
            ResourceCalendarEvent::Taken { holder, slot, quantity } => {
                self.0.insert(holder, Use { slot, quantity });
            }
            ResourceCalendarEvent::GivenBack { holder } => {
                self.0.remove(&holder);
            }
        }
    }
}
