//! Many messages of one business beside few of another, and messages that share what they have nothing else in
//! common with.

use std::time::{Duration, Instant};

use jiff::SignedDuration;
use serde_json::json;
use testkit::eventually;

use crate::{
    reminders::only_guests_are_told,
    salon::{Salon, start_in},
    stand::Stand,
};

/// More than are handed out at a time.
const MANY: i64 = 1_300;
const FEW: i64 = 10;

async fn fill(salon: &Salon, visits: i64) {
    only_guests_are_told(salon).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    let start = start_in(3_000);
    for n in 0..visits {
        salon.book(0, start + SignedDuration::from_mins(n * 5)).await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_many_messages_of_one_business_do_not_hold_up_the_few_of_another() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let (many, few) = tokio::join!(Salon::open(&client, 1), Salon::open(&client, 1));
    tokio::join!(fill(&many, MANY), fill(&few, FEW));
    let sent = async || i64::from(stand.mail.counts().await.values().sum::<u32>());
    let all = MANY + FEW;
    eventually("everything is confirmed", async || (sent().await == all).then_some(())).await;
    // Those of the one have been due for longer.
    let due = format!(
        "UPDATE notification SET next_at = now() - CASE business_id WHEN '{}'::uuid
             THEN interval '1 hour' ELSE interval '0' END WHERE state = 'pending'",
        many.business_id.trim_start_matches("biz_")
    );
    stand.database.execute(&due).await;
    eventually("everybody is reminded", async || (sent().await == 2 * all).then_some(())).await;
    let ids = format!(
        "SELECT 'ntf_' || replace(notification_id::text, '-', '') FROM notification
          WHERE kind = 'reminder' AND business_id = '{}'::uuid",
        few.business_id.trim_start_matches("biz_")
    );
    let own = stand.database.texts(&ids).await;
    let mails = stand.mail.messages().await;
    let places = mails.iter().skip(usize::try_from(all).unwrap()).enumerate();
    let places: Vec<usize> = places
        .filter(|(_, mail)| own.iter().any(|id| mail.message_id.starts_with(id)))
        .map(|(place, _)| place)
        .collect();
    assert_eq!(places.len() as i64, FEW);
    assert!(places.iter().all(|place| *place < 500), "{places:?}");
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_taken_holds_up_the_others_for_a_moment_and_none_is_sent_twice() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    fill(&salon, 40).await;
    let sent = async || stand.mail.messages().await.len();
    eventually("everything is confirmed", async || (sent().await == 40).then_some(())).await;
    let reminders = "SELECT notification_id::text FROM notification WHERE kind = 'reminder'
                      ORDER BY next_at LIMIT 1";
    let held = stand.database.texts(reminders).await.pop().unwrap();
    // Whoever takes this one waits until the row is gone, and holds what shares the statement with it.
    let holding = format!(
        "CREATE TABLE held AS SELECT true;
         CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
           WHILE EXISTS (SELECT FROM public.held) LOOP PERFORM pg_sleep(0.01); END LOOP;
           RETURN NEW;
         END $$;
         CREATE TRIGGER hold BEFORE UPDATE ON notification FOR EACH ROW
           WHEN (NEW.state = 'sending' AND OLD.state = 'offered'
                 AND NEW.notification_id = '{held}') EXECUTE FUNCTION hold()"
    );
    stand.database.execute(&holding).await;
    stand.database.execute("UPDATE notification SET next_at = now() WHERE state = 'pending'").await;
    // The first is given up, and whoever shared its statement asks alone, and waits for it.
    let waiting = "SELECT count(*)::text FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("others go on without it", async || {
        let waits: i64 = stand.database.texts(waiting).await[0].parse().unwrap();
        (waits > 0 && sent().await > 40).then_some(())
    })
    .await;
    stand.database.execute("DELETE FROM held").await;
    eventually("everybody is reminded", async || (sent().await == 80).then_some(())).await;
    stand.addresses.caught_up().await;
    let tries = "SELECT coalesce(max(attempts), 0)::text FROM notification WHERE kind = 'reminder'";
    assert_eq!(stand.database.texts(tries).await, ["1"]);
    assert_eq!(sent().await, 80);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_its_lease_spoils_the_record_of_nobody_else() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    fill(&salon, 40).await;
    let count = async |sql: &str| -> i64 { stand.database.texts(sql).await[0].parse().unwrap() };
    let confirmed = "SELECT count(*)::text FROM notification WHERE state = 'sent'";
    eventually("everything is confirmed", async || (count(confirmed).await == 40).then_some(()))
        .await;
    // The first outcome of a reminder is held up, so that others meet behind it for the next statement.
    let holding = "CREATE TABLE held AS SELECT true;
         CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
           WHILE EXISTS (SELECT FROM public.held) LOOP PERFORM pg_sleep(0.01); END LOOP;
           RETURN NEW;
         END $$;
         CREATE TRIGGER hold BEFORE UPDATE ON notification FOR EACH ROW
           WHEN (NEW.state = 'sent' AND OLD.state = 'sending') EXECUTE FUNCTION hold()";
    stand.database.execute(holding).await;
    stand.database.execute("UPDATE notification SET next_at = now() WHERE state = 'pending'").await;
    eventually("they wait for it", async || {
        (stand.mail.messages().await.len() >= 50).then_some(())
    })
    .await;
    // Whoever holds the row that is being written need not be asked for theirs.
    let lost = "UPDATE notification SET lease_until = now() WHERE notification_id =
                  (SELECT notification_id FROM notification
                    WHERE state = 'sending' AND handed_over_at IS NOT NULL
                    LIMIT 1 FOR UPDATE SKIP LOCKED)";
    let given_up = "SELECT count(*)::text FROM notification WHERE state = 'uncertain'";
    stand.database.execute(lost).await;
    eventually("one is given up", async || (count(given_up).await > 0).then_some(())).await;
    stand.database.execute("DELETE FROM held").await;
    // All were sent, and whoever was given up says so, too.
    let reminded = "SELECT count(*)::text FROM notification
                     WHERE kind = 'reminder' AND state = 'sent' AND attempts = 1";
    eventually("all are known to be sent", async || (count(reminded).await == 40).then_some(()))
        .await;
    let facts = "SELECT string_agg(event_type, ' ' ORDER BY sequence) FROM events
                  WHERE aggregate_type = 'notification' GROUP BY aggregate_id
                 HAVING 'notification.uncertain.v1' = ANY(array_agg(event_type))";
    let facts = stand.database.texts(facts).await;
    assert!(!facts.is_empty());
    for facts in facts {
        assert!(facts.ends_with("notification.uncertain.v1 notification.sent.v1"), "{facts}");
    }
    assert_eq!(stand.mail.messages().await.len(), 80);
    assert!(stand.mail.counts().await.values().all(|times| *times == 1));
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_takes_in_a_second_is_waited_for_and_offered_once() {
    let mut stand = Stand::new().await;
    stand.addresses.set("MAIL_PER_SECOND", "20");
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    fill(&salon, 100).await;
    let sent = async || stand.mail.messages().await.len();
    eventually("everything is confirmed", async || (sent().await == 100).then_some(())).await;
    let begun = Instant::now();
    stand.database.execute("UPDATE notification SET next_at = now() WHERE state = 'pending'").await;
    eventually("everybody is reminded", async || (sent().await == 200).then_some(())).await;
    // A second's worth may go out at once.
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
    stand.addresses.caught_up().await;
    assert!(stand.mail.counts().await.values().all(|times| *times == 1));
    let most = "SELECT max(attempts) || ' ' || max(offers) FROM notification";
    assert_eq!(stand.database.texts(most).await, ["1 1"]);
    assert_eq!(process.metric("apptremind_notifications_postponed_total").await, 0.0);
    stand.addresses.assert_healthy();
}
