//! What whoever serves is told of bookings, moves and cancellations.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::mailsink::Mail;

use crate::{
    reminders::{mails_to, until},
    replay::replay,
    salon::{Salon, path_of, start_in, text},
    stand::{Client, Stand},
};

const STAFF: [&str; 2] = ["dana@salon.example", "olga@salon.example"];

/// A salon whose staff have addresses of their own.
async fn staffed(client: &Client) -> Salon {
    let salon = Salon::open(client, 2).await;
    for (id, email) in salon.staff.iter().zip(STAFF) {
        let path = format!("/api/v1/business/staff/{id}");
        salon.owner.edit(Method::PATCH, &path, &json!({ "email": email })).await.expect(200);
    }
    salon
}

async fn owner_of(salon: &Salon) -> String {
    text(&salon.owner.read("/api/v1/auth/me").await.expect(200)["email"])
}

async fn booked(salon: &Salon) -> (String, Value) {
    let mut body = salon.booking(0, start_in(3_000));
    body["notes"] = json!("two dogs\n<b>barking</b>");
    body["customer"]["phone"] = json!("+1 555 0100");
    let booked = salon.guest.post("/api/v1/public/book", &body).await.expect(201);
    (text(&booked["appointment_id"]), booked)
}

async fn change(salon: &Salon, id: &str, how: &str, body: &Value) {
    salon.owner.post(&format!("/api/v1/appointments/{id}/{how}"), body).await.expect(200);
}

/// The one mail of a message that was sent.
async fn mail_of(stand: &Stand, salon: &Salon, id: &str, kind: &str) -> Mail {
    let message = until(salon, id, kind, "sent").await;
    assert_eq!(message["recipient"], if kind.starts_with("host") { "host" } else { "guest" });
    let mails = mails_to(stand, &message).await;
    let [mail] = <[Mail; 1]>::try_from(mails).unwrap_or_else(|mails| panic!("{mails:?}"));
    mail
}

/// How many messages to hosts there are, in whatever state.
async fn notices(salon: &Salon, id: &str) -> usize {
    let shown = salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
    shown["reminders"].as_array().unwrap().iter().filter(|m| m["recipient"] == "host").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_serves_is_told_who_comes_when_it_moves_and_why_it_is_off() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = staffed(&process.client()).await;
    let (id, answer) = booked(&salon).await;
    let before: Timestamp = text(&answer["start"]).parse().unwrap();
    let mail = mail_of(&stand, &salon, &id, "host_booked").await;
    assert_eq!(mail.to, STAFF[..1]);
    assert!(mail.calendar.is_none() && mail.attachments.is_empty(), "{mail:?}");
    let (words, html) = (mail.text.unwrap(), mail.html.unwrap());
    for fact in ["Ada Guest", "ada@example.com", "+1 555 0100", "two dogs", "by the guest", "Cut"] {
        assert!(words.contains(fact) && html.contains(fact), "{fact}: {words}");
    }
    assert!(words.contains("<b>barking") && html.contains("&lt;b&gt;barking"), "{html}");
    assert!(!words.contains("/public/appointments/"), "the guest's link is theirs alone: {words}");

    // To another staff member: both are told, of the old time and the new.
    let later = start_in(5_000) + SignedDuration::from_hours(24);
    change(&salon, &id, "reschedule", &json!({"start": later, "staff_id": salon.staff[1]})).await;
    let mail = mail_of(&stand, &salon, &id, "host_rescheduled").await;
    assert_eq!(mail.to, STAFF);
    let words = mail.text.unwrap();
    let local = |at: Timestamp| at.strftime("%-d %B %Y, %H:%M UTC").to_string();
    let was = words.lines().find(|line| line.starts_with("Was: ")).unwrap();
    assert!(was.contains(&local(before)) && was.ends_with(", with Staff 0"), "{words}");
    let when = words.lines().find(|line| line.starts_with("When: ")).unwrap();
    assert!(when.contains(&local(later)), "{words}");

    change(&salon, &id, "cancel", &json!({"reason": "burst pipe & <flood>"})).await;
    let mail = mail_of(&stand, &salon, &id, "host_cancelled").await;
    assert_eq!(mail.to, STAFF[1..]);
    let (words, html) = (mail.text.unwrap(), mail.html.unwrap());
    assert!(words.contains("by the business"), "{words}");
    assert!(words.contains("Reason: burst pipe & <flood>"), "{words}");
    assert!(html.contains("burst pipe &amp; &lt;flood&gt;"), "{html}");

    let owner = owner_of(&salon).await;
    let mails = stand.mail.messages().await;
    assert!(mails.iter().all(|mail| !mail.to.contains(&owner)), "{mails:?}");
    stand.addresses.caught_up().await;
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_serve_in_one_visit_are_told_in_one_mail() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = staffed(&process.client()).await;
    let wash = json!({"name": "Wash", "duration_minutes": 10, "staff_ids": [salon.staff[1]],
                      "price": {"amount": 1_000, "currency": "USD"}});
    let wash = salon.owner.post("/api/v1/business/services", &wash).await.expect(201);
    let mut body = salon.booking(0, start_in(3_000));
    body["also"] = json!([{"service_id": wash["id"]}]);
    let booked = salon.guest.post("/api/v1/public/book", &body).await.expect(201);
    let id = text(&booked["appointment_id"]);
    let hosts = mail_of(&stand, &salon, &id, "host_booked").await;
    assert_eq!(hosts.to, STAFF);
    let guests = mail_of(&stand, &salon, &id, "confirmation").await;
    for mail in [hosts, guests] {
        let words = mail.text.unwrap();
        assert!(words.contains("What: Cut, Wash"), "{words}");
        assert!(words.contains("With: Staff 0, Staff 1"), "{words}");
    }
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_told_for_whom_has_no_address_but_not_of_their_own_doing() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let owner = owner_of(&salon).await;
    let (by_owner, _) = booked(&salon).await;
    assert_eq!(mail_of(&stand, &salon, &by_owner, "host_booked").await.to, [owner.as_str()]);
    change(&salon, &by_owner, "cancel", &json!({})).await;
    let skipped = until(&salon, &by_owner, "host_cancelled", "skipped").await;
    assert_eq!((&skipped["reason"], &skipped["attempts"]), (&json!("own_change"), &json!(0)));

    let (by_guest, answer) = booked(&salon).await;
    let link = path_of(&answer["manage_url"]);
    let nonce = text(&salon.guest.read(&link).await.expect(200)["nonce"]);
    let wish = json!({"nonce": nonce, "reason": "a cold"});
    salon.guest.post(&format!("{link}/cancel"), &wish).await.expect(200);
    let mail = mail_of(&stand, &salon, &by_guest, "host_cancelled").await;
    assert_eq!(mail.to, [owner.as_str()]);
    let words = mail.text.unwrap();
    assert!(words.contains("by the guest") && words.contains("Reason: a cold"), "{words}");

    // Whoever is reached under the owner's address is the owner.
    let path = format!("/api/v1/business/staff/{}", salon.staff[0]);
    let email = json!({"email": owner.to_uppercase()});
    salon.owner.edit(Method::PATCH, &path, &email).await.expect(200);
    let (own, _) = booked(&salon).await;
    mail_of(&stand, &salon, &own, "host_booked").await;
    change(&salon, &own, "cancel", &json!({})).await;
    until(&salon, &own, "host_cancelled", "skipped").await;
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_and_the_public_page_show_the_branding_of_the_business() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let page = format!("/api/v1/public/businesses/{}", salon.handle);
    let none = json!({"logo_url": null, "color": null, "sign_off": null});
    assert_eq!(salon.guest.read(&page).await.expect(200)["branding"], none);
    let logo = "https://salon.example/logo.png?a=1&b=2";
    salon.set(&json!({"branding": {"logo_url": logo, "sign_off": "See you <soon>"}})).await;
    salon.set(&json!({"branding": {"color": "#ffee00"}})).await;
    let branding = json!({"logo_url": logo, "color": "#ffee00", "sign_off": "See you <soon>"});
    assert_eq!(salon.guest.read(&page).await.expect(200)["branding"], branding);
    let (id, _) = booked(&salon).await;
    let guests = mail_of(&stand, &salon, &id, "confirmation").await;
    let hosts = mail_of(&stand, &salon, &id, "host_booked").await;
    assert!(guests.text.unwrap().contains("See you <soon>"));
    let html = guests.html.unwrap();
    assert!(html.contains("See you &lt;soon&gt;"), "{html}");
    for html in [html, hosts.html.unwrap()] {
        assert!(html.contains("logo.png?a=1&amp;b=2\""), "{html}");
        assert!(html.contains("background:#ffee00;color:#000000"), "{html}");
    }
    salon.set(&json!({"branding": {"logo_url": null, "color": null, "sign_off": null}})).await;
    assert_eq!(salon.guest.read(&page).await.expect(200)["branding"], none);
    stand.addresses.caught_up().await;
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_that_wants_no_notices_gets_none_and_doctor_knows() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = staffed(&process.client()).await;
    let profile = "/api/v1/business/profile";
    assert_eq!(salon.owner.read(profile).await.expect(200)["host_notices"], true);
    salon.set(&json!({"host_notices": false})).await;
    assert_eq!(salon.owner.read(profile).await.expect(200)["host_notices"], false);
    let (quiet, _) = booked(&salon).await;
    until(&salon, &quiet, "confirmation", "sent").await;
    change(&salon, &quiet, "cancel", &json!({})).await;
    until(&salon, &quiet, "cancellation", "sent").await;
    assert_eq!(notices(&salon, &quiet).await, 0);
    salon.set(&json!({"host_notices": true})).await;
    let (told, _) = booked(&salon).await;
    mail_of(&stand, &salon, &told, "host_booked").await;
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();

    // One that is missing, and one that nobody wished.
    for sql in [
        "UPDATE notification SET kind = 'host_cancelled' WHERE kind = 'host_booked'",
        "UPDATE notification SET kind = 'host_booked' WHERE kind = 'host_cancelled';
         UPDATE notification SET kind = 'host_cancelled' WHERE kind = 'cancellation'",
    ] {
        stand.database.execute(sql).await;
        let (code, found) = stand.addresses.run(&["doctor"]);
        assert_eq!(code, 5, "{found}");
        let line = "BROKEN  every booking, move and cancellation that the scheduler has seen";
        assert!(found.contains(line), "{found}");
    }
}
