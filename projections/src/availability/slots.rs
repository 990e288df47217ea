use domain::{
    ServiceId, StaffId, TimeSlot, Zone,
    availability::{self, Counts, Rules, start_of_day},
    business::BusinessState,
};
use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date};
use streams::Cursor;

use super::{
    Availability, Place,
    facts::{Facts, Reach},
};
use crate::ReadError;

/// Which slots are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotQuery {
    /// Where.
    pub place: Place,
    /// For what; may be left out when the staff member offers just one service.
    pub service_id: Option<ServiceId>,
    /// With whom; `None` for everybody who offers it.
    pub staff_id: Option<StaffId>,
    /// When.
    pub span: SlotSpan,
}

/// In which stretch the starts lie.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SlotSpan {
    /// From one local date to another, both included; in the zone of the business when none is named.
    Dates {
        /// The first date.
        first: Date,
        /// The last date.
        last: Date,
        /// What the dates are read in.
        zone: Option<Zone>,
    },
    /// Between two instants.
    Instants {
        /// The first.
        from: Timestamp,
        /// The first after it.
        until: Timestamp,
    },
}

/// A start that can be booked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferedSlot {
    /// When.
    pub slot: TimeSlot,
    /// With whom.
    pub staff_id: StaffId,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct SlotList {
    /// By start, then by staff member.
    pub slots: Vec<OfferedSlot>,
    /// How far the model had come.
    pub position: Cursor,
    /// What the dates were read in, or the zone of the business.
    pub zone: Zone,
    /// The first instant at which the answer may be another by the passing of time alone.
    pub(super) until: Timestamp,
}

/// Why no slots are listed.
#[derive(Debug, thiserror::Error)]
pub enum SlotsError {
    /// There is no such business, service or staff member.
    #[error("there is no such thing")]
    NotFound,
    /// There is more than one service, and none is named.
    #[error("which service is not said")]
    ServiceNeeded,
    /// The staff member offers none.
    #[error("no service is offered")]
    NoService,
    /// There are more than an answer can hold: ask for less.
    #[error("there are too many slots")]
    TooMany,
    /// Nothing is known.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl SlotsError {
    /// The same, for each of those who waited for one answer.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::NotFound => Self::NotFound,
            Self::ServiceNeeded => Self::ServiceNeeded,
            Self::NoService => Self::NoService,
            Self::TooMany => Self::TooMany,
            Self::Read(error) => Self::Read(error.again()),
        }
    }
}

impl From<sqlx::Error> for SlotsError {
    fn from(error: sqlx::Error) -> Self {
        Self::Read(error.into())
    }
}

/// The most slots of one answer.
const MOST: usize = 20_000;
/// A buffer is at most a day, so what lies farther away cannot reach in.
const REACH: SignedDuration = SignedDuration::from_hours(24);
/// As far as a day, a visit and its buffers, and the buffer of a neighbour can reach.
const FARTHEST: SignedDuration = SignedDuration::from_hours(26 + 24 + 24 + 24);
/// The week of a date begins and ends no farther from it, whatever clocks do meanwhile.
const WEEK: SignedDuration = SignedDuration::from_hours(8 * 24);
/// No zone is farther from UTC.
const MOST_OFFSET: SignedDuration = SignedDuration::from_hours(15);

impl SlotSpan {
    /// The zone that is asked for, or that of the business.
    fn zone<'a>(&'a self, business: &'a Zone) -> &'a Zone {
        match self {
            Self::Dates { zone: Some(zone), .. } => zone,
            Self::Dates { zone: None, .. } | Self::Instants { .. } => business,
        }
    }

    fn instants(&self, business: &Zone) -> (Timestamp, Timestamp) {
        match self {
            Self::Dates { first, last, .. } => {
                let zone = self.zone(business);
                let after = last.checked_add(1.day()).unwrap_or(*last);
                (start_of_day(zone, *first), start_of_day(zone, after))
            }
            Self::Instants { from, until } => (*from, *until),
        }
    }

    /// Whatever the zone of the business is.
    fn widest(&self) -> (Timestamp, Timestamp) {
        let (from, until) = self.instants(&Zone::UTC);
        (early(from, MOST_OFFSET), late(until, MOST_OFFSET))
    }
}

fn early(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

fn late(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

impl SlotQuery {
    /// The service that is asked for, or the only one that the staff member offers.
    fn service(&self, state: &BusinessState) -> Result<ServiceId, SlotsError> {
        if self.staff_id.is_some_and(|id| !state.staff.contains_key(&id)) {
            return Err(SlotsError::NotFound);
        }
        if let Some(id) = self.service_id {
            return state.services.contains_key(&id).then_some(id).ok_or(SlotsError::NotFound);
        }
        let Some(staff_id) = self.staff_id else { return Err(SlotsError::ServiceNeeded) };
        let mut offered = state.services_of(staff_id);
        match (offered.next(), offered.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(SlotsError::ServiceNeeded),
            (None, _) => Err(SlotsError::NoService),
        }
    }

    fn staff(&self, state: &BusinessState, service_id: ServiceId) -> Vec<StaffId> {
        let asked = |id: &StaffId| self.staff_id.is_none_or(|wanted| wanted == *id);
        state.staff_for(service_id).filter(asked).collect()
    }

    /// What must be read: exactly when the business is known, else as much as could matter.
    pub(super) fn reach(&self, state: Option<&BusinessState>) -> Reach {
        let Some(state) = state else {
            let (from, until) = self.span.widest();
            let staff = self.staff_id.map(|id| vec![id]);
            let counted = TimeSlot::try_new(early(from, WEEK), late(until, WEEK)).ok();
            let (from, until) = (early(from, FARTHEST), late(until, FARTHEST));
            return Reach { staff, from, until, counted };
        };
        let Ok(service_id) = self.service(state) else { return Reach::NOTHING };
        let Some(service) = state.services.get(&service_id) else { return Reach::NOTHING };
        let zone = &state.profile.value.timezone;
        let (from, until) = self.span.instants(zone);
        let span = availability::deciding_range(zone, &service.value, from, until);
        let staff = self.staff(state, service_id);
        let limited = state.is_limited(service_id, staff.iter().copied());
        let counted = limited.then(|| availability::counting_range(zone, from, until));
        let (from, until) = (early(span.start(), REACH), late(span.end(), REACH));
        Reach { staff: Some(staff), from, until, counted }
    }

    pub(super) fn list(&self, facts: &Facts, now: Timestamp) -> Result<SlotList, SlotsError> {
        let service_id = self.service(&facts.state)?;
        let business = &facts.state.profile.value.timezone;
        let (from, until) = self.span.instants(business);
        let no_counts = Counts::default();
        let counts = facts.counts.as_deref().unwrap_or(&no_counts);
        let mut slots = Vec::new();
        let mut unchanged = Timestamp::MAX;
        for staff_id in self.staff(&facts.state, service_id) {
            let Some(hours) = facts.hours.get(&staff_id) else { continue };
            let rules = Rules::of(&facts.state, service_id, staff_id, hours, counts);
            let Some(rules) = rules else { continue };
            let occupied = facts.busy.get(&staff_id).map_or(&[][..], |busy| busy.as_slice());
            let found = availability::slots(&rules, occupied, from, until, now);
            unchanged = unchanged.min(availability::unchanged_until(&rules, &found, until, now));
            slots.extend(found.into_iter().map(|slot| OfferedSlot { slot, staff_id }));
            if slots.len() > MOST {
                return Err(SlotsError::TooMany);
            }
        }
        slots.sort_unstable();
        Ok(SlotList {
            slots,
            position: facts.position,
            zone: self.span.zone(business).clone(),
            until: unchanged,
        })
    }
}

impl Availability {
    /// The bookable slots, read in one round trip.
    ///
    /// # Errors
    /// When there is nothing to list, or Postgres does not answer.
    pub async fn slots(&self, query: &SlotQuery, now: Timestamp) -> Result<SlotList, SlotsError> {
        let facts = self.facts(&query.place, |state| query.reach(state)).await?;
        query.list(&facts, now)
    }
}
