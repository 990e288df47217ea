use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::{CustomerId, notification::Channel};

fn cust(n: u128) -> CustomerId {
    CustomerId::new(Uuid::from_u128(n))
}

fn given(events: Vec<CustomerEvent>) -> cqrs_es::test::AggregateTestExecutor<Customer> {
    TestFramework::<Customer>::with(()).given(events)
}

fn change(expected: Option<u64>) -> CustomerCommand {
    CustomerCommand::ChangeDetails { fields: vec![CustomerField::Email], expected }
}

fn changed() -> CustomerEvent {
    CustomerEvent::DetailsChanged { fields: vec![CustomerField::Email] }
}

fn prefer(channels: Option<&[Channel]>) -> CustomerCommand {
    CustomerCommand::Prefer { reminder_channels: channels.map(<[Channel]>::to_vec) }
}

fn preferred(channels: Option<&[Channel]>) -> CustomerEvent {
    CustomerEvent::PreferencesChanged { reminder_channels: channels.map(<[Channel]>::to_vec) }
}

#[test]
fn what_a_guest_wants_already_is_no_event() {
    let (by_text, nothing) = (Some(&[Channel::Sms][..]), Some(&[][..]));
    given(vec![]).when(prefer(None)).then_expect_events(vec![]);
    given(vec![]).when(prefer(by_text)).then_expect_events(vec![preferred(by_text)]);
    let twice = prefer(Some(&[Channel::Sms, Channel::Email, Channel::Sms]));
    let both = preferred(Some(&Channel::ALL));
    given(vec![]).when(twice.clone()).then_expect_events(vec![both.clone()]);
    given(vec![both]).when(twice).then_expect_events(vec![]);
    given(vec![preferred(by_text)])
        .when(prefer(nothing))
        .then_expect_events(vec![preferred(nothing)]);
    given(vec![preferred(nothing)]).when(prefer(None)).then_expect_events(vec![preferred(None)]);
}

#[test]
fn a_customer_whom_nobody_has_changed_is_in_version_zero() {
    given(vec![]).when(change(Some(0))).then_expect_events(vec![changed()]);
    given(vec![]).when(change(None)).then_expect_events(vec![changed()]);
    let nothing = CustomerCommand::ChangeDetails { fields: vec![], expected: Some(0) };
    given(vec![]).when(nothing).then_expect_events(vec![]);
}

#[test]
fn a_change_that_was_decided_on_an_older_version_is_refused() {
    let absorbed = CustomerEvent::Absorbed { customer_id: cust(2) };
    given(vec![changed(), absorbed])
        .when(change(Some(1)))
        .then_expect_error(CustomerError::Stale { current: 2 });
}

#[test]
fn whoever_was_merged_stays_so_and_is_changed_no_more() {
    let merged = || vec![CustomerEvent::Merged { into: cust(2) }];
    let merge = |into| CustomerCommand::Merge { into };
    given(vec![]).when(merge(cust(2))).then_expect_events(merged());
    given(merged()).when(merge(cust(2))).then_expect_events(vec![]);
    let absorb = CustomerCommand::Absorb { customer_id: cust(3) };
    for command in [merge(cust(3)), change(None), absorb, prefer(None)] {
        given(merged()).when(command).then_expect_error(CustomerError::Merged { into: cust(2) });
    }
}

#[test]
fn one_customer_stands_for_many() {
    let absorb = |n| CustomerCommand::Absorb { customer_id: cust(n) };
    let absorbed = |n| CustomerEvent::Absorbed { customer_id: cust(n) };
    given(vec![absorbed(2)]).when(absorb(3)).then_expect_events(vec![absorbed(3)]);
}
