use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::{StaffId, UserId, user::Role};

fn user() -> UserId {
    UserId::new(Uuid::nil())
}

fn place(role: Role) -> Place {
    Place { role, staff_id: (role == Role::Staff).then(|| StaffId::new(Uuid::nil())) }
}

fn when(command: TeamCommand) -> cqrs_es::test::AggregateResultValidator<Team> {
    TestFramework::<Team>::with(()).given_no_previous_events().when(command)
}

fn change(from: Role, to: Role, by: Role, other_owners: usize) -> TeamCommand {
    let (from, to) = (place(from), place(to));
    TeamCommand::ChangePlace { user_id: user(), from, to, by, other_owners }
}

fn leave(from: Role, by: Option<Role>, other_owners: usize) -> TeamCommand {
    TeamCommand::Leave { user_id: user(), from: place(from), by, other_owners }
}

#[test]
fn there_is_always_an_owner() {
    when(change(Role::Owner, Role::Admin, Role::Owner, 0)).then_expect_error(TeamError::LastOwner);
    when(leave(Role::Owner, None, 0)).then_expect_error(TeamError::LastOwner);
    let left = TeamEvent::Left { user_id: user() };
    when(leave(Role::Owner, None, 1)).then_expect_events(vec![left]);
}

#[test]
fn owners_are_made_and_unmade_by_owners() {
    for (from, to) in [(Role::Owner, Role::Staff), (Role::Admin, Role::Owner)] {
        when(change(from, to, Role::Admin, 3)).then_expect_error(TeamError::OwnersOnly);
        let changed = TeamEvent::PlaceChanged { user_id: user(), place: place(to) };
        when(change(from, to, Role::Owner, 3)).then_expect_events(vec![changed]);
    }
    when(leave(Role::Owner, Some(Role::Admin), 3)).then_expect_error(TeamError::OwnersOnly);
    let left = TeamEvent::Left { user_id: user() };
    when(leave(Role::Staff, Some(Role::Admin), 1)).then_expect_events(vec![left]);
}

#[test]
fn staff_have_a_calendar_of_their_own() {
    let lost = Place { role: Role::Staff, staff_id: None };
    let join = |place| TeamCommand::Join { user_id: user(), place };
    when(join(lost)).then_expect_error(TeamError::NoCalendar);
    let joined = TeamEvent::Joined { user_id: user(), place: place(Role::Staff) };
    when(join(place(Role::Staff))).then_expect_events(vec![joined]);
    let to = TeamCommand::ChangePlace {
        user_id: user(),
        from: place(Role::Admin),
        to: lost,
        by: Role::Owner,
        other_owners: 1,
    };
    when(to).then_expect_error(TeamError::NoCalendar);
    when(change(Role::Admin, Role::Admin, Role::Admin, 1)).then_expect_events(vec![]);
}
