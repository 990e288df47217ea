use std::collections::BTreeSet;

use cqrs_es::test::TestFramework;

use super::*;

fn given(events: Vec<ApiKeyEvent>) -> cqrs_es::test::AggregateTestExecutor<ApiKey> {
    TestFramework::<ApiKey>::with(()).given(events)
}

fn create(name: &str, scopes: &[Scope], expires: Option<&str>) -> ApiKeyCommand {
    ApiKeyCommand::Create {
        name: name.to_owned(),
        scopes: scopes.iter().copied().collect(),
        expires_at: expires.map(|at| at.parse().unwrap()),
        now: "2026-03-02T09:00:00Z".parse().unwrap(),
    }
}

fn created() -> ApiKeyEvent {
    let scopes = BTreeSet::from([Scope::AppointmentsRead]);
    ApiKeyEvent::Created { name: "Till".to_owned(), scopes, expires_at: None }
}

#[test]
fn a_key_is_good_until_it_is_revoked() {
    let good = create("Till", &[Scope::AppointmentsRead], None);
    given(vec![]).when(good).then_expect_events(vec![created()]);
    let revoke = || ApiKeyCommand::Revoke;
    given(vec![created()]).when(revoke()).then_expect_events(vec![ApiKeyEvent::Revoked {}]);
    given(vec![created(), ApiKeyEvent::Revoked {}]).when(revoke()).then_expect_events(vec![]);
    given(vec![]).when(revoke()).then_expect_error(ApiKeyError::NotFound);
}

#[test]
fn a_key_has_a_name_a_scope_and_an_end_that_is_not_over() {
    let all = create(" ", &[], Some("2026-03-02T09:00:00Z"));
    let ApiKeyError::Invalid(errors) = crate::Decide::decide(&ApiKey::Unknown, all).unwrap_err()
    else {
        panic!("the fields are wrong");
    };
    let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["name", "scopes", "expires_at"]);
}

#[test]
fn every_scope_is_read_by_its_name() {
    for scope in Scope::ALL {
        assert_eq!(scope.as_str().parse(), Ok(scope));
    }
    assert!("everything".parse::<Scope>().unwrap_err().starts_with("must be one of business:read"));
}
