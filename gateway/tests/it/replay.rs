//! Read models built anew: equal to the live ones, and swapped in while everything goes on.

use std::{
    fs::File,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    salon::{Salon, start_in, text},
    stand::Stand,
};

const MODELS: [&str; 3] = ["availability", "agenda", "notifications"];

/// `apptremind replay`, as the owner of the schema.
fn command(stand: &Stand, arguments: &[&str]) -> Command {
    let mut command = stand.addresses.command(&["replay"]);
    command.args(arguments).env("APPTREMIND_MIGRATE_DATABASE_URL", stand.database.owner_url());
    // A rebuild speaks to Postgres only.
    command.env("APPTREMIND_NATS_URL", "nats://127.0.0.1:1");
    command
}

struct Replayed {
    code: i32,
    models: Vec<Value>,
    errors: String,
}

async fn replay(stand: &Stand, arguments: &[&str]) -> Replayed {
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
    fn assert_equal(&self, swapped: bool) {
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
async fn assert_tidy(stand: &Stand) {
    let schemas = "SELECT nspname::text FROM pg_namespace WHERE nspname ~ '_(shadow|replaced)$'";
    assert!(stand.database.texts(schemas).await.is_empty());
}

/// Bookings, edits, absences and ends of every kind, with reminders.
async fn live_a_little(salon: &Salon, from: i64, visits: i64) {
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
const DAMAGE: [(&str, &str, &str, [bool; 2]); 5] = [
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

/// A calendar full of visits that nobody booked: events only, so that a rebuild takes a while.
async fn fill_calendar(stand: &Stand, salon: &Salon, visits: u32) {
    let business = salon.business_id.trim_start_matches("biz_");
    let stream = format!("{}:2031-01-05", salon.staff[0]);
    let sql = format!(
        "INSERT INTO events (business_id, aggregate_type, aggregate_id, sequence, event_id,
                             event_type, event_version, payload, actor, correlation_id, occurred_at)
         SELECT '{business}', 'staff_calendar', '{stream}', n, gen_random_uuid(),
                'staff.calendar.reserved.v1', '1',
                jsonb_build_object('type', 'reserved', 'appointment_id', 'appt_' || md5(n::text),
                  'slot', jsonb_build_object(
                    'start', to_char(at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
                    'end', to_char(at + interval '1 second', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')),
                  'buffer_before_minutes', 0, 'buffer_after_minutes', 0),
                'system:test', gen_random_uuid(), now()
           FROM generate_series(1, {visits}) n,
                LATERAL (SELECT timestamp '2031-01-05 12:00:00' + n * interval '10 seconds') t (at)"
    );
    stand.database.execute(&sql).await;
    stand.addresses.caught_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_killed_leaves_the_live_model_alone_and_the_next_one_starts_clean() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    live_a_little(&salon, 2_000, 6).await;
    fill_calendar(&stand, &salon, 6_000).await;
    let date = start_in(2_000).strftime("%Y-%m-%d").to_string();
    let offered = salon.slots(&format!("&date={date}")).await;
    let rows = "SELECT count(*)::text FROM availability.busy";
    let busy = stand.database.texts(rows).await;
    let began = Instant::now();
    assert_eq!(replay(&stand, &["availability"]).await.code, 0);
    let whole = began.elapsed();
    let mut killed = 0;
    for tenth in 0..10 {
        let mut child = command(&stand, &["availability"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Any moment will do: this only spreads them over the run.
        let moment = Instant::now() + whole * tenth / 10;
        while Instant::now() < moment {
            assert_eq!(salon.slots(&format!("&date={date}")).await, offered);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        assert_eq!(salon.slots(&format!("&date={date}")).await, offered);
        assert_eq!(stand.database.texts(rows).await, busy);
    }
    assert!(killed >= 5, "only {killed} runs were killed before their end");
    // Bookings still reach the model that was left alone.
    let booked = salon.book(0, start_in(900)).await;
    let position = booked.header("x-position").to_owned();
    booked.expect(201);
    salon.slots(&format!("&date={date}&min_position={position}")).await;
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    assert_tidy(&stand).await;
    replay(&stand, &["all"]).await.assert_equal(true);
    assert_tidy(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_under_traffic_makes_no_error_and_no_wrong_answer() {
    let stand = Stand::new().await;
    let log = stand.addresses.folder.path().join("serve.log");
    let process = stand.serve_logging_to(&File::create(&log).unwrap()).await;
    let salon = Salon::open(&process.client(), 2).await;
    live_a_little(&salon, 2_000, 12).await;
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
    for trouble in ["begins again", "failed", "ERROR", "unavailable"] {
        assert!(!said.contains(trouble), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_rebuild_of_the_same_model_is_refused() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    live_a_little(&salon, 2_000, 6).await;
    stand.addresses.caught_up().await;
    // A slow reader keeps the first from swapping for longer than the second waits.
    let read = "BEGIN; SELECT count(*) FROM agenda.appointment; SELECT pg_sleep(8); COMMIT";
    let slow = async { stand.database.execute(read).await };
    let rebuilding = async {
        let mut first = command(&stand, &["agenda"]).stdout(Stdio::null()).spawn().unwrap();
        eventually("the first is under way", async || {
            let there = "SELECT 'yes' FROM pg_namespace WHERE nspname = 'agenda_shadow'";
            (!stand.database.texts(there).await.is_empty()).then_some(())
        })
        .await;
        let second = replay(&stand, &["agenda", "--verify"]).await;
        assert_eq!(second.code, 1, "{:?}", second.models);
        let sentence = "another rebuild of agenda is running; the live model is untouched";
        assert!(second.errors.contains(sentence), "{}", second.errors);
        // Another model's is not.
        assert_eq!(replay(&stand, &["notifications"]).await.code, 0);
        eventually("the first ends", async || first.try_wait().unwrap()).await
    };
    let ((), first) = tokio::join!(slow, rebuilding);
    assert!(first.success());
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    assert_tidy(&stand).await;
}

/// All that a migration or another role could name, and what the application may do with it.
const STRUCTURE: &str = "
    SELECT format('%s %s', i.schemaname, i.indexdef) FROM pg_indexes i WHERE schemaname = ANY($m$)
    UNION ALL
    SELECT format('%s %s %s', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid))
      FROM pg_constraint c WHERE c.connamespace::regnamespace::text = ANY($m$)
    UNION ALL
    SELECT format('%s.%s %s %s %s', table_schema, table_name, column_name, data_type, is_nullable)
      FROM information_schema.columns WHERE table_schema = ANY($m$)
    UNION ALL
    SELECT format('%s %s %s', c.oid::regclass, c.relowner::regrole, p)
      FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p
     WHERE c.relnamespace::regnamespace::text = ANY($m$) AND c.relkind = 'r'
       AND has_table_privilege('apptremind', c.oid, p)
    UNION ALL
    SELECT format('%s %s %s', n.nspname, n.nspowner::regrole,
                  has_schema_privilege('apptremind', n.oid, 'USAGE'))
      FROM pg_namespace n WHERE n.nspname = ANY($m$)
    ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn the_rebuilt_tables_have_the_names_and_rights_of_the_old_ones() {
    let stand = Stand::new().await;
    let structure =
        STRUCTURE.replace("$m$", "ARRAY['availability', 'agenda', 'notifications']::text[]");
    let before = stand.database.texts(&structure).await;
    assert!(before.len() > 50, "{before:?}");
    // Nothing has run yet, and it says so.
    let replayed = replay(&stand, &["all"]).await;
    assert_eq!(replayed.code, 0, "{}", replayed.errors);
    for model in &replayed.models {
        assert_eq!((&model["ran"], &model["rows"]), (&json!(false), &json!(0)), "{model}");
    }
    assert_eq!(stand.database.texts(&structure).await, before);
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    live_a_little(&salon, 2_000, 6).await;
    replay(&stand, &["all"]).await.assert_equal(true);
    assert_eq!(stand.database.texts(&structure).await, before);
    // As the application, which may not make a schema.
    let (code, _) = stand.addresses.run(&["replay", "agenda"]);
    assert_eq!(code, 1);
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_applied_ends_the_rebuild_and_is_named() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    live_a_little(&salon, 2_000, 6).await;
    stand.addresses.caught_up().await;
    let rows = "SELECT a::text FROM agenda.appointment a ORDER BY 1";
    let before = stand.database.texts(rows).await;
    let booked = "event_type = 'booking.appointment.booked.v1'";
    let bad = format!(
        "SELECT event_id::text FROM events WHERE {booked} ORDER BY position OFFSET 3 LIMIT 1"
    );
    let bad = stand.database.texts(&bad).await.remove(0);
    let keep = format!("CREATE TABLE kept AS SELECT * FROM events WHERE event_id = '{bad}'");
    stand.database.execute(&keep).await;
    // One that no build can read, and one that Postgres refuses: the visit is booked twice.
    let twice = format!(
        "payload = (SELECT payload FROM events WHERE {booked} ORDER BY position LIMIT 1),
         aggregate_id = (SELECT aggregate_id FROM events WHERE {booked} ORDER BY position LIMIT 1),
         sequence = 9"
    );
    for damage in ["payload = '{\"type\": \"booked\"}'", twice.as_str()] {
        let damage = format!("UPDATE events SET {damage} WHERE event_id = '{bad}'");
        stand.database.execute(&damage).await;
        let replayed = replay(&stand, &["agenda"]).await;
        assert_eq!(replayed.code, 1, "{damage}: {:?}", replayed.models);
        for word in [bad.as_str(), "booking.appointment.booked.v1", "cannot be applied"] {
            assert!(replayed.errors.contains(word), "{word}: {}", replayed.errors);
        }
        assert_eq!(stand.database.texts(rows).await, before);
        assert_tidy(&stand).await;
        let mend = "UPDATE events e SET payload = k.payload, aggregate_id = k.aggregate_id,
                           sequence = k.sequence FROM kept k WHERE k.event_id = e.event_id";
        stand.database.execute(mend).await;
    }
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_ahead_of_its_server_is_not_rebuilt_from() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    live_a_little(&salon, 2_000, 6).await;
    stand.addresses.caught_up().await;
    drop(process);
    let ahead = "UPDATE events SET transaction_id = '999999999999'
                  WHERE position = (SELECT max(position) FROM events)";
    stand.database.execute(ahead).await;
    let refused = replay(&stand, &["all", "--verify"]).await;
    assert_eq!(refused.code, 5, "{}", refused.errors);
    assert!(refused.errors.contains("further on"), "{}", refused.errors);
}
