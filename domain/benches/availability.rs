//! What listing costs apart from reading: 62 days of one staff member with 20 visits a day.
//! `cargo bench -p domain` runs it.
#![expect(clippy::unwrap_used, reason = "a benchmark stops where its input is wrong")]

use divan::{Bencher, black_box};
use domain::{
    AppointmentId, Currency, Money, ServiceId, StaffId, TimeSlot, Zone,
    availability::{Beside, Counts, Rules, check, slots},
    business::{BookingPolicy, Closures, Service, SlotGrid, StaffMember},
    staff_calendar::{Busy, BusyKind},
    staff_schedule::{DayWindow, Hours, Window},
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

const DAYS: i64 = 62;
const VISITS_A_DAY: i64 = 20;
/// Between the starts of two visits, in minutes: in between there is room for one more.
const APART: i64 = 45;
const VISIT_MINUTES: u32 = 20;

fn main() {
    divan::main();
}

/// Everything that the function is given.
struct Facts {
    zone: Zone,
    policy: BookingPolicy,
    service: Service,
    hours: Hours,
    closures: Closures,
    member: StaffMember,
    counts: Counts,
    busy: Vec<Busy>,
    now: Timestamp,
}

impl Facts {
    /// A salon in New York that works from 06:00 to 22:00 on every day, a change of clocks among them.
    fn new(buffer_minutes: u32) -> Self {
        let policy = BookingPolicy {
            slot_grid: SlotGrid::Aligned,
            slot_step_minutes: Some(5),
            window_days: 365,
            ..BookingPolicy::default()
        };
        let service = Service {
            buffer_before_minutes: buffer_minutes,
            buffer_after_minutes: buffer_minutes,
            ..Service::new("Cut", VISIT_MINUTES, Money { amount: 4_500, currency: Currency::USD })
        };
        let window = Window { start: "06:00".parse().unwrap(), end: "22:00".parse().unwrap() };
        let weekly = (0..7).map(|day| DayWindow { day, window }).collect();
        let now: Timestamp = "2026-02-01T10:00:00Z".parse().unwrap();
        let visit = |n: i64| {
            let minutes = n / VISITS_A_DAY * 24 * 60 + n % VISITS_A_DAY * APART + 60;
            let start = now + SignedDuration::from_mins(minutes);
            Busy {
                kind: BusyKind::Visit(AppointmentId::new(Uuid::from_u128(n.unsigned_abs().into()))),
                slot: TimeSlot::lasting(start, VISIT_MINUTES).unwrap(),
                buffer_before_minutes: buffer_minutes,
                buffer_after_minutes: buffer_minutes,
            }
        };
        Self {
            zone: "America/New_York".parse().unwrap(),
            policy,
            service,
            hours: Hours { weekly, ..Hours::default() },
            closures: Closures::default(),
            member: StaffMember::new("Dana"),
            counts: Counts::default(),
            busy: (0..DAYS * VISITS_A_DAY).map(visit).collect(),
            now,
        }
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            zone: &self.zone,
            policy: &self.policy,
            service_id: ServiceId::new(Uuid::nil()),
            service: &self.service,
            staff_id: StaffId::new(Uuid::nil()),
            member: &self.member,
            hours: &self.hours,
            closures: &self.closures,
            counts: &self.counts,
            beside: Beside::nothing(),
        }
    }

    fn list(&self) -> Vec<TimeSlot> {
        let until = self.now + SignedDuration::from_hours(24 * DAYS);
        slots(black_box(&self.rules()), black_box(&self.busy), self.now, until, self.now)
    }
}

/// All starts within the 62 days; wanted is less than 100 microseconds.
#[divan::bench(args = [0, 2])]
fn slots_of_62_days(bencher: Bencher<'_, '_>, buffer_minutes: u32) {
    let facts = Facts::new(buffer_minutes);
    assert!(facts.list().len() > 500, "{}", facts.list().len());
    bencher.bench_local(|| facts.list());
}

/// One instant, as a booking asks.
#[divan::bench]
fn check_one_start(bencher: Bencher<'_, '_>) {
    let facts = Facts::new(0);
    let start = facts.list().last().unwrap().start();
    bencher.bench_local(|| check(&facts.rules(), black_box(&facts.busy), start, facts.now).is_ok());
}

/// The least that a list of the same slots can cost: the visits sorted, and the list allocated.
#[divan::bench]
fn reference_sort_and_copy(bencher: Bencher<'_, '_>) {
    let facts = Facts::new(0);
    let listed = facts.list();
    bencher.bench_local(|| {
        let mut sorted: Vec<TimeSlot> = facts.busy.iter().map(|busy| busy.slot).collect();
        sorted.sort_unstable();
        (black_box(sorted).len(), black_box(listed.clone()))
    });
}
