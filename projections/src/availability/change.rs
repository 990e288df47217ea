use domain::{
    Aggregate, StaffId,
    staff_calendar::{Busy, StaffCalendar, StaffCalendarEvent},
};

/// An event that slots depend on, as the log showed it.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// [`Aggregate::TYPE`] and the id of its stream.
    pub(super) kind: String,
    pub(super) stream: String,
    pub(super) event_type: String,
    pub(super) event_version: String,
    pub(super) payload: String,
}

/// What happened in a calendar.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) staff_id: StaffId,
    event: StaffCalendarEvent,
}

/// What stands in the second wall, which is read with all other facts: of seats of classes an event
/// alone does not tell how many are left.
const IN_THE_WALL: &[&str] =
    &["staff.calendar.seats_taken.v1", "staff.calendar.seats_given_back.v1"];

impl Shown {
    /// Whether facts that are read after it have it anyhow.
    pub(super) fn is_in_the_wall(&self) -> bool {
        IN_THE_WALL.contains(&self.event_type.as_str())
    }

    /// `None` for what is not about a calendar, or not understood: whoever keeps facts must read them
    /// again.
    pub(super) fn change(&self) -> Option<Change> {
        if self.kind != StaffCalendar::TYPE {
            return None;
        }
        let staff_id = self.stream.split(':').next()?.parse().ok()?;
        let payload = serde_json::from_str(&self.payload).ok()?;
        let payload = domain::upcast(&self.event_type, &self.event_version, payload);
        let event: StaffCalendarEvent = serde_json::from_value(payload).ok()?;
        event.effect().is_some().then_some(Change { staff_id, event })
    }
}

impl Change {
    /// Brings what occupies the calendar up to date; harmless when it is already.
    pub(super) fn apply(&self, busy: &mut Vec<Busy>) {
        let Some((kind, added)) = self.event.effect() else { return };
        busy.retain(|busy| busy.kind != kind);
        busy.extend(added);
    }
}
