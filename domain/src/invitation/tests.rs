use cqrs_es::test::TestFramework;
use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::{
    UserId,
    team::{Place, TeamError},
    user::Role,
};

fn given(events: Vec<InvitationEvent>) -> cqrs_es::test::AggregateTestExecutor<Invitation> {
    TestFramework::<Invitation>::with(()).given(events)
}

fn later() -> Timestamp {
    "2026-03-09T09:00:00Z".parse().unwrap()
}

fn sent() -> InvitationEvent {
    InvitationEvent::Sent { place: place(Role::Admin), expires_at: later() }
}

const fn place(role: Role) -> Place {
    Place { role, staff_id: None }
}

fn accept() -> InvitationCommand {
    InvitationCommand::Accept { user_id: UserId::new(Uuid::nil()) }
}

#[test]
fn an_invitation_is_good_once() {
    let accepted = || InvitationEvent::Accepted { user_id: UserId::new(Uuid::nil()) };
    given(vec![sent()]).when(accept()).then_expect_events(vec![accepted()]);
    let withdraw = || InvitationCommand::Withdraw;
    given(vec![sent()]).when(withdraw()).then_expect_events(vec![InvitationEvent::Withdrawn {}]);
    let withdrawn = || vec![sent(), InvitationEvent::Withdrawn {}];
    given(withdrawn()).when(withdraw()).then_expect_events(vec![]);
    for spent in [vec![sent(), accepted()], withdrawn()] {
        given(spent).when(accept()).then_expect_error(InvitationError::Spent);
    }
    given(vec![sent(), accepted()]).when(withdraw()).then_expect_error(InvitationError::Spent);
    given(vec![]).when(accept()).then_expect_error(InvitationError::NotFound);
}

#[test]
fn owners_are_invited_by_owners() {
    let send = |role, by| InvitationCommand::Send { place: place(role), by, expires_at: later() };
    let refused = InvitationError::Place(TeamError::OwnersOnly);
    given(vec![]).when(send(Role::Owner, Role::Admin)).then_expect_error(refused);
    given(vec![]).when(send(Role::Admin, Role::Admin)).then_expect_events(vec![sent()]);
    let lost = InvitationError::Place(TeamError::NoCalendar);
    given(vec![]).when(send(Role::Staff, Role::Owner)).then_expect_error(lost);
}
