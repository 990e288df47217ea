use std::fmt;

use jiff::{SignedDuration, Timestamp};
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

/// No use lasts longer: a visit of a day with a buffer of a day on either side.
const LONGEST: SignedDuration = SignedDuration::from_hours(3 * 24);

/// Of uses in the order of their starts, those that overlap the slot.
pub fn touching<'a>(
    by_start: &'a [(Holder, Use)],
    slot: &TimeSlot,
) -> impl Iterator<Item = &'a (Holder, Use)> + use<'a> {
    let earliest = slot.start().checked_sub(LONGEST).unwrap_or(Timestamp::MIN);
    let first = by_start.partition_point(|(_, used)| used.slot.start() < earliest);
    let last = by_start.partition_point(|(_, used)| used.slot.start() < slot.end());
    let near = by_start.get(first..last).unwrap_or_default();
    let slot = *slot;
    near.iter().filter(move |(_, used)| used.slot.overlaps(&slot))
}

/// One week of one resource: who uses it, in the order of the starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceCalendar(Vec<(Holder, Use)>);

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
        self.0.iter().copied()
    }

    /// What of it overlaps the slot.
    pub fn touching(&self, slot: &TimeSlot) -> impl Iterator<Item = (Holder, Use)> {
        touching(&self.0, slot).copied()
    }

    fn of(&self, holder: Holder) -> Option<&Use> {
        self.0.iter().find(|(by, _)| *by == holder).map(|(_, used)| used)
    }
}

impl Decide for ResourceCalendar {
    fn decide(
        &self,
        command: ResourceCalendarCommand,
    ) -> Result<Vec<ResourceCalendarEvent>, ResourceCalendarError> {
        match command {
            ResourceCalendarCommand::Take { holder, used, capacity } => {
                if self.of(holder) == Some(&used) {
                    return Ok(vec![]);
                }
                let others: Vec<(Holder, Use)> =
                    self.touching(&used.slot).filter(|(other, _)| *other != holder).collect();
                let most = most_at_once(others.iter().map(|(_, other)| other), &used.slot);
                if most.saturating_add(used.quantity) > capacity {
                    let by = others.first().map(|(by, _)| *by);
                    return Err(ResourceCalendarError::InUse { by });
                }
                let Use { slot, quantity } = used;
                Ok(vec![ResourceCalendarEvent::Taken { holder, slot, quantity }])
            }
            ResourceCalendarCommand::GiveBack { holder } => {
                let held = self.of(holder).is_some();
                let event = ResourceCalendarEvent::GivenBack { holder };
                Ok(held.then_some(event).into_iter().collect())
            }
        }
    }

    fn evolve(&mut self, event: Self::Event) {
        match event {
            ResourceCalendarEvent::Taken { holder, slot, quantity } => {
                self.0.retain(|(by, _)| *by != holder);
                let place = self.0.partition_point(|(_, used)| used.slot.start() <= slot.start());
                self.0.insert(place, (holder, Use { slot, quantity }));
            }
            ResourceCalendarEvent::GivenBack { holder } => {
                self.0.retain(|(by, _)| *by != holder);
            }
        }
    }
}
