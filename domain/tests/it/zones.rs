//! Every change of the clocks, in every zone, for twenty years: what is offered around it.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    Currency, Money, ServiceId, StaffId, Zone,
    availability::{Counts, Rules, slots, start_of_day},
    business::{BookingPolicy, Closures, Service, StaffMember},
    staff_schedule::{DayWindow, Hours, WallMinute, Window},
};
use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, date},
    tz::{self, AmbiguousOffset, TimeZone},
};
use uuid::Uuid;

const MINUTES: u32 = 30;

/// Somebody who works around the clock, and visits of half an hour.
struct Open {
    zone: Zone,
    policy: BookingPolicy,
    service: Service,
    member: StaffMember,
    hours: Hours,
    closures: Closures,
    counts: Counts,
}

impl Open {
    fn new(zone: &str) -> Self {
        let minute = |minute| WallMinute::new(minute).unwrap();
        let window = Window { start: minute(0), end: minute(24 * 60) };
        let weekly = (0..7).map(|day| DayWindow { day, window }).collect();
        Self {
            zone: zone.parse().unwrap(),
            policy: BookingPolicy { window_days: 730, ..BookingPolicy::default() },
            service: Service::new("Cut", MINUTES, Money { amount: 0, currency: Currency::USD }),
            member: StaffMember::new("Dana"),
            hours: Hours { weekly, ..Hours::default() },
            closures: Closures::default(),
            counts: Counts::default(),
        }
    }

    /// The starts of one local date.
    fn on(&self, day: Date) -> Vec<Timestamp> {
        let rules = Rules {
            zone: &self.zone,
            policy: &self.policy,
            service_id: ServiceId::new(Uuid::nil()),
            service: &self.service,
            staff_id: StaffId::new(Uuid::nil()),
            member: &self.member,
            hours: &self.hours,
            closures: &self.closures,
            counts: &self.counts,
            beside: domain::availability::Beside::nothing(),
        };
        let (from, until) =
            (start_of_day(&self.zone, day), start_of_day(&self.zone, day.tomorrow().unwrap()));
        let now = from - SignedDuration::from_hours(24);
        let listed = slots(&rules, &[], from, until, now);
        for slot in &listed {
            let lasts = slot.start().duration_until(slot.end());
            assert_eq!(lasts, SignedDuration::from_mins(MINUTES.into()), "an exact half hour");
        }
        listed.iter().map(domain::TimeSlot::start).collect()
    }
}

/// The local dates that the clocks change on, from 2020 to 2040.
fn changes(zone: &TimeZone) -> BTreeSet<Date> {
    let from = date(2020, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
    let until = date(2041, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
    let mut days = BTreeSet::new();
    for change in zone.following(from).take_while(|change| change.timestamp() < until) {
        let before = change.timestamp() - SignedDuration::from_nanos(1);
        days.insert(zone.to_datetime(before).date());
        days.insert(zone.to_datetime(change.timestamp()).date());
    }
    days
}

/// Everything that must hold for what is offered on one date; answers how long the date is, in minutes.
fn hold_on(open: &Open, day: Date) -> i64 {
    let zone = open.zone.tz();
    let starts = open.on(day);
    let begins = start_of_day(&open.zone, day);
    let ends = start_of_day(&open.zone, day.tomorrow().unwrap());
    let name = open.zone.name();
    let length = begins.duration_until(ends).as_mins();
    // Nothing is lost and nothing is invented: the whole date is filled, back to back. Where the clocks
    // change by less than a visit lasts, a rest may stay that holds none.
    let most = length / i64::from(MINUTES);
    let found = i64::try_from(starts.len()).unwrap();
    assert!((most - 2..=most).contains(&found), "{name} {day}: {found} of {most}");
    for pair in starts.windows(2) {
        assert!(pair[0] + SignedDuration::from_mins(MINUTES.into()) <= pair[1], "{name} {day}");
    }
    // Each start is a time that the clocks on the wall show, on that date; a time that they show twice is
    // offered twice, one that they skip never.
    let mut shown: BTreeMap<_, Vec<Timestamp>> = BTreeMap::new();
    for start in &starts {
        let local = zone.to_datetime(*start);
        assert_eq!(local.date(), day, "{name}");
        shown.entry(local).or_default().push(*start);
    }
    for (local, starts) in &shown {
        let ambiguous = zone.to_ambiguous_timestamp(*local);
        let offset = ambiguous.offset();
        let gap = matches!(offset, AmbiguousOffset::Gap { .. });
        assert!(!gap, "{name} {local} does not exist");
        let AmbiguousOffset::Fold { .. } = offset else { continue };
        let (earlier, later) = (ambiguous.earlier().unwrap(), ambiguous.later().unwrap());
        // In Nuuk the look-up names a fold in 2023 that the clocks never showed.
        let twice = zone.to_datetime(earlier) == *local && zone.to_datetime(later) == *local;
        // The grid of the day meets both.
        let apart = earlier.duration_until(later).as_mins();
        let met = apart > 0 && apart % i64::from(MINUTES) == 0;
        let fits = later + SignedDuration::from_mins(MINUTES.into()) <= ends && earlier >= begins;
        assert!(starts.len() == 2 || !(twice && met && fits), "{name} {local} is offered once");
    }
    length
}

#[test]
fn around_every_change_of_the_clocks_every_time_is_offered_as_often_as_it_is_shown() {
    let (mut zones, mut days) = (0, 0);
    let mut lengths = BTreeSet::new();
    for name in tz::db().available() {
        let Ok(zone) = TimeZone::get(name.as_str()) else { continue };
        if name.as_str().parse::<Zone>().is_err() {
            continue;
        }
        let changes = changes(&zone);
        if changes.is_empty() {
            continue;
        }
        zones += 1;
        let open = Open::new(name.as_str());
        for day in changes {
            lengths.insert(hold_on(&open, day));
            days += 1;
        }
    }
    assert!(zones > 100 && days > 4_000, "{zones} zones, {days} days");
    for hours in [23 * 60, 23 * 60 + 30, 24 * 60 + 30, 25 * 60] {
        assert!(lengths.contains(&hours), "no day of {hours} minutes: {lengths:?}");
    }
}

#[test]
fn the_odd_zones_by_name() {
    // (zone, date, length of the date in hours, a time of that day, how often it is shown)
    let cases = [
        ("Africa/Cairo", date(2026, 4, 24), 23.0, "00:30", 0),
        ("Africa/Cairo", date(2026, 10, 29), 25.0, "23:30", 2),
        ("America/Havana", date(2026, 3, 8), 23.0, "00:30", 0),
        ("America/Havana", date(2026, 11, 1), 25.0, "00:30", 2),
        ("America/Santiago", date(2026, 9, 6), 23.0, "00:30", 0),
        ("America/Santiago", date(2026, 4, 4), 25.0, "23:30", 2),
        ("Asia/Beirut", date(2026, 3, 29), 23.0, "00:30", 0),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5, "02:00", 0),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5, "01:30", 2),
        ("Asia/Kolkata", date(2026, 3, 29), 24.0, "00:30", 1),
        ("Asia/Kathmandu", date(2026, 3, 29), 24.0, "00:30", 1),
    ];
    for (name, day, hours, time, shown) in cases {
        let open = Open::new(name);
        let minutes = hold_on(&open, day);
        #[expect(clippy::cast_precision_loss, reason = "some thousand minutes")]
        let length = minutes as f64 / 60.0;
        assert!((length - hours).abs() < 1e-9, "{name} {day} lasts {length} h");
        let local = |at: &Timestamp| open.zone.tz().to_datetime(*at).strftime("%H:%M").to_string();
        let found = open.on(day).iter().filter(|at| local(at) == time).count();
        assert_eq!(found, shown, "{name} {day} {time}");
    }
}
