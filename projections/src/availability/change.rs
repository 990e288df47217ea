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

impl Shown {
    /// `None` for what is not about a calendar, or not understood: whoever keeps facts must read them
    /// again.
    pub(super) fn change(&self) -> Option<Change> {
        if self.kind != StaffCalendar::TYPE {
            return None;
        }
        let staff_id = self.stream.split(':').next()?.parse().ok()?;
        let payload = serde_json::from_str(&self.payload).ok()?;
        let payload = domain::upcast(&self.event_type, &self.event_version, payload);
        Some(Change { staff_id, event: serde_json::from_value(payload).ok()? })
    }
}

impl Change {
    /// Brings what occupies the calendar up to date; harmless when it is already.
    pub(super) fn apply(&self, busy: &mut Vec<Busy>) {
        let (kind, added) = self.event.effect();
        busy.retain(|busy| busy.kind != kind);
        busy.extend(added);
    }
}
