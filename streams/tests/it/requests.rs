//! Requests that wait for their answer: their rows come and go with the events.

use domain::AppointmentId;
use jiff::{SignedDuration, Timestamp};
use streams::{
    clock,
    log::{CommitError, PendingRequest},
};
use uuid::Uuid;

use crate::tally::{Bench, stream};

fn at(minutes: i64) -> Timestamp {
    let nine: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
    nine + SignedDuration::from_mins(minutes)
}

fn request(appointment_id: AppointmentId, minutes: i64) -> PendingRequest {
    PendingRequest { appointment_id, expires_at: at(minutes) }
}

/// What the scheduler would find, in order.
async fn pending(bench: &Bench) -> Vec<(Uuid, Timestamp)> {
    let rows: Vec<(Uuid, jiff_sqlx::Timestamp)> = sqlx::query_as(
        "SELECT appointment_id, expires_at FROM pending_request ORDER BY expires_at",
    )
    .fetch_all(bench.log.database().system())
    .await
    .unwrap();
    rows.into_iter().map(|(id, at)| (id, at.to_jiff())).collect()
}

#[tokio::test]
async fn a_request_has_its_row_until_it_is_answered_and_none_without_its_events() {
    let bench = Bench::new(2).await;
    let [one, two] = [(); 2].map(|()| AppointmentId::new(clock::new_id()));
    let mut unit = bench.counting(&stream("a"), 0, &[1]);
    unit.ask(request(one, 5));
    unit.ask(request(two, 10));
    bench.log.commit(&unit).await.unwrap();
    assert_eq!(pending(&bench).await, [(one.uuid(), at(5)), (two.uuid(), at(10))]);
    // Somebody was faster: neither events nor rows.
    let mut late = bench.counting(&stream("a"), 0, &[1]);
    late.ask(request(AppointmentId::new(clock::new_id()), 1));
    late.answer_request(one);
    assert!(matches!(bench.log.commit(&late).await, Err(CommitError::Conflict)));
    assert_eq!(pending(&bench).await.len(), 2);
    // Moved, and the other answered, in one statement.
    let mut unit = bench.counting(&stream("a"), 1, &[2]);
    unit.ask(request(one, 3));
    unit.answer_request(two);
    bench.log.commit(&unit).await.unwrap();
    assert_eq!(pending(&bench).await, [(one.uuid(), at(3))]);
    // Whatever never was a request is answered without harm.
    let mut unit = bench.counting(&stream("a"), 2, &[3]);
    unit.answer_request(one);
    unit.answer_request(AppointmentId::new(clock::new_id()));
    bench.log.commit(&unit).await.unwrap();
    assert_eq!(pending(&bench).await, []);
}
