//! What owners are told on Monday morning.

use domain::notification::LocalWeek;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;
use testkit::{eventually, mailsink::Mail};

use crate::{
    salon::{Salon, fresh_email, text},
    stand::{Process, Stand},
    team::{accept, invite},
};

const NOTICES: &str = "SELECT state FROM notification WHERE kind = 'weekly_summary'";

/// The week of today, on the clock that businesses have in these tests.
fn this_week() -> LocalWeek {
    LocalWeek::of(TimeZone::UTC.to_datetime(streams::clock::now()).date())
}

/// So many minutes after noon on a day of the week, from Monday on.
fn noon(week: LocalWeek, day: u8, minutes: i8) -> Timestamp {
    let local = week.day(day).at(12, minutes, 0, 0);
    local.to_zoned(TimeZone::UTC).unwrap().timestamp()
}

fn row_of(salon: &Salon, what: &str, condition: &str) -> String {
    let id = salon.business_id.trim_start_matches("biz_");
    format!("SELECT {what} FROM weekly_summary WHERE business_id = '{id}' AND {condition}")
}

/// Waits until the scheduler knows when the business is told next: it knows by whose clock then.
async fn settled(stand: &Stand, salon: &Salon) {
    stand.addresses.caught_up().await;
    let sql = row_of(salon, "week::text", "computed");
    eventually("the scheduler knows", async || stand.database.texts(&sql).await.pop()).await;
}

/// As if it was to be told of this week so long ago.
async fn due(stand: &Stand, salon: &Salon, week: LocalWeek, ago: &str) {
    settled(stand, salon).await;
    let id = salon.business_id.trim_start_matches("biz_");
    let sql = format!(
        "UPDATE weekly_summary SET week = '{}', next_at = now() - interval '{ago}'
          WHERE business_id = '{id}'",
        week.monday()
    );
    stand.database.execute(&sql).await;
}

/// Waits until the scheduler is done with the week.
async fn done(stand: &Stand, salon: &Salon, week: LocalWeek) {
    let sql = row_of(salon, "week::text", &format!("week > '{}' AND computed", week.monday()));
    eventually("the week is done", async || stand.database.texts(&sql).await.pop()).await;
}

/// The mails about weeks that arrived here, once there are so many.
async fn summaries(stand: &Stand, to: &str, count: usize) -> Vec<Mail> {
    eventually(&format!("{count} weeks were told to {to}"), async || {
        let mut mails = stand.mail.messages().await;
        mails.retain(|mail| mail.subject.starts_with("Your week from "));
        mails.retain(|mail| mail.to.iter().any(|address| address == to));
        (mails.len() >= count).then_some(mails)
    })
    .await
}

#[track_caller]
fn says(mail: &Mail, lines: &[String]) {
    let words = mail.text.as_ref().unwrap();
    for line in lines {
        assert!(words.lines().any(|there| there == line), "{line}: {words}");
    }
}

fn on(week: LocalWeek, day: u8, visits: u32) -> String {
    format!("{}: {visits}", week.day(day).strftime("%A, %-d %B %Y"))
}

async fn owner_of(salon: &Salon) -> String {
    text(&salon.owner.read("/api/v1/auth/me").await.expect(200)["email"])
}

async fn booked(salon: &Salon, start: Timestamp) -> String {
    text(&salon.book(0, start).await.expect(201)["appointment_id"])
}

async fn cancelled(salon: &Salon, id: &str) {
    salon.owner.post(&format!("/api/v1/appointments/{id}/cancel"), &json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_business_is_told_its_own_week_once_whoever_plans_it() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let _second = Process::start(&stand.addresses, &[]).await;
    let salon = Salon::open(&process.client(), 1).await;
    let other = Salon::open(&process.client(), 1).await;
    salon.set(&json!({"host_notices": false, "reminder_offsets_minutes": [60]})).await;
    let (now, next) = (this_week(), this_week().next());
    let later = next.next();
    let kept = booked(&salon, noon(next, 1, 0)).await;
    let missed = booked(&salon, noon(next, 1, 5)).await;
    cancelled(&salon, &booked(&salon, noon(next, 1, 10)).await).await;
    for (day, minutes) in [(2, 0), (2, 5), (4, 0)] {
        booked(&salon, noon(later, day, minutes)).await;
    }
    booked(&other, noon(next, 6, 0)).await;
    let (owner, stranger) = (owner_of(&salon).await, owner_of(&other).await);

    // The week in which all of it was booked.
    due(&stand, &salon, now, "0").await;
    due(&stand, &other, now, "0").await;
    let [mail] = <[Mail; 1]>::try_from(summaries(&stand, &owner, 1).await).unwrap();
    assert_eq!(mail.to, [owner.as_str()]);
    let made = "Booked in this week, for whatever day: ";
    let all = ["Visits: 0".into(), format!("{made}6"), on(next, 1, 2), on(next, 6, 0)];
    says(&mail, &all);
    says(&mail, &["In all: 2".into()]);
    let [mail] = <[Mail; 1]>::try_from(summaries(&stand, &stranger, 1).await).unwrap();
    assert_eq!(mail.to, [stranger.as_str()]);
    says(&mail, &[format!("{made}1"), on(next, 1, 0), on(next, 6, 1), "In all: 1".into()]);

    // The week in which they came, or did not.
    stand.addresses.caught_up().await;
    let [kept, missed] = [kept, missed].map(|id| id.trim_start_matches("appt_").to_owned());
    let became = format!(
        "UPDATE agenda.appointment SET status = 'completed' WHERE appointment_id = '{kept}';
         UPDATE agenda.appointment SET status = 'no_show' WHERE appointment_id = '{missed}';
         UPDATE notifications.notification SET status = 'sent'
          WHERE appointment_id = '{kept}' AND kind = 'reminder';
         UPDATE notifications.notification SET status = 'failed'
          WHERE appointment_id = '{missed}' AND kind = 'reminder'"
    );
    stand.database.execute(&became).await;
    due(&stand, &salon, next, "0").await;
    let mails = summaries(&stand, &owner, 2).await;
    let title = format!("Your week from {}: Test Salon", next.monday().strftime("%-d %B %Y"));
    let mail = mails.iter().find(|mail| mail.subject == title).unwrap();
    let all = ["Visits: 2", "Kept: 1", "Missed by the guest: 1", "Cancelled: 1", "In all: 3"];
    says(mail, &all.map(str::to_owned));
    says(mail, &["Reminders sent: 1".into(), "Reminders failed: 1".into(), format!("{made}0")]);
    says(mail, &[on(later, 2, 2), on(later, 3, 0), on(later, 4, 1)]);

    // Once more, as if nobody knew that it was told.
    due(&stand, &salon, next, "0").await;
    done(&stand, &salon, next).await;
    stand.addresses.caught_up().await;
    assert_eq!(stand.database.texts(NOTICES).await.len(), 3);
    assert_eq!(summaries(&stand, &owner, 2).await.len(), 2);
    for (salon, count) in [(&salon, 2), (&other, 1)] {
        let listed =
            salon.owner.read("/api/v1/notifications?kind=weekly_summary").await.expect(200);
        let listed = listed["items"].as_array().unwrap().clone();
        assert_eq!(listed.len(), count);
        let told = |m: &serde_json::Value| m["appointment_id"].is_null() && m["status"] == "sent";
        assert!(listed.iter().all(told), "{listed:?}");
    }
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_owners_are_told_and_nobody_of_what_they_do_not_want_or_did_not_have() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let empty = Salon::open(&process.client(), 1).await;
    salon.set(&json!({"host_notices": false})).await;
    let (owner, partner, admin) = (owner_of(&salon).await, fresh_email(), fresh_email());
    for (email, role) in [(&partner, "owner"), (&admin, "admin")] {
        let invited = invite(&stand, &salon.owner, email, role, None).await;
        accept(&salon.guest, &invited.token, "correct horse").await.expect(201);
    }
    let (now, next) = (this_week(), this_week().next());
    booked(&salon, noon(next, 0, 0)).await;

    due(&stand, &empty, now, "0").await;
    done(&stand, &empty, now).await;
    salon.set(&json!({"weekly_summary": false})).await;
    due(&stand, &salon, now, "0").await;
    done(&stand, &salon, now).await;
    assert_eq!(stand.database.texts(NOTICES).await.len(), 0);

    salon.set(&json!({"weekly_summary": true})).await;
    // Too late to be of interest.
    due(&stand, &salon, now, "25 hours").await;
    done(&stand, &salon, now).await;
    assert_eq!(stand.database.texts(NOTICES).await.len(), 0);
    // Nobody was there on Monday morning.
    settled(&stand, &salon).await;
    process.kill();
    let id = salon.business_id.trim_start_matches("biz_");
    let late = format!(
        "UPDATE weekly_summary SET week = '{}', next_at = now() - interval '5 hours'
          WHERE business_id = '{id}'",
        next.monday()
    );
    stand.database.execute(&late).await;
    process.start_again().await;
    let [mail] = <[Mail; 1]>::try_from(summaries(&stand, &owner, 1).await).unwrap();
    let mut to = mail.to.clone();
    to.sort();
    let mut owners = [owner, partner];
    owners.sort();
    assert_eq!(to, owners);
    says(&mail, &["Visits: 1".into(), "Neither kept nor missed yet: 1".into()]);
    done(&stand, &salon, next).await;
    assert_eq!(stand.database.texts(NOTICES).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn monday_morning_is_that_of_the_business_whatever_clocks_it_has() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    for zone in ["UTC", "America/Los_Angeles", "Australia/Lord_Howe"] {
        salon.set(&json!({"timezone": zone})).await;
        let local = format!("to_char(next_at AT TIME ZONE '{zone}', 'ID HH24:MI')");
        let sql = row_of(&salon, &local, "computed AND next_at > now()");
        eventually(zone, async || {
            let told = stand.database.texts(&sql).await.pop()?;
            (told == "1 07:00").then_some(())
        })
        .await;
    }
    // Who was there before there were such mails is as good as new.
    stand.addresses.caught_up().await;
    process.kill();
    stand.database.execute("DELETE FROM weekly_summary").await;
    process.start_again().await;
    settled(&stand, &salon).await;
    assert_eq!(stand.database.texts(NOTICES).await.len(), 0);
}
