use domain::{
    Currency, FieldError, Fields, Money, ServiceId, StaffId, TimeSlot, Zone,
    availability::{self, Able, Asked, Counts, Rules, Shape, start_of_day},
    business::{BusinessState, Service},
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
    /// How long, in place of a service: nothing else of a service applies then.
    pub minutes: Option<u32>,
    /// What follows the first service, in order.
    pub also: Vec<Asked>,
    /// So many come; one when nobody says.
    pub subjects: u32,
}

impl SlotQuery {
    /// One service for one guest.
    #[must_use]
    pub const fn plain(
        place: Place,
        service_id: Option<ServiceId>,
        staff_id: Option<StaffId>,
        span: SlotSpan,
    ) -> Self {
        Self { place, service_id, staff_id, span, minutes: None, also: vec![], subjects: 1 }
    }
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
    /// With whom; of several services, the first.
    pub staff_id: StaffId,
    /// Seats that are left, when it is a class.
    pub remaining: Option<u32>,
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
    /// What is asked for does not fit into one visit.
    #[error("it cannot be one visit")]
    Invalid(Vec<FieldError>),
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
            Self::Invalid(errors) => Self::Invalid(errors.clone()),
            Self::Read(error) => Self::Read(error.again()),
        }
    }
}

impl From<sqlx::Error> for SlotsError {
    fn from(error: sqlx::Error) -> Self {
        Self::Read(error.into())
    }
}

/// When a length is asked for in place of a service.
const NO_SERVICE: ServiceId = ServiceId::new(uuid::Uuid::nil());
/// The most slots of one answer.
const MOST: usize = 20_000;
/// A buffer is at most a day, so what lies farther away cannot reach in.
const REACH: SignedDuration = SignedDuration::from_hours(24);
/// As far as a day, a visit and its buffers, and the buffer of a neighbour can reach.
const FARTHEST: SignedDuration = SignedDuration::from_hours(26 + 24 + 24 + 24);
/// The week of a date, and of the one after it, begins and ends no farther from it, whatever clocks do
/// meanwhile.
const WEEK: SignedDuration = SignedDuration::from_hours(9 * 24);
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

    /// What is to be done, and who can do the first of it.
    fn shape(&self, state: &BusinessState) -> Result<(Shape, Vec<StaffId>), SlotsError> {
        if let (Some(minutes), Some(staff_id)) = (self.minutes, self.staff_id) {
            let member = state.staff.get(&staff_id).ok_or(SlotsError::NotFound)?;
            let free = Money { amount: 0, currency: Currency::USD };
            let shape = Shape::plain(NO_SERVICE, &Service::new("", minutes, free));
            return Ok((shape, member.value.active.then_some(staff_id).into_iter().collect()));
        }
        let service_id = self.service(state)?;
        let first = Asked { service_id, staff_id: self.staff_id };
        let asked: Vec<Asked> = std::iter::once(first).chain(self.also.iter().copied()).collect();
        let shape = Shape::of(state, &asked, self.subjects).ok_or(SlotsError::NotFound)?;
        let mut fields = Fields::default();
        shape.validate(&mut fields);
        fields.done().map_err(SlotsError::Invalid)?;
        let wanted = |id: &StaffId| self.staff_id.is_none_or(|wanted| wanted == *id);
        Ok((shape, state.staff_for(service_id).filter(wanted).collect()))
    }

    /// What must be read: exactly when the business is known, else as much as could matter.
    pub(super) fn reach(&self, state: Option<&BusinessState>) -> Reach {
        let Some(state) = state else {
            let (from, until) = self.span.widest();
            let staff = self.staff_id.map(|id| vec![id]);
            let counted = TimeSlot::try_new(early(from, WEEK), late(until, WEEK)).ok();
            let staff = staff.filter(|_one| self.also.is_empty());
            let (from, until) = (early(from, FARTHEST), late(until, FARTHEST));
            return Reach { staff, from, until, counted, resources: None };
        };
        let Ok((shape, first)) = self.shape(state) else { return Reach::NOTHING };
        let zone = &state.profile.value.timezone;
        let (from, until) = self.span.instants(zone);
        let span = shape.deciding_range(zone, from, until);
        let mut staff = first;
        staff.extend(shape.followers(state));
        staff.sort_unstable();
        staff.dedup();
        let limited =
            |step: &availability::Step| state.is_limited(step.service_id, staff.iter().copied());
        let counted = shape.steps().iter().any(limited);
        // Of a visit of several services one may begin in the week after.
        let last = late(until, REACH);
        let counted = counted.then(|| availability::counting_range(zone, from, last));
        let resources = shape.things(state).map(|(id, _)| id).collect();
        let (from, until) = (early(span.start(), REACH), late(span.end(), REACH));
        Reach { staff: Some(staff), from, until, counted, resources: Some(resources) }
    }

    pub(super) fn list(&self, facts: &Facts, now: Timestamp) -> Result<SlotList, SlotsError> {
        let state = &*facts.state;
        let (shape, staff) = self.shape(state)?;
        let business = &state.profile.value.timezone;
        let (from, until) = self.span.instants(business);
        let no_counts = Counts::default();
        let counts = facts.counts.as_deref().unwrap_or(&no_counts);
        let occupied = |id: &StaffId| facts.busy.get(id).map_or(&[][..], |busy| busy.as_slice());
        let able = |staff_id| {
            let (member, hours) = (&state.staff.get(&staff_id)?.value, facts.hours.get(&staff_id)?);
            Some(Able { staff_id, member, hours, busy: occupied(&staff_id) })
        };
        let uses = |id| facts.uses.get(&id).cloned().unwrap_or_default();
        let beside = shape.beside(state, able, uses);
        let first = shape.first();
        let (service_id, service) = first.as_ref().ok_or(SlotsError::NotFound)?;
        let mut slots = Vec::new();
        let mut unchanged = Timestamp::MAX;
        for staff_id in staff {
            let Some(hours) = facts.hours.get(&staff_id) else { continue };
            let rules = Rules::with(state, (*service_id, service), staff_id, hours, counts);
            let Some(rules) = rules else { continue };
            let rules = Rules { beside: &beside, ..rules };
            let occupied = occupied(&staff_id);
            let found = availability::slots(&rules, occupied, from, until, now);
            unchanged = unchanged.min(availability::unchanged_until(&rules, &found, until, now));
            slots.extend(found.into_iter().filter_map(|first| {
                let remaining = availability::remaining(&rules, occupied, &first);
                let slot = TimeSlot::lasting(first.start(), shape.minutes())?;
                Some(OfferedSlot { slot, staff_id, remaining })
            }));
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
