use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp, civil::Date};

use super::{Able, Refusal, Rules, Shape, Subject, Then, local_date, open::Openings};
use crate::{
    CustomerId, StaffId, TimeSlot, Zone,
    appointment::{Held, Part, Used, Visit},
    staff_calendar::{Busy, BusyKind, Class},
};

/// Who does what when, and what is used for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One after the other.
    pub parts: Vec<Part>,
    /// What is used besides people; nothing when a class that meets already has it.
    pub resources: Vec<Used>,
}

impl Plan {
    /// The visit that is agreed by it; `None` for a plan of nothing.
    #[must_use]
    pub fn visit(
        self,
        shape: &Shape,
        customer_id: CustomerId,
        reminder_offsets_minutes: Vec<u32>,
        zone: &Zone,
    ) -> Option<Visit> {
        let (first, last) = (*self.parts.first()?, *self.parts.last()?);
        let step = shape.steps().first()?;
        let class = step.service.is_class().then(|| Class {
            session_id: Class::session(first.staff_id, first.service_id, first.slot.start()),
            service_id: first.service_id,
            seats: shape.subjects,
            capacity: step.service.capacity,
        });
        Some(Visit {
            staff_id: first.staff_id,
            service_id: first.service_id,
            customer_id,
            slot: TimeSlot::try_new(first.slot.start(), last.slot.end()).ok()?,
            buffer_before_minutes: first.buffer_before_minutes,
            buffer_after_minutes: last.buffer_after_minutes,
            price: shape.price()?,
            reminder_offsets_minutes,
            offset_seconds: Some(zone.offset_seconds(first.slot.start())),
            parts: if self.parts.len() > 1 { self.parts } else { vec![] },
            resources: self.resources,
            class,
            subjects: shape.subjects,
            series: None,
        })
    }
}

/// All that decides about a visit besides the grid of its first staff member.
pub(super) struct Planner<'r, 'a> {
    rules: &'r Rules<'a>,
    busy: &'r [Busy],
    calendars: HashMap<StaffId, Calendar<'r>>,
}

struct Calendar<'r> {
    /// `None` when working hours are set aside.
    openings: Option<Openings>,
    busy: &'r [Busy],
}

impl<'r, 'a> Planner<'r, 'a> {
    /// For visits that start on these dates.
    pub(super) fn new(rules: &'r Rules<'a>, busy: &'r [Busy], [first, last]: [Date; 2]) -> Self {
        let open = |rules: &Rules<'_>| {
            (!rules.beside.anywhere).then(|| Openings::between(rules, first, last))
        };
        let mut calendars = HashMap::new();
        if !rules.beside.then.is_empty() {
            // A visit lasts a day at most.
            let last = last.saturating_add(jiff::Span::new().days(1));
            for able in rules.beside.then.iter().flat_map(|then| &then.able) {
                let own = Rules { hours: able.hours, ..*rules };
                let openings =
                    (!rules.beside.anywhere).then(|| Openings::between(&own, first, last));
                calendars.insert(able.staff_id, Calendar { openings, busy: able.busy });
            }
            calendars.insert(rules.staff_id, Calendar { openings: open(rules), busy });
        }
        Self { rules, busy, calendars }
    }

    /// What the visit would consist of.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn plan(&self, start: Timestamp) -> Result<Plan, Refusal> {
        let parts = self.staff(start)?;
        Ok(Plan { parts, resources: self.resources(start)? })
    }

    /// What is used besides people.
    pub(super) fn resources(&self, start: Timestamp) -> Result<Vec<Used>, Refusal> {
        if self.rules.beside.stock.needs.is_empty() || self.meets(start) {
            return Ok(vec![]);
        }
        self.rules.beside.stock.allot(start)
    }

    /// Whether it is a class that meets then already.
    fn meets(&self, start: Timestamp) -> bool {
        let rules = self.rules;
        rules.service.is_class()
            && self.busy.iter().any(|busy| {
                matches!(busy.kind, BusyKind::Class(class) if class.service_id == rules.service_id)
                    && busy.slot.start() == start
            })
    }

    /// Who does what. When nobody can do one of the services: why, for somebody who could.
    pub(super) fn staff(&self, start: Timestamp) -> Result<Vec<Part>, Refusal> {
        let Rules { service, beside, staff_id, service_id, .. } = *self.rules;
        let slot = TimeSlot::lasting(start, service.duration_minutes);
        let first = Part {
            staff_id,
            service_id,
            slot: slot.ok_or(Refusal::OutsideHours)?,
            buffer_before_minutes: service.buffer_before_minutes,
            buffer_after_minutes: if beside.then.is_empty() {
                service.buffer_after_minutes
            } else {
                beside.buffer_after_minutes
            },
            price: service.price,
        };
        let (mut parts, mut refused) = (vec![first], None);
        if beside.then.is_empty() {
            return Ok(parts);
        }
        self.free(&parts, &first)?;
        if self.follow(start, &mut parts, &mut refused) {
            Ok(parts)
        } else {
            Err(refused.unwrap_or(Refusal::OutsideHours))
        }
    }

    /// Finds somebody for each service that follows. Tries all there are, so that whether there is
    /// somebody does not depend on the order.
    fn follow(
        &self,
        start: Timestamp,
        parts: &mut Vec<Part>,
        refused: &mut Option<Refusal>,
    ) -> bool {
        let Some(then) = self.rules.beside.then.get(parts.len() - 1) else { return true };
        let serves = |able: &&Able<'_>| parts.iter().any(|part| part.staff_id == able.staff_id);
        let (before, others): (Vec<_>, Vec<_>) = then.able.iter().partition(serves);
        for able in before.into_iter().chain(others) {
            let Some(part) = part_of(then, able, start) else { continue };
            match self.may(able, &part, parts).and_then(|()| self.free(parts, &part)) {
                Ok(()) => {
                    parts.push(part);
                    if self.follow(start, parts, refused) {
                        return true;
                    }
                    parts.pop();
                }
                Err(why @ Refusal::Taken { .. }) => *refused = Some(why),
                Err(why) => drop(refused.get_or_insert(why)),
            }
        }
        false
    }

    /// Whether no limit of the service and the staff member is reached, with what the visit itself
    /// has of them already. Those of the business are looked at once for all.
    fn may(&self, able: &Able<'_>, part: &Part, parts: &[Part]) -> Result<(), Refusal> {
        let Some(then) = self.rules.beside.then.get(parts.len() - 1) else { return Ok(()) };
        let rules = Rules {
            service_id: then.service_id,
            service: then.service,
            staff_id: able.staff_id,
            member: able.member,
            ..*self.rules
        };
        let date = local_date(rules.zone, part.slot.start());
        let own = |subject| {
            let counts = |part: &&Part| match subject {
                Subject::Business => false,
                Subject::Service(id) => part.service_id == id,
                Subject::Staff(id) => part.staff_id == id,
            };
            u32::try_from(parts.iter().filter(counts).count()).unwrap_or(u32::MAX)
        };
        let reached = rules.limits().find(|limit| {
            limit.subject != Subject::Business
                && rules.counts.of(limit.subject, limit.period, date) + own(limit.subject)
                    >= limit.most
        });
        match reached {
            Some(limit) => Err(Refusal::LimitReached { limit, first: limit.period.first(date) }),
            None => Ok(()),
        }
    }

    /// Whether the staff member of a part is there and free from their first part of the visit to this
    /// one.
    fn free(&self, parts: &[Part], part: &Part) -> Result<(), Refusal> {
        let earlier = parts.iter().find(|other| other.staff_id == part.staff_id);
        let held = earlier.map_or_else(|| Held::of(part), |first| Held::of(first).until(part));
        let Some(calendar) = self.calendars.get(&held.staff_id) else {
            return Err(Refusal::OutsideHours);
        };
        if calendar.openings.as_ref().is_some_and(|openings| !openings.hold(&held.slot)) {
            return Err(Refusal::OutsideHours);
        }
        let Held { slot, buffer_before_minutes: before, buffer_after_minutes: after, .. } = held;
        let buffers = self.rules.policy.buffers;
        let mut met = calendar.busy.iter().filter(|b| b.excludes(&slot, before, after, buffers));
        met.next().map_or(Ok(()), |busy| Err(occupied(busy)))
    }
}

fn part_of(then: &Then<'_>, able: &Able<'_>, start: Timestamp) -> Option<Part> {
    let begins = start.checked_add(SignedDuration::from_mins(then.after_minutes.into())).ok()?;
    Some(Part {
        staff_id: able.staff_id,
        service_id: then.service_id,
        slot: TimeSlot::lasting(begins, then.service.duration_minutes)?,
        buffer_before_minutes: then.service.buffer_before_minutes,
        buffer_after_minutes: then.service.buffer_after_minutes,
        price: then.service.price,
    })
}

/// What a visit would run into.
pub(super) const fn occupied(busy: &Busy) -> Refusal {
    match busy.kind {
        BusyKind::Visit(by) => Refusal::Taken { by },
        BusyKind::Class(Class { session_id: by, .. }) => Refusal::InClass { by },
        BusyKind::TimeOff(during) => Refusal::Away { during },
    }
}
