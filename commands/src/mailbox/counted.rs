use std::collections::{BTreeSet, HashMap};

use domain::{
    BusinessId, ServiceId, StaffId, Zone,
    availability::{self, Counts, Limit, Period, Rules, Subject},
};
use jiff::{Timestamp, ToSpan, civil::Date};
use streams::log::{CommitError, Log, PlaceKey, TakenPlace};
use uuid::Uuid;

/// What limits are held against in one local week: how many visits begin in it and in each of its
/// days, and which places they take.
#[derive(Debug, Default)]
pub(crate) struct CountedWeek {
    pub(crate) counts: Counts,
    places: HashMap<PlaceKey, BTreeSet<u32>>,
}

/// What becomes of a week by a service of a visit that is booked.
#[derive(Debug)]
pub(crate) struct CountedVisit {
    pub(crate) monday: Date,
    pub(crate) start: Timestamp,
    /// Whether it is the first of its visit.
    pub(crate) first: bool,
    pub(crate) staff_id: StaffId,
    pub(crate) service_id: ServiceId,
    pub(crate) places: Vec<TakenPlace>,
}

/// The week in which a visit counts, by its first date.
pub(crate) fn week_of(zone: &Zone, start: Timestamp) -> Date {
    Period::Week.first(availability::local_date(zone, start))
}

impl CountedWeek {
    /// What stands, without what is about to be moved.
    pub(crate) async fn load(
        log: &Log,
        business_id: BusinessId,
        (zone, monday): (&Zone, Date),
        without: &[Uuid],
    ) -> Result<Self, CommitError> {
        let start = availability::start_of_day(zone, monday);
        let span = availability::counting_range(zone, start, start);
        let sunday = monday.saturating_add(6.days());
        let standing = log.standing(business_id, &span, [monday, sunday]).await?;
        let mut week = Self::default();
        for visit in standing.visits.iter().filter(|v| !without.contains(&v.holder)) {
            week.counts.add(zone, visit.start, visit.first, visit.staff_id, visit.service_id);
        }
        for taken in standing.places.iter().filter(|p| !without.contains(&p.holder)) {
            week.places.entry(taken.key).or_default().insert(taken.place);
        }
        Ok(week)
    }

    /// The places that a service of a visit takes: the lowest that is free under each limit in force,
    /// and not among those that the visit `has` already.
    ///
    /// Nobody has more places than its limit allows: whoever is let in sees fewer visits than that,
    /// so that one of the first places is free, and no two can take the same.
    pub(crate) fn places(
        &self,
        rules: &Rules<'_>,
        business_id: BusinessId,
        (holder, start, first): (Uuid, Timestamp, bool),
        has: &[TakenPlace],
    ) -> Vec<TakenPlace> {
        let date = availability::local_date(rules.zone, start);
        let take = |Limit { subject, period, .. }| {
            let subject = match subject {
                Subject::Business => business_id.uuid(),
                Subject::Service(id) => id.uuid(),
                Subject::Staff(id) => id.uuid(),
            };
            let key = PlaceKey { subject, period, first: period.first(date) };
            let taken = self.places.get(&key);
            let free = |place: &u32| {
                taken.is_none_or(|taken| !taken.contains(place))
                    && !has.iter().any(|own| own.key == key && own.place == *place)
            };
            let place = (1..u32::MAX).find(free).unwrap_or(u32::MAX);
            TakenPlace { holder, key, place }
        };
        let counts = |limit: &Limit| first || limit.subject != Subject::Business;
        rules.limits().filter(counts).map(take).collect()
    }

    /// Takes in that a service of a visit is booked.
    pub(super) fn count(&mut self, zone: &Zone, visit: &CountedVisit) {
        let CountedVisit { start, first, staff_id, service_id, .. } = *visit;
        self.counts.add(zone, start, first, staff_id, Some(service_id));
        for TakenPlace { key, place, .. } in &visit.places {
            self.places.entry(*key).or_default().insert(*place);
        }
    }
}
