//! Calendar files, read by programs that are not ours.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde_json::json;
use testkit::{eventually, mailsink::Mail};

use crate::{
    calendar_readers::read,
    salon::{Salon, path_of, start_in, text},
    stand::{Client, Stand},
};

async fn file(client: &Client, link: &str) -> String {
    let answer = client.read(&format!("{link}/calendar.ics")).await;
    assert_eq!(answer.header("content-type"), "text/calendar; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    text(&answer.expect(200))
}

async fn mail_to(stand: &Stand, address: &str) -> Mail {
    eventually("the confirmation arrives", async || {
        let mails = stand.mail.messages().await;
        mails.into_iter().find(|mail| mail.to.iter().any(|to| to == address))
    })
    .await
}

/// Nine o'clock of the business, once in winter and once in summer.
fn mornings(zone: &str) -> [(String, Timestamp); 2] {
    let zone = TimeZone::get(zone).unwrap();
    let today = zone.to_datetime(streams::clock::now()).date();
    let next = |month| -> Date {
        let day = jiff::civil::date(today.year(), month, 10);
        if day > today { day } else { jiff::civil::date(today.year() + 1, month, 10) }
    };
    [1, 7].map(|month| {
        let local = next(month).at(9, 0, 0, 0);
        (local.to_string(), zone.to_timestamp(local).unwrap())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn calendars_of_others_show_a_visit_at_its_instant_wherever_the_business_is() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 1, 45).await;
    salon.set(&json!({"booking_policy": {"window_days": 730}})).await;
    let minutes = SignedDuration::from_mins(45);
    let mut instants = vec![];
    for zone in ["America/Los_Angeles", "America/New_York", "Europe/London", "Australia/Sydney"] {
        salon.set(&json!({ "timezone": zone })).await;
        for (n, (local, start)) in mornings(zone).into_iter().enumerate() {
            let address =
                format!("guest{n}@{}.example", zone.to_lowercase().replace(['/', '_'], "-"));
            let mut body = salon.booking(0, start);
            body["start"] = json!(local);
            body["customer"]["email"] = json!(address);
            let booked = salon.guest.post("/api/v1/public/book", &body).await.expect(201);
            assert_eq!(booked["start"], json!(start), "{zone}");
            let link = path_of(&booked["manage_url"]);
            let mut expected = json!({
                "uid": format!("{}@apptremind", text(&booked["appointment_id"])), "sequence": 0,
                "summary": "Cut at Test Salon", "status": "CONFIRMED",
                "dtstart": start, "dtend": start + minutes,
                "organizer": ["mailto:reminders@apptremind.example", "Test Salon"],
            });
            let shown = read(&file(&salon.guest, &link).await);
            assert_eq!(shown["events"], json!([expected]), "{zone}");
            assert_eq!((&shown["method"], &shown["version"]), (&json!("PUBLISH"), &json!("2.0")));

            // The same in the mail, as an invitation to this guest.
            let mail = mail_to(&stand, &address).await;
            assert!(mail.text.is_some() && mail.html.is_some(), "{mail:?}");
            assert_eq!(mail.attachments, ["appointment.ics"]);
            let shown = read(mail.calendar.as_deref().unwrap());
            expected["attendee"] = json!([format!("mailto:{address}"), "Ada Guest"]);
            assert_eq!(
                (&shown["method"], &shown["events"]),
                (&json!("REQUEST"), &json!([expected]))
            );
            instants.push(start);
        }
    }
    instants.dedup();
    assert_eq!(instants.len(), 8, "no two zones have their mornings at once");
}

#[tokio::test]
async fn a_cancelled_visit_is_taken_out_of_the_calendar_by_the_same_name() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let name = r#"Dana's "Salon"; Spa, \Co"#;
    salon
        .set(&json!({"name": name, "address": "1 Main St\r\nEND:VEVENT\n3rd floor; left, left"}))
        .await;
    let booked = salon.book(0, start_in(60)).await.expect(201);
    let link = path_of(&booked["manage_url"]);
    let before = read(&file(&salon.guest, &link).await);
    let event = &before["events"][0];
    assert_eq!(event["summary"], format!("Cut at {name}"));
    assert_eq!(event["location"], "1 Main St\nEND:VEVENT\n3rd floor; left, left");
    assert_eq!(before["events"].as_array().unwrap().len(), 1);

    let nonce = text(&salon.guest.read(&link).await.expect(200)["nonce"]);
    salon.guest.post(&format!("{link}/cancel"), &json!({ "nonce": nonce })).await.expect(200);
    let after = read(&file(&salon.guest, &link).await);
    assert_eq!((&before["method"], &after["method"]), (&json!("PUBLISH"), &json!("CANCEL")));
    let mut expected = event.clone();
    expected["status"] = json!("CANCELLED");
    expected["sequence"] = json!(1);
    assert_eq!(after["events"], json!([expected]));
}

async fn feed_of(salon: &Salon, staff: usize) -> String {
    let path = format!("/api/v1/business/staff/{}/calendar-feed", salon.staff[staff]);
    let answer = salon.owner.read(&path).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    path_of(&answer.expect(200)["url"])
}

#[tokio::test]
async fn a_staff_member_subscribes_to_their_own_visits_and_nobody_elses() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    let other = Salon::open(&process.client(), 1).await;
    let start = start_in(60);
    let later = |minutes| start + SignedDuration::from_mins(minutes);
    let mut ids = vec![];
    for minutes in [0, 5, 10, 15] {
        ids.push(text(&salon.book(0, later(minutes)).await.expect(201)["appointment_id"]));
    }
    salon.book(1, start).await.expect(201);
    other.book(0, start).await.expect(201);
    let cancel = format!("/api/v1/appointments/{}/cancel", ids[1]);
    salon.owner.post(&cancel, &json!({})).await.expect(200);
    stand.addresses.caught_up().await;
    // As if two of them were over: 29 days ago, and 31.
    for (id, days) in [(&ids[2], 29), (&ids[3], 31)] {
        let uuid = id.trim_start_matches("appt_");
        let sql = format!(
            "UPDATE agenda.appointment SET starts_at = starts_at - interval '{days} days',
                    ends_at = ends_at - interval '{days} days', status = 'completed', sequence = 2
              WHERE appointment_id = '{uuid}'"
        );
        stand.database.execute(&sql).await;
    }

    let feed = feed_of(&salon, 0).await;
    assert_eq!(feed, feed_of(&salon, 0).await, "it stays the same");
    let answer = salon.guest.read(&feed).await;
    assert_eq!(answer.header("content-type"), "text/calendar; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    let file = text(&answer.expect(200));
    assert!(file.contains("X-WR-CALNAME:Staff 0 at Test Salon\r\n"), "{file}");
    let month_ago = later(10) - SignedDuration::from_hours(29 * 24);
    let event = |id: &str, sequence: u32, start: Timestamp| {
        json!({"uid": format!("{id}@apptremind"), "sequence": sequence, "status": "CONFIRMED",
               "summary": "Cut: Ada Guest", "dtstart": start,
               "dtend": start + SignedDuration::from_mins(5)})
    };
    let shown = read(&file);
    let expected = json!([event(&ids[2], 1, month_ago), event(&ids[0], 0, start)]);
    assert_eq!((&shown["method"], &shown["events"]), (&json!("PUBLISH"), &expected));

    // Erased guests stay erased, and an empty calendar is one as well.
    stand.database.execute("DELETE FROM appointment_private").await;
    let shown = read(&text(&salon.guest.read(&feed).await.expect(200)));
    assert_eq!(shown["events"][1]["summary"], "Cut");
    let staff = format!("/api/v1/business/staff/{}", other.staff[0]);
    let theirs = feed_of(&other, 0).await;
    assert_eq!(
        read(&text(&other.guest.read(&theirs).await.expect(200)))["events"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    other.owner.call(reqwest::Method::DELETE, &staff, None).await.expect(204);
    other.guest.read(&theirs).await.problem(404, "not_found");
    let gone = format!("{staff}/calendar-feed");
    other.owner.read(&gone).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_feed_is_for_its_own_link_only_and_no_link_for_anything_else() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let feed = feed_of(&salon, 0).await;
    let link = path_of(&salon.book(0, start_in(60)).await.expect(201)["manage_url"]);
    let link = link.rsplit('/').next().unwrap();
    let token = feed.rsplit('/').next().unwrap().trim_end_matches(".ics");
    for forged in [
        token.to_owned(),
        format!("{token}.ICS"),
        format!("{}.ics", &token[1..]),
        format!("{}A.ics", &token[..token.len() - 1]),
        format!("{link}.ics"),
        format!("{}.ics", salon.staff[0]),
        ".ics".to_owned(),
    ] {
        let path = format!("/api/v1/public/feeds/{forged}");
        // The last character may have been an A.
        if path != feed {
            salon.guest.read(&path).await.problem(404, "not_found");
        }
    }
    let managed = format!("/api/v1/public/appointments/{token}");
    salon.guest.read(&managed).await.problem(404, "not_found");
}
