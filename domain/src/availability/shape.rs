use std::borrow::Cow;

use super::{Able, Beside, Stock, Then, Thing};
use crate::{
    Fields, Money, ResourceId, ServiceId, StaffId, TimeSlot,
    appointment::Visit,
    business::{BusinessState, Resource, ResourceNeed, Service, same},
    resource_calendar::{Holder, Use},
};

/// What is to be done in one visit: one service after another, for all who come, and what that needs
/// besides people.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Never empty.
    steps: Vec<Step>,
    needs: Vec<Need>,
    /// So many come: the seats of a class.
    pub subjects: u32,
}

/// One service of a visit.
#[derive(Debug, Clone)]
pub struct Step {
    /// Which.
    pub service_id: ServiceId,
    /// As long, and for as much, as for all who come.
    pub service: Service,
    /// How long after the start of the visit it begins.
    pub after_minutes: u32,
    /// Who is to do it; `None` for anybody who can.
    pub staff_id: Option<StaffId>,
}

/// So much of a kind of resource, for a part of the visit. Minutes count from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Of which kind.
    pub kind: String,
    /// How much.
    pub quantity: u32,
    /// From when on; buffers come before the start.
    pub from_minutes: i64,
    /// Until when.
    pub until_minutes: i64,
}

/// A service that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    /// Which.
    pub service_id: ServiceId,
    /// Who is to do it; `None` for anybody who can.
    pub staff_id: Option<StaffId>,
}

/// Services after the first.
pub const MOST_FURTHER: usize = 4;
/// People or pets who come to one visit that is not a class.
pub const MOST_SUBJECTS: u32 = 10;
/// Whatever is asked for, a visit is no longer than a service may be: a day.
const LONGEST: u32 = crate::business::MAX_MINUTES;

impl Shape {
    /// One service for one guest.
    #[must_use]
    pub fn plain(service_id: ServiceId, service: &Service) -> Self {
        let asked = Asked { service_id, staff_id: None };
        Self::made(&[(asked, service)], 1)
    }

    /// What is asked for, first and further services; `None` when the business does not offer one of
    /// them.
    #[must_use]
    pub fn of(business: &BusinessState, asked: &[Asked], subjects: u32) -> Option<Self> {
        let service =
            |asked: &Asked| Some((*asked, &business.services.get(&asked.service_id)?.value));
        let asked: Vec<(Asked, &Service)> = asked.iter().map(service).collect::<Option<_>>()?;
        (!asked.is_empty()).then(|| Self::made(&asked, subjects))
    }

    fn made(asked: &[(Asked, &Service)], subjects: u32) -> Self {
        let (mut steps, mut needs, mut after_minutes) = (Vec::with_capacity(1), Vec::new(), 0);
        for (Asked { service_id, staff_id }, service) in asked {
            let times = if service.is_class() { 1 } else { subjects };
            let service = Service {
                duration_minutes: service.duration_minutes.saturating_mul(times),
                price: Money {
                    amount: service.price.amount.saturating_mul(subjects.into()),
                    ..service.price
                },
                ..Service::clone(service)
            };
            let end = after_minutes + service.duration_minutes;
            for need in &service.resources {
                add(&mut needs, Need::of(need, after_minutes, &service));
            }
            steps.push(Step {
                service_id: *service_id,
                service,
                after_minutes,
                staff_id: *staff_id,
            });
            after_minutes = end;
        }
        Self { steps, needs, subjects }
    }

    /// What was agreed for a visit: it keeps its lengths, its buffers and what it uses. The first
    /// service may get another staff member, the others keep theirs.
    #[must_use]
    pub fn of_visit(business: &BusinessState, visit: &Visit) -> Self {
        let (start, mut needs) = (visit.slot.start(), Vec::new());
        let minutes = |at| start.duration_until(at).as_mins();
        let step = |part: crate::appointment::Part| {
            let length = part.slot.start().duration_until(part.slot.end()).as_mins();
            let now = business.services.get(&part.service_id).map(|service| service.value.clone());
            // No longer offered: the visit stands all the same.
            let now = now.unwrap_or_else(|| Service::new("", 0, part.price));
            let service = Service {
                duration_minutes: u32::try_from(length).unwrap_or_default(),
                buffer_before_minutes: part.buffer_before_minutes,
                buffer_after_minutes: part.buffer_after_minutes,
                price: part.price,
                capacity: match visit.class {
                    None => 1,
                    Some(_) if now.is_class() => now.capacity,
                    Some(class) => class.capacity,
                },
                resources: vec![],
                ..now
            };
            let after_minutes = u32::try_from(minutes(part.slot.start())).unwrap_or_default();
            let staff_id = Some(part.staff_id);
            Step { service_id: part.service_id, service, after_minutes, staff_id }
        };
        let steps: Vec<Step> = visit.parts().into_iter().map(step).collect();
        if let (Some(_class), Some(step)) = (visit.class, steps.first()) {
            // What a class uses belongs to its meeting, and another meeting needs it anew.
            let now = business.services.get(&step.service_id);
            for need in now.iter().flat_map(|service| &service.value.resources) {
                add(&mut needs, Need::of(need, 0, &step.service));
            }
        }
        for used in visit.resources.iter().filter(|_used| visit.class.is_none()) {
            let (kind, quantity) = (used.kind.clone(), used.quantity);
            let from_minutes = minutes(used.slot.start());
            let until_minutes = minutes(used.slot.end());
            let need = Need { kind, quantity, from_minutes, until_minutes };
            // Of several things of one kind each gave its share.
            match needs.iter_mut().find(|other: &&mut Need| same(&other.kind, &need.kind)) {
                Some(other) => other.quantity += need.quantity,
                None => needs.push(need),
            }
        }
        Self { steps, needs, subjects: visit.class.map_or(visit.subjects, |class| class.seats) }
    }

    /// Who can do one of the services: the staff member asked for, or everybody who offers it.
    #[must_use]
    pub fn able(business: &BusinessState, step: &Step) -> Vec<StaffId> {
        match step.staff_id {
            Some(staff_id) => vec![staff_id],
            None => business.staff_for(step.service_id).collect(),
        }
    }

    /// Everybody who can do a service that follows the first.
    pub fn followers<'b>(
        &'b self,
        business: &'b BusinessState,
    ) -> impl Iterator<Item = StaffId> + 'b {
        self.steps.iter().skip(1).flat_map(|step| Self::able(business, step))
    }

    /// All things of the kinds that are needed.
    pub fn things<'b>(
        &'b self,
        business: &'b BusinessState,
    ) -> impl Iterator<Item = (ResourceId, &'b Resource)> {
        let needed = |resource: &Resource| self.needs.iter().any(|need| resource.is_a(&need.kind));
        let all = business.resources.iter().map(|(id, resource)| (*id, &resource.value));
        all.filter(move |(_, resource)| needed(resource))
    }

    /// When a visit that starts then uses resources: from the first that it needs to the last.
    #[must_use]
    pub fn using(&self, start: jiff::Timestamp) -> Option<TimeSlot> {
        let slots = || self.needs.iter().filter_map(|need| need.slot(start));
        let from = slots().map(|slot| slot.start()).min()?;
        TimeSlot::try_new(from, slots().map(|slot| slot.end()).max()?).ok()
    }

    /// What must be there beside the first staff member. `able` knows whose calendar was read, `uses`
    /// what is used of a resource.
    pub fn beside<'a>(
        &'a self,
        business: &'a BusinessState,
        able: impl Fn(StaffId) -> Option<Able<'a>>,
        uses: impl Fn(ResourceId) -> Vec<(Holder, Use)>,
    ) -> Beside<'a> {
        let then = self.steps.iter().skip(1).map(|step| Then {
            service_id: step.service_id,
            service: &step.service,
            after_minutes: step.after_minutes,
            able: Self::able(business, step).into_iter().filter_map(&able).collect(),
        });
        let things = self.things(business);
        let things = things.map(|(id, resource)| Thing::new(id, resource, uses(id)));
        let first = self.steps.first().map(|step| step.service.buffer_after_minutes);
        Beside {
            seats: self.subjects,
            stock: Stock { needs: &self.needs, things: things.collect() },
            then: then.collect(),
            buffer_after_minutes: first.unwrap_or_default(),
            anywhere: false,
        }
    }

    /// Which rules the fields of the request break.
    pub fn validate(&self, fields: &mut Fields) {
        let further = self.steps.len() - 1;
        let classes = self.steps.iter().filter(|step| step.service.is_class()).count();
        fields.check(
            further == 0 || classes == 0,
            "also",
            "must be empty for a class, and have no class in it",
        );
        let class = self.steps.first().filter(|step| step.service.is_class());
        let most = class.map_or(MOST_SUBJECTS, |step| step.service.capacity);
        fields.check(
            self.subjects <= most,
            "subjects",
            format!("must be at most {most}, as many as fit into one visit"),
        );
        fields.check(
            self.minutes() <= LONGEST,
            if self.subjects > 1 { "subjects" } else { "also" },
            format!(
                "must make a visit of at most {LONGEST} minutes; this would be {}",
                self.minutes()
            ),
        );
    }

    /// The services, one after another.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What is needed besides people, once for each kind.
    #[must_use]
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// From the start of the first service to the end of the last.
    #[must_use]
    pub fn minutes(&self) -> u32 {
        self.steps
            .last()
            .map_or(0, |last| last.after_minutes.saturating_add(last.service.duration_minutes))
    }

    /// Whether one service of one staff member is all there is to it.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.steps.len() == 1 && self.needs.is_empty() && self.subjects == 1
    }

    /// For how much, all in all.
    #[must_use]
    pub fn price(&self) -> Option<Money> {
        let first = self.steps.first()?.service.price;
        let amount = self.steps.iter().map(|step| step.service.price.amount).sum();
        Some(Money { amount, ..first })
    }

    /// The service that lays the grid of starts: the first. What comes behind it is looked at on its
    /// own when there is more.
    #[must_use]
    pub fn first(&self) -> Option<(ServiceId, Cow<'_, Service>)> {
        let Step { service_id, service, .. } = self.steps.first()?;
        if self.steps.len() == 1 {
            return Some((*service_id, Cow::Borrowed(service)));
        }
        let alone = Service { buffer_after_minutes: 0, ..service.clone() };
        Some((*service_id, Cow::Owned(alone)))
    }

    /// The stretch of calendars and resources that visits which start within `[from, until]` depend
    /// on.
    #[must_use]
    pub fn deciding_range(
        &self,
        zone: &crate::Zone,
        from: jiff::Timestamp,
        until: jiff::Timestamp,
    ) -> TimeSlot {
        let before = self.steps.iter().map(|step| step.service.buffer_before_minutes).max();
        let after = self.steps.iter().map(|step| step.service.buffer_after_minutes).max();
        super::reach(
            zone,
            (before.unwrap_or_default(), self.minutes(), after.unwrap_or_default()),
            (from, until),
        )
    }
}

impl Need {
    fn of(need: &ResourceNeed, after_minutes: u32, service: &Service) -> Self {
        let end = i64::from(after_minutes) + i64::from(service.duration_minutes);
        Self {
            kind: need.kind.clone(),
            quantity: need.quantity,
            from_minutes: i64::from(after_minutes) - i64::from(service.buffer_before_minutes),
            until_minutes: end + i64::from(service.buffer_after_minutes),
        }
    }
}

/// One use of a kind in all: as much as is ever needed, from the first need to the last, so that a
/// visit never gets in its own way.
fn add(needs: &mut Vec<Need>, need: Need) {
    match needs.iter_mut().find(|other| same(&other.kind, &need.kind)) {
        Some(other) => {
            other.quantity = other.quantity.max(need.quantity);
            // A later service may want more time in front than all before it takes.
            other.from_minutes = other.from_minutes.min(need.from_minutes);
            other.until_minutes = other.until_minutes.max(need.until_minutes);
        }
        None => needs.push(need),
    }
}
