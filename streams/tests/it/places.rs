//! Places of days and weeks that have a limit.

use std::collections::BTreeSet;

use domain::{AppointmentId, ServiceId, StaffId, TimeSlot, availability::Period};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp, civil::date};
use streams::{
    clock,
    log::{CommitError, PlaceKey, ReservedTime, Standing, TakenPlace},
};
use uuid::Uuid;

use crate::tally::{Bench, stream};

fn monday_9() -> Timestamp {
    "2026-03-02T09:00:00Z".parse().unwrap()
}

fn visit(appointment_id: AppointmentId, start: Timestamp) -> ReservedTime {
    ReservedTime {
        holder: appointment_id.into(),
        part: 0,
        staff_id: StaffId::new(clock::new_id()),
        service_id: ServiceId::new(clock::new_id()),
        slot: TimeSlot::lasting(start, 30).unwrap(),
        buffer_before_minutes: 0,
        buffer_after_minutes: 0,
        seats: None,
    }
}

fn place(appointment_id: AppointmentId, subject: Uuid, place: u32) -> TakenPlace {
    let key = PlaceKey { subject, period: Period::Day, first: date(2026, 3, 2) };
    TakenPlace { holder: appointment_id.uuid(), key, place }
}

/// What stands on that Monday.
async fn standing(bench: &Bench) -> Standing {
    let span = TimeSlot::lasting("2026-03-02T00:00:00Z".parse().unwrap(), 1440).unwrap();
    let monday = date(2026, 3, 2);
    bench.log.standing(bench.business, &span, [monday, monday]).await.unwrap()
}

#[tokio::test]
async fn a_place_is_taken_once_and_given_back_with_its_visit() {
    let bench = Bench::new(2).await;
    let [subject, other] = [(); 2].map(|()| clock::new_id());
    let [one, two] = [(); 2].map(|()| AppointmentId::new(clock::new_id()));
    let mut unit = bench.counting(&stream("a"), 0, &[1]);
    unit.reserve(visit(one, monday_9()));
    unit.take_place(place(one, subject, 1));
    unit.take_place(place(one, other, 1));
    bench.log.commit(&unit).await.unwrap();
    let mut late = bench.counting(&stream("b"), 0, &[1]);
    late.reserve(visit(two, monday_9()));
    late.take_place(place(two, subject, 1));
    let refused = bench.log.commit(&late).await;
    assert!(matches!(refused, Err(CommitError::Conflict)), "{refused:?}");
    assert!(bench.numbers(&stream("b")).await.is_empty(), "all of it was undone");
    let stands = standing(&bench).await;
    assert_eq!((stands.visits.len(), stands.places.len()), (1, 2));
    assert_eq!(stands.visits[0].holder, one.uuid());
    assert!(stands.visits[0].service_id.is_some());

    // Moved within the day it takes its own place again, and moved away it leaves it.
    let mut unit = bench.counting(&stream("a"), 1, &[2]);
    unit.release(one);
    unit.reserve(visit(one, monday_9() + SignedDuration::from_hours(1)));
    unit.take_place(place(one, subject, 1));
    bench.log.commit(&unit).await.unwrap();
    assert_eq!(standing(&bench).await.places, [place(one, subject, 1)]);
    let mut unit = bench.counting(&stream("a"), 2, &[3]);
    unit.release(one);
    bench.log.commit(&unit).await.unwrap();
    bench.log.commit(&late).await.unwrap();
    let stands = standing(&bench).await;
    assert_eq!(stands.places, [place(two, subject, 1)]);
    assert_eq!(stands.visits[0].holder, two.uuid());
}

/// Ten writers who each take the lowest place that they see, until they see that there are seven
/// visits; now and then one is given back.
#[tokio::test(flavor = "multi_thread")]
async fn there_are_never_more_visits_than_places() {
    const MOST: usize = 7;
    let bench = Bench::new(10).await;
    let subject = clock::new_id();
    let writers = (0..10_u64).map(|writer| {
        let bench = &bench;
        async move {
            let (mut after, mut mine, mut booked) = (0, vec![], 0);
            for round in 0..30 {
                let stands = standing(bench).await;
                assert!(stands.visits.len() <= MOST, "{stands:?}");
                let mut unit = bench.counting(&stream(writer), after, &[round]);
                let id = AppointmentId::new(clock::new_id());
                if stands.visits.len() < MOST {
                    let taken: BTreeSet<u32> =
                        stands.places.iter().map(|taken| taken.place).collect();
                    let free = (1..).find(|n| !taken.contains(n)).unwrap();
                    unit.reserve(visit(id, monday_9()));
                    unit.take_place(place(id, subject, free));
                } else if let Some(given_back) = mine.pop() {
                    unit.release(given_back);
                } else {
                    continue;
                }
                match bench.log.commit(&unit).await {
                    Ok(_) => after += 1,
                    Err(CommitError::Conflict) => continue,
                    Err(error) => panic!("{error}"),
                }
                if stands.visits.len() < MOST {
                    mine.push(id);
                    booked += 1;
                }
            }
            booked
        }
    });
    let booked: usize = join_all(writers).await.into_iter().sum();
    assert!(booked >= MOST, "{booked}");
    assert!(standing(&bench).await.visits.len() <= MOST);
}

/// What was booked by older builds learns its service when the schema is brought up to date.
#[tokio::test]
async fn a_visit_from_before_the_migration_learns_its_service_from_its_event() {
    let bench = Bench::new(2).await;
    let [one, two] = [(); 2].map(|()| AppointmentId::new(clock::new_id()));
    let service_id = ServiceId::new(clock::new_id());
    let mut unit = bench.counting(&stream("a"), 0, &[1]);
    unit.reserve(visit(one, monday_9()));
    unit.reserve(visit(two, monday_9()));
    bench.log.commit(&unit).await.unwrap();
    let pool = bench.log.database().system();
    sqlx::query("UPDATE reserved_time SET service_id = NULL").execute(pool).await.unwrap();
    let payload = serde_json::json!({"type": "booked", "visit": {"service_id": service_id}});
    sqlx::query(
        "INSERT INTO events (business_id, aggregate_type, aggregate_id, sequence, event_id,
                             event_type, event_version, payload, actor, correlation_id, occurred_at)
         VALUES ($1, 'appointment', $2, 1, $3, 'booking.appointment.booked.v1', '1', $4, 'guest', $3,
                 now())",
    )
    .bind(bench.business.uuid())
    .bind(one.to_string())
    .bind(clock::new_id())
    .bind(payload)
    .execute(pool)
    .await
    .unwrap();
    let migration = include_str!("../../../migrations/0007_limits.sql");
    let learn = migration.split(';').find(|part| part.trim_start().starts_with("UPDATE")).unwrap();
    sqlx::query(learn).execute(pool).await.unwrap();
    let mut learned: Vec<_> = standing(&bench).await.visits;
    learned.sort_by_key(|visit| visit.holder);
    let learned: Vec<_> =
        learned.into_iter().map(|visit| (visit.holder, visit.service_id)).collect();
    assert_eq!(learned, [(one.uuid(), Some(service_id)), (two.uuid(), None)]);
}
