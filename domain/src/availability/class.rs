use super::{Refusal, Rules, open::Openings};
use crate::{
    TimeSlot,
    staff_calendar::{Busy, BusyKind, Class},
};

impl Rules<'_> {
    /// The meeting of this class that occupies the stretch, if it is one.
    pub(super) fn meeting(&self, busy: &Busy) -> Option<Class> {
        match busy.kind {
            BusyKind::Class(class) => {
                let same = self.service.is_class()
                    && class.service_id == self.service_id
                    && TimeSlot::lasting(busy.slot.start(), self.service.duration_minutes)
                        == Some(busy.slot);
                same.then_some(class)
            }
            BusyKind::Visit(_) | BusyKind::TimeOff(_) => None,
        }
    }

    /// Seats that are left in a meeting.
    pub(super) const fn left(&self, class: &Class) -> u32 {
        self.service.capacity.saturating_sub(class.seats)
    }

    /// The meetings that have as many seats left as are wanted, in working hours and with nothing else
    /// in their way. No further visit begins with it, so limits of days and weeks do not count it.
    pub(super) fn joinable<'b>(
        &'b self,
        busy: &'b [Busy],
        openings: &'b Openings,
    ) -> impl Iterator<Item = TimeSlot> {
        let fits = |met: &&Busy| {
            self.meeting(met).is_some_and(|class| self.left(&class) >= self.beside.seats)
                && (self.beside.anywhere || openings.hold(&met.slot))
        };
        let alone = |met: &&Busy| {
            let mut others = busy.iter().filter(|other| other.kind != met.kind);
            !others.any(|other| self.excludes(other, &met.slot))
        };
        let meetings = busy.iter().filter(|busy| self.meeting(busy).is_some());
        meetings.filter(fits).filter(alone).map(|busy| busy.slot)
    }

    pub(super) fn excludes(&self, busy: &Busy, slot: &TimeSlot) -> bool {
        let (before, after) =
            (self.service.buffer_before_minutes, self.service.buffer_after_minutes);
        busy.excludes(slot, before, after, self.policy.buffers)
    }
}

/// How many seats are left of a class at a listed start; `None` when it is no class.
#[must_use]
pub fn remaining(rules: &Rules<'_>, busy: &[Busy], slot: &TimeSlot) -> Option<u32> {
    let capacity = rules.service.capacity;
    let meeting = || busy.iter().filter(|busy| busy.slot == *slot).find_map(|b| rules.meeting(b));
    rules.service.is_class().then(|| meeting().map_or(capacity, |class| rules.left(&class)))
}

/// What a visit at this time would run into: of a meeting of its own class, that it is full.
pub(super) fn occupants<'a>(
    rules: &Rules<'a>,
    busy: &'a [Busy],
    slot: &'a TimeSlot,
) -> impl Iterator<Item = Refusal> + use<'a> {
    let rules = *rules;
    let met = busy.iter().filter(move |busy| rules.excludes(busy, slot));
    met.filter_map(move |busy| {
        let own = rules.meeting(busy).filter(|_class| busy.slot == *slot);
        let Some(class) = own else { return Some(super::plan::occupied(busy)) };
        let left = rules.left(&class);
        (left < rules.beside.seats).then_some(Refusal::ClassFull { left })
    })
}
