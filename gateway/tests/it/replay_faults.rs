//! Rebuilds that are killed, refused, or meet what they cannot apply: the live model stays as it is.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::json;
use testkit::eventually;

use crate::{
    replay::{assert_tidy, command, live_a_little, replay},
    salon::{Salon, start_in},
    stand::Stand,
};

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
    let mut whole = Duration::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(replay(&stand, &["availability"]).await.code, 0);
        whole = whole.min(began.elapsed());
    }
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
async fn a_second_rebuild_of_the_same_model_is_refused() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    live_a_little(&salon, 2_000, 6).await;
    stand.addresses.caught_up().await;
    // A slow reader keeps the first from swapping for longer than the second waits.
    let read = "BEGIN; SELECT count(*) FROM agenda.appointment; SELECT pg_sleep(20); COMMIT";
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
    stand.addresses.caught_up().await;
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
