//! Guests say how they want to be reminded, or that they do not.

use jiff::SignedDuration;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::mailsink::Mail;

use crate::{
    reminder_policy::{become_these, of},
    reminders::{only_guests_are_told, until},
    salon::{Salon, start_in, text},
    stand::Stand,
};

/// A visit and the path of its guest's link.
struct Booked {
    id: String,
    link: String,
}

impl Booked {
    fn of(answer: &Value) -> Self {
        let url = text(&answer["manage_url"]);
        let path = url.find("/api/v1/").map(|at| url[at..].to_owned());
        Self { id: text(&answer["appointment_id"]), link: path.unwrap() }
    }

    fn preferences(&self) -> String {
        format!("{}/preferences", self.link)
    }
}

async fn salon(stand: &Stand, process: &crate::stand::Process) -> Salon {
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    salon.set(&json!({"reminder_offsets_minutes": [60, 30]})).await;
    stand.addresses.caught_up().await;
    salon
}

/// The reminders of this many minutes ahead go out now.
async fn due(stand: &Stand, offset: i64) {
    let sql = format!(
        "UPDATE notification SET next_at = now(), due_at = now()
          WHERE kind = 'reminder' AND state = 'pending' AND offset_minutes = {offset}"
    );
    stand.database.execute(&sql).await;
}

/// The address of the one click, as a path.
fn unsubscribe(mail: &Mail) -> String {
    let [address, post] = &mail.unsubscribe[..] else { panic!("{mail:?}") };
    assert_eq!(post, "List-Unsubscribe=One-Click");
    let url = address.trim_start_matches('<').trim_end_matches('>');
    assert!(mail.text.as_ref().unwrap().contains(url), "who reads it can, too");
    url[url.find("/api/v1/").unwrap()..].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_no_more_reminders_by_mail_says_so_with_one_click() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = salon(&stand, &process).await;
    let start = start_in(3_000);
    let first = Booked::of(&salon.book(0, start).await.expect(201));
    until(&salon, &first.id, "confirmation", "sent").await;
    become_these(&salon, &first.id, &[(60, "pending"), (30, "pending")]).await;
    due(&stand, 60).await;
    become_these(&salon, &first.id, &[(60, "sent"), (30, "pending")]).await;
    let mails = stand.mail.messages().await;
    assert!(mails[0].unsubscribe.is_empty(), "a confirmation is always wanted");
    let click = unsubscribe(&mails[1]);
    // Whoever looks at the page, such as a scanner of mails, changes nothing.
    let page = salon.guest.read(&click).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.body.as_str().unwrap().contains("<form method=\"post\">"));
    let asked = salon.guest.read(&first.preferences()).await.expect(200);
    assert_eq!(asked, json!({"reminder_channels": null, "offered": ["email"]}));
    for _ in 0..2 {
        let form = [("List-Unsubscribe", "One-Click")];
        let clicked = salon.guest.request(Method::POST, &click).form(&form).send().await.unwrap();
        assert_eq!(clicked.status(), 200);
    }
    let stopped = become_these(&salon, &first.id, &[(60, "sent"), (30, "cancelled")]).await;
    assert_eq!(of(&stopped, 30, "cancelled")["reason"], "guest_preference");
    // What they book later is confirmed, and they are not reminded of it.
    let later = salon.book(0, start + SignedDuration::from_hours(1)).await.expect(201);
    let second = Booked::of(&later);
    until(&salon, &second.id, "confirmation", "sent").await;
    let skipped = become_these(&salon, &second.id, &[(60, "skipped"), (30, "skipped")]).await;
    assert_eq!(of(&skipped, 60, "skipped")["reason"], "guest_preference");
    // They think better of it.
    let asked = salon.guest.read(&second.preferences()).await.expect(200);
    assert_eq!(asked["reminder_channels"], json!(["sms"]));
    let again = json!({"reminder_channels": null});
    salon.guest.call(Method::PUT, &second.preferences(), Some(&again)).await.expect(200);
    let both = [(60, "skipped"), (30, "skipped"), (60, "pending"), (30, "pending")];
    become_these(&salon, &second.id, &both).await;
    let of_first = [(60, "sent"), (30, "cancelled"), (30, "pending")];
    become_these(&salon, &first.id, &of_first).await;
    // No link does what another is for.
    let manage = first.link.rsplit('/').next().unwrap();
    let swapped = click.replace(click.rsplit('/').next().unwrap(), manage);
    salon.guest.post(&swapped, &json!({})).await.problem(404, "not_found");
    let swapped = first.link.replace(manage, click.rsplit('/').next().unwrap());
    salon.guest.read(&swapped).await.problem(404, "not_found");
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_customer_wants_is_known_to_the_owner_and_outlives_a_merge() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = salon(&stand, &process).await;
    let start = start_in(3_000);
    let ada = Booked::of(&salon.book(0, start).await.expect(201));
    let mut other = salon.booking(0, start + SignedDuration::from_hours(1));
    other["customer"]["email"] = json!("ada@work.example");
    let booked = salon.guest.post("/api/v1/public/book", &other).await.expect(201);
    let work = Booked::of(&booked);
    become_these(&salon, &work.id, &[(60, "pending"), (30, "pending")]).await;
    let customer = async |booked: &Booked| {
        let path = format!("/api/v1/appointments/{}", booked.id);
        let shown = salon.owner.read(&path).await.expect(200);
        format!("/api/v1/customers/{}", text(&shown["customer"]["id"]))
    };
    let (known, gone) = (customer(&ada).await, customer(&work).await);
    // On the phone: "please do not remind me".
    let nothing = json!({"reminder_channels": []});
    let changed = salon.owner.edit(Method::PATCH, &gone, &nothing).await.expect(200);
    assert_eq!(changed["reminder_channels"], json!([]));
    become_these(&salon, &work.id, &[(60, "cancelled"), (30, "cancelled")]).await;
    let odd = json!({"reminder_channels": ["pigeon"]});
    let odd = salon.owner.edit(Method::PATCH, &gone, &odd).await;
    odd.problem(422, "invalid_request");
    let odd = salon.guest.call(Method::PUT, &ada.preferences(), Some(&json!({}))).await;
    odd.problem(422, "invalid_request");
    become_these(&salon, &ada.id, &[(60, "pending"), (30, "pending")]).await;
    let into = known.rsplit('/').next().unwrap();
    let merge = json!({ "into": into });
    let merged = salon.owner.post(&format!("{gone}/merge"), &merge).await.expect(200);
    assert_eq!(merged["reminder_channels"], json!([]), "who wanted none still wants none");
    become_these(&salon, &ada.id, &[(60, "cancelled"), (30, "cancelled")]).await;
    // Until they say otherwise, by the link of either visit.
    let mail = json!({"reminder_channels": ["email"]});
    salon.guest.call(Method::PUT, &work.preferences(), Some(&mail)).await.expect(200);
    let told = [(60, "cancelled"), (30, "cancelled"), (60, "pending"), (30, "pending")];
    become_these(&salon, &ada.id, &told).await;
    // Said a moment before a reminder goes out, it counts.
    stand.database.execute("UPDATE customer SET reminder_channels = '{sms}'").await;
    due(&stand, 60).await;
    let called_off = [(60, "cancelled"), (30, "cancelled"), (30, "pending")];
    become_these(&salon, &ada.id, &called_off).await;
    assert_eq!(stand.mail.messages().await.len(), 2, "the confirmations");
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}
