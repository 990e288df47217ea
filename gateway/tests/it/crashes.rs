//! Processes and servers die, or freeze, at each step between a booking and its reminder: every message is sent
//! once, or is uncertain and says so.

use std::{fs, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tempfile::TempDir;
use testkit::{eventually, mailsink::MailSink, nats::NatsServer, postgres::PrivatePostgres};

use crate::{
    faults::insist,
    races::sized,
    reminders::only_guests_are_told,
    salon::{Salon, start_in},
    stand::{Addresses, Process},
};

/// From an event to the row of its message.
const PLANNING: [&str; 6] = [
    "relay.read",
    "relay.published",
    "relay.saved",
    "schedule-reminders.received",
    "schedule-reminders.written",
    "schedule-reminders.committed",
];
/// From the row to the offer.
const DISPATCHING: [&str; 4] =
    ["dispatcher.read", "dispatcher.written", "dispatcher.committed", "dispatcher.published"];
/// From the offer to the record of what became of it.
const SENDING: [&str; 7] = [
    "notifier.received",
    "notifier.taken",
    "notifier.prepared",
    "notifier.marked",
    "notifier.sent",
    "notifier.recording",
    "notifier.recorded",
];
/// Whoever dies here does not say whether the provider has the message.
const IN_DOUBT: [&str; 3] = ["notifier.marked", "notifier.sent", "notifier.recording"];

/// Where processes stop when the test wants it.
pub(crate) struct CrashPoints(TempDir);

impl CrashPoints {
    pub(crate) fn of(addresses: &mut Addresses) -> Self {
        let folder = tempfile::tempdir().unwrap();
        addresses.set("TEST_CRASH_POINTS", folder.path().to_str().unwrap());
        Self(folder)
    }

    /// Whoever comes there next stops.
    pub(crate) fn stop_at(&self, point: &str) {
        fs::write(self.0.path().join(point), "").unwrap();
    }

    /// Waits until somebody stands there, and says which process.
    pub(crate) async fn reached(&self, point: &str) -> u32 {
        let file = self.0.path().join(format!("{point}.reached"));
        eventually(point, async || fs::read_to_string(&file).ok()?.parse().ok()).await
    }

    /// Whoever stands there goes on, if they live.
    pub(crate) fn go_on(&self, point: &str) {
        fs::remove_file(self.0.path().join(format!("{point}.reached"))).unwrap();
    }
}

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// The process that stands at the point.
    Process,
    Postgres,
    Broker,
}

struct Scene {
    postgres: PrivatePostgres,
    nats: NatsServer,
    mail: MailSink,
    addresses: Addresses,
    points: CrashPoints,
    salon: Salon,
    /// Takes bookings, and lives.
    _front: Process,
    /// Does all else.
    back: Vec<Process>,
    first: Timestamp,
    visits: i64,
}

const PLANNERS: &[&str] = &["relay", "projector", "scheduler"];
const SENDERS: &[&str] = &["notifier"];
const BOTH: &[&str] = &["relay", "projector", "scheduler", "notifier"];

impl Scene {
    /// With two processes at the back, of these roles.
    async fn new(roles: [&[&str]; 2]) -> Self {
        let (postgres, nats, mail) =
            tokio::join!(PrivatePostgres::start(), NatsServer::start(), MailSink::start());
        let mut addresses = Addresses::new(postgres.app_url(), nats.url(), mail.smtp_url());
        let points = CrashPoints::of(&mut addresses);
        let mut back = vec![];
        for roles in roles {
            back.push(Process::start(&addresses, roles).await);
        }
        let front = Process::start(&addresses, &["gateway"]).await;
        let salon = Salon::open(&front.client(), 1).await;
        only_guests_are_told(&salon).await;
        salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
        let first = start_in(3_000);
        let (visits, _front) = (0, front);
        Self { postgres, nats, mail, addresses, points, salon, _front, back, first, visits }
    }

    /// Books the next visit; answers its id as the tables have it.
    async fn book(&mut self) -> String {
        self.visits += 1;
        let start = self.first + SignedDuration::from_mins(5 * self.visits);
        let key = format!("visit-{}", self.visits);
        let id = insist(&self.salon.guest, &key, &self.salon.booking(0, start)).await;
        id.trim_start_matches("appt_").to_owned()
    }

    /// The time of its reminder has come.
    async fn remind(&self, visit: &str) {
        let planned = format!(
            "SELECT state FROM notification WHERE appointment_id = '{visit}'::uuid AND kind = 'reminder'"
        );
        eventually("a reminder is planned", async || self.postgres.texts(&planned).await.pop())
            .await;
        let due = format!(
            "UPDATE notification SET next_at = now(), due_at = now()
              WHERE appointment_id = '{visit}'::uuid AND kind = 'reminder' AND state = 'pending'"
        );
        self.postgres.execute(&due).await;
    }

    /// Each message of a visit has its outcome. Time passes for offers that nobody took up.
    async fn settled(&self, visit: &str, messages: usize) {
        let states = format!(
            "SELECT state FROM notification
              WHERE appointment_id = '{visit}'::uuid AND state IN ('sent', 'uncertain')"
        );
        eventually("messages have their outcomes", async || {
            self.lapse("offered").await;
            (self.postgres.texts(&states).await.len() == messages).then_some(())
        })
        .await;
    }

    /// As if leases had run out.
    async fn lapse(&self, state: &str) {
        let sql = format!("UPDATE notification SET lease_until = now() WHERE state = '{state}'");
        self.postgres.execute(&sql).await;
    }

    /// Somebody dies while one message is at this point.
    async fn crash(&mut self, point: &str, victim: Victim) {
        let visit = if PLANNING.contains(&point) {
            self.points.stop_at(point);
            self.book().await
        } else {
            let visit = self.book().await;
            self.settled(&visit, 1).await;
            self.points.stop_at(point);
            self.remind(&visit).await;
            visit
        };
        let number = self.points.reached(point).await;
        match victim {
            Victim::Process => {
                let of_it = |process: &Process| process.number() == number;
                let at = self.back.iter().position(of_it).unwrap();
                self.back[at].kill();
                self.points.go_on(point);
                // Nobody else sends.
                if SENDING.contains(&point) {
                    self.lapse("sending").await;
                }
                self.back[at].start_again().await;
            }
            Victim::Postgres => {
                self.postgres.kill();
                self.points.go_on(point);
                self.postgres.start_again().await;
            }
            Victim::Broker => {
                self.nats.kill();
                self.points.go_on(point);
                self.nats.start_again().await;
            }
        }
        self.remind(&visit).await;
        self.settled(&visit, 2).await;
    }

    /// What the sink has is what is recorded: once what was sent, and nothing is in doubt without a reason.
    async fn adds_up(&self, in_doubt: usize) {
        self.addresses.caught_up().await;
        self.addresses.assert_healthy();
        let counts = self.mail.counts().await;
        assert!(counts.values().all(|count| *count == 1), "{counts:?}");
        let of = async |state: &str| {
            let sql = format!(
                "SELECT 'ntf_' || replace(notification_id::text, '-', '') FROM notification
                  WHERE state = '{state}'"
            );
            self.postgres.texts(&sql).await
        };
        let (sent, uncertain) = (of("sent").await, of("uncertain").await);
        assert_eq!((sent.len() + uncertain.len()) as i64, 2 * self.visits, "one of each kind");
        assert!(uncertain.len() <= in_doubt, "{uncertain:?}");
        let arrived = |id: &String| counts.keys().any(|message| message.starts_with(id));
        let lost: Vec<&String> = sent.iter().filter(|id| !arrived(id)).collect();
        assert!(lost.is_empty(), "shown as sent and not there: {lost:?}");
        for id in uncertain {
            let path = format!("/api/v1/notifications/{id}");
            let evidence = self.salon.owner.read(&path).await.expect(200);
            let tries = evidence["tries"].as_array().unwrap();
            assert_eq!(tries.last().unwrap()["outcome"], "uncertain", "{evidence}");
        }
    }
}

async fn each_crash(points: &[&str], victim: Victim) {
    let mut scene = Scene::new([PLANNERS, SENDERS]).await;
    let rounds = sized(5, 50);
    for point in points {
        for _ in 0..rounds {
            scene.crash(point, victim).await;
        }
    }
    let in_doubt = points.iter().filter(|point| IN_DOUBT.contains(point)).count() * rounds;
    scene.adds_up(if victim == Victim::Process { in_doubt } else { 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_plans_is_killed_at_each_step() {
    each_crash(&PLANNING, Victim::Process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hands_out_is_killed_at_each_step() {
    each_crash(&DISPATCHING, Victim::Process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_is_killed_at_each_step() {
    each_crash(&SENDING, Victim::Process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_killed_at_each_step_of_planning() {
    each_crash(&PLANNING, Victim::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_killed_at_each_step_of_handing_out() {
    each_crash(&DISPATCHING, Victim::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_killed_at_each_step_of_sending() {
    each_crash(&SENDING, Victim::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_is_killed_at_each_step_of_planning() {
    each_crash(&PLANNING, Victim::Broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_is_killed_at_each_step_of_handing_out() {
    each_crash(&DISPATCHING, Victim::Broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_is_killed_at_each_step_of_sending() {
    each_crash(&SENDING, Victim::Broker).await;
}

/// With two of everything, the one that is at this point freezes and wakes a minute later.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_frozen_at_any_step_and_woken_sends_nothing_twice() {
    let mut scene = Scene::new([BOTH, BOTH]).await;
    for point in DISPATCHING.into_iter().chain(SENDING) {
        let visit = scene.book().await;
        scene.settled(&visit, 1).await;
        scene.points.stop_at(point);
        scene.remind(&visit).await;
        let number = scene.points.reached(point).await;
        let of_it = |process: &&Process| process.number() == number;
        let frozen = scene.back.iter().find(of_it).unwrap();
        frozen.signal("-STOP");
        scene.points.go_on(point);
        scene.a_minute_passes().await;
        scene.settled(&visit, 2).await;
        frozen.signal("-CONT");
    }
    // Whatever they were about to do is done.
    for process in &mut scene.back {
        assert!(process.terminate().await);
    }
    for process in &mut scene.back {
        process.start_again().await;
    }
    scene.adds_up(IN_DOUBT.len()).await;
}

impl Scene {
    /// In the small form the hands of the clock are moved: leases run out, and Postgres ends the sessions of
    /// those who lead and say nothing (it meets the living too, who sign in again).
    async fn a_minute_passes(&self) {
        if sized(0, 1) == 1 {
            return tokio::time::sleep(Duration::from_secs(62)).await;
        }
        self.postgres
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE state = 'idle in transaction'
                     OR pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')",
            )
            .await;
        self.lapse("sending").await;
    }
}
