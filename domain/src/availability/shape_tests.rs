//! Visits that need more than one staff member's time.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    AppointmentId, CustomerId, Decide, Money, ResourceId,
    business::{
        Business, BusinessCommand, BusinessEvent, Profile, Resource, ResourceNeed, SlotGrid,
    },
    resource_calendar::{Holder, Use},
    staff_calendar::{BusyKind, Class},
    staff_schedule::{DayWindow, Window},
};

const CUT: ServiceId = ServiceId::new(Uuid::from_u128(1));
const DYE: ServiceId = ServiceId::new(Uuid::from_u128(2));
const YOGA: ServiceId = ServiceId::new(Uuid::from_u128(3));
const ROOM: ResourceId = ResourceId::new(Uuid::from_u128(4));
const OTHER_ROOM: ResourceId = ResourceId::new(Uuid::from_u128(5));
const DANA: StaffId = StaffId::new(Uuid::from_u128(6));
const EVE: StaffId = StaffId::new(Uuid::from_u128(7));

fn at(text: &str) -> Timestamp {
    format!("2026-03-02T{text}:00Z").parse().unwrap()
}

fn local(starts: &[TimeSlot]) -> Vec<String> {
    let show = |slot: &TimeSlot| slot.start().to_string()[11..16].to_owned();
    starts.iter().map(show).collect()
}

/// Open from 9 to 12 UTC each day; starts at full half hours.
struct Salon {
    business: Business,
    hours: Hours,
    busy: std::collections::BTreeMap<StaffId, Vec<Busy>>,
    uses: std::collections::BTreeMap<ResourceId, Vec<(Holder, Use)>>,
    counts: Counts,
}

fn price(amount: i64) -> Money {
    Money { amount, currency: crate::Currency::USD }
}

impl Salon {
    fn new() -> Self {
        let mut profile = Profile::new("Salon".into(), "salon".into(), Zone::UTC);
        profile.booking_policy.slot_grid = SlotGrid::Aligned;
        profile.booking_policy.slot_step_minutes = Some(30);
        let mut business = Business::default();
        business.evolve(BusinessEvent::Registered { profile });
        let window = Window { start: "09:00".parse().unwrap(), end: "12:00".parse().unwrap() };
        let weekly = (0..7).map(|day| DayWindow { day, window }).collect();
        let hours = Hours { weekly, ..Hours::default() };
        let mut salon = Self {
            business,
            hours,
            busy: std::collections::BTreeMap::new(),
            uses: std::collections::BTreeMap::new(),
            counts: Counts::default(),
        };
        for (staff_id, name) in [(DANA, "Dana"), (EVE, "Eve")] {
            let member = StaffMember::new(name);
            salon.does(BusinessCommand::AddStaff { staff_id, member });
        }
        for (resource_id, name) in [(ROOM, "One"), (OTHER_ROOM, "Two")] {
            let resource = Resource { name: name.into(), kind: "Room".into(), capacity: 1 };
            salon.does(BusinessCommand::AddResource { resource_id, resource });
        }
        salon.offers(CUT, Service::new("Cut", 30, price(3_000)));
        salon.offers(DYE, Service::new("Dye", 60, price(5_000)));
        salon.offers(YOGA, Service { capacity: 3, ..Service::new("Yoga", 60, price(1_000)) });
        salon
    }

    fn does(&mut self, command: BusinessCommand) {
        for event in self.business.decide(command).unwrap() {
            self.business.evolve(event);
        }
    }

    fn offers(&mut self, service_id: ServiceId, service: Service) {
        self.does(BusinessCommand::AddService { service_id, service });
    }

    fn needs_rooms(&mut self, service_id: ServiceId, quantity: u32) {
        let needs = vec![ResourceNeed { kind: "room".into(), quantity }];
        let change =
            crate::business::ServiceChange { resources: Some(needs), ..Default::default() };
        self.does(BusinessCommand::ChangeService { service_id, change, expected: None });
    }

    fn state(&self) -> &BusinessState {
        self.business.registered().unwrap()
    }

    fn shape(&self, services: &[ServiceId], subjects: u32) -> Shape {
        let asked = |id: &ServiceId| Asked { service_id: *id, staff_id: None };
        let asked: Vec<Asked> = services.iter().map(asked).collect();
        Shape::of(self.state(), &asked, subjects).unwrap()
    }

    fn busy_of(&self, staff_id: StaffId) -> &[Busy] {
        self.busy.get(&staff_id).map_or(&[], Vec::as_slice)
    }

    /// Calls `then` with the rules of a shape that Dana begins.
    fn rules<T>(&self, shape: &Shape, then: impl FnOnce(&Rules<'_>, &[Busy]) -> T) -> T {
        let able = |staff_id| {
            let member = &self.state().staff[&staff_id].value;
            Some(Able { staff_id, member, hours: &self.hours, busy: self.busy_of(staff_id) })
        };
        let uses = |id| self.uses.get(&id).cloned().unwrap_or_default();
        let beside = shape.beside(self.state(), able, uses);
        let first = shape.first().unwrap();
        let service = (first.0, &*first.1);
        let rules = Rules::with(self.state(), service, DANA, &self.hours, &self.counts).unwrap();
        then(&Rules { beside: &beside, ..rules }, self.busy_of(DANA))
    }

    fn starts(&self, shape: &Shape) -> Vec<String> {
        let (from, until, now) = (at("00:00"), at("23:00"), at("00:00"));
        self.rules(shape, |rules, busy| local(&slots(rules, busy, from, until, now)))
    }

    fn check(&self, shape: &Shape, start: &str) -> Result<Plan, Refusal> {
        let none = Waived::default();
        self.rules(shape, |rules, busy| check_waiving(rules, busy, at(start), at("00:00"), none))
    }

    /// Books what Dana begins.
    fn book(&mut self, n: u128, shape: &Shape, start: &str) -> Result<Visit, Refusal> {
        let plan = self.check(shape, start)?;
        let customer_id = CustomerId::new(Uuid::nil());
        let visit = plan.visit(shape, customer_id, vec![], &Zone::UTC).unwrap();
        let id = AppointmentId::new(Uuid::from_u128(n));
        let holder = visit.holder(id);
        for held in visit.held() {
            let kind = visit.class.map_or(BusyKind::Visit(id), BusyKind::Class);
            let all = self.busy.entry(held.staff_id).or_default();
            let met = all.iter_mut().find_map(|busy| match (&mut busy.kind, visit.class) {
                (BusyKind::Class(met), Some(class)) if met.session_id == class.session_id => {
                    Some(met)
                }
                _ => None,
            });
            match (met, visit.class) {
                (Some(met), Some(class)) => met.seats += class.seats,
                _ => all.push(Busy {
                    kind,
                    slot: held.slot,
                    buffer_before_minutes: held.buffer_before_minutes,
                    buffer_after_minutes: held.buffer_after_minutes,
                }),
            }
        }
        for used in &visit.resources {
            self.uses.entry(used.resource_id).or_default().push((holder, used.usage()));
        }
        Ok(visit)
    }

    /// As the salon, but Eve is away.
    fn alone(mut self) -> Self {
        self.does(BusinessCommand::RemoveStaff { staff_id: EVE });
        self
    }
}

use crate::appointment::Visit;

#[test]
fn a_service_that_needs_a_room_is_offered_while_one_is_free() {
    let mut salon = Salon::new();
    salon.needs_rooms(CUT, 1);
    let cut = salon.shape(&[CUT], 1);
    assert_eq!(salon.starts(&cut).len(), 6);
    let held = Holder::Visit(AppointmentId::new(Uuid::from_u128(9)));
    let used =
        |start, end| Use { slot: TimeSlot::try_new(at(start), at(end)).unwrap(), quantity: 1 };
    salon.uses.insert(ROOM, vec![(held, used("09:00", "10:00"))]);
    salon.uses.insert(OTHER_ROOM, vec![(held, used("09:30", "10:30"))]);
    assert_eq!(salon.starts(&cut), ["09:00", "10:00", "10:30", "11:00", "11:30"]);
    let refused = Refusal::NoResource { kind: "room".into(), by: Some(held) };
    assert_eq!(salon.check(&cut, "09:30"), Err(refused));
    let plan = salon.check(&cut, "09:00").unwrap();
    assert_eq!(plan.resources[0].resource_id, OTHER_ROOM, "the one that is free");
}

#[test]
fn a_room_is_kept_with_the_buffers_and_too_few_are_never_enough() {
    let mut salon = Salon::new();
    let change =
        crate::business::ServiceChange { buffer_after_minutes: Some(15), ..Default::default() };
    salon.does(BusinessCommand::ChangeService { service_id: CUT, change, expected: None });
    salon.needs_rooms(CUT, 2);
    let cut = salon.shape(&[CUT], 1);
    let visit = salon.book(1, &cut, "09:00").unwrap();
    assert_eq!(visit.resources.len(), 2);
    assert_eq!(visit.resources[0].slot.end(), at("09:45"));
    // Eve is free, but no room is before the first is cleaned.
    salon.busy.clear();
    assert_eq!(salon.starts(&cut), ["10:00", "10:30", "11:00", "11:30"]);
    salon.needs_rooms(CUT, 3);
    let cut = salon.shape(&[CUT], 1);
    assert!(salon.starts(&cut).is_empty());
    assert_eq!(
        salon.check(&cut, "11:00"),
        Err(Refusal::NoResource { kind: "room".into(), by: None })
    );
}

#[test]
fn a_class_is_offered_until_it_is_full_and_nobody_else_has_its_time() {
    let mut salon = Salon::new();
    let (one, two) = (salon.shape(&[YOGA], 1), salon.shape(&[YOGA], 2));
    let visit = salon.book(1, &two, "10:00").unwrap();
    assert_eq!(visit.price, price(2_000));
    assert_eq!(salon.starts(&one), ["09:00", "10:00", "11:00"]);
    assert_eq!(salon.starts(&two), ["09:00", "11:00"]);
    assert_eq!(salon.check(&two, "10:00"), Err(Refusal::ClassFull { left: 1 }));
    let session = Class::session(DANA, YOGA, at("10:00"));
    let cut = salon.shape(&[CUT], 1);
    assert_eq!(salon.check(&cut, "10:00"), Err(Refusal::InClass { by: session }));
    assert_eq!(salon.check(&one, "10:30"), Err(Refusal::InClass { by: session }));
    let left = |salon: &Salon| {
        let slot = TimeSlot::lasting(at("10:00"), 60).unwrap();
        salon.rules(&one, |rules, busy| remaining(rules, busy, &slot))
    };
    assert_eq!(left(&salon), Some(1));
    salon.book(2, &one, "10:00").unwrap();
    assert_eq!((left(&salon), salon.starts(&one)), (Some(0), vec!["09:00".into(), "11:00".into()]));
}

#[test]
fn whoever_joins_a_class_needs_no_further_room_and_counts_for_no_limit() {
    let mut salon = Salon::new();
    salon.needs_rooms(YOGA, 2);
    let change =
        crate::business::ServiceChange { max_per_day: Some(Some(1)), ..Default::default() };
    salon.does(BusinessCommand::ChangeService { service_id: YOGA, change, expected: None });
    let yoga = salon.shape(&[YOGA], 1);
    let first = salon.book(1, &yoga, "10:00").unwrap();
    assert_eq!(first.resources.len(), 2);
    salon.counts.add(&Zone::UTC, at("10:00"), true, DANA, Some(YOGA));
    assert_eq!(salon.starts(&yoga), ["10:00"], "another meeting would be one too many");
    assert!(salon.book(2, &yoga, "10:00").unwrap().resources.is_empty());
    assert!(matches!(salon.check(&yoga, "11:00"), Err(Refusal::LimitReached { .. })));
}

#[test]
fn several_services_follow_one_another_and_add_up() {
    let mut salon = Salon::new().alone();
    let both = salon.shape(&[CUT, DYE], 1);
    assert_eq!((both.minutes(), both.price()), (90, Some(price(8_000))));
    assert_eq!(salon.starts(&both), ["09:00", "09:30", "10:00", "10:30"]);
    let visit = salon.book(1, &both, "09:30").unwrap();
    assert_eq!(visit.slot, TimeSlot::lasting(at("09:30"), 90).unwrap());
    let parts: Vec<_> =
        visit.parts.iter().map(|part| (part.service_id, part.slot.start())).collect();
    assert_eq!(parts, [(CUT, at("09:30")), (DYE, at("10:00"))]);
    assert_eq!(visit.held().len(), 1);
    assert_eq!(salon.starts(&salon.shape(&[CUT], 1)), ["09:00", "11:00", "11:30"]);
    assert!(salon.starts(&both).is_empty());
    // For two guests everything takes twice as long.
    let salon = Salon::new().alone();
    let twice = salon.shape(&[CUT, DYE], 2);
    assert_eq!((twice.minutes(), twice.price()), (180, Some(price(16_000))));
    assert_eq!(salon.starts(&twice), ["09:00"]);
}

#[test]
fn what_follows_is_done_by_whoever_is_free() {
    let mut salon = Salon::new();
    let cut = salon.shape(&[CUT], 1);
    salon.book(1, &cut, "10:00").unwrap();
    let both = salon.shape(&[CUT, DYE], 1);
    let plan = salon.check(&both, "09:30").unwrap();
    let staff: Vec<StaffId> = plan.parts.iter().map(|part| part.staff_id).collect();
    assert_eq!(staff, [DANA, EVE], "Dana has somebody at ten");
    let plan = salon.check(&both, "10:30").unwrap();
    assert!(plan.parts.iter().all(|part| part.staff_id == DANA), "no change without need");
    let salon = salon.alone();
    let taken = Refusal::Taken { by: AppointmentId::new(Uuid::from_u128(1)) };
    assert_eq!(salon.check(&both, "09:30"), Err(taken));
}

#[test]
fn whoever_serves_twice_is_kept_for_the_time_between() {
    let mut salon = Salon::new();
    let only = |id| Some(vec![id]);
    for (service_id, staff_ids) in [(CUT, only(DANA)), (DYE, only(EVE))] {
        let change =
            crate::business::ServiceChange { staff_ids: Some(staff_ids), ..Default::default() };
        salon.does(BusinessCommand::ChangeService { service_id, change, expected: None });
    }
    let three = salon.shape(&[CUT, DYE, CUT], 1);
    let visit = salon.book(1, &three, "09:00").unwrap();
    let held = visit.held();
    assert_eq!(held.len(), 2);
    assert_eq!(held[0].slot, TimeSlot::lasting(at("09:00"), 120).unwrap());
    assert_eq!(held[1].slot, TimeSlot::lasting(at("09:30"), 60).unwrap());
    assert_eq!(salon.starts(&salon.shape(&[CUT], 1)), ["11:00", "11:30"]);
}

#[test]
fn what_does_not_fit_into_one_visit_names_its_field() {
    let salon = Salon::new();
    let errors = |shape: Shape| {
        let mut fields = crate::Fields::default();
        shape.validate(&mut fields);
        let errors = fields.done().err().unwrap_or_default();
        errors.into_iter().map(|error| error.field).collect::<Vec<_>>()
    };
    assert!(errors(salon.shape(&[CUT, DYE], 2)).is_empty());
    assert_eq!(errors(salon.shape(&[CUT, YOGA], 1)), ["also"]);
    assert_eq!(errors(salon.shape(&[YOGA], 4)), ["subjects"]);
    assert_eq!(errors(salon.shape(&[CUT], 11)), ["subjects"]);
}

proptest! {
    /// However visits of all kinds are mixed: what is listed can be booked and what is not is refused,
    /// explaining says so too, and nothing is used twice.
    #[test]
    fn listing_booking_and_explaining_agree_for_visits_of_all_kinds(
        wishes in prop::collection::vec((0_usize..7, 0_i64..8), 1..14),
        rooms in 0_u32..3,
    ) {
        let mut salon = Salon::new();
        if rooms > 0 {
            salon.needs_rooms(CUT, rooms);
            salon.needs_rooms(YOGA, 1);
        }
        let kinds: [(&[ServiceId], u32); 7] = [
            (&[CUT], 1), (&[DYE], 1), (&[YOGA], 1), (&[YOGA], 2), (&[CUT, DYE], 1),
            (&[DYE, CUT, CUT], 1), (&[CUT], 2),
        ];
        for (n, (kind, half_hour)) in wishes.into_iter().enumerate() {
            let shape = salon.shape(kinds[kind].0, kinds[kind].1);
            let start = at("08:30") + SignedDuration::from_mins(30 * half_hour);
            let text = start.to_string()[11..16].to_owned();
            let listed = salon.starts(&shape).contains(&text);
            let refused = salon.rules(&shape, |rules, busy| {
                refusals(rules, busy, start, at("00:00"))
            });
            prop_assert_eq!(listed, refused.is_empty(), "{} {:?}", text, refused);
            let booked = salon.book(n as u128 + 100, &shape, &text);
            prop_assert_eq!(booked.is_ok(), listed);
            if let Err(refusal) = booked {
                prop_assert_eq!(Some(&refusal), refused.first());
            }
        }
        for all in salon.busy.values() {
            for (n, one) in all.iter().enumerate() {
                prop_assert!(!all[n + 1..].iter().any(|other| other.slot.overlaps(&one.slot)));
                if let BusyKind::Class(class) = one.kind {
                    prop_assert!(class.seats <= class.capacity);
                }
            }
        }
        for all in salon.uses.values() {
            for (n, (_, one)) in all.iter().enumerate() {
                prop_assert!(!all[n + 1..].iter().any(|(_, other)| other.slot.overlaps(&one.slot)));
            }
        }
    }
}
