//! What becomes of messages, with a mail server that misbehaves.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    eventually,
    mailsink::{Fault, Mail},
};

use crate::{
    salon::{Salon, start_in, text},
    stand::{Process, Stand},
};

/// A booking whose confirmation is due at once.
async fn booked(salon: &Salon, start: Timestamp) -> String {
    text(&salon.book(0, start).await.expect(201)["appointment_id"])
}

/// The messages of an appointment, once one of this kind has this status.
pub(crate) async fn until(salon: &Salon, appointment: &str, kind: &str, status: &str) -> Value {
    let path = format!("/api/v1/appointments/{appointment}");
    eventually(&format!("a {kind} is {status}"), async || {
        let shown = salon.owner.read(&path).await.expect(200);
        let all = shown["reminders"].as_array()?.clone();
        all.into_iter().find(|message| message["kind"] == kind && message["status"] == status)
    })
    .await
}

/// Waits for a message of which this is true, without the way through the read model.
pub(crate) async fn in_the_table(stand: &Stand, condition: &str) {
    let sql = format!("SELECT kind FROM notification WHERE {condition}");
    eventually(condition, async || stand.database.texts(&sql).await.pop()).await;
}

pub(crate) async fn mails_to(stand: &Stand, message: &Value) -> Vec<Mail> {
    let id = text(&message["id"]);
    let all = stand.mail.messages().await;
    all.into_iter().filter(|mail| mail.message_id.starts_with(&id)).collect()
}

/// Asks the owner's policy for reminders so many minutes ahead.
async fn remind(salon: &Salon, offsets: &[i64]) {
    let policy = json!({ "reminder_offsets_minutes": offsets });
    salon.owner.edit(Method::PATCH, "/api/v1/business/profile", &policy).await.expect(200);
}

/// Only guests are told, so that a test knows which mail is the next one.
pub(crate) async fn only_guests_are_told(salon: &Salon) {
    salon.set(&json!({"host_notices": false, "weekly_summary": false})).await;
}

/// Everything that arrived for the guest.
pub(crate) async fn mails_to_guest(stand: &Stand) -> Vec<Mail> {
    let mut mails = stand.mail.messages().await;
    mails.retain(|mail| mail.to == ["ada@example.com"]);
    mails
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_after_the_hand_over_is_uncertain_and_never_sent_again() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    stand.mail.fault(Fault::DropAfterData, 1).await;
    let lost = booked(&salon, start_in(60)).await;
    let shown = until(&salon, &lost, "confirmation", "uncertain").await;
    assert_eq!(shown["reason"], "connection_lost_after_hand_over");
    // What comes later goes out; the uncertain one stays as it is.
    let next = booked(&salon, start_in(65)).await;
    until(&salon, &next, "confirmation", "sent").await;
    assert_eq!(mails_to(&stand, &shown).await.len(), 1);
    until(&salon, &lost, "confirmation", "uncertain").await;
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stalls_with_one_message_is_uncertain_about_it_and_takes_the_others() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    // Longer than anybody waits for an answer.
    stand.mail.fault(Fault::StallData(Duration::from_secs(40)), 1).await;
    let start = start_in(60);
    let stuck = booked(&salon, start).await;
    in_the_table(&stand, "handed_over_at IS NOT NULL").await;
    for n in 1..20 {
        let id = booked(&salon, start + SignedDuration::from_mins(5 * n)).await;
        until(&salon, &id, "confirmation", "sent").await;
    }
    let shown = until(&salon, &stuck, "confirmation", "uncertain").await;
    assert_eq!(
        (&shown["attempts"], &shown["reason"]),
        (&json!(1), &json!("connection_lost_after_hand_over"))
    );
    // Whether it came or not, nobody sends it again.
    assert!(mails_to(&stand, &shown).await.len() <= 1);
    until(&salon, &stuck, "confirmation", "uncertain").await;
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_for_now_is_tried_again_and_what_it_refuses_for_good_fails() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    stand.mail.fault(Fault::NoSuchMailbox, 1).await;
    let refused = booked(&salon, start_in(60)).await;
    let shown = until(&salon, &refused, "confirmation", "failed").await;
    assert_eq!((&shown["reason"], &shown["attempts"]), (&json!("smtp_550"), &json!(1)));
    assert!(mails_to(&stand, &shown).await.is_empty());

    let start = start_in(65);
    for (n, (fault, reason)) in
        [(Fault::TryLater, "smtp_451"), (Fault::Busy, "smtp_421")].into_iter().enumerate()
    {
        stand.mail.fault(fault, 1).await;
        let later = SignedDuration::from_mins(5 * i64::try_from(n).unwrap());
        let deferred = booked(&salon, start + later).await;
        // It is pending before its first try as well.
        let shown = eventually("a try was made", async || {
            let shown = until(&salon, &deferred, "confirmation", "pending").await;
            (shown["attempts"] != 0).then_some(shown)
        })
        .await;
        assert_eq!((&shown["reason"], &shown["attempts"]), (&json!(reason), &json!(1)));
        let again = "UPDATE notification SET next_at = now() WHERE state = 'pending'";
        stand.database.execute(again).await;
        let shown = until(&salon, &deferred, "confirmation", "sent").await;
        assert_eq!(shown["attempts"], 2);
        assert_eq!(mails_to(&stand, &shown).await.len(), 1);
    }
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reminder_of_a_booking_has_its_own_fate() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let start = start_in(30);
    let ahead = start.duration_since(streams::clock::now()).as_mins();
    // One that was due before the booking, one that is due much later.
    remind(&salon, &[ahead + 10, 1]).await;
    let id = booked(&salon, start).await;
    let confirmation = until(&salon, &id, "confirmation", "sent").await;
    let skipped = until(&salon, &id, "reminder", "skipped").await;
    assert_eq!(skipped["reason"], "due_before_booking");
    until(&salon, &id, "reminder", "pending").await;
    let path = format!("/api/v1/appointments/{id}/cancel");
    salon.owner.post(&path, &json!({"reason": "ill"})).await.expect(200);
    let cancelled = until(&salon, &id, "reminder", "cancelled").await;
    assert_eq!(cancelled["offset_minutes"], 1);
    let mails = mails_to(&stand, &confirmation).await;
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    assert!(mail.subject.contains("Cut"), "{mail:?}");
    let shows = |part: &Option<String>| part.as_ref().is_some_and(|part| part.contains("UTC"));
    assert!(shows(&mail.text) && shows(&mail.html), "{mail:?}");
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_without_an_address_gets_no_mail_and_the_owner_sees_why() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let mut body = salon.booking(0, start_in(60));
    body["customer"] = json!({"name": "Walk In", "phone": "+1 555 0100"});
    let answer = salon.guest.post("/api/v1/public/book", &body).await.expect(201);
    let shown = until(&salon, &text(&answer["appointment_id"]), "confirmation", "failed").await;
    assert_eq!(shown["reason"], "no_contact");
    // Whoever serves is told all the same.
    let told = until(&salon, &text(&answer["appointment_id"]), "host_booked", "sent").await;
    assert_eq!(stand.mail.messages().await, mails_to(&stand, &told).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_that_could_not_go_out_before_the_visit_expires() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    remind(&salon, &[1]).await;
    let id = booked(&salon, start_in(30)).await;
    until(&salon, &id, "reminder", "pending").await;
    until(&salon, &id, "confirmation", "sent").await;
    // As if nothing had run until after the visit began.
    process.kill();
    stand
        .database
        .execute(
            "UPDATE notification SET next_at = now() - interval '2 minutes',
                                     expires_at = now() - interval '1 minute'
              WHERE kind = 'reminder'",
        )
        .await;
    process.start_again().await;
    let salon = Salon { owner: salon.owner.at(&process), ..salon };
    let shown = until(&salon, &id, "reminder", "expired").await;
    assert!(mails_to(&stand, &shown).await.is_empty());
    assert_eq!(mails_to_guest(&stand).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_in_processes_of_their_own_do_what_one_process_does() {
    let stand = Stand::new().await;
    let gateway = Process::start(&stand.addresses, &["gateway"]).await;
    let _fan_out = Process::start(&stand.addresses, &["relay", "projector"]).await;
    let _scheduler = Process::start(&stand.addresses, &["scheduler"]).await;
    let mut notifier = Process::start(&stand.addresses, &["notifier"]).await;
    let salon = Salon::open(&gateway.client(), 1).await;
    let start = start_in(60);
    let first = booked(&salon, start).await;
    let shown = until(&salon, &first, "confirmation", "sent").await;
    assert_eq!(mails_to(&stand, &shown).await.len(), 1);
    until(&salon, &first, "host_booked", "sent").await;
    // The work queue keeps what falls due while nobody sends.
    notifier.kill();
    let second = booked(&salon, start + SignedDuration::from_mins(5)).await;
    until(&salon, &second, "confirmation", "offered").await;
    notifier.start_again().await;
    for id in [&first, &second] {
        until(&salon, id, "confirmation", "sent").await;
        until(&salon, id, "host_booked", "sent").await;
    }
    assert_eq!(stand.mail.messages().await.len(), 4);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_under_way_ends_before_the_process_does() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    stand.mail.fault(Fault::StallData(Duration::from_secs(2)), 1).await;
    let id = booked(&salon, start_in(60)).await;
    in_the_table(&stand, "handed_over_at IS NOT NULL").await;
    assert!(process.terminate().await, "it stops when it is told to");
    process.start_again().await;
    let salon = Salon { owner: salon.owner.at(&process), ..salon };
    let shown = until(&salon, &id, "confirmation", "sent").await;
    assert_eq!((mails_to(&stand, &shown).await.len(), &shown["attempts"]), (1, &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_is_not_handed_over_when_the_process_stops_is_left_to_the_next() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    stand.mail.fault(Fault::StallConnect(Duration::from_secs(15)), 1).await;
    let id = booked(&salon, start_in(60)).await;
    in_the_table(&stand, "state = 'sending'").await;
    assert!(process.terminate().await, "it stops when it is told to");
    let free = "SELECT kind FROM notification WHERE state = 'sending' AND lease_until <= now()";
    assert_eq!(stand.database.texts(free).await, ["confirmation"], "nobody waits for its lease");
    process.start_again().await;
    let salon = Salon { owner: salon.owner.at(&process), ..salon };
    let shown = until(&salon, &id, "confirmation", "sent").await;
    assert_eq!(mails_to(&stand, &shown).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_lost_their_rows_get_them_back_and_are_not_sent_again() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    remind(&salon, &[1]).await;
    let id = booked(&salon, start_in(30)).await;
    until(&salon, &id, "confirmation", "sent").await;
    until(&salon, &id, "host_booked", "sent").await;
    until(&salon, &id, "reminder", "pending").await;
    process.kill();
    let forget = "DELETE FROM notification;
                  UPDATE consumer_checkpoint SET transaction_id = '0', position = 0
                   WHERE consumer = 'schedule-reminders'";
    stand.database.execute(forget).await;
    process.start_again().await;
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
    let salon = Salon { owner: salon.owner.at(&process), ..salon };
    until(&salon, &id, "confirmation", "sent").await;
    // The reminder that is still to come comes.
    stand.database.execute("UPDATE notification SET next_at = now() WHERE state = 'pending'").await;
    until(&salon, &id, "reminder", "sent").await;
    assert_eq!(stand.mail.messages().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_disagrees_with_its_stream_holds_up_no_other() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    remind(&salon, &[1]).await;
    let start = start_in(30);
    let broken = booked(&salon, start).await;
    let other = booked(&salon, start + SignedDuration::from_mins(5)).await;
    until(&salon, &broken, "reminder", "pending").await;
    until(&salon, &other, "reminder", "pending").await;
    let uuid = broken.trim_start_matches("appt_");
    let break_one = format!(
        "UPDATE notification SET sequence = sequence - 1
          WHERE appointment_id = '{uuid}' AND kind = 'reminder';
         UPDATE notification SET next_at = now() WHERE kind = 'reminder'"
    );
    stand.database.execute(&break_one).await;
    until(&salon, &other, "reminder", "sent").await;
    // Nor does it when its visit is called off: what is booked later is planned.
    salon
        .owner
        .post(&format!("/api/v1/appointments/{broken}/cancel"), &json!({}))
        .await
        .expect(200);
    let later = booked(&salon, start + SignedDuration::from_mins(10)).await;
    until(&salon, &later, "reminder", "pending").await;
    let (code, text) = stand.addresses.run(&["doctor"]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("BROKEN  every message in the work table"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_called_off_at_once_shows_what_became_of_its_mail() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let start = start_in(60);
    let mut all = Vec::new();
    for n in 0..40 {
        let id = booked(&salon, start + SignedDuration::from_mins(5 * n)).await;
        let path = format!("/api/v1/appointments/{id}/cancel");
        salon.owner.post(&path, &json!({})).await.expect(200);
        all.push(id);
    }
    stand.addresses.caught_up().await;
    for id in all {
        let path = format!("/api/v1/appointments/{id}");
        let messages = eventually("all messages have their outcome", async || {
            let shown = salon.owner.read(&path).await.expect(200);
            let all = shown["reminders"].as_array()?.clone();
            let ended =
                |m: &Value| matches!(m["status"].as_str(), Some("sent" | "cancelled" | "skipped"));
            (all.len() == 4 && all.iter().all(ended)).then_some(all)
        })
        .await;
        for shown in messages {
            let arrived = mails_to(&stand, &shown).await.len();
            assert_eq!(arrived, usize::from(shown["status"] == "sent"), "{shown}");
            let farewell = shown["kind"] == "cancellation";
            assert!(!farewell || shown["status"] == "sent", "{shown}");
        }
    }
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}
