//! Changes of every kind, in any order, while the model follows or lags.

use domain::{
    ClosureId, TimeSlot, Zone,
    business::{
        BusinessCommand, Closure, PolicyChange, ProfileChange, ServiceChange, Skills, SlotGrid,
        StaffChange,
    },
    staff_schedule::{DayWindow, Hours, WallMinute, Window},
};
use jiff::{SignedDuration, Timestamp, ToSpan, civil::date};
use projections::availability::{Answers, Availability, OfferedSlot, Place, SlotQuery, SlotSpan};
use streams::{Cursor, Database};
use testkit::postgres::TestDatabase;

use crate::{
    answers::{NOW, stand},
    salon::{Listed, Salon, at, catch_up, project},
};

/// Numbers that look random, and the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % sides.max(1)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}

fn hours(dice: &mut Dice) -> Hours {
    let minute = |m: usize| WallMinute::new(u16::try_from(m * 60).unwrap()).unwrap();
    let days = 0..u8::try_from(dice.roll(8)).unwrap();
    let start = dice.roll(23);
    let window = Window { start: minute(start), end: minute(start + 1 + dice.roll(24 - start)) };
    Hours { weekly: days.map(|day| DayWindow { day, window }).collect(), ..Hours::default() }
}

fn skills(dice: &mut Dice) -> Skills {
    let all = ["cut", "wash"].iter().filter(|_| dice.roll(3) == 0);
    all.map(|skill| (*skill).to_owned()).collect::<Vec<_>>().into()
}

/// One change of any kind.
async fn change(salon: &mut Salon, dice: &mut Dice, free: &[OfferedSlot]) -> Cursor {
    let staff_id = dice.one(&salon.staff);
    let service_id = salon.service_id;
    match dice.roll(15) {
        0..=3 if !free.is_empty() => salon.book(dice.one(free)).await,
        4 | 5 if !salon.booked.is_empty() => salon.cancel(dice.roll(salon.booked.len())).await,
        6 => salon.set_hours(staff_id, hours(dice)).await,
        7 => {
            let start = at("2026-03-02T00:00:00Z");
            let start = start + SignedDuration::from_hours(i64::try_from(dice.roll(240)).unwrap());
            let minutes = 30 * u32::try_from(1 + dice.roll(100)).unwrap();
            salon.leave(staff_id, TimeSlot::lasting(start, minutes).unwrap()).await
        }
        8 if !salon.away.is_empty() => salon.come_back(dice.roll(salon.away.len())).await,
        9 => {
            let change = ServiceChange {
                duration_minutes: Some(dice.one(&[15, 30, 45, 90])),
                buffer_before_minutes: Some(dice.one(&[0, 0, 20])),
                buffer_after_minutes: Some(dice.one(&[0, 0, 60])),
                min_notice_minutes: Some(dice.one(&[None, None, Some(0), Some(300)])),
                window_days: Some(dice.one(&[None, None, Some(1), Some(9)])),
                skills: Some(skills(dice)),
                max_per_day: Some(dice.one(&[None, None, Some(2)])),
                ..ServiceChange::default()
            };
            salon
                .change(BusinessCommand::ChangeService { service_id, change, expected: None })
                .await
        }
        10 => {
            let active = Some(dice.roll(3) > 0);
            let max_per_week = Some(dice.one(&[None, None, Some(3)]));
            let change = StaffChange {
                active,
                skills: Some(skills(dice)),
                max_per_week,
                ..StaffChange::default()
            };
            salon.change(BusinessCommand::ChangeStaff { staff_id, change, expected: None }).await
        }
        11 => {
            let date_from = date(2026, 3, 1) + i64::try_from(dice.roll(10)).unwrap().days();
            let date_to = date_from + i64::try_from(dice.roll(4)).unwrap().days();
            let closure = Closure { date_from, date_to, reason: None };
            let closure_id = ClosureId::new(crate::salon::id());
            salon.change(BusinessCommand::AddClosure { closure_id, closure }).await
        }
        12 | 13 if salon.closed().is_some() => {
            let closure_id = salon.closed().unwrap();
            salon.change(BusinessCommand::RemoveClosure { closure_id }).await
        }
        _ => {
            let zones = ["UTC", "Asia/Kolkata", "America/New_York", "Pacific/Kiritimati"];
            let change = ProfileChange {
                name: Some(format!("Name {:x}", dice.0)),
                timezone: Some(dice.one(&zones).parse::<Zone>().unwrap()),
                booking_policy: Some(PolicyChange {
                    slot_grid: Some(dice.one(&[SlotGrid::Packed, SlotGrid::Aligned])),
                    min_notice_minutes: Some(dice.one(&[0, 120])),
                    window_days: Some(dice.one(&[3, 90])),
                    max_per_day: Some(dice.one(&[None, None, Some(3)])),
                    ..PolicyChange::default()
                }),
                ..ProfileChange::default()
            };
            salon.change(BusinessCommand::ChangeProfile { change, expected: None }).await
        }
    }
}

fn queries(salon: &Salon) -> Vec<SlotQuery> {
    let all = salon.query("2026-03-02", "2026-03-12");
    let zone = "Australia/Lord_Howe".parse::<Zone>().unwrap();
    let day = "2026-03-04".parse().unwrap();
    let abroad = SlotSpan::Dates { first: day, last: day, zone: Some(zone) };
    let until = at("2026-03-05T17:00:00Z");
    let instants = SlotSpan::Instants { from: at("2026-03-03T10:00:00Z"), until };
    let handle = Place::Handle(salon.handle().unwrap());
    vec![
        SlotQuery { staff_id: Some(salon.staff[0]), ..all.clone() },
        SlotQuery { staff_id: Some(salon.staff[1]), service_id: None, ..all.clone() },
        SlotQuery { place: handle, span: abroad, ..all.clone() },
        SlotQuery { place: Place::Business(salon.id), span: instants, ..all.clone() },
        all,
    ]
}

/// Every process answers what reading without any cache gives.
async fn compare(
    url: &str,
    processes: &[Answers<Listed>],
    salon: &Salon,
    now: Timestamp,
    why: &str,
) {
    let fresh = Availability::new(Database::new(url, 1).unwrap());
    for query in queries(salon) {
        let expected =
            fresh.slots(&query, now).await.map(|list| (list.slots, list.zone.to_string()));
        let expected = expected.map_err(|error| error.to_string());
        for process in processes {
            let answer = process.answer(&query, None, now).await;
            let answer = answer.as_ref().map(|answer| &answer.body).map_err(ToString::to_string);
            let answer = answer.map(|body| (body.0.clone(), body.1.clone()));
            assert_eq!(answer, expected, "{why}: {query:?}");
        }
        for offered in expected.iter().flat_map(|(slots, _)| slots) {
            let taken = salon.booked.iter().find(|booked| {
                booked.staff_id == offered.staff_id && booked.slot.overlaps(&offered.slot)
            });
            assert!(taken.is_none(), "{why}: {offered:?} is taken by {taken:?}");
        }
    }
}

#[tokio::test]
async fn after_each_change_every_process_answers_what_is_true() {
    let database = TestDatabase::create().await;
    let (mut salon, processes) = stand(&database, 3).await;
    let url = database.app_url();
    let seed = u64::try_from(streams::clock::new_id().as_u128() & 0xffff_ffff).unwrap() | 1;
    let mut dice = Dice(seed);
    let mut now = at(NOW);
    let mut last = Cursor::START;
    for step in 0..80 {
        let why = format!("seed {seed}, step {step}");
        let fresh = Availability::new(Database::new(&url, 1).unwrap());
        let all = salon.query("2026-03-02", "2026-03-12");
        let free = fresh.slots(&all, now).await.map(|list| list.slots).unwrap_or_default();
        last = last.max(change(&mut salon, &mut dice, &free).await);
        compare(&url, &processes, &salon, now, &why).await;
        // The model follows at once, in part, or not yet.
        match dice.roll(4) {
            0 | 1 => catch_up(&url, last).await,
            2 => drop(project(&url, 1).await),
            _ => {}
        }
        compare(&url, &processes, &salon, now, &why).await;
        now += SignedDuration::from_mins(i64::try_from(dice.roll(120)).unwrap());
        compare(&url, &processes, &salon, now, &why).await;
    }
}
