use std::ops::Range;

use super::{Rules, open::Opening};
use crate::{business::SlotGrid, staff_calendar::Busy};

/// Behind a busy block the packed grid begins at the next multiple of five minutes.
const ROUND_UP: i64 = 300;

/// Starts that neighbours forbid: every second strictly between the two.
#[derive(Debug, Clone, Copy)]
struct Forbidden {
    after: i64,
    before: i64,
}

/// Which starts of an opening are offered.
pub(super) struct Grid {
    kind: SlotGrid,
    step: i64,
    duration: i64,
    /// Sorted, and none overlaps another.
    forbidden: Vec<Forbidden>,
}

impl Grid {
    pub(super) fn new(rules: &Rules<'_>, busy: &[Busy]) -> Self {
        let (policy, service) = (rules.policy, rules.service);
        let duration = i64::from(service.duration_minutes) * 60;
        let mut each: Vec<Forbidden> = busy
            .iter()
            .map(|busy| {
                let ahead = busy.gap_ahead(service.buffer_after_minutes, policy.buffers);
                let behind = busy.gap_behind(service.buffer_before_minutes, policy.buffers);
                let end = busy.slot.end();
                Forbidden {
                    after: busy.slot.start().as_second() - i64::from(ahead) * 60 - duration,
                    before: super::ceil_second(end) + i64::from(behind) * 60,
                }
            })
            .collect();
        each.sort_unstable_by_key(|f| f.after);
        let mut forbidden: Vec<Forbidden> = Vec::with_capacity(each.len());
        for next in each {
            match forbidden.last_mut() {
                Some(last) if next.after < last.before => {
                    last.before = last.before.max(next.before)
                }
                Some(_) | None => forbidden.push(next),
            }
        }
        let step = i64::from(policy.step_minutes(service.duration_minutes).max(1)) * 60;
        Self { kind: policy.slot_grid, step, duration, forbidden }
    }

    /// Adds the starts of one opening that lie in `range`, in order.
    pub(super) fn collect(&self, opening: &Opening, range: &Range<i64>, into: &mut Vec<i64>) {
        match self.kind {
            SlotGrid::Packed => self.packed(opening, range, into),
            SlotGrid::Aligned => self.aligned(opening, range, into),
        }
    }

    /// The stretches that end after `second`.
    fn from(&self, second: i64) -> std::slice::Iter<'_, Forbidden> {
        let first = self.forbidden.partition_point(|f| f.before <= second);
        self.forbidden.get(first..).unwrap_or_default().iter()
    }

    fn packed(&self, opening: &Opening, range: &Range<i64>, into: &mut Vec<i64>) {
        let last = (opening.stretch_end - self.duration).min(opening.end - 1);
        let mut ahead = self.from(opening.start).peekable();
        let mut begin = opening.start;
        while begin <= last {
            let next = ahead.next_if(|f| f.before <= begin);
            if next.is_some() {
                continue;
            }
            let next = ahead.peek().copied();
            let free_until = next.map_or(last, |f| f.after.min(last));
            // Skip whole steps up to the range that is asked for.
            let skip = (range.start - begin).max(0) / self.step * self.step;
            let mut start = begin + skip;
            while start <= free_until && start < range.end {
                if start >= range.start {
                    into.push(start);
                }
                start += self.step;
            }
            let Some(next) = next else { return };
            begin = next.before.div_euclid(ROUND_UP) * ROUND_UP
                + if next.before.rem_euclid(ROUND_UP) > 0 { ROUND_UP } else { 0 };
        }
    }

    fn aligned(&self, opening: &Opening, range: &Range<i64>, into: &mut Vec<i64>) {
        let last = (opening.stretch_end - self.duration).min(range.end - 1);
        let mut ahead = self.from(opening.start.max(range.start)).peekable();
        for piece in &opening.pieces {
            let from = piece.start.max(range.start) - piece.midnight;
            let steps = from.div_euclid(self.step) + i64::from(from.rem_euclid(self.step) > 0);
            let mut start = piece.midnight + steps * self.step;
            while start < piece.end && start <= last {
                while ahead.next_if(|f| f.before <= start).is_some() {}
                if ahead.peek().is_none_or(|f| f.after >= start) {
                    into.push(start);
                }
                start += self.step;
            }
        }
    }
}
