use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::{ClosureId, Currency, Decide, Money, ServiceId, StaffId, Zone};

fn profile() -> Profile {
    Profile::new("Salon Dana".into(), "salon-dana".into(), Zone::UTC)
}

fn cut() -> Service {
    let price = Money { amount: 4500, currency: Currency::USD };
    Service { buffer_after_minutes: 10, ..Service::new("Cut", 45, price) }
}

fn registered() -> BusinessEvent {
    BusinessEvent::Registered { profile: profile() }
}

fn service_id() -> ServiceId {
    ServiceId::new(Uuid::from_u128(1))
}

fn invalid_fields(error: BusinessError) -> Vec<String> {
    let BusinessError::Invalid(errors) = error else { panic!("{error:?}") };
    errors.into_iter().map(|e| e.field).collect()
}

#[test]
fn a_business_registers_once() {
    let register = BusinessCommand::Register { profile: profile() };
    TestFramework::<Business>::with(())
        .given_no_previous_events()
        .when(register.clone())
        .then_expect_events(vec![registered()]);
    TestFramework::<Business>::with(())
        .given(vec![registered()])
        .when(register)
        .then_expect_error(BusinessError::AlreadyRegistered);
}

#[test]
fn every_bad_field_of_a_service_is_named() {
    let service = Service {
        name: " ".into(),
        duration_minutes: 0,
        price: Money { amount: -1, currency: "EUR".parse().unwrap() },
        staff_ids: Some(vec![StaffId::new(Uuid::nil())]),
        ..cut()
    };
    let refused = TestFramework::<Business>::with(())
        .given(vec![registered()])
        .when(BusinessCommand::AddService { service_id: service_id(), service })
        .inspect_result()
        .unwrap_err();
    assert_eq!(
        invalid_fields(refused),
        ["name", "duration_minutes", "price.amount", "price.currency", "staff_ids[0]"]
    );
}

#[test]
fn a_stale_edit_is_refused_and_a_change_elsewhere_does_not_make_it_stale() {
    let added = BusinessEvent::ServiceAdded { service_id: service_id(), service: cut() };
    let other = BusinessEvent::ServiceAdded {
        service_id: ServiceId::new(Uuid::from_u128(2)),
        service: cut(),
    };
    let change = |expected| BusinessCommand::ChangeService {
        service_id: service_id(),
        change: ServiceChange { duration_minutes: Some(60), ..ServiceChange::default() },
        expected: Some(expected),
    };
    let given = || {
        TestFramework::<Business>::with(()).given(vec![registered(), added.clone(), other.clone()])
    };
    given().when(change(1)).then_expect_error(BusinessError::Stale { current: 2 });
    given().when(change(2)).then_expect_events(vec![BusinessEvent::ServiceChanged {
        service_id: service_id(),
        service: Service { duration_minutes: 60, ..cut() },
    }]);
}

#[test]
fn only_active_staff_who_offer_the_service_can_be_booked_for_it() {
    let staff = |n: u128, active, service_ids| BusinessEvent::StaffAdded {
        staff_id: StaffId::new(Uuid::from_u128(n)),
        member: StaffMember { active, service_ids, ..StaffMember::new(format!("S{n}")) },
    };
    let mut business = Business::default();
    for event in [
        registered(),
        BusinessEvent::ServiceAdded { service_id: service_id(), service: cut() },
        staff(1, true, None),
        staff(2, false, None),
        staff(3, true, Some(vec![])),
        staff(4, true, Some(vec![service_id()])),
    ] {
        cqrs_es::Aggregate::apply(&mut business, event);
    }
    let able: Vec<_> = business
        .registered()
        .unwrap()
        .staff_for(service_id())
        .map(|s| s.uuid().as_u128())
        .collect();
    assert_eq!(able, [1, 4]);
}

#[test]
fn reminder_offsets_are_few_distinct_and_positive() {
    let refused = TestFramework::<Business>::with(())
        .given(vec![registered()])
        .when(BusinessCommand::ChangeProfile {
            change: ProfileChange {
                reminder_offsets_minutes: Some(vec![60, 60, 0]),
                ..ProfileChange::default()
            },
            expected: None,
        })
        .inspect_result()
        .unwrap_err();
    assert_eq!(
        invalid_fields(refused),
        ["reminder_offsets_minutes[1]", "reminder_offsets_minutes[2]"]
    );
}

#[test]
fn a_service_can_be_edited_after_somebody_who_was_listed_left() {
    let staff_id = StaffId::new(Uuid::from_u128(7));
    let member = StaffMember::new("Dana");
    let listed = Service { staff_ids: Some(vec![staff_id]), ..cut() };
    TestFramework::<Business>::with(())
        .given(vec![
            registered(),
            BusinessEvent::StaffAdded { staff_id, member },
            BusinessEvent::ServiceAdded { service_id: service_id(), service: listed.clone() },
            BusinessEvent::StaffRemoved { staff_id },
        ])
        .when(BusinessCommand::ChangeService {
            service_id: service_id(),
            change: ServiceChange { duration_minutes: Some(60), ..ServiceChange::default() },
            expected: None,
        })
        .then_expect_events(vec![BusinessEvent::ServiceChanged {
            service_id: service_id(),
            service: Service { duration_minutes: 60, ..listed },
        }]);
}

fn closure(from: &str, to: &str, reason: Option<&str>) -> Closure {
    Closure {
        date_from: from.parse().unwrap(),
        date_to: to.parse().unwrap(),
        reason: reason.map(str::to_owned),
    }
}

#[test]
fn a_closure_is_added_once_and_taken_back_once() {
    let closure_id = ClosureId::new(Uuid::from_u128(5));
    let closure = closure("2026-12-24", "2026-12-26", Some("Christmas"));
    let add = BusinessCommand::AddClosure { closure_id, closure: closure.clone() };
    let added = BusinessEvent::ClosureAdded { closure_id, closure };
    let given = |events: &[&BusinessEvent]| {
        let events = [&registered()].into_iter().chain(events.iter().copied()).cloned().collect();
        TestFramework::<Business>::with(()).given(events)
    };
    given(&[]).when(add.clone()).then_expect_events(vec![added.clone()]);
    given(&[&added]).when(add).then_expect_events(vec![]);
    let remove = BusinessCommand::RemoveClosure { closure_id };
    let removed = BusinessEvent::ClosureRemoved { closure_id };
    given(&[&added]).when(remove.clone()).then_expect_events(vec![removed.clone()]);
    given(&[&added, &removed]).when(remove).then_expect_error(BusinessError::NotFound);
}

#[test]
fn there_is_an_end_to_how_many_closures_there_are() {
    let one =
        |n: u128| (ClosureId::new(Uuid::from_u128(n)), closure("2026-12-24", "2026-12-24", None));
    let mut given = vec![registered()];
    given.extend(
        (0..366)
            .map(one)
            .map(|(closure_id, closure)| BusinessEvent::ClosureAdded { closure_id, closure }),
    );
    let (closure_id, closure) = one(366);
    TestFramework::<Business>::with(())
        .given(given)
        .when(BusinessCommand::AddClosure { closure_id, closure })
        .then_expect_error(BusinessError::Full { what: "closures", limit: 366 });
}

#[test]
fn a_closure_lasts_a_year_at_most_and_its_label_is_short() {
    let fields = |closure| {
        let closure_id = ClosureId::new(Uuid::from_u128(5));
        let refused = TestFramework::<Business>::with(())
            .given(vec![registered()])
            .when(BusinessCommand::AddClosure { closure_id, closure })
            .inspect_result();
        refused.err().map(invalid_fields).unwrap_or_default()
    };
    assert_eq!(fields(closure("2026-12-24", "2026-12-23", None)), ["date_to"]);
    assert_eq!(fields(closure("2026-01-01", "2027-01-01", None)), [""; 0]);
    assert_eq!(fields(closure("2026-01-01", "2027-01-02", None)), ["date_to"]);
    let long = "x".repeat(121);
    assert_eq!(fields(closure("2026-12-24", "2026-12-24", Some(&long))), ["reason"]);
}

/// Rows of the read model that were written before there were such rules must be those of a rebuild.
#[test]
fn a_business_that_sets_no_rules_is_kept_as_before() {
    let mut business = Business::default();
    let (staff_id, member) = (StaffId::new(Uuid::from_u128(7)), StaffMember::new("Dana"));
    for event in [
        registered(),
        BusinessEvent::ServiceAdded { service_id: service_id(), service: cut() },
        BusinessEvent::StaffAdded { staff_id, member },
    ] {
        cqrs_es::Aggregate::apply(&mut business, event);
    }
    let kept = serde_json::to_value(&business).unwrap();
    let text = kept.to_string();
    for new in ["closures", "skills", "max_per", "weekly_summary"] {
        assert!(!text.contains(new), "{text}");
    }
    assert_eq!(text.matches("min_notice_minutes").count(), 1, "only the policy has one: {text}");
    assert_eq!(serde_json::from_value::<Business>(kept).unwrap(), business);
}

fn skills(all: &[&str]) -> Skills {
    all.iter().map(|skill| (*skill).to_owned()).collect::<Vec<_>>().into()
}

#[test]
fn a_service_is_done_only_by_those_who_have_every_skill_that_it_asks_for() {
    let staff = |n: u128, all: &[&str]| BusinessEvent::StaffAdded {
        staff_id: StaffId::new(Uuid::from_u128(n)),
        member: StaffMember { skills: skills(all), ..StaffMember::new(format!("S{n}")) },
    };
    let mut business = Business::default();
    let service = Service {
        skills: skills(&["Colour", "Ombré"]),
        staff_ids: Some([1, 2, 3, 4].map(|n| StaffId::new(Uuid::from_u128(n))).into()),
        ..cut()
    };
    for event in [
        registered(),
        staff(1, &[]),
        staff(2, &["colour"]),
        staff(3, &["OMBRÉ", "Cut", "colour"]),
        staff(4, &["Ombré", "Colours"]),
        staff(5, &["Colour", "Ombré"]),
        BusinessEvent::ServiceAdded { service_id: service_id(), service },
    ] {
        cqrs_es::Aggregate::apply(&mut business, event);
    }
    let state = business.registered().unwrap();
    let able: Vec<_> = state.staff_for(service_id()).map(|s| s.uuid().as_u128()).collect();
    assert_eq!(able, [3], "the fifth has the skills, but the service does not name them");
    let others = state.services_of(StaffId::new(Uuid::from_u128(4)));
    assert_eq!(others.count(), 0);
}

#[test]
fn skills_are_short_distinct_and_tidy_and_rules_of_a_service_lie_in_the_limits_of_the_policy() {
    let fields = |service| {
        let refused = TestFramework::<Business>::with(())
            .given(vec![registered()])
            .when(BusinessCommand::AddService { service_id: service_id(), service })
            .inspect_result();
        refused.err().map(invalid_fields).unwrap_or_default()
    };
    let long = "x".repeat(61);
    let odd = skills(&["Cut", "", "cUT", " Wash", &long]);
    assert_eq!(
        fields(Service { skills: odd.clone(), ..cut() }),
        ["skills[1]", "skills[2]", "skills[3]", "skills[4]"]
    );
    let many: Vec<String> = (0..51).map(|n| format!("skill {n}")).collect();
    assert_eq!(fields(Service { skills: many.into(), ..cut() }), ["skills"]);
    let service = |notice, days| Service {
        min_notice_minutes: Some(notice),
        window_days: Some(days),
        ..cut()
    };
    assert_eq!(fields(service(0, 1)), [""; 0]);
    assert_eq!(fields(service(366 * 1440, 730)), [""; 0]);
    assert_eq!(fields(service(366 * 1440 + 1, 731)), ["min_notice_minutes", "window_days"]);
    assert_eq!(fields(service(0, 0)), ["window_days"]);

    let staff_id = StaffId::new(Uuid::from_u128(7));
    let member = StaffMember { skills: odd, ..StaffMember::new("Dana") };
    let refused = TestFramework::<Business>::with(())
        .given(vec![registered()])
        .when(BusinessCommand::AddStaff { staff_id, member })
        .inspect_result()
        .unwrap_err();
    assert_eq!(invalid_fields(refused).len(), 4);
}

#[test]
fn limits_are_one_to_ten_thousand_visits_and_null_takes_them_away() {
    let staff_id = StaffId::new(Uuid::from_u128(7));
    let added = BusinessEvent::StaffAdded { staff_id, member: StaffMember::new("Dana") };
    let when = |command| {
        TestFramework::<Business>::with(())
            .given(vec![
                registered(),
                added.clone(),
                BusinessEvent::ServiceAdded { service_id: service_id(), service: cut() },
            ])
            .when(command)
    };
    let (max_per_day, max_per_week) = (Some(Some(0)), Some(Some(10_001)));
    let policy = PolicyChange { max_per_day, max_per_week, ..PolicyChange::default() };
    let change = ProfileChange { booking_policy: Some(policy), ..ProfileChange::default() };
    let refused = when(BusinessCommand::ChangeProfile { change, expected: None }).inspect_result();
    assert_eq!(
        invalid_fields(refused.unwrap_err()),
        ["booking_policy.max_per_day", "booking_policy.max_per_week"]
    );
    let change = ServiceChange { max_per_day, max_per_week, ..ServiceChange::default() };
    let service_id = service_id();
    let refused = when(BusinessCommand::ChangeService { service_id, change, expected: None });
    let refused = refused.inspect_result().unwrap_err();
    assert_eq!(invalid_fields(refused), ["max_per_day", "max_per_week"]);

    let limited = StaffMember { max_per_day: Some(10_000), ..StaffMember::new("Dana") };
    let change = |max_per_day| {
        let change = StaffChange { max_per_day, ..StaffChange::default() };
        BusinessCommand::ChangeStaff { staff_id, change, expected: None }
    };
    let changed = BusinessEvent::StaffChanged { staff_id, member: limited };
    when(change(Some(Some(10_000)))).then_expect_events(vec![changed.clone()]);
    TestFramework::<Business>::with(())
        .given(vec![registered(), added.clone(), changed])
        .when(change(Some(None)))
        .then_expect_events(vec![BusinessEvent::StaffChanged {
            staff_id,
            member: StaffMember::new("Dana"),
        }]);
}

#[test]
fn a_service_asks_for_kinds_of_resources_that_there_are() {
    let resource_id = crate::ResourceId::new(Uuid::from_u128(30));
    let resource = Resource { name: "One".into(), kind: "Room".into(), capacity: 1 };
    let added = BusinessEvent::ResourceAdded { resource_id, resource: resource.clone() };
    TestFramework::<Business>::with(())
        .given(vec![registered()])
        .when(BusinessCommand::AddResource { resource_id, resource })
        .then_expect_events(vec![added.clone()]);
    let need = |kind: &str, quantity| ResourceNeed { kind: kind.into(), quantity };
    let asking = |resources| Service { resources, ..cut() };
    let fields = |service: Service| {
        let business = [registered(), added.clone()].into_iter().fold(
            Business::default(),
            |mut business, event| {
                business.evolve(event);
                business
            },
        );
        let command = BusinessCommand::AddService { service_id: service_id(), service };
        match business.decide(command) {
            Ok(_added) => vec![],
            Err(BusinessError::Invalid(errors)) => errors.into_iter().map(|e| e.field).collect(),
            Err(other) => panic!("{other}"),
        }
    };
    assert!(fields(asking(vec![need("room", 2)])).is_empty());
    assert_eq!(fields(asking(vec![need("van", 1)])), ["resources[0].kind"]);
    assert_eq!(
        fields(asking(vec![need("room", 0), need("ROOM", 1)])),
        ["resources[0].quantity", "resources[1].kind"]
    );
    // What is gone may stay asked for, so that other edits are not blocked.
    let asked = BusinessEvent::ServiceAdded {
        service_id: service_id(),
        service: asking(vec![need("room", 1)]),
    };
    let change = ServiceChange { duration_minutes: Some(60), ..ServiceChange::default() };
    let changed = Service { duration_minutes: 60, ..asking(vec![need("room", 1)]) };
    TestFramework::<Business>::with(())
        .given(vec![registered(), added, asked, BusinessEvent::ResourceRemoved { resource_id }])
        .when(BusinessCommand::ChangeService { service_id: service_id(), change, expected: None })
        .then_expect_events(vec![BusinessEvent::ServiceChanged {
            service_id: service_id(),
            service: changed,
        }]);
}

#[test]
fn a_request_is_answered_within_five_minutes_to_thirty_days_and_before_its_visit() {
    let changed = |minutes| {
        let policy =
            PolicyChange { request_expires_minutes: Some(minutes), ..PolicyChange::default() };
        let change = ProfileChange { booking_policy: Some(policy), ..ProfileChange::default() };
        TestFramework::<Business>::with(())
            .given(vec![registered()])
            .when(BusinessCommand::ChangeProfile { change, expected: None })
            .inspect_result()
    };
    for minutes in [4, 30 * 1_440 + 1] {
        let fields = invalid_fields(changed(minutes).unwrap_err());
        assert_eq!(fields, ["booking_policy.request_expires_minutes"]);
    }
    assert!(changed(5).is_ok() && changed(30 * 1_440).is_ok());

    let policy = BookingPolicy::default();
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    let (now, start) = (at("2026-03-01T10:00:00Z"), at("2026-03-02T09:00:00Z"));
    let later = at("2026-03-05T09:00:00Z");
    assert_eq!(policy.request_expires_at(now, later), at("2026-03-02T10:00:00Z"));
    assert_eq!(policy.request_expires_at(now, start), start);
}
