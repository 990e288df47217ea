use std::ops::Range;

use jiff::{Timestamp, civil::Date, tz::Offset};

use super::{Rules, grid::Grid, start_of_day};
use crate::{TimeSlot, Zone, business::Closure, staff_schedule::Window};

const DAY: i64 = 86_400;

/// Part of a window in which the clock is not changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) start: i64,
    pub(super) end: i64,
    /// Where local midnight of this date would be with this piece's offset.
    pub(super) midnight: i64,
}

/// An open window of one local date, as instants. Windows of a date that touch are one.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) date: Date,
    pub(super) start: i64,
    pub(super) end: i64,
    /// The end of the open stretch that it belongs to: a visit may run on into the next day.
    pub(super) stretch_end: i64,
    pub(super) pieces: Vec<Piece>,
}

/// A stretch with one offset from UTC.
struct Segment {
    range: Range<i64>,
    offset: i64,
}

pub(super) struct Openings(Vec<Opening>);

impl Openings {
    /// The openings of the local dates `first..=last`; stretches are followed two days further.
    pub(super) fn between(rules: &Rules<'_>, first: Date, last: Date) -> Self {
        let end = last.saturating_add(jiff::Span::new().days(2));
        let segments = segments(rules.zone, first, end);
        // Few, if any: there is no need to search all of them for each date.
        let closures = rules.closures.touching(first, end);
        let closures: Vec<&Closure> = closures.map(|(_, closure)| closure).collect();
        let mut openings = Vec::new();
        let mut windows: Vec<Window> = Vec::new();
        let mut date = first;
        while date <= end {
            let day = Offset::UTC
                .to_timestamp(date.to_datetime(jiff::civil::Time::midnight()))
                .map_or(0, |midnight| midnight.as_second() / DAY);
            let weekday = u8::try_from((day + 3).rem_euclid(7)).unwrap_or_default();
            windows.clear();
            if !closures.iter().any(|closure| closure.holds(date)) {
                windows.extend(rules.hours.on(date, weekday));
            }
            windows.sort_unstable_by_key(|w| (w.start, w.end));
            let first_of_day = openings.len();
            // Segment by segment, so that the pieces come in the order of time on a day that
            // repeats an hour.
            for segment in &segments {
                for window in &windows {
                    place(date, day, *window, segment, first_of_day, &mut openings);
                }
            }
            let Ok(tomorrow) = date.tomorrow() else { break };
            date = tomorrow;
        }
        let mut next: Option<(i64, i64)> = None;
        for opening in openings.iter_mut().rev() {
            if let Some((start, stretch_end)) = next
                && start <= opening.end
            {
                opening.stretch_end = stretch_end.max(opening.end);
            }
            next = Some((opening.start, opening.stretch_end));
        }
        // The days that were only looked at to follow stretches offer nothing themselves.
        let beyond = last.tomorrow().map_or(i64::MAX, |d| start_of_day(rules.zone, d).as_second());
        openings.retain(|opening| opening.start < beyond);
        Self(openings)
    }

    /// The starts that the grid offers within the range, in order.
    /// A date that is full has none; visits of the day before may run on into it.
    pub(super) fn starts(
        &self,
        grid: &Grid,
        range: Range<i64>,
        is_full: impl Fn(Date) -> bool,
    ) -> std::vec::IntoIter<i64> {
        let mut starts = Vec::new();
        for opening in &self.0 {
            let asked = opening.start < range.end && range.start < opening.end;
            if asked && !is_full(opening.date) {
                grid.collect(opening, &range, &mut starts);
            }
        }
        starts.into_iter()
    }

    /// Whether a visit at this time lies inside one open stretch.
    pub(super) fn hold(&self, slot: &TimeSlot) -> bool {
        let (start, end) = (slot.start().as_second(), super::ceil_second(slot.end()));
        self.0.iter().any(|o| o.start <= start && start < o.end && end <= o.stretch_end)
    }
}

/// Adds the part of a wall-clock window that lies in one segment: a time that does not exist is in
/// none, one that occurs twice is in two.
fn place(
    date: Date,
    day: i64,
    window: Window,
    segment: &Segment,
    first_of_day: usize,
    openings: &mut Vec<Opening>,
) {
    let midnight = day * DAY - segment.offset;
    let start = (midnight + i64::from(window.start.minutes()) * 60).max(segment.range.start);
    let end = (midnight + i64::from(window.end.minutes()) * 60).min(segment.range.end);
    if start >= end {
        return;
    }
    let same_day = openings.len() > first_of_day;
    match openings.last_mut() {
        Some(last) if same_day && start <= last.end => {
            let piece = Piece { start: start.max(last.end), end, midnight };
            if piece.start < end {
                last.pieces.push(piece);
                last.end = end;
                last.stretch_end = end;
            }
        }
        Some(_) | None => {
            let pieces = vec![Piece { start, end, midnight }];
            openings.push(Opening { date, start, end, stretch_end: end, pieces });
        }
    }
}

/// The zone's offsets around the dates, in order.
fn segments(zone: &Zone, first: Date, last: Date) -> Vec<Segment> {
    let margin = 2 * DAY;
    let from = start_of_day(zone, first).as_second().saturating_sub(margin);
    let until = start_of_day(zone, last).as_second().saturating_add(2 * margin);
    let at = Timestamp::from_second(from).unwrap_or(Timestamp::MIN);
    let mut segments: Vec<Segment> = Vec::with_capacity(2);
    let mut start = from;
    let mut offset = zone.tz().to_offset(at).seconds();
    for transition in zone.tz().following(at) {
        let change = transition.timestamp().as_second();
        if change >= until {
            break;
        }
        segments.push(Segment { range: start..change, offset: offset.into() });
        start = change;
        offset = transition.offset().seconds();
    }
    segments.push(Segment { range: start..until, offset: offset.into() });
    segments
}
