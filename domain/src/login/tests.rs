use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::UserId;

fn user() -> UserId {
    UserId::new(Uuid::nil())
}

fn given(events: Vec<LoginEvent>) -> cqrs_es::test::AggregateTestExecutor<Login> {
    TestFramework::<Login>::with(()).given(events)
}

fn opened() -> LoginEvent {
    LoginEvent::Opened { user_id: user(), means: Means::Password }
}

fn ended(reason: EndReason) -> LoginEvent {
    LoginEvent::Ended { reason }
}

#[test]
fn a_session_ends_once_for_the_first_reason() {
    let end = |reason| LoginCommand::End { reason };
    given(vec![opened()])
        .when(end(EndReason::SignedOut))
        .then_expect_events(vec![ended(EndReason::SignedOut)]);
    given(vec![opened(), ended(EndReason::SignedOut)])
        .when(end(EndReason::TokenReused))
        .then_expect_events(vec![]);
    given(vec![]).when(end(EndReason::SignedOut)).then_expect_error(LoginError::NotFound);
}

#[test]
fn nobody_is_let_in_under_an_id_that_was_used() {
    let open = || LoginCommand::Open { user_id: user(), means: Means::Password };
    given(vec![]).when(open()).then_expect_events(vec![opened()]);
    let refused = LoginEvent::Refused { user_id: user() };
    for there in [vec![opened()], vec![opened(), ended(EndReason::SignedOut)], vec![refused]] {
        given(there.clone()).when(open()).then_expect_error(LoginError::AlreadyThere);
        let refuse = LoginCommand::Refuse { user_id: user() };
        given(there).when(refuse).then_expect_error(LoginError::AlreadyThere);
    }
}
