//! Appending and loading.

use std::{collections::BTreeMap, slice};

use domain::{
    AppointmentId, BusinessId, CustomerId, ServiceId, StaffId, TimeSlot, appointment::Subject,
};
use futures::future::join_all;
use jiff::civil::{Date, date};
use proptest::prelude::*;
use sqlx::{Connection, PgConnection};
use streams::{
    clock,
    log::{CommitError, Contact, IdempotencyRow, Loaded, NewCustomer, ReservedTime, UnitOfWork},
};
use testkit::eventually;

use crate::tally::{Bench, Tally, counted, stream, unit};

const MONTH: Date = date(2026, 3, 1);

fn answer(key: &str) -> IdempotencyRow {
    let answer = serde_json::json!({ "booked": true });
    IdempotencyRow { key: key.to_owned(), request_hash: vec![1, 2, 3], answer }
}

fn visit(appointment: AppointmentId, staff: StaffId, from: &str, minutes: u32) -> ReservedTime {
    ReservedTime {
        holder: appointment.into(),
        part: 0,
        staff_id: staff,
        service_id: ServiceId::new(clock::new_id()),
        slot: TimeSlot::lasting(format!("2026-03-02T{from}:00Z").parse().unwrap(), minutes)
            .unwrap(),
        buffer_before_minutes: 0,
        buffer_after_minutes: 0,
        seats: None,
    }
}

fn appointment() -> AppointmentId {
    AppointmentId::new(clock::new_id())
}

fn staff() -> StaffId {
    StaffId::new(clock::new_id())
}

/// A unit that writes a row in every table that a unit can write, and one event each in `a`, `b`.
fn with_everything(bench: &Bench, after_b: u64) -> UnitOfWork {
    let mut unit = bench.unit();
    unit.append_after(&stream("b"), after_b, counted([2])).unwrap();
    unit.append_after(&stream("a"), 0, counted([1])).unwrap();
    unit.answer(answer("everything"));
    unit.count(MONTH, 1, 10);
    let appointment_id = appointment();
    let name = "Ann".to_owned();
    unit.customer(NewCustomer {
        customer_id: CustomerId::new(clock::new_id()),
        name: name.clone(),
        email: None,
        phone: None,
    });
    unit.contact(Contact {
        appointment_id,
        name,
        email: None,
        phone: None,
        timezone: None,
        notes: None,
        answers: serde_json::from_value(serde_json::json!({"size": "small"})).unwrap(),
        subjects: vec![],
    });
    unit.reserve(visit(appointment_id, staff(), "09:00", 30));
    unit
}

/// How many rows each table that a unit can write has.
async fn rows(bench: &Bench) -> Vec<i64> {
    let mut rows = Vec::new();
    for table in [
        "events",
        "idempotency_key",
        "monthly_usage",
        "customer",
        "appointment_private",
        "reserved_time",
    ] {
        let count = sqlx::query_scalar(&format!("SELECT count(*) FROM {table}"))
            .fetch_one(bench.log.database().system())
            .await
            .unwrap();
        rows.push(count);
    }
    rows
}

#[tokio::test]
async fn a_unit_over_several_streams_is_written_whole_or_not_at_all() {
    let bench = Bench::new(2).await;
    bench.count(&stream("b"), 0, &[7]).await.unwrap();
    let stale = bench.log.commit(&with_everything(&bench, 0)).await;
    assert!(matches!(stale, Err(CommitError::Conflict)), "{stale:?}");
    assert_eq!(rows(&bench).await, [1, 0, 0, 0, 0, 0]);
    assert!(bench.numbers(&stream("a")).await.is_empty());

    let cursor = bench.log.commit(&with_everything(&bench, 1)).await.unwrap();
    assert_eq!(rows(&bench).await, [3, 1, 1, 1, 1, 1]);
    let histories = bench.load(&[stream("a"), stream("b")]).await;
    assert_eq!(histories.fold::<Tally>(&stream("b")).unwrap().state.numbers, [7, 2]);
    let last = histories.events(&stream("b")).last().unwrap();
    assert_eq!((last.cursor, last.sequence), (cursor, 2), "the unit answers its last event");
    let first = &histories.events(&stream("a"))[0];
    assert_eq!(first.cursor.transaction_id, cursor.transaction_id);
    assert!(first.cursor < cursor);
}

#[tokio::test]
async fn a_stale_expected_version_is_a_conflict() {
    let bench = Bench::new(2).await;
    bench.count(&stream("a"), 0, &[1]).await.unwrap();
    let stale = bench.count(&stream("a"), 0, &[2, 3]).await;
    assert!(matches!(stale, Err(CommitError::Conflict)), "{stale:?}");
    assert_eq!(bench.numbers(&stream("a")).await, [1]);
}

/// Writes `b`, decided on an `a` that has changed since.
async fn commit_on_a_changed_read(bench: &Bench) -> Result<(), CommitError> {
    bench.count(&stream("a"), 0, &[1]).await.unwrap();
    let read: Loaded<Tally> = bench.load(&[stream("a")]).await.fold(&stream("a")).unwrap();
    let mut unit = bench.counting(&stream("b"), 0, &[2]);
    unit.guard(&read);
    bench.count(&stream("a"), 1, &[3]).await.unwrap();
    bench.log.commit(&unit).await.map(drop)
}

#[tokio::test]
async fn a_guarded_read_that_changed_is_a_conflict() {
    let bench = Bench::new(2).await;
    let stale = commit_on_a_changed_read(&bench).await;
    assert!(matches!(stale, Err(CommitError::Conflict)), "{stale:?}");
    assert!(bench.numbers(&stream("b")).await.is_empty());
}

#[tokio::test]
async fn a_guarded_read_that_did_not_change_commits() {
    let bench = Bench::new(2).await;
    bench.count(&stream("a"), 0, &[1]).await.unwrap();
    let histories = bench.load(&[stream("a")]).await;
    let mut unit = bench.counting(&stream("b"), 0, &[2]);
    unit.guard(&histories.fold::<Tally>(&stream("a")).unwrap());
    unit.guard(&histories.fold::<Tally>(&stream("never written")).unwrap());
    bench.log.commit(&unit).await.unwrap();
}

/// The guard stands in a place where it is easily never called: this proves that it is what
/// refuses, and that nothing else would.
#[tokio::test]
async fn without_the_guard_a_commit_on_a_changed_read_goes_through() {
    let bench = Bench::new(2).await;
    let mut owner = PgConnection::connect(&bench.database.owner_url()).await.unwrap();
    sqlx::query(
        "CREATE OR REPLACE FUNCTION guard_reads(types text[], ids text[], sequences bigint[])
         RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN true; END $$",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    commit_on_a_changed_read(&bench).await.unwrap();
    assert_eq!(bench.numbers(&stream("b")).await, [2]);
}

#[tokio::test]
async fn another_tenants_stream_is_not_found_and_cannot_be_written() {
    let bench = Bench::new(2).await;
    bench.count(&stream("a"), 0, &[1]).await.unwrap();
    let other = BusinessId::new(clock::new_id());
    let histories = bench.log.load(other, &[stream("a")]).await.unwrap();
    assert_eq!(histories.events(&stream("a")), []);
    assert_eq!(histories.fold::<Tally>(&stream("a")).unwrap().sequence, 0);

    let mut theirs = unit(other);
    theirs.append_after(&stream("a"), 0, counted([2])).unwrap();
    let refused = bench.log.commit(&theirs).await;
    assert!(matches!(refused, Err(CommitError::Conflict)), "{refused:?}");
}

#[tokio::test]
async fn an_idempotency_key_met_a_second_time_is_a_repeat() {
    let bench = Bench::new(2).await;
    let keyed = |name: &str| {
        let mut unit = bench.counting(&stream(name), 0, &[1]);
        unit.answer(answer("once"));
        unit
    };
    bench.log.commit(&keyed("a")).await.unwrap();
    let again = bench.log.commit(&keyed("b")).await;
    assert!(matches!(again, Err(CommitError::Repeat)), "{again:?}");
    assert!(bench.numbers(&stream("b")).await.is_empty());

    // Keys belong to a business.
    let mut elsewhere = unit(BusinessId::new(clock::new_id()));
    elsewhere.append_after(&stream("c"), 0, counted([1])).unwrap();
    elsewhere.answer(answer("once"));
    bench.log.commit(&elsewhere).await.unwrap();
}

#[tokio::test]
async fn of_many_requests_at_once_with_one_idempotency_key_one_is_done() {
    let bench = Bench::new(16).await;
    let attempts = (0..16).map(|n| {
        let mut unit = bench.counting(&stream(n), 0, &[1]);
        unit.answer(answer("at once"));
        let log = bench.log.clone();
        async move { log.commit(&unit).await }
    });
    let outcomes = join_all(attempts).await;
    let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let repeats = outcomes.iter().filter(|o| matches!(o, Err(CommitError::Repeat))).count();
    assert_eq!((done, repeats), (1, 15), "{outcomes:?}");
    assert_eq!(rows(&bench).await[..2], [1, 1]);
}

#[tokio::test]
async fn a_counter_over_its_cap_is_the_limit_and_writes_nothing() {
    let bench = Bench::new(2).await;
    let appending = |name: &str, count: u32| {
        let mut unit = bench.counting(&stream(name), 0, &[1]);
        unit.count(MONTH, count, 3);
        unit
    };
    bench.log.commit(&appending("a", 2)).await.unwrap();
    let before = rows(&bench).await;
    let refused = bench.log.commit(&appending("b", 2)).await;
    let Err(CommitError::Limit { constraint }) = refused else { panic!("{refused:?}") };
    assert_eq!(constraint, "monthly_usage_within_cap");
    assert_eq!(rows(&bench).await, before);
    bench.log.commit(&appending("c", 1)).await.unwrap();
}

#[tokio::test]
async fn overlapping_visits_of_one_staff_member_are_refused_by_the_table() {
    let bench = Bench::new(2).await;
    let (ann, bob) = (staff(), staff());
    let booking = |name: &str, row: ReservedTime| {
        let mut unit = bench.counting(&stream(name), 0, &[1]);
        unit.reserve(row);
        unit
    };
    let first = booking("a", visit(appointment(), ann, "09:00", 60));
    bench.log.commit(&first).await.unwrap();
    let overlapping = booking("b", visit(appointment(), ann, "09:59", 60));
    let refused = bench.log.commit(&overlapping).await;
    assert!(matches!(refused, Err(CommitError::TimeReserved)), "{refused:?}");
    assert!(bench.numbers(&stream("b")).await.is_empty());
    for (name, row) in [
        ("touching", visit(appointment(), ann, "10:00", 60)),
        ("somebody else's", visit(appointment(), bob, "09:30", 60)),
    ] {
        bench.log.commit(&booking(name, row)).await.unwrap();
    }
}

#[tokio::test]
async fn of_many_visits_at_one_time_the_table_takes_one() {
    let bench = Bench::new(16).await;
    let ann = staff();
    let attempts = (0..16).map(|n| {
        let mut unit = bench.counting(&stream(n), 0, &[1]);
        unit.reserve(visit(appointment(), ann, "09:00", 60));
        let log = bench.log.clone();
        async move { log.commit(&unit).await }
    });
    let outcomes = join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    for outcome in outcomes {
        // Who waits for each other in a circle meets a deadlock, which is a conflict like others.
        let refused =
            matches!(outcome, Ok(_) | Err(CommitError::TimeReserved | CommitError::Conflict));
        assert!(refused, "{outcome:?}");
    }
}

#[tokio::test]
async fn visits_are_moved_and_swapped_in_one_unit() {
    let bench = Bench::new(2).await;
    let (ann, one, two) = (staff(), appointment(), appointment());
    let mut unit = bench.counting(&stream("a"), 0, &[1]);
    unit.reserve(visit(one, ann, "09:00", 60));
    unit.reserve(visit(two, ann, "10:00", 60));
    bench.log.commit(&unit).await.unwrap();

    // By half an hour, over its own old time.
    let mut unit = bench.counting(&stream("a"), 1, &[2]);
    unit.release(one);
    unit.reserve(visit(one, ann, "08:30", 60));
    bench.log.commit(&unit).await.unwrap();

    let mut unit = bench.counting(&stream("a"), 2, &[3]);
    unit.release(one);
    unit.release(two);
    unit.reserve(visit(one, ann, "10:00", 60));
    unit.reserve(visit(two, ann, "08:30", 60));
    bench.log.commit(&unit).await.unwrap();

    // Another takes the time of one that goes.
    let (three, mut unit) = (appointment(), bench.counting(&stream("a"), 3, &[4]));
    unit.release(one);
    unit.reserve(visit(three, ann, "10:15", 30));
    bench.log.commit(&unit).await.unwrap();

    let held: Vec<(uuid::Uuid, String)> = sqlx::query_as(
        "SELECT appointment_id, to_char(lower(during), 'HH24:MI') FROM reserved_time ORDER BY 2",
    )
    .fetch_all(bench.log.database().system())
    .await
    .unwrap();
    assert_eq!(held, [(two.uuid(), "08:30".to_owned()), (three.uuid(), "10:15".to_owned())]);
}

/// Loads three streams, adds one number to each, and decides again after a conflict.
async fn append_to_three(bench: &Bench, worker: usize, round: usize) -> usize {
    // Three neighbours in a circle of eight; every worker names them in an order of its own.
    let mut streams = [0, 1, 2].map(|step| stream((worker * 3 + round + step) % 8));
    streams.rotate_left(worker % 3);
    let mut tries = 1;
    loop {
        let histories = bench.load(&streams).await;
        let mut unit = bench.unit();
        for key in &streams {
            let loaded = histories.fold::<Tally>(key).unwrap();
            unit.append_after(key, loaded.sequence, counted([worker as u64])).unwrap();
        }
        match bench.log.commit(&unit).await {
            Ok(_) => return tries,
            Err(CommitError::Conflict) => tries += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_appenders_to_shared_streams_never_deadlock() {
    let bench = Bench::new(32).await;
    const WORKERS: usize = 32;
    const ROUNDS: usize = 16;
    let tries: Vec<usize> = join_all((0..WORKERS).map(|worker| {
        let bench = &bench;
        async move {
            let mut tries = 0;
            for round in 0..ROUNDS {
                tries += append_to_three(bench, worker, round).await;
            }
            tries
        }
    }))
    .await;
    assert!(tries.iter().sum::<usize>() > WORKERS * ROUNDS, "nobody met anybody");
    let mut total = 0;
    for key in (0..8).map(stream) {
        let histories = bench.load(slice::from_ref(&key)).await;
        let sequences: Vec<u64> = histories.events(&key).iter().map(|e| e.sequence).collect();
        assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
        total += sequences.len();
    }
    assert_eq!(total, WORKERS * ROUNDS * 3);

    // Backends tell what they counted at their end.
    let mut admin = PgConnection::connect(&bench.database.superuser_url()).await.unwrap();
    let deadlocks: i64 = eventually("the other backends end", async || {
        let (others, deadlocks): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                      WHERE datname = current_database() AND backend_type = 'client backend'
                        AND pid <> pg_backend_pid()),
                    (SELECT deadlocks FROM pg_stat_database WHERE datname = current_database())",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        (others == 0).then_some(deadlocks)
    })
    .await;
    assert_eq!(deadlocks, 0);
}

#[tokio::test]
async fn the_application_can_neither_change_nor_remove_events() {
    let bench = Bench::new(2).await;
    bench.count(&stream("a"), 0, &[1]).await.unwrap();
    for sql in [
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "TRUNCATE events",
        "DROP TABLE events",
    ] {
        let database = bench.log.database();
        let tenant = &mut *database.tenant(bench.business).await.unwrap();
        let as_tenant = sqlx::query(sql).execute(tenant).await;
        let as_system = sqlx::query(sql).execute(database.system()).await;
        for refused in [as_tenant.unwrap_err(), as_system.unwrap_err()] {
            let code = refused.as_database_error().and_then(|error| error.code().map(String::from));
            assert_eq!(code.as_deref(), Some("42501"), "{sql}: {refused}");
        }
    }
}

/// Which of four streams a unit writes, and whether it was decided on what is there.
fn command() -> impl Strategy<Value = (BTreeMap<usize, usize>, bool)> {
    (proptest::collection::btree_map(0_usize..4, 1_usize..3, 1..4), any::<bool>())
}

#[test]
fn whatever_is_committed_the_log_holds_what_a_list_in_memory_would() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bench = runtime.block_on(Bench::new(2));
    let commands = proptest::collection::vec(command(), 1..12);
    proptest!(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() }, |(commands in commands)| {
        runtime.block_on(async {
            let case = clock::new_id();
            let key = |number: usize| stream(format!("{case}:{number}"));
            let mut model: [Vec<u64>; 4] = Default::default();
            let mut next = 0;
            for (streams, fresh) in commands {
                let mut unit = bench.unit();
                let mut after = model.clone();
                let mut conflict = false;
                for (number, count) in streams {
                    let stale = !fresh && !after[number].is_empty();
                    let sequence = after[number].len() as u64 - u64::from(stale);
                    conflict |= stale;
                    let numbers: Vec<u64> = (next..).take(count).collect();
                    next += count as u64;
                    unit.append_after(&key(number), sequence, counted(numbers.clone())).unwrap();
                    after[number].extend(numbers);
                }
                match bench.log.commit(&unit).await {
                    Ok(_) => {
                        prop_assert!(!conflict);
                        model = after;
                    }
                    Err(CommitError::Conflict) => prop_assert!(conflict),
                    Err(error) => panic!("{error}"),
                }
            }
            for (number, numbers) in model.iter().enumerate() {
                prop_assert_eq!(&bench.numbers(&key(number)).await, numbers);
            }
            Ok(())
        })?;
    });
    drop(bench);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_some_guests_say_is_kept_with_their_own_visit() {
    let bench = Bench::new(2).await;
    let unit = |name: &str, size: Option<&str>| {
        let mut unit = bench.unit();
        unit.append_after(&stream(name), 0, counted([1])).unwrap();
        let answers =
            size.map_or(serde_json::json!({}), |size| serde_json::json!({ "size": size }));
        let subject = |name: &str| Subject { name: name.to_owned(), notes: None };
        unit.contact(Contact {
            appointment_id: appointment(),
            name: name.to_owned(),
            email: None,
            phone: None,
            timezone: None,
            notes: None,
            answers: serde_json::from_value(answers).unwrap(),
            subjects: size.map(subject).into_iter().collect(),
        });
        unit
    };
    let first =
        [unit("a", None), unit("b", Some("small")), unit("c", None), unit("d", Some("large"))];
    bench.log.commit_together(first.into()).await.unwrap();
    bench.log.commit_together([unit("e", None)].into()).await.unwrap();
    let kept = "SELECT concat_ws(' ', name, answers::text, subjects::text)
                  FROM appointment_private ORDER BY name";
    let said =
        |name: &str, size: &str| format!(r#"{name} {{"size": "{size}"}} [{{"name": "{size}"}}]"#);
    let expected =
        ["a".to_owned(), said("b", "small"), "c".to_owned(), said("d", "large"), "e".to_owned()];
    assert_eq!(bench.database.texts(kept).await, expected);
}
