//! What is kept, and when it must not be.

use std::sync::Arc;

use domain::{
    StaffId,
    business::{BusinessCommand, PolicyChange, ProfileChange},
    staff_schedule::{Hours, StaffSchedule, StaffScheduleEvent},
};
use jiff::{SignedDuration, Timestamp};
use projections::{
    ReadError,
    availability::{Answer, Answers, Place, SlotQuery, SlotsError},
};
use sqlx::Connection;
use streams::{
    Database,
    log::{Log, StreamKey},
};
use testkit::postgres::TestDatabase;

use crate::salon::{Listed, Salon, at, catch_up, process, project};

/// A Sunday: the week lies ahead.
pub(crate) const NOW: &str = "2026-03-01T08:00:00Z";

async fn listed(
    process: &Answers<Listed>,
    query: &SlotQuery,
    now: Timestamp,
) -> Arc<Answer<Listed>> {
    process.answer(query, None, now).await.unwrap()
}

/// A salon that the model knows, and two processes that answer.
pub(crate) async fn stand(database: &TestDatabase, staff: usize) -> (Salon, [Answers<Listed>; 2]) {
    let url = database.app_url();
    let mut salon = Salon::open(&url, staff).await;
    let position = salon.change(rename("Ready")).await;
    catch_up(&url, position).await;
    (salon, [process(&url), process(&url)])
}

fn rename(name: &str) -> BusinessCommand {
    let change = ProfileChange { name: Some(name.to_owned()), ..ProfileChange::default() };
    BusinessCommand::ChangeProfile { change, expected: None }
}

fn policy(policy: PolicyChange) -> BusinessCommand {
    let change = ProfileChange { booking_policy: Some(policy), ..ProfileChange::default() };
    BusinessCommand::ChangeProfile { change, expected: None }
}

#[tokio::test]
async fn an_answer_is_kept_until_its_own_business_changes() {
    let database = TestDatabase::create().await;
    let (mut salon, processes) = stand(&database, 2).await;
    let url = database.app_url();
    let mut other = Salon::open(&url, 1).await;
    let query = salon.query("2026-03-02", "2026-03-06");
    let now = at(NOW);
    let mut first = vec![];
    catch_up(&url, other.change(rename("Known")).await).await;
    for process in &processes {
        listed(process, &query, now).await;
        let kept = listed(process, &query, now).await;
        let again = listed(process, &query, now + SignedDuration::from_secs(3)).await;
        assert!(Arc::ptr_eq(&kept, &again), "nothing has changed");
        first.push(kept);
    }
    other.change(rename("Other")).await;
    other.set_hours(other.staff[0], Hours::default()).await;
    for (process, kept) in processes.iter().zip(&first) {
        let again = listed(process, &query, now).await;
        assert!(Arc::ptr_eq(kept, &again), "what another business does is no reason");
    }
    let taken = first[0].body.0[3];
    salon.book(taken).await;
    for process in &processes {
        let seen = listed(process, &query, now).await;
        assert!(!seen.body.0.contains(&taken), "the model has not seen it, the guest must");
        // The log has said it all: that the model follows is nothing new.
        project(&url, 1_000).await;
        assert!(Arc::ptr_eq(&seen, &listed(process, &query, now).await));
        let never_seen = SlotQuery { staff_id: Some(taken.staff_id), ..query.clone() };
        assert!(!listed(process, &never_seen, now).await.body.0.contains(&taken));
        let others = salon.staff.iter().find(|id| **id != taken.staff_id).copied();
        let others = SlotQuery { staff_id: others, ..query.clone() };
        let kept = listed(process, &others, now).await;
        assert!(Arc::ptr_eq(&kept, &listed(process, &others, now).await));
    }
    let others = salon.staff.iter().find(|id| **id != taken.staff_id).copied();
    let others = SlotQuery { staff_id: others, ..query.clone() };
    let kept = listed(&processes[0], &others, now).await;
    let position = salon.cancel(0).await;
    let again = listed(&processes[0], &others, now).await;
    assert!(Arc::ptr_eq(&kept, &again), "what happens in another calendar is no reason");
    for process in &processes {
        assert!(listed(process, &query, now).await.body.0.contains(&taken), "free at once");
    }
    catch_up(&url, position).await;
    assert_eq!(listed(&processes[1], &query, now).await.body, first[1].body);
}

#[tokio::test]
async fn more_changes_than_can_be_kept_are_read_again() {
    let database = TestDatabase::create().await;
    let (mut salon, [process, _]) = stand(&database, 1).await;
    let url = database.app_url();
    let mut other = Salon::open(&url, 1).await;
    catch_up(&url, other.change(rename("Known")).await).await;
    let query = salon.query("2026-03-02", "2026-03-02");
    let now = at(NOW);
    for round in 0..3 {
        listed(&process, &query, now).await;
        let taken = listed(&process, &query, now).await.body.0[0];
        salon.book(taken).await;
        // All in one transaction, and more than one look takes in.
        let mut unit = other.unit();
        let stream = StreamKey::of::<StaffSchedule>(other.staff[0]);
        let set = |_| StaffScheduleEvent::HoursSet { hours: Hours::office() };
        other.append(&mut unit, &stream, (0..2_100).map(set).collect());
        let position = other.commit(&unit).await;
        assert!(!listed(&process, &query, now).await.body.0.contains(&taken), "round {round}");
        catch_up(&url, position).await;
        let kept = listed(&process, &query, now).await;
        assert!(Arc::ptr_eq(&kept, &listed(&process, &query, now).await), "and it goes on");
        assert_eq!(kept.body.0.len(), 15 - round);
    }
}

#[tokio::test]
async fn what_the_model_learns_late_shows_once_it_has() {
    let database = TestDatabase::create().await;
    let (mut salon, [first, second]) = stand(&database, 1).await;
    let url = database.app_url();
    let query = salon.query("2026-03-02", "2026-03-02");
    let now = at(NOW);
    // The edit is in the log before anybody has looked there, and not in the model.
    let position = salon.set_hours(salon.staff[0], Hours::default()).await;
    for process in [&first, &second] {
        for _ in 0..3 {
            assert_eq!(listed(process, &query, now).await.body.0.len(), 16);
        }
    }
    catch_up(&url, position).await;
    for process in [&first, &second] {
        assert_eq!(listed(process, &query, now).await.body.0, [], "closed");
    }
    // Now that they have looked: the same again.
    let position = salon.set_hours(salon.staff[0], Hours::office()).await;
    for process in [&first, &second] {
        assert_eq!(listed(process, &query, now).await.body.0, [], "the model is late");
    }
    catch_up(&url, position).await;
    for process in [&first, &second] {
        assert_eq!(listed(process, &query, now).await.body.0.len(), 16);
    }
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_seen() {
    let database = TestDatabase::create().await;
    let (mut salon, [process, _]) = stand(&database, 1).await;
    let url = database.app_url();
    let mut other = Salon::open(&url, 0).await;
    catch_up(&url, other.change(rename("Known")).await).await;
    let query = salon.query("2026-03-02", "2026-03-02");
    let now = at(NOW);
    let taken = listed(&process, &query, now).await.body.0[0];
    listed(&process, &query, now).await;

    let mut connection = Database::new(&url, 1).unwrap().connect().await.unwrap();
    let mut open = connection.begin().await.unwrap();
    let (unit, _) = salon.booking(taken);
    Log::append(&mut open, &[&unit]).await.unwrap();
    // Others begin later and commit first, and the log is looked at in between.
    for name in ["One", "Two"] {
        other.change(rename(name)).await;
        assert!(listed(&process, &query, now).await.body.0.contains(&taken), "not committed");
    }
    let kept = listed(&process, &query, now).await;
    assert!(Arc::ptr_eq(&kept, &listed(&process, &query, now).await));
    open.commit().await.unwrap();
    assert!(!listed(&process, &query, now).await.body.0.contains(&taken));
}

#[tokio::test]
async fn time_ends_an_answer_when_a_start_gets_too_near_and_when_the_window_moves() {
    let database = TestDatabase::create().await;
    let (mut salon, [process, _]) = stand(&database, 1).await;
    let url = database.app_url();
    let change = PolicyChange {
        min_notice_minutes: Some(60),
        window_days: Some(2),
        ..PolicyChange::default()
    };
    catch_up(&url, salon.change(policy(change)).await).await;
    let query = salon.query("2026-03-02", "2026-03-06");
    let begins = |answer: &Answer<Listed>| answer.body.0[0].slot.start();

    let kept = listed(&process, &query, at("2026-03-02T07:59:59Z")).await;
    assert_eq!(begins(&kept), at("2026-03-02T09:00:00Z"));
    let again = listed(&process, &query, at("2026-03-02T08:00:00Z")).await;
    assert!(Arc::ptr_eq(&kept, &again), "the notice is kept to the instant");
    let later = listed(&process, &query, at("2026-03-02T08:00:00.000001Z")).await;
    assert_eq!(begins(&later), at("2026-03-02T09:30:00Z"));
    let last = |answer: &Answer<Listed>| answer.body.0.last().unwrap().slot.start();
    assert_eq!(last(&later), at("2026-03-04T16:30:00Z"), "two days ahead");

    let evening = listed(&process, &query, at("2026-03-02T20:00:00Z")).await;
    let again = listed(&process, &query, at("2026-03-02T23:59:59Z")).await;
    assert!(Arc::ptr_eq(&evening, &again));
    let midnight = listed(&process, &query, at("2026-03-03T00:00:00Z")).await;
    assert_eq!(last(&midnight), at("2026-03-05T16:30:00Z"), "the next day has come into it");
    // A range that lies whole in the window does not end at midnight.
    let near = salon.query("2026-03-04", "2026-03-04");
    let kept = listed(&process, &near, at("2026-03-03T20:00:00Z")).await;
    let again = listed(&process, &near, at("2026-03-04T00:00:00Z")).await;
    assert!(Arc::ptr_eq(&kept, &again));
}

#[tokio::test]
async fn a_position_is_waited_for_and_is_in_the_answer() {
    let database = TestDatabase::create().await;
    let (mut salon, [process, _]) = stand(&database, 1).await;
    let url = database.app_url();
    let query = salon.query("2026-03-02", "2026-03-02");
    let now = at(NOW);
    listed(&process, &query, now).await;
    let position = salon.set_hours(salon.staff[0], Hours::default()).await;
    let late = process.answer(&query, Some(position), now).await;
    assert!(matches!(late, Err(SlotsError::Read(ReadError::Lagging))), "{late:?}");
    let (answer, ()) =
        tokio::join!(process.answer(&query, Some(position), now), catch_up(&url, position));
    // The model may take longer than anybody waits, on a busy machine.
    let answer = match answer {
        Err(SlotsError::Read(ReadError::Lagging)) => {
            process.answer(&query, Some(position), now).await.unwrap()
        }
        other => other.unwrap(),
    };
    assert!(answer.position >= position);
    assert_eq!(answer.body.0, []);
    let again = process.answer(&query, Some(position), now).await.unwrap();
    assert!(again.position >= position);
    // The position is the event's of another business: this one's answer must say it too.
    let mut other = Salon::open(&url, 0).await;
    let position = other.change(rename("Other")).await;
    catch_up(&url, position).await;
    assert!(process.answer(&query, Some(position), now).await.unwrap().position >= position);
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_the_model_does_not_know_yet() {
    let database = TestDatabase::create().await;
    let (salon, [process, _]) = stand(&database, 2).await;
    let url = database.app_url();
    let now = at(NOW);
    let new = Salon::open(&url, 1).await;
    let handle = new.handle().unwrap();
    let query = |place, service_id, staff_id| {
        SlotQuery::plain(place, service_id, staff_id, new.query("2026-03-02", "2026-03-02").span)
    };
    for place in [Place::Handle(handle), Place::Business(new.id), Place::Staff(new.staff[0])] {
        let answer = process.answer(&query(place, Some(new.service_id), None), None, now).await;
        assert!(matches!(answer, Err(SlotsError::Read(ReadError::Lagging))), "{answer:?}");
    }
    let unknown = StaffId::new(crate::salon::id());
    let mine = Some(salon.service_id);
    for asked in [
        query(Place::Handle("nobody".to_owned()), mine, None),
        query(Place::Handle("no\0body".to_owned()), mine, None),
        query(Place::Business(domain::BusinessId::new(crate::salon::id())), mine, None),
        query(Place::Staff(unknown), None, Some(unknown)),
        query(Place::Service(salon.service_id), mine, Some(unknown)),
        query(Place::Service(salon.service_id), mine, Some(new.staff[0])),
        query(Place::Business(salon.id), Some(new.service_id), None),
    ] {
        let answer = process.answer(&asked, None, now).await;
        assert!(matches!(answer, Err(SlotsError::NotFound)), "{asked:?}: {answer:?}");
    }
    let asked = query(Place::Business(salon.id), None, None);
    let answer = process.answer(&asked, None, now).await;
    assert!(matches!(answer, Err(SlotsError::ServiceNeeded)), "{answer:?}");
    let handle = salon.handle().unwrap().to_uppercase();
    let asked = query(Place::Handle(handle), None, Some(salon.staff[1]));
    assert_eq!(listed(&process, &asked, now).await.body.0.len(), 16, "the only service");
}

#[tokio::test]
async fn a_handle_that_another_business_takes_over_shows_that_one() {
    let database = TestDatabase::create().await;
    let (mut salon, processes) = stand(&database, 1).await;
    let url = database.app_url();
    let mut other = Salon::open(&url, 1).await;
    let handle = salon.handle().unwrap();
    let named = |handle: &str| {
        let change = ProfileChange { handle: Some(handle.to_owned()), ..ProfileChange::default() };
        BusinessCommand::ChangeProfile { change, expected: None }
    };
    let now = at(NOW);
    catch_up(&url, other.change(rename("Known")).await).await;
    for (place, staff) in [(salon.staff[0], None), (salon.staff[0], Some(salon.staff[0]))] {
        let span = salon.query("2026-03-02", "2026-03-02").span;
        let query =
            SlotQuery::plain(Place::Handle(handle.clone()), Some(salon.service_id), staff, span);
        for process in &processes {
            assert_eq!(listed(process, &query, now).await.body.0[0].staff_id, place);
            listed(process, &query, now).await;
        }
    }
    salon.change(named("moved-away")).await;
    let position = other.change(named(&handle)).await;
    catch_up(&url, position).await;
    let span = other.query("2026-03-02", "2026-03-02").span;
    let query = SlotQuery::plain(Place::Handle(handle), Some(other.service_id), None, span);
    for process in &processes {
        assert_eq!(listed(process, &query, now).await.body.0[0].staff_id, other.staff[0]);
        let theirs = SlotQuery { service_id: Some(salon.service_id), ..query.clone() };
        let answer = process.answer(&theirs, None, now).await;
        assert!(matches!(answer, Err(SlotsError::NotFound)), "{answer:?}");
    }
}

#[tokio::test]
async fn a_model_that_is_put_in_place_of_another_is_the_one_that_answers() {
    let database = TestDatabase::create().await;
    let (salon, processes) = stand(&database, 1).await;
    let query = salon.query("2026-03-02", "2026-03-02");
    let now = at(NOW);
    for process in &processes {
        listed(process, &query, now).await;
        assert_eq!(listed(process, &query, now).await.body.0.len(), 16);
    }
    // The same rows but one, in other tables.
    let kept = salon.staff[0].uuid();
    database
        .execute(&format!(
            "BEGIN;
             CREATE SCHEMA rebuilt; GRANT USAGE ON SCHEMA rebuilt TO apptremind_system;
             CREATE TABLE rebuilt.business AS TABLE availability.business;
             CREATE TABLE rebuilt.working_hours AS TABLE availability.working_hours;
             CREATE TABLE rebuilt.busy AS TABLE availability.busy;
             UPDATE rebuilt.working_hours SET hours = '{{\"weekly\": []}}' WHERE staff_id = '{kept}';
             GRANT SELECT ON ALL TABLES IN SCHEMA rebuilt TO apptremind_system;
             ALTER SCHEMA availability RENAME TO old; ALTER SCHEMA rebuilt RENAME TO availability;
             COMMIT;"
        ))
        .await;
    for process in &processes {
        assert_eq!(listed(process, &query, now).await.body.0, []);
    }
}
