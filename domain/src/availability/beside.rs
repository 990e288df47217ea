use jiff::{SignedDuration, Timestamp};

use super::{Need, Refusal};
use crate::{
    ResourceId, ServiceId, StaffId, TimeSlot,
    appointment::Used,
    business::{Resource, Service, StaffMember},
    resource_calendar::{Holder, Use, most_at_once, touching},
    staff_calendar::Busy,
    staff_schedule::Hours,
};

/// What a start depends on besides the calendar of the staff member that it begins with.
#[derive(Debug, Clone, Default)]
pub struct Beside<'a> {
    /// So many seats of a class are wanted; of other visits nothing depends on it.
    pub seats: u32,
    /// What is needed of the things of the business.
    pub stock: Stock<'a>,
    /// What follows the first service.
    pub then: Vec<Then<'a>>,
    /// Minutes that are kept free behind the first service, when something follows.
    pub buffer_after_minutes: u32,
    /// Whether working hours and closures are set aside.
    pub anywhere: bool,
}

static NOTHING: Beside<'static> = Beside {
    seats: 1,
    stock: Stock { needs: &[], things: vec![] },
    then: vec![],
    buffer_after_minutes: 0,
    anywhere: false,
};

impl Beside<'static> {
    /// Nothing besides.
    #[must_use]
    pub fn nothing() -> &'static Self {
        &NOTHING
    }
}

/// A service that follows the first.
#[derive(Debug, Clone)]
pub struct Then<'a> {
    /// Which.
    pub service_id: ServiceId,
    /// As long as for all who come.
    pub service: &'a Service,
    /// How long after the start of the visit it begins.
    pub after_minutes: u32,
    /// Who can do it, in the order in which they are asked; whoever serves already is asked first.
    pub able: Vec<Able<'a>>,
}

/// Somebody who can do a service that follows.
#[derive(Debug, Clone, Copy)]
pub struct Able<'a> {
    /// Who.
    pub staff_id: StaffId,
    /// Their limits.
    pub member: &'a StaffMember,
    /// When they work.
    pub hours: &'a Hours,
    /// What occupies them.
    pub busy: &'a [Busy],
}

/// What is needed of the things of the business, and what there is.
#[derive(Debug, Clone, Default)]
pub struct Stock<'a> {
    /// Once for each kind.
    pub needs: &'a [Need],
    /// All of those kinds, in the order of their ids.
    pub things: Vec<Thing<'a>>,
}

/// A resource and what is used of it.
#[derive(Debug, Clone)]
pub struct Thing<'a> {
    id: ResourceId,
    resource: &'a Resource,
    /// By start.
    uses: Vec<(Holder, Use)>,
}

impl<'a> Thing<'a> {
    /// With all that touches the range that decides; more does no harm.
    #[must_use]
    pub fn new(id: ResourceId, resource: &'a Resource, mut uses: Vec<(Holder, Use)>) -> Self {
        uses.sort_unstable_by_key(|(holder, used)| (used.slot.start(), *holder));
        // What lies across a cut stands in two streams.
        uses.dedup();
        Self { id, resource, uses }
    }

    fn met(&self, slot: &TimeSlot) -> impl Iterator<Item = &(Holder, Use)> {
        touching(&self.uses, slot)
    }

    /// How much of it nobody uses at any instant of the slot.
    fn free(&self, slot: &TimeSlot) -> u32 {
        let used = most_at_once(self.met(slot).map(|(_, used)| used), slot);
        self.resource.capacity.saturating_sub(used)
    }
}

impl Stock<'_> {
    /// What a visit that starts then would use: what one thing can give alone it gives, else several
    /// give what they have, in the order of their ids.
    ///
    /// # Errors
    /// The first kind of which too little is free.
    pub fn allot(&self, start: Timestamp) -> Result<Vec<Used>, Refusal> {
        let mut all = Vec::with_capacity(self.needs.len());
        for need in self.needs {
            let none = || Refusal::NoResource { kind: need.kind.clone(), by: None };
            let slot = need.slot(start).ok_or_else(none)?;
            let kind = self.things.iter().filter(|thing| thing.resource.is_a(&need.kind));
            let free: Vec<(&Thing<'_>, u32)> =
                kind.map(|thing| (thing, thing.free(&slot))).collect();
            let alone = free.iter().find(|(_, free)| *free >= need.quantity);
            let mut missing = need.quantity;
            for (thing, free) in alone.map_or(free.as_slice(), std::slice::from_ref) {
                let quantity = (*free).min(missing);
                if quantity > 0 {
                    let kind = need.kind.clone();
                    all.push(Used { resource_id: thing.id, kind, quantity, slot });
                    missing -= quantity;
                }
            }
            if missing > 0 {
                let by = free.iter().flat_map(|(thing, _)| thing.met(&slot)).next();
                let by = by.map(|(by, _)| *by);
                return Err(Refusal::NoResource { kind: need.kind.clone(), by });
            }
        }
        Ok(all)
    }
}

impl Need {
    /// When it is used in a visit that starts then.
    pub fn slot(&self, start: Timestamp) -> Option<TimeSlot> {
        let at = |minutes| start.checked_add(SignedDuration::from_mins(minutes)).ok();
        TimeSlot::try_new(at(self.from_minutes)?, at(self.until_minutes)?).ok()
    }
}
