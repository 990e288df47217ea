//! Somebody sets the clock of the machine.

use jiff::SignedDuration;
use serde_json::json;
use testkit::{
    clock::Clock,
    eventually,
    mailsink::{Fault, MailSink},
    nats::NatsServer,
    postgres::PrivatePostgres,
};

use crate::{
    reminders::{only_guests_are_told, until},
    salon::{Salon, start_in, text},
    stand::{Addresses, Process},
};

const DAY: i64 = 86_400;

/// The kinds and offsets that are in this state, once they are these.
async fn are(postgres: &PrivatePostgres, state: &str, wanted: &[&str]) {
    let sql = format!(
        "SELECT concat_ws(' ', kind, offset_minutes) FROM notification WHERE state = '{state}'
          ORDER BY kind, offset_minutes, notification_id"
    );
    eventually(&format!("{state} are {wanted:?}"), async || {
        (postgres.texts(&sql).await == wanted).then_some(())
    })
    .await;
}

/// The row behind every mail that arrived, and nothing twice.
async fn nothing_twice(mail: &MailSink, mails: usize) {
    let counts = mail.counts().await;
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert_eq!(counts.len(), mails);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_put_forward_a_day_and_back_sends_nothing_twice() {
    let clock = Clock::new();
    let (postgres, nats, mail) = tokio::join!(
        PrivatePostgres::start_in(clock.environment()),
        NatsServer::start(),
        MailSink::start()
    );
    let mut addresses = Addresses::new(postgres.app_url(), nats.url(), mail.smtp_url());
    addresses.environment = clock.environment();
    let process = Process::start(&addresses, &[]).await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    salon.set(&json!({"reminder_offsets_minutes": [600]})).await;
    let start = start_in(30 * 60);
    let first = text(&salon.book(0, start).await.expect(201)["appointment_id"]);
    until(&salon, &first, "confirmation", "sent").await;
    // One that waits for its second try.
    mail.fault(Fault::TryLater, 1).await;
    let far = start + SignedDuration::from_hours(24 * 20);
    let second = text(&salon.book(0, far).await.expect(201)["appointment_id"]);
    eventually("one was refused for now", async || {
        let tried = "SELECT kind FROM notification WHERE state = 'pending' AND attempts = 1";
        postgres.texts(tried).await.pop()
    })
    .await;

    clock.put_ahead(DAY);
    let sent = ["confirmation 0", "confirmation 0", "reminder 600"];
    are(&postgres, "sent", &sent).await;
    are(&postgres, "pending", &["reminder 600"]).await;
    clock.put_ahead(0);
    // What is due again was sent already; another reminder is another.
    salon.set(&json!({"reminder_offsets_minutes": [600, 540]})).await;
    are(&postgres, "pending", &["reminder 540", "reminder 540", "reminder 600"]).await;
    are(&postgres, "sent", &sent).await;
    nothing_twice(&mail, 3).await;

    clock.put_ahead(DAY);
    let sent = ["confirmation 0", "confirmation 0", "reminder 540", "reminder 600"];
    are(&postgres, "sent", &sent).await;
    clock.put_ahead(0);
    let third = start + SignedDuration::from_hours(24 * 10);
    let third = text(&salon.book(0, third).await.expect(201)["appointment_id"]);
    until(&salon, &third, "confirmation", "sent").await;
    until(&salon, &second, "confirmation", "sent").await;
    nothing_twice(&mail, 5).await;
    addresses.caught_up().await;
    addresses.assert_healthy();
}
