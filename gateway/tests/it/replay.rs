//! Read models built anew: equal to the live ones, and swapped in while everything goes on.

use std::{
    fs::File,
    process::{Command, Output},
};

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    salon::{Salon, start_in, text},
    stand::Stand,
};

const MODELS: [&str; 4] = ["availability", "agenda", "notifications", "audit"];

/// `apptremind replay`, as the owner of the schema.
pub(crate) fn command(stand: &Stand, arguments: &[&str]) -> Command {
    let mut command = stand.addresses.command(&["replay"]);
    command.args(arguments).env("APPTREMIND_MIGRATE_DATABASE_URL", stand.database.owner_url());
    // A rebuild speaks to Postgres only.
    command.env("APPTREMIND_NATS_URL", "nats://127.0.0.1:1");
    command
}

pub(crate) struct Replayed {
    pub(crate) code: i32,
    pub(crate) models: Vec<Value>,
    pub(crate) errors: String,
}

pub(crate) async fn replay(stand: &Stand, arguments: &[&str]) -> Replayed {
    let mut command = command(stand, arguments);
    command.arg("--json");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    read(&output)
}

fn read(output: &Output) -> Replayed {
    let text = String::from_utf8_lossy(&output.stdout);
    let models = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Replayed { code: output.status.code().unwrap_or(-1), models, errors }
}

impl Replayed {
    /// All three were built, and were as the log says.
    #[track_caller]
    pub(crate) fn assert_equal(&self, swapped: bool) {
        assert_eq!(self.code, 0, "{:?} {}", self.models, self.errors);
        let named: Vec<&Value> = self.models.iter().map(|model| &model["model"]).collect();
        assert_eq!(named, MODELS);
        for model in &self.models {
            assert_eq!(model["equal"], true, "{model}");
            assert_eq!(model["swapped"], swapped, "{model}");
            assert!(model["rows"].as_u64().is_some_and(|rows| rows > 0), "{model}");
            assert!(model["events"].as_u64() >= model["rows"].as_u64(), "{model}");
        }
    }
}

/// Nothing is left of a rebuild but the live schemas.
pub(crate) async fn assert_tidy(stand: &Stand) {
    let schemas = "SELECT nspname::text FROM pg_namespace WHERE nspname ~ '_(shadow|replaced)$'";
    assert!(stand.database.texts(schemas).await.is_empty());
}

/// Bookings, edits, absences and ends of every kind, with reminders.
pub(crate) async fn live_a_little(salon: &Salon, from: i64, visits: i64) {
    let first = start_in(from);
    let mut booked = vec![];
    for n in 0..visits {
        let staff = usize::try_from(n).unwrap() % salon.staff.len();
        let start = first + SignedDuration::from_mins(5 * n);
        booked.push(text(&salon.book(staff, start).await.expect(201)["appointment_id"]));
    }
    for id in booked.iter().step_by(4) {
        let path = format!("/api/v1/appointments/{id}/cancel");
        salon.owner.post(&path, &json!({"reason": "ill"})).await.expect(200);
    }
    // More than a week: it stands in two streams or three.
    let away = json!({"start": start_in(from + 1_000), "end": start_in(from + 12_000)});
    let path = format!("/api/v1/business/staff/{}/time-off", salon.staff[0]);
    salon.owner.post(&path, &away).await.expect(201);
    let away = json!({"start": start_in(from + 13_000), "end": start_in(from + 13_100)});
    let back = text(&salon.owner.post(&path, &away).await.expect(201)["id"]);
    salon.owner.call(Method::DELETE, &format!("{path}/{back}"), None).await.expect(204);
    salon.set(&json!({"reminder_offsets_minutes": [1_440, 15], "name": "Renamed"})).await;
    let service = json!({"name": "Wash", "duration_minutes": 5,
                         "price": {"amount": 1, "currency": "USD"}});
    let service = salon.owner.post("/api/v1/business/services", &service).await.expect(201);
    let service = format!("/api/v1/business/services/{}", text(&service["id"]));
    salon.owner.call(Method::DELETE, &service, None).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_model_equals_its_rebuild_while_bookings_go_on_and_nothing_is_sent() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    live_a_little(&salon, 2_000, 12).await;
    live_a_little(&salon, 22_000, 12).await;
    stand.addresses.caught_up().await;
    let going_on = async {
        for n in 0..60 {
            let start = start_in(6_000) + SignedDuration::from_mins(5 * n);
            let id = text(&salon.book(1, start).await.expect(201)["appointment_id"]);
            if n % 3 == 0 {
                let path = format!("/api/v1/appointments/{id}/cancel");
                salon.owner.post(&path, &json!({})).await.expect(200);
            }
        }
    };
    let proving = async {
        replay(&stand, &["all", "--verify"]).await.assert_equal(false);
        replay(&stand, &["all"]).await.assert_equal(true);
    };
    tokio::join!(going_on, proving);
    stand.addresses.caught_up().await;
    let unsent = "SELECT id::text FROM (SELECT notification_id FROM notification
                    WHERE state IN ('offered', 'sending') OR (state = 'pending' AND next_at < now())
                  ) AS n (id)";
    eventually("all that is due was sent", async || {
        stand.database.texts(unsent).await.is_empty().then_some(())
    })
    .await;
    stand.addresses.caught_up().await;
    let mails = stand.mail.messages().await.len();
    let work = "SELECT n::text FROM notification n ORDER BY notification_id";
    let before = stand.database.texts(work).await;
    replay(&stand, &["all"]).await.assert_equal(true);
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    assert_eq!(stand.mail.messages().await.len(), mails);
    assert_eq!(stand.database.texts(work).await, before);
    assert_tidy(&stand).await;
    stand.addresses.assert_healthy();
}

/// A change by hand, and what the first difference must say: table, live row, rebuilt row.
const DAMAGE: [(&str, &str, &str, [bool; 2]); 6] = [
    (
        "availability",
        "UPDATE availability.busy SET ends_at = ends_at + interval '1 hour'
       WHERE source_id = (SELECT max(source_id::text) FROM availability.busy)::uuid",
        "busy",
        [true, true],
    ),
    (
        "availability",
        "UPDATE availability.business SET state = state || '{\"profile\": null}'",
        "business",
        [true, true],
    ),
    (
        "agenda",
        "DELETE FROM agenda.appointment WHERE status = 'cancelled'",
        "appointment",
        [false, true],
    ),
    (
        "notifications",
        "UPDATE notifications.notification SET status = 'sent'
       WHERE status = 'cancelled'",
        "notification",
        [true, true],
    ),
    (
        "audit",
        "DELETE FROM audit.entry WHERE event_type = 'auth.session.opened.v1'",
        "entry",
        [false, true],
    ),
    (
        "agenda",
        "INSERT INTO agenda.appointment SELECT gen_random_uuid(), business_id, staff_id,
       service_id, customer_id, starts_at, ends_at, status, 1, 'USD', 1 FROM agenda.appointment
       LIMIT 1",
        "appointment",
        [true, false],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_by_hand_is_found_named_and_mended() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    live_a_little(&salon, 2_000, 6).await;
    live_a_little(&salon, 22_000, 6).await;
    stand.addresses.caught_up().await;
    for (model, damage, table, [live, rebuilt]) in DAMAGE {
        stand.database.execute(damage).await;
        let found = replay(&stand, &["all", "--verify"]).await;
        assert_eq!(found.code, 5, "{damage}: {:?} {}", found.models, found.errors);
        for found in &found.models {
            assert_eq!(found["equal"], found["model"] != model, "{damage}: {found}");
        }
        let found = found.models.iter().find(|found| found["model"] == model).unwrap();
        let difference = &found["first_difference"];
        assert_eq!(difference["table"], table, "{found}");
        assert_eq!(difference["live"].is_object(), live, "{found}");
        assert_eq!(difference["rebuilt"].is_object(), rebuilt, "{found}");
        for (column, value) in difference["key"].as_object().unwrap() {
            let row = if live { &difference["live"] } else { &difference["rebuilt"] };
            assert_eq!(row[column], *value, "{found}");
        }
        let events = difference["events"].as_array().unwrap();
        assert_eq!(events.is_empty(), !rebuilt, "{found}");
        for event in events {
            assert!(event["time"].as_str().unwrap().parse::<Timestamp>().is_ok(), "{found}");
            assert!(event["position"].is_string() && event["type"].is_string(), "{found}");
        }
        // In words, for people.
        let mut verify = command(&stand, &[model, "--verify"]);
        let said = String::from_utf8(verify.output().unwrap().stdout).unwrap();
        assert!(said.contains("DIFFERS") && said.contains(table), "{said}");
        // It says so and mends it.
        let mended = replay(&stand, &[model]).await;
        assert_eq!((mended.code, &mended.models[0]["equal"]), (0, &json!(false)));
        assert_eq!(mended.models[0]["swapped"], true);
        replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    }
    assert_tidy(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_position_only_what_changed_since_is_built_anew() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let old = text(&salon.book(0, start_in(60)).await.expect(201)["appointment_id"]);
    stand.addresses.caught_up().await;
    let changed = text(&salon.book(0, start_in(65)).await.expect(201)["appointment_id"]);
    let head = "SELECT to_hex(transaction_id::text::bigint) || '-' || to_hex(position) FROM events
                 ORDER BY transaction_id DESC, position DESC LIMIT 1";
    let head = stand.database.texts(head).await.remove(0);
    for (id, start) in [(&changed, 70), (&changed, 75)] {
        let cancel = format!("/api/v1/appointments/{id}/cancel");
        salon.owner.post(&cancel, &json!({})).await.expect(200);
        salon.book(0, start_in(start)).await.expect(201);
    }
    stand.addresses.caught_up().await;
    let all = replay(&stand, &["agenda", "--verify"]).await;
    let since = replay(&stand, &["agenda", "--verify", "--from", &head]).await;
    assert_eq!((all.code, since.code), (0, 0), "{}", since.errors);
    assert_eq!((&since.models[0]["equal"], &since.models[0]["rows"]), (&json!(true), &json!(4)));
    assert_eq!((&all.models[0]["events"], &since.models[0]["events"]), (&json!(5), &json!(4)));
    // It finds what is wrong in the rows of streams that changed, and believes the others.
    let damage = |id: &str| {
        let uuid = id.trim_start_matches("appt_").to_owned();
        format!("UPDATE agenda.appointment SET price_amount = 1 WHERE appointment_id = '{uuid}'")
    };
    stand.database.execute(&damage(&old)).await;
    assert_eq!(replay(&stand, &["agenda", "--verify", "--from", &head]).await.code, 0);
    assert_eq!(replay(&stand, &["agenda", "--verify"]).await.code, 5);
    stand.database.execute(&damage(&changed)).await;
    let found = replay(&stand, &["agenda", "--verify", "--from", &head]).await;
    assert_eq!(found.code, 5);
    let uuid = text(&found.models[0]["first_difference"]["key"]["appointment_id"]);
    assert_eq!(uuid.replace('-', ""), changed.trim_start_matches("appt_"));
    for from in ["", "nonsense", "12"] {
        assert_eq!(replay(&stand, &["all", "--from", from]).await.code, 2);
    }
    replay(&stand, &["all"]).await;
    assert_eq!(replay(&stand, &["all", "--verify", "--from", &head]).await.code, 0);
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    assert_tidy(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_under_traffic_makes_no_error_and_no_wrong_answer() {
    let stand = Stand::new().await;
    let log = stand.addresses.folder.path().join("serve.log");
    let process = stand.serve_logging_to(&File::create(&log).unwrap()).await;
    let salon = Salon::open(&process.client(), 2).await;
    live_a_little(&salon, 2_000, 12).await;
    stand.addresses.caught_up().await;
    let reading = |done: tokio_util::sync::CancellationToken| {
        let (owner, guest) = (salon.owner.clone(), salon.guest.clone());
        let slots = format!("/api/v1/public/slots?service_id={}", salon.service_id);
        let date = start_in(2_000).strftime("%Y-%m-%d").to_string();
        let hours = format!("/api/v1/business/staff/{}/working-hours", salon.staff[1]);
        async move {
            let (mut reads, mut last) = (0, 0);
            while !done.is_cancelled() {
                let found = guest.read(&format!("{slots}&date={date}")).await.expect(200);
                assert!(!found["slots"].as_array().unwrap().is_empty());
                let listed = owner.read("/api/v1/appointments?limit=200").await.expect(200);
                let listed = listed["items"].as_array().unwrap();
                assert!(listed.len() >= last, "the list lost what it had shown");
                last = listed.len();
                let id = text(&listed[0]["id"]);
                let shown = owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
                assert!(shown["reminders"].is_array());
                assert_eq!(
                    owner.read(&hours).await.expect(200)["weekly"].as_array().unwrap().len(),
                    7
                );
                reads += 4;
            }
            reads
        }
    };
    let done = tokio_util::sync::CancellationToken::new();
    let readers: Vec<_> = (0..3).map(|_| tokio::spawn(reading(done.clone()))).collect();
    let (booker, end) = (salon.owner.clone(), done.clone());
    let bodies: Vec<Value> = (0..140)
        .map(|n| salon.booking(1, start_in(6_000) + SignedDuration::from_mins(5 * n)))
        .collect();
    let booking = tokio::spawn(async move {
        let mut booked = 0;
        for body in &bodies {
            if end.is_cancelled() {
                break;
            }
            let answer = booker.post("/api/v1/public/book", body).await;
            let position = answer.header("x-position").to_owned();
            let id = answer.expect(201)["appointment_id"].clone();
            // What was booked is listed, whichever tables the list comes from.
            let path = format!("/api/v1/appointments?limit=200&min_position={position}");
            let listed = booker.read(&path).await.expect(200);
            assert!(listed["items"].as_array().unwrap().iter().any(|item| item["id"] == id));
            booked += 1;
        }
        booked
    });
    for _ in 0..4 {
        replay(&stand, &["all"]).await.assert_equal(true);
    }
    done.cancel();
    let mut reads = 0;
    for reader in readers {
        reads += reader.await.unwrap();
    }
    assert!(reads > 40 && booking.await.unwrap() > 10, "{reads} reads are no traffic");
    stand.addresses.caught_up().await;
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    stand.addresses.assert_healthy();
    // Neither readers nor projectors noticed: no retry made up for an error.
    let said = std::fs::read_to_string(&log).unwrap();
    for trouble in ["begins again consumer=\"project-", "failed", "ERROR", "unavailable"] {
        assert!(!said.contains(trouble), "{said}");
    }
}
