//! The tools of cqrs-es read what our log wrote: our table keeps their contract.

use cqrs_es::{
    EventStore,
    persist::{PersistedEventRepository, PersistedEventStore},
};
use domain::{
    AppointmentId, Decide, StaffId, TimeSlot,
    business::BufferRule,
    staff_calendar::{StaffCalendar, StaffCalendarCommand},
};
use postgres_es::{PostgresEventRepository, postgres_cqrs};
use streams::{clock, log::StreamKey};

use crate::tally::Bench;

fn reserve(appointment_id: AppointmentId, hour: u32) -> StaffCalendarCommand {
    let start = format!("2026-03-02T{hour:02}:00:00Z").parse().unwrap();
    StaffCalendarCommand::Reserve {
        appointment_id,
        slot: TimeSlot::lasting(start, 30).unwrap(),
        buffer_before_minutes: 5,
        buffer_after_minutes: 10,
        buffers: BufferRule::default(),
    }
}

/// Some visits, and one of them gone again, appended by three units.
async fn calendar(bench: &Bench) -> (StreamKey, AppointmentId) {
    let key = StreamKey::of::<StaffCalendar>(StaffId::new(clock::new_id()));
    let visits: Vec<AppointmentId> = (0..3).map(|_| AppointmentId::new(clock::new_id())).collect();
    let units = [
        vec![reserve(visits[0], 9)],
        vec![reserve(visits[1], 10), reserve(visits[2], 11)],
        vec![StaffCalendarCommand::Release { appointment_id: visits[1] }],
    ];
    for commands in units {
        let mut loaded =
            bench.load(std::slice::from_ref(&key)).await.fold::<StaffCalendar>(&key).unwrap();
        let mut unit = bench.unit();
        let before = loaded.clone();
        let mut events = Vec::new();
        for command in commands {
            for event in loaded.state.decide(command).unwrap() {
                loaded.state.evolve(event.clone());
                events.push(event);
            }
        }
        unit.append(&before, events).unwrap();
        bench.log.commit(&unit).await.unwrap();
    }
    (key, visits[0])
}

#[tokio::test]
async fn the_stock_repository_folds_our_streams_as_we_do() {
    let bench = Bench::new(2).await;
    let (key, _) = calendar(&bench).await;
    let pool = bench.log.database().system().clone();
    let ours = bench.load(std::slice::from_ref(&key)).await;

    let repository = PostgresEventRepository::new(pool.clone());
    let stored = repository.get_events::<StaffCalendar>(&key.id).await.unwrap();
    assert_eq!(stored.len(), 4);
    for (stock, own) in stored.iter().zip(ours.events(&key)) {
        assert_eq!((stock.sequence as u64, &stock.payload), (own.sequence, &own.payload));
        assert_eq!(stock.event_type, own.event_type);
        assert_eq!(stock.event_version, own.event_version);
    }

    let store = PersistedEventStore::<_, StaffCalendar>::new_event_store(repository);
    let context = store.load_aggregate(&key.id).await.unwrap();
    let folded = ours.fold::<StaffCalendar>(&key).unwrap();
    assert_eq!(context.aggregate, folded.state);
    assert_eq!(context.current_sequence as u64, folded.sequence);
    assert_eq!(folded.state.busy().count(), 2);
}

#[tokio::test]
async fn the_stock_framework_decides_on_our_streams() {
    let bench = Bench::new(2).await;
    let (key, booked) = calendar(&bench).await;
    let pool = bench.log.database().system().clone();
    let stock = postgres_cqrs::<StaffCalendar>(pool, vec![], ());
    stock.execute(&key.id, reserve(booked, 9)).await.expect("already so: nothing to write");
    let other = AppointmentId::new(clock::new_id());
    let refused = stock.execute(&key.id, reserve(other, 9)).await;
    assert!(matches!(refused, Err(cqrs_es::AggregateError::UserError(_))), "{refused:?}");

    // It reads, but it cannot write behind our back: it knows no tenant, no actor, no cursor.
    let free = stock.execute(&key.id, reserve(other, 15)).await;
    assert!(matches!(free, Err(cqrs_es::AggregateError::UnexpectedError(_))), "{free:?}");
    assert_eq!(bench.load(std::slice::from_ref(&key)).await.events(&key).len(), 4);
}
