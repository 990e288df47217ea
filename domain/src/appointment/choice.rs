use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    StaffId, TimeSlot,
    staff_calendar::{Busy, BusyKind},
};

/// How somebody was found for a guest who took anybody: the free one with the fewest booked minutes in
/// that local week, and of those the first by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaffChoice {
    /// When the local week of the visit begins.
    pub week: Timestamp,
    /// Who was looked at, in that order. The last was free and is the one; the others were not.
    pub considered: Vec<Candidate>,
}

/// Somebody who offers the service. They come in order: whoever has the least to do first, and of those
/// the first by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Candidate {
    /// Of visits that begin in that local week, without buffers.
    pub booked_minutes: i64,
    /// Who.
    pub staff_id: StaffId,
}

impl Candidate {
    /// Counts what begins within the week. What lies across two streams of a calendar may be given
    /// twice.
    #[must_use]
    pub fn weigh<'a>(
        staff_id: StaffId,
        busy: impl IntoIterator<Item = &'a Busy>,
        week: &TimeSlot,
    ) -> Self {
        let begins = |at: Timestamp| week.start() <= at && at < week.end();
        let counts =
            |busy: &&Busy| !matches!(busy.kind, BusyKind::TimeOff(_)) && begins(busy.slot.start());
        let visits: BTreeMap<BusyKind, TimeSlot> =
            busy.into_iter().filter(counts).map(|busy| (busy.kind, busy.slot)).collect();
        let minutes = |slot: &TimeSlot| slot.start().duration_until(slot.end()).as_mins();
        Self { booked_minutes: visits.values().map(minutes).sum(), staff_id }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{AppointmentId, TimeOffId};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn visits_that_begin_in_the_week_count_once_and_absences_do_not() {
        let week = TimeSlot::try_new(at("2026-03-02T00:00:00Z"), at("2026-03-09T00:00:00Z"));
        let busy = |kind, start| Busy {
            kind,
            slot: TimeSlot::lasting(at(start), 60).unwrap(),
            buffer_before_minutes: 10,
            buffer_after_minutes: 10,
        };
        let visit = |n| BusyKind::Visit(AppointmentId::new(Uuid::from_u128(n)));
        let all = [
            busy(visit(1), "2026-03-01T23:30:00Z"),
            busy(visit(2), "2026-03-02T00:00:00Z"),
            busy(visit(3), "2026-03-08T23:30:00Z"),
            busy(visit(3), "2026-03-08T23:30:00Z"),
            busy(visit(4), "2026-03-09T00:00:00Z"),
            busy(BusyKind::TimeOff(TimeOffId::new(Uuid::nil())), "2026-03-03T00:00:00Z"),
        ];
        let staff = |n| StaffId::new(Uuid::from_u128(n));
        let weighed = Candidate::weigh(staff(1), &all, &week.unwrap());
        assert_eq!(weighed.booked_minutes, 120);
        let idle = |n| Candidate { booked_minutes: 0, staff_id: staff(n) };
        let mut order = [weighed, idle(3), idle(2)];
        order.sort_unstable();
        assert_eq!(order, [idle(2), idle(3), weighed]);
    }
}
