use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::{Currency, Money, ServiceId, StaffId, Zone};

fn profile() -> Profile {
    Profile::new("Salon Dana".into(), "salon-dana".into(), Zone::UTC)
}

fn cut() -> Service {
    Service {
        name: "Cut".into(),
        description: None,
        duration_minutes: 45,
        price: Money { amount: 4500, currency: Currency::USD },
        buffer_before_minutes: 0,
        buffer_after_minutes: 10,
        staff_ids: None,
    }
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
        member: StaffMember { name: format!("S{n}"), active, kind: None, service_ids },
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
    let member = StaffMember { name: "Dana".into(), active: true, kind: None, service_ids: None };
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
