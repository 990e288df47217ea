//! What guests are told of changes, and what becomes of it when the visit changes again.

use jiff::SignedDuration;
use serde_json::{Value, json};
use testkit::{
    eventually,
    mailsink::{Fault, Mail},
};

use crate::{
    calendar_readers::read,
    reminders::{in_the_table, mails_to, only_guests_are_told, until},
    salon::{Salon, path_of, start_in, text},
    stand::Stand,
};

async fn only_mail(stand: &Stand, message: &Value) -> Mail {
    let mails = mails_to(stand, message).await;
    let [mail] = <[Mail; 1]>::try_from(mails).unwrap_or_else(|mails| panic!("{mails:?}"));
    mail
}

/// Booked, and its confirmation sent.
async fn confirmed(salon: &Salon, minutes: i64) -> (String, Value) {
    let booked = salon.book(0, start_in(minutes)).await.expect(201);
    let id = text(&booked["appointment_id"]);
    until(salon, &id, "confirmation", "sent").await;
    (id, booked)
}

async fn change(salon: &Salon, id: &str, how: &str, body: &Value) -> Value {
    salon.owner.post(&format!("/api/v1/appointments/{id}/{how}"), body).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_calls_a_visit_off_its_guest_is_told_and_their_calendar_too() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    let (by_owner, _) = confirmed(&salon, 3_000).await;
    change(&salon, &by_owner, "cancel", &json!({"reason": "the stylist is ill"})).await;
    let (by_guest, booked) = confirmed(&salon, 4_000).await;
    let link = path_of(&booked["manage_url"]);
    let nonce = text(&salon.guest.read(&link).await.expect(200)["nonce"]);
    salon.guest.post(&format!("{link}/cancel"), &json!({ "nonce": nonce })).await.expect(200);
    for id in [&by_owner, &by_guest] {
        let message = until(&salon, id, "cancellation", "sent").await;
        until(&salon, id, "reminder", "cancelled").await;
        let mail = only_mail(&stand, &message).await;
        assert_eq!(mail.subject, "Cancelled: Cut at Test Salon");
        assert_eq!(mail.to, ["ada@example.com"]);
        let file = read(mail.calendar.as_deref().unwrap());
        assert_eq!(file["method"], "CANCEL");
        let event = &file["events"][0];
        assert_eq!(event["uid"], format!("{id}@apptremind"));
        assert_eq!((&event["sequence"], &event["status"]), (&json!(1), &json!("CANCELLED")));
        assert_eq!(event["attendee"], json!(["mailto:ada@example.com", "Ada Guest"]));
        // What the business notes for itself is not for the guest.
        let words = mail.text.unwrap();
        assert!(words.contains("was cancelled") && !words.contains("the stylist"), "{words}");
    }
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
    let forget = "DELETE FROM notification WHERE kind = 'cancellation'";
    stand.database.execute(forget).await;
    let (code, found) = stand.addresses.run(&["doctor"]);
    assert_eq!(code, 5, "{found}");
    assert!(found.contains("BROKEN  every cancellation that the scheduler has seen"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_comes_with_a_file_that_moves_the_entry() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let (id, _) = confirmed(&salon, 3_000).await;
    let mut start = start_in(5_000);
    for moves in 1..3 {
        start += SignedDuration::from_hours(24);
        change(&salon, &id, "reschedule", &json!({ "start": start })).await;
        let mail = eventually("the guest is told", async || {
            let mails = stand.mail.messages().await;
            let moved = |mail: &&Mail| mail.subject == "Moved: Cut at Test Salon";
            let mut moved: Vec<Mail> = mails.iter().filter(moved).cloned().collect();
            (moved.len() == moves).then(|| moved.pop()).flatten()
        })
        .await;
        let file = read(mail.calendar.as_deref().unwrap());
        assert_eq!(file["method"], "REQUEST");
        let event = &file["events"][0];
        assert_eq!(event["uid"], format!("{id}@apptremind"));
        assert_eq!((&event["sequence"], &event["dtstart"]), (&json!(moves), &json!(start)));
    }
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_booked_again_or_has_begun_calls_the_mail_about_its_end_off() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    // The mail server does not take it, and the next try is seconds away.
    let waits = "kind = 'cancellation' AND state = 'pending' AND attempts = 1";
    let (again, _) = confirmed(&salon, 3_000).await;
    stand.mail.fault(Fault::TryLater, 1).await;
    change(&salon, &again, "cancel", &json!({})).await;
    in_the_table(&stand, waits).await;
    let reinstate = format!("/api/v1/appointments/{again}/reinstate");
    salon.owner.call(reqwest::Method::POST, &reinstate, None).await.expect(200);
    let message = until(&salon, &again, "cancellation", "cancelled").await;
    assert!(mails_to(&stand, &message).await.is_empty());
    // Called off for good: told once, about this time.
    change(&salon, &again, "cancel", &json!({})).await;
    let message = until(&salon, &again, "cancellation", "sent").await;
    let file = only_mail(&stand, &message).await.calendar.unwrap();
    assert_eq!(read(&file)["events"][0]["sequence"], 3);

    let (begun, _) = confirmed(&salon, 4_000).await;
    stand.mail.fault(Fault::TryLater, 1).await;
    change(&salon, &begun, "cancel", &json!({})).await;
    in_the_table(&stand, waits).await;
    // As if nothing had run until after the visit would have begun.
    process.kill();
    let late = "UPDATE notification SET next_at = now() - interval '2 minutes',
                                        expires_at = now() - interval '1 minute'
                 WHERE kind = 'cancellation' AND state = 'pending'";
    stand.database.execute(late).await;
    process.start_again().await;
    let salon = Salon { owner: salon.owner.at(&process), ..salon };
    let message = until(&salon, &begun, "cancellation", "expired").await;
    assert!(mails_to(&stand, &message).await.is_empty());
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_the_feed_anew_tells_nobody_again_and_not_of_what_was_before_a_kind_was_known() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    let (first, _) = confirmed(&salon, 3_000).await;
    change(&salon, &first, "cancel", &json!({})).await;
    until(&salon, &first, "cancellation", "sent").await;
    let (second, _) = confirmed(&salon, 4_000).await;
    change(&salon, &second, "cancel", &json!({})).await;
    until(&salon, &second, "cancellation", "sent").await;
    stand.addresses.caught_up().await;
    process.kill();
    // As if an earlier build had seen the first, which knew of no such message.
    let uuid = first.trim_start_matches("appt_");
    let earlier = format!(
        "UPDATE message_kind_since SET (transaction_id, position) =
           (SELECT transaction_id, position FROM events
             WHERE aggregate_id = '{second}' AND sequence = 1);
         DELETE FROM notification WHERE appointment_id = '{uuid}' AND kind = 'cancellation';
         DELETE FROM events WHERE aggregate_type = 'notification' AND aggregate_id IN (
           SELECT aggregate_id FROM events WHERE aggregate_type = 'notification' AND sequence = 1
              AND payload->'plan'->>'appointment_id' = '{first}'
              AND payload->'plan'->>'kind' = 'cancellation');
         UPDATE consumer_checkpoint SET transaction_id = '0', position = 0
          WHERE consumer = 'schedule-reminders'"
    );
    stand.database.execute(&earlier).await;
    let mails = stand.mail.messages().await.len();
    process.start_again().await;
    stand.addresses.caught_up().await;
    let salon = Salon { owner: salon.owner.at(&process), ..salon };
    until(&salon, &second, "cancellation", "sent").await;
    // What comes behind it has gone out, so nothing before it is still on its way.
    let salon = Salon { guest: salon.guest.at(&process), ..salon };
    confirmed(&salon, 5_000).await;
    assert_eq!(stand.mail.messages().await.len(), mails + 1);
    stand.addresses.assert_healthy();
}
