//! Hundreds of commands of all kinds at once, against a model in memory that knows the rules by itself.
//!
//! Nobody can say beforehand who wins. But whatever was done has a place in the log: done one after the
//! other in that order, the model must allow each; whatever was refused must be refused by the model at
//! some moment between the request and its answer; and in the end both must be in the same state.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    salon::{Salon, start_in, text},
    stand::{Client, Process, Stand},
};

/// What is offered. Minutes, and how many of the two rooms it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Cut,
    Massage,
    Yoga,
    Cure,
    Both,
}

const ROOMS: usize = 2;
const SEATS: u32 = 3;

impl Kind {
    const fn minutes(self) -> i64 {
        match self {
            Self::Cut | Self::Cure => 30,
            Self::Massage => 40,
            Self::Yoga => 60,
            Self::Both => 70,
        }
    }
}

/// A command. Staff, visits and times are numbers.
#[derive(Debug, Clone, Copy)]
enum Op {
    Book { kind: Kind, staff: usize, at: i64, seats: u32 },
    Move { visit: usize, at: i64 },
    Cancel { visit: usize },
    Confirm { visit: usize },
    Decline { visit: usize },
    Reinstate { visit: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Requested,
    Booked,
    Cancelled,
    Declined,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Visit {
    kind: Kind,
    staff: usize,
    at: i64,
    seats: u32,
    state: State,
}

impl Visit {
    const fn stands(&self) -> bool {
        matches!(self.state, State::Requested | State::Booked)
    }

    const fn end(&self) -> i64 {
        self.at + self.kind.minutes()
    }

    const fn overlaps(&self, other: &Self) -> bool {
        self.at < other.end() && other.at < self.end()
    }

    const fn same_class(&self, other: &Self) -> bool {
        matches!((self.kind, other.kind), (Kind::Yoga, Kind::Yoga))
            && self.staff == other.staff
            && self.at == other.at
    }

    /// From when to when it has a room.
    const fn room(&self) -> Option<(i64, i64)> {
        match self.kind {
            Kind::Massage | Kind::Yoga => Some((self.at, self.end())),
            // The massage follows the cut.
            Kind::Both => Some((self.at + 30, self.end())),
            Kind::Cut | Kind::Cure => None,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model(BTreeMap<usize, Visit>);

impl Model {
    /// Whether there is time, a seat and a room for it, besides itself. Which room a visit has the model
    /// does not know: there is one for sure when fewer are in use than there are, and there may be one
    /// when that is so at each minute.
    fn fits(&self, id: usize, wanted: &Visit, for_sure: bool) -> bool {
        let others = || self.0.iter().filter(|(other, v)| **other != id && v.stands());
        let others = || others().map(|(_, visit)| visit);
        let with_staff = others().filter(|v| v.staff == wanted.staff && v.overlaps(wanted));
        let (class, alone): (Vec<_>, Vec<_>) = with_staff.partition(|v| v.same_class(wanted));
        if !alone.is_empty() {
            return false;
        }
        let taken: u32 = class.iter().map(|v: &&Visit| v.seats).sum();
        if !class.is_empty() {
            return taken + wanted.seats <= SEATS;
        }
        let Some((from, until)) = wanted.room() else { return true };
        let mut rooms = BTreeSet::new();
        for (n, other) in others().enumerate() {
            let Some((start, end)) = other.room() else { continue };
            if start < until && from < end {
                // Those who share a class share its room.
                let key = if other.kind == Kind::Yoga {
                    (other.staff, other.at, 0)
                } else {
                    (99, 0, n + 1)
                };
                rooms.insert((key, start, end));
            }
        }
        let at = |minute| {
            let now = rooms.iter().filter(|(_, start, end)| *start <= minute && minute < *end);
            now.count()
        };
        rooms.len() < ROOMS || !for_sure && (from..until).all(|minute| at(minute) < ROOMS)
    }

    /// Whether it may be done, and does it.
    fn apply(&mut self, id: usize, op: Op, for_sure: bool) -> bool {
        let now = self.0.get(&id).copied();
        let next = match (op, now) {
            (Op::Book { kind, staff, at, seats }, None) => {
                let state = if kind == Kind::Cure { State::Requested } else { State::Booked };
                Visit { kind, staff, at, seats, state }
            }
            (Op::Move { at, .. }, Some(visit)) if visit.stands() => Visit { at, ..visit },
            (Op::Cancel { .. }, Some(visit))
                if visit.stands() || visit.state == State::Cancelled =>
            {
                Visit { state: State::Cancelled, ..visit }
            }
            (Op::Confirm { .. }, Some(visit)) if visit.stands() => {
                Visit { state: State::Booked, ..visit }
            }
            (Op::Decline { .. }, Some(visit))
                if matches!(visit.state, State::Requested | State::Declined) =>
            {
                Visit { state: State::Declined, ..visit }
            }
            (Op::Reinstate { .. }, Some(visit))
                if matches!(visit.state, State::Booked | State::Cancelled) =>
            {
                Visit { state: State::Booked, ..visit }
            }
            _ => return false,
        };
        if next.stands() && Some(next) != now && !self.fits(id, &next, for_sure) {
            return false;
        }
        self.0.insert(id, next);
        true
    }
}

/// What was asked and what came of it.
#[derive(Debug)]
struct Done {
    id: usize,
    op: Op,
    status: u16,
    code: String,
    /// Of what was done: transaction and position.
    place: Option<(u64, u64)>,
    /// When it was asked and when it was answered, as all that happens in this test is counted.
    sent: u64,
    answered: u64,
}

fn place(text: &str) -> (u64, u64) {
    let (transaction, position) = text.split_once('-').unwrap();
    let number = |hex| u64::from_str_radix(hex, 16).unwrap();
    (number(transaction), number(position))
}

/// The salon with all kinds on offer, by their ids.
struct World {
    salon: Salon,
    services: BTreeMap<Kind, String>,
    start: Timestamp,
    /// Ids of appointments, by number.
    known: Mutex<BTreeMap<usize, String>>,
    clock: AtomicU64,
}

impl World {
    async fn open(process: &Process, staff: usize) -> Self {
        let salon = Salon::with(&process.client(), staff, 30).await;
        for n in 0..ROOMS {
            let room = json!({"name": format!("Room {n}"), "kind": "room"});
            salon.owner.post("/api/v1/business/resources", &room).await.expect(201);
        }
        let mut services = BTreeMap::from([(Kind::Cut, salon.service_id.clone())]);
        let room = json!([{"kind": "room"}]);
        for (kind, change) in [
            (Kind::Massage, json!({"resources": room})),
            (Kind::Yoga, json!({"resources": room, "capacity": SEATS})),
            (Kind::Cure, json!({"requires_approval": true})),
        ] {
            let mut service = json!({"name": format!("{kind:?}"), "duration_minutes": kind.minutes(),
                                     "price": {"amount": 100, "currency": "USD"}});
            service.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let made = salon.owner.post("/api/v1/business/services", &service).await.expect(201);
            services.insert(kind, text(&made["id"]));
        }
        let (known, clock) = (Mutex::default(), AtomicU64::default());
        Self { salon, services, start: start_in(5 * 1_440), known, clock }
    }

    fn time(&self, at: i64) -> Timestamp {
        self.start + SignedDuration::from_mins(at)
    }

    fn wish(&self, kind: Kind, staff: usize, at: i64, seats: u32) -> Value {
        let service = if kind == Kind::Both { Kind::Cut } else { kind };
        let mut wish = json!({"service_id": self.services[&service],
                              "staff_id": self.salon.staff[staff], "start": self.time(at),
                              "customer": {"name": "Ada"}});
        if kind == Kind::Both {
            let staff = &self.salon.staff[staff];
            wish["also"] =
                json!([{"service_id": self.services[&Kind::Massage], "staff_id": staff}]);
        }
        if seats > 1 {
            wish["subjects"] = (0..seats).map(|n| json!({"name": n.to_string()})).collect();
        }
        wish
    }

    async fn run(&self, guest: &Client, owner: &Client, id: usize, op: Op) -> Done {
        let sent = self.clock.fetch_add(1, Ordering::SeqCst);
        let path = |visit: usize, how: &str| {
            format!("/api/v1/appointments/{}/{how}", self.known.lock().unwrap()[&visit])
        };
        let answer = match op {
            Op::Book { kind, staff, at, seats } => {
                guest.post("/api/v1/public/book", &self.wish(kind, staff, at, seats)).await
            }
            Op::Move { visit, at } => {
                let to = json!({"start": self.time(at)});
                owner.post(&path(visit, "reschedule"), &to).await
            }
            Op::Cancel { visit } => owner.post(&path(visit, "cancel"), &json!({})).await,
            Op::Confirm { visit } => owner.call(Method::POST, &path(visit, "confirm"), None).await,
            Op::Decline { visit } => owner.post(&path(visit, "decline"), &json!({})).await,
            Op::Reinstate { visit } => {
                owner.call(Method::POST, &path(visit, "reinstate"), None).await
            }
        };
        let position = answer.header("x-position");
        let place = (!position.is_empty()).then(|| place(position));
        let answered = self.clock.fetch_add(1, Ordering::SeqCst);
        if answer.status == 201 {
            self.known.lock().unwrap().insert(id, text(&answer.body["appointment_id"]));
        }
        let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
        Done { id, op, status: answer.status, code, place, sent, answered }
    }

    /// What every visit is in the end.
    async fn shown(&self) -> Model {
        let known = self.known.lock().unwrap().clone();
        let mut model = Model::default();
        for (id, appointment) in known {
            let path = format!("/api/v1/appointments/{appointment}");
            let shown = self.salon.owner.read(&path).await.expect(200);
            let service = text(&shown["service_id"]);
            let kind = self.services.iter().find(|(_, id)| **id == service).map(|(kind, _)| *kind);
            let kind = if shown["parts"].is_array() { Kind::Both } else { kind.unwrap() };
            let start: Timestamp = text(&shown["start"]).parse().unwrap();
            let staff = self.salon.staff.iter().position(|id| shown["staff_id"] == json!(id));
            let visit = Visit {
                kind,
                staff: staff.unwrap(),
                at: start.duration_since(self.start).as_mins(),
                seats: shown["seats"].as_u64().map_or(1, |seats| u32::try_from(seats).unwrap()),
                state: match shown["status"].as_str().unwrap() {
                    "requested" => State::Requested,
                    "booked" => State::Booked,
                    "cancelled" => State::Cancelled,
                    "declined" => State::Declined,
                    other => panic!("{other}"),
                },
            };
            model.0.insert(id, visit);
        }
        model
    }
}

fn random(rng: &mut StdRng, visits: usize, staff: usize) -> Op {
    let visit = rng.random_range(0..visits);
    let at = rng.random_range(0..24_i64) * 10;
    match rng.random_range(0..10) {
        0..=4 => {
            let kinds = [Kind::Cut, Kind::Massage, Kind::Yoga, Kind::Yoga, Kind::Cure, Kind::Both];
            let kind = *kinds.choose(rng).unwrap();
            // Classes begin at full hours, so that some meet.
            let at = if kind == Kind::Yoga { at / 60 * 60 } else { at };
            let seats = if kind == Kind::Yoga { rng.random_range(1..=2) } else { 1 };
            Op::Book { kind, staff: rng.random_range(0..staff), at, seats }
        }
        5 | 6 => Op::Move { visit, at },
        7 => Op::Cancel { visit },
        8 if rng.random_bool(0.5) => Op::Confirm { visit },
        8 => Op::Decline { visit },
        _ => Op::Reinstate { visit },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_commands_at_once_come_out_as_one_after_the_other() {
    let stand = Stand::new().await;
    let first = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    let (staff, visits, commands) = (6, 40, 500);
    let world = World::open(&first, staff).await;
    let owners = [world.salon.owner.clone(), world.salon.owner.at(&second)];
    let guests = [first.client(), second.client()];
    let mut rng = StdRng::seed_from_u64(20_261_120);
    // Visits to move, cancel and confirm.
    let mut all = vec![];
    while world.known.lock().unwrap().len() < visits {
        let op = Op::Book {
            kind: *[Kind::Cut, Kind::Yoga, Kind::Cure, Kind::Massage].choose(&mut rng).unwrap(),
            staff: rng.random_range(0..staff),
            at: rng.random_range(0..24_i64) * 10,
            seats: 1,
        };
        let id = world.known.lock().unwrap().len();
        let done = world.run(&guests[0], &owners[0], id, op).await;
        if done.status == 201 {
            all.push(done);
        }
    }
    let ops: Vec<(usize, Op)> = (0..commands)
        .map(|n| {
            let op = random(&mut rng, visits, staff);
            let id = match op {
                Op::Book { .. } => visits + n,
                Op::Move { visit, .. }
                | Op::Cancel { visit }
                | Op::Confirm { visit }
                | Op::Decline { visit }
                | Op::Reinstate { visit } => visit,
            };
            (id, op)
        })
        .collect();
    let world = &world;
    let (owners, guests) = (&owners, &guests);
    let mut done: Vec<Done> = stream::iter(ops.into_iter().enumerate())
        .map(async |(n, (id, op))| world.run(&guests[n % 2], &owners[n % 2], id, op).await)
        .buffer_unordered(48)
        .collect()
        .await;
    all.append(&mut done);
    check(&all, &world.shown().await);
    stand.addresses.assert_healthy();
    stand.addresses.caught_up().await;
}

fn check(all: &[Done], shown: &Model) {
    let fine = |done: &Done| matches!(done.status, 200 | 201);
    let mut order: Vec<&Done> = all.iter().filter(|done| fine(done)).collect();
    order.sort_by_key(|done| (done.place, done.sent));
    // The states that the log went through.
    let (mut model, mut states) = (Model::default(), vec![Model::default()]);
    for done in &order {
        assert!(model.apply(done.id, done.op, false), "the model refuses what was done: {done:?}");
        states.push(model.clone());
    }
    assert_eq!(&model, shown);
    let mut counts: BTreeMap<(u16, &str), usize> = BTreeMap::new();
    for done in all {
        *counts.entry((done.status, done.code.as_str())).or_default() += 1;
    }
    let refused: Vec<&Done> = all.iter().filter(|done| matches!(done.status, 409 | 422)).collect();
    assert_eq!(refused.len() + order.len(), all.len(), "{counts:?}");
    for refused in &refused {
        // From the last state that was there for sure to the last that can have been begun by then.
        let from = order.iter().take_while(|done| done.answered < refused.sent).count();
        let last = order.iter().rposition(|done| done.sent < refused.answered);
        let seen = states.get(from..=last.map_or(0, |n| n + 1).max(from)).unwrap();
        let some = seen.iter().any(|state| !state.clone().apply(refused.id, refused.op, true));
        assert!(some, "the model never refuses it: {refused:?}");
    }
    assert!(refused.len() > 50 && order.len() > 150, "too tame: {counts:?}");
}
