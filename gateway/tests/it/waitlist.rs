//! Guests who wait for a time to become free, and are offered it in the order in which they came.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    salon::{Salon, path_of, start_in, text},
    stand::{Answer, Client, Process, Stand},
};

const JOIN: &str = "/api/v1/public/waitlist";

/// A salon whose staff member works one hour a day, which one visit fills.
async fn busy(process: &Process) -> (Salon, Timestamp) {
    let salon = Salon::with(&process.client(), 1, 60).await;
    let day = |day| json!({"day": day, "start": "09:00", "end": "10:00"});
    let hours = json!({ "weekly": (0..7).map(day).collect::<Vec<_>>() });
    salon.set_hours(0, &hours).await;
    salon.set(&json!({"booking_policy": {"slot_grid": "packed", "slot_step_minutes": 60}})).await;
    let tomorrow = start_in(48 * 60).to_zoned(TimeZone::UTC).date();
    let nine = tomorrow.at(9, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
    (salon, nine)
}

/// Who waits, and how they see it.
struct Waiting {
    id: String,
    link: String,
    email: String,
}

fn wish(salon: &Salon, start: Timestamp, name: &str) -> Value {
    let day = start.to_zoned(TimeZone::UTC).date();
    json!({"service_id": salon.service_id, "from": day, "to": day,
           "customer": {"name": name, "email": format!("{name}@example.com")}})
}

async fn join(salon: &Salon, start: Timestamp, name: &str) -> Waiting {
    let joined = salon.guest.post(JOIN, &wish(salon, start, name)).await.expect(201);
    assert_eq!(joined["status"], "waiting");
    Waiting {
        id: text(&joined["waitlist_id"]),
        link: path_of(&joined["manage_url"]),
        email: format!("{name}@example.com"),
    }
}

impl Waiting {
    async fn entry(&self, client: &Client) -> Value {
        client.read(&self.link).await.expect(200)
    }

    /// Waits until the entry is so, and gives it.
    async fn until(&self, client: &Client, status: &str) -> Value {
        eventually(&format!("{} is {status}", self.email), async || {
            Some(self.entry(client).await).filter(|entry| entry["status"] == status)
        })
        .await
    }

    /// The path of what is offered, once it is.
    async fn offer(&self, client: &Client) -> String {
        path_of(&self.until(client, "offered").await["offer_url"])
    }
}

async fn accept(client: &Client, offer: &str) -> Answer {
    let nonce = client.read(offer).await.expect(200)["nonce"].clone();
    client.post(&format!("{offer}/accept"), &json!({ "nonce": nonce })).await
}

async fn cancel(salon: &Salon, id: &str) {
    let path = format!("/api/v1/appointments/{id}/cancel");
    salon.owner.post(&path, &json!({})).await.expect(200);
}

/// The subjects of the mails to somebody, in order.
async fn subjects(stand: &Stand, email: &str) -> Vec<String> {
    let mails = stand.mail.messages().await;
    let to = |to: &String| to.contains(email);
    mails.into_iter().filter(|mail| mail.to.iter().any(to)).map(|mail| mail.subject).collect()
}

async fn mailed(stand: &Stand, email: &str, wanted: &[&str]) {
    eventually(&format!("{email} reads {wanted:?}"), async || {
        let read = subjects(stand, email).await;
        assert!(wanted.iter().zip(&read).all(|(a, b)| a == b), "{email} reads {read:?}");
        (read.len() == wanted.len()).then_some(())
    })
    .await;
}

/// As if the patience of an offer were over.
async fn lapse(stand: &Stand, offer_of: &str) {
    let uuid = offer_of.trim_start_matches("wait_");
    let at = streams::clock::now();
    let sql = format!(
        "UPDATE events SET payload = jsonb_set(payload, '{{expires_at}}', '\"{at}\"')
          WHERE event_type = 'booking.appointment.requested.v1'
            AND payload->>'waitlist_id' = '{offer_of}';
         UPDATE pending_request p SET expires_at = '{at}' FROM waitlist_entry e
          WHERE e.waitlist_id = '{uuid}' AND p.appointment_id = e.appointment_id"
    );
    stand.database.execute(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joined_first_is_offered_what_becomes_free_and_accepts_by_the_link() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let (salon, start) = busy(&process).await;
    salon.set(&json!({"reminder_offsets_minutes": [60]})).await;
    let taken = text(&salon.book(0, start).await.expect(201)["appointment_id"]);
    let (first, second) = (join(&salon, start, "amy").await, join(&salon, start, "bob").await);
    let listed = salon.owner.read("/api/v1/waitlist?status=waiting&limit=1").await.expect(200);
    assert_eq!(listed["items"][0]["id"], first.id);
    assert_eq!(listed["items"][0]["customer"]["email"], first.email);
    let next = format!("/api/v1/waitlist?status=waiting&cursor={}", text(&listed["next"]));
    let next = salon.owner.read(&next).await.expect(200);
    assert_eq!((&next["items"][0]["id"], &next["next"]), (&json!(second.id), &json!(null)));

    cancel(&salon, &taken).await;
    let offer = first.offer(&salon.guest).await;
    let view = salon.guest.read(&offer).await.expect(200);
    assert_eq!((&view["status"], &view["offered"]), (&json!("requested"), &json!(true)));
    let expires_at: Timestamp = text(&view["expires_at"]).parse().unwrap();
    let left = expires_at.duration_since(streams::clock::now()).as_mins();
    assert!((118..=120).contains(&left), "{left}");
    // Kept for one, and for nobody else.
    salon.book(0, start).await.problem(409, "slot_taken");
    assert_eq!(second.entry(&salon.guest).await["status"], "waiting");
    mailed(&stand, &first.email, &["Free for you: Cut at Test Salon"]).await;
    let id = text(&view["appointment_id"]);
    let confirm = format!("/api/v1/appointments/{id}/confirm");
    salon.owner.post(&confirm, &json!(null)).await.problem(409, "awaits_guest");
    salon
        .guest
        .post(&format!("{}/leave", first.link), &json!(null))
        .await
        .problem(409, "wrong_state");

    let nonce = view["nonce"].clone();
    let body = json!({ "nonce": nonce });
    let taken = salon.guest.post(&format!("{offer}/accept"), &body).await.expect(200);
    assert_eq!((&taken["status"], &taken["offered"]), (&json!("booked"), &json!(false)));
    let again = salon.guest.post(&format!("{offer}/accept"), &body).await;
    again.problem(410, "nonce_spent");
    accept(&salon.guest, &offer).await.problem(409, "wrong_state");
    first.until(&salon.guest, "accepted").await;
    let booked = "Booked: Cut at Test Salon";
    mailed(&stand, &first.email, &["Free for you: Cut at Test Salon", booked]).await;
    let shown = salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
    assert_eq!(shown["customer"]["name"], "amy");
    crate::reminders::until(&salon, &id, "reminder", "pending").await;
    assert_eq!(second.entry(&salon.guest).await["status"], "waiting");
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_accepted_goes_to_the_next_and_to_everybody_in_the_end() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let (salon, start) = busy(&process).await;
    let taken = text(&salon.book(0, start).await.expect(201)["appointment_id"]);
    let mut waiting = vec![];
    for name in ["amy", "bob", "cy", "dee"] {
        waiting.push(join(&salon, start, name).await);
    }
    let [amy, bob, cy, dee] = &waiting[..] else { panic!() };
    // Whoever leaves is passed over.
    let left = salon.guest.post(&format!("{}/leave", cy.link), &json!(null)).await.expect(200);
    assert_eq!(left["status"], "left");
    salon.guest.post(&format!("{}/leave", cy.link), &json!(null)).await.expect(200);
    cancel(&salon, &taken).await;
    amy.offer(&salon.guest).await;
    mailed(&stand, &amy.email, &["Free for you: Cut at Test Salon"]).await;
    lapse(&stand, &amy.id).await;
    amy.until(&salon.guest, "lapsed").await;
    let offer = bob.offer(&salon.guest).await;
    let told = ["Free for you: Cut at Test Salon", "Not confirmed: Cut at Test Salon"];
    mailed(&stand, &amy.email, &told).await;
    // Bob declines.
    let nonce = salon.guest.read(&offer).await.expect(200)["nonce"].clone();
    salon.guest.post(&format!("{offer}/cancel"), &json!({ "nonce": nonce })).await.expect(200);
    bob.until(&salon.guest, "declined").await;
    // The business takes Dee's offer back.
    let offer = dee.offer(&salon.guest).await;
    let id = text(&salon.guest.read(&offer).await.expect(200)["appointment_id"]);
    let decline = format!("/api/v1/appointments/{id}/decline");
    salon.owner.post(&decline, &json!({})).await.expect(200);
    dee.until(&salon.guest, "declined").await;
    assert_eq!(cy.entry(&salon.guest).await["status"], "left");
    salon.book(0, start).await.expect(201);
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn time_becomes_free_in_many_ways() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let (salon, start) = busy(&process).await;
    let day = SignedDuration::from_hours(24);
    let on = |n: i32| start + day * n;
    let date = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let date_of = |n: i32| date(on(n));
    // Moved away.
    let id = text(&salon.book(0, on(0)).await.expect(201)["appointment_id"]);
    let moved = join(&salon, on(0), "moved").await;
    let path = format!("/api/v1/appointments/{id}/reschedule");
    salon.owner.post(&path, &json!({"start": on(10)})).await.expect(200);
    moved.offer(&salon.guest).await;
    // Back from an absence.
    let absences = format!("/api/v1/business/staff/{}/time-off", salon.staff[0]);
    let away = json!({"start": on(1), "end": on(1) + SignedDuration::from_hours(2)});
    let away = text(&salon.owner.post(&absences, &away).await.expect(201)["id"]);
    let back = join(&salon, on(1), "back").await;
    let absence = format!("{absences}/{away}");
    salon.owner.call(Method::DELETE, &absence, None).await.expect(204);
    back.offer(&salon.guest).await;
    // Open after all.
    let closed = json!({"date_from": date_of(2), "date_to": date_of(2)});
    let closed = salon.owner.post("/api/v1/business/closures", &closed).await.expect(201);
    let open = join(&salon, on(2), "open").await;
    let closure = format!("/api/v1/business/closures/{}", text(&closed["id"]));
    salon.owner.call(Method::DELETE, &closure, None).await.expect(204);
    open.offer(&salon.guest).await;
    // Longer hours, and a request that is declined.
    salon.book(0, on(3)).await.expect(201);
    let longer = join(&salon, on(3), "longer").await;
    let day = |day| json!({"day": day, "start": "09:00", "end": "11:00"});
    salon.set_hours(0, &json!({ "weekly": (0..7).map(day).collect::<Vec<_>>() })).await;
    longer.offer(&salon.guest).await;
    // Free all the while.
    let lucky = join(&salon, on(20), "lucky").await;
    let offer = lucky.offer(&salon.guest).await;
    accept(&salon.guest, &offer).await.expect(200);
    lucky.until(&salon.guest, "accepted").await;
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_survive_whoever_is_killed_and_the_broker_and_nobody_gets_two() {
    let mut stand = Stand::new().await;
    let roles = ["gateway", "relay", "projector", "notifier"];
    let process = Process::start(&stand.addresses, &roles).await;
    let mut first = Process::start(&stand.addresses, &["scheduler"]).await;
    let (salon, start) = busy(&process).await;
    let day = SignedDuration::from_hours(24);
    let mut days = vec![];
    for n in 0..8 {
        let at = start + day * n;
        let id = text(&salon.book(0, at).await.expect(201)["appointment_id"]);
        let name = format!("first{n}");
        let pair = (join(&salon, at, &name).await, join(&salon, at, &format!("second{n}")).await);
        days.push((id, pair));
    }
    // Nobody is there when the first time becomes free.
    first.kill();
    cancel(&salon, &days[0].0).await;
    let mut second = Process::start(&stand.addresses, &["scheduler"]).await;
    days[0].1.0.offer(&salon.guest).await;
    // Two are there, and one is killed while times become free.
    first.start_again().await;
    for (n, (id, _)) in days.iter().enumerate().skip(1).take(6) {
        cancel(&salon, id).await;
        if n == 3 {
            second.kill();
        }
    }
    // The broker is away when the last one does.
    stand.nats.kill();
    cancel(&salon, &days[7].0).await;
    for (_, (early, late)) in &days {
        early.offer(&salon.guest).await;
        assert_eq!(late.entry(&salon.guest).await["status"], "waiting", "{}", late.email);
    }
    stand.nats.start_again().await;
    let kept = "SELECT payload->>'waitlist_id' FROM events
                 WHERE event_type = 'booking.appointment.requested.v1'";
    assert_eq!(stand.database.texts(kept).await.len(), days.len());
    for (_, (early, _)) in &days {
        mailed(&stand, &early.email, &["Free for you: Cut at Test Salon"]).await;
    }
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_wait_is_told_why() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let (salon, start) = busy(&process).await;
    salon.book(0, start).await.expect(201);
    let good = wish(&salon, start, "ada");
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let (from, later) = (start, start + SignedDuration::from_hours(24 * 63));
    let instants = |from: Timestamp, to: Timestamp| {
        let mut body = with("from", json!(from));
        body["to"] = json!(to);
        body
    };
    let past = start - SignedDuration::from_hours(24 * 20);
    for (body, field) in [
        (with("from", json!("tomorrow")), "from"),
        (with("to", json!("2026-13-01")), "to"),
        (with("to", json!(start)), "to"),
        (with("to", json!("2020-01-01")), "to"),
        (instants(from, from), "to"),
        (instants(from, later), "to"),
        (instants(past, past + SignedDuration::from_hours(1)), "to"),
        (with("customer", json!({"name": "Ada"})), "customer.email"),
        (with("customer", json!({"name": "Ada", "email": "no"})), "customer.email"),
        (with("notes", json!("x".repeat(2_001))), "notes"),
        (with("timezone", json!("Nowhere")), "timezone"),
        (with("seats", json!(2)), "seats"),
    ] {
        let refused = salon.guest.post(JOIN, &body).await;
        refused.problem(422, "invalid_request");
        assert_eq!(refused.fields(), [field], "{body}");
    }
    let nobody = json!(format!("staff_{}", "0".repeat(32)));
    salon.guest.post(JOIN, &with("staff_id", nobody)).await.problem(404, "not_found");
    let unknown = json!(format!("svc_{}", "0".repeat(32)));
    salon.guest.post(JOIN, &with("service_id", unknown)).await.problem(404, "not_found");
    // The same key joins once.
    let keyed = async |body: &Value| {
        let request = salon.guest.request(Method::POST, JOIN).header("Idempotency-Key", "one");
        Answer::of(request.json(body).send().await.unwrap()).await
    };
    let once = keyed(&good).await;
    assert_eq!(keyed(&good).await.expect(201), once.expect(201));
    keyed(&with("notes", json!("x"))).await.problem(422, "idempotency_key_reused");
    // Ten times with one address, whatever its letters are, and no more.
    for _ in 1..10 {
        salon.guest.post(JOIN, &good).await.expect(201);
    }
    let capital = json!({"name": "Ada", "email": "ADA@example.com"});
    let refused = salon.guest.post(JOIN, &with("customer", capital)).await;
    assert_eq!(refused.problem(422, "waits_too_often")["max"], 10);
    let listed = salon.owner.read("/api/v1/waitlist").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 10);
    let id = text(&listed["items"][0]["id"]);
    let entry = format!("/api/v1/waitlist/{id}");
    salon.owner.call(Method::DELETE, &entry, None).await.expect(204);
    salon.owner.call(Method::DELETE, &entry, None).await.expect(204);
    salon.guest.post(JOIN, &good).await.expect(201);
    salon.owner.read("/api/v1/waitlist?cursor=5").await.problem(422, "invalid_request");
    salon.owner.read("/api/v1/waitlist?limit=201").await.problem(422, "invalid_request");
    salon.guest.read(&format!("{JOIN}/AAAA")).await.problem(404, "not_found");
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_the_owners_consent_is_offered_to_nobody() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let (mut salon, start) = busy(&process).await;
    let taken = text(&salon.book(0, start).await.expect(201)["appointment_id"]);
    let ada = join(&salon, start, "ada").await;
    let service = format!("/api/v1/business/services/{}", salon.service_id);
    let change = json!({"requires_approval": true});
    salon.owner.edit(Method::PATCH, &service, &change).await.expect(200);
    let wish = wish(&salon, start, "bob");
    salon.guest.post(JOIN, &wish).await.problem(422, "needs_approval");
    cancel(&salon, &taken).await;
    salon.hire("Idle").await;
    stand.addresses.caught_up().await;
    eventually("everybody was looked at", async || {
        stand.database.texts("SELECT 'x' FROM waitlist_wake").await.is_empty().then_some(())
    })
    .await;
    assert_eq!(ada.entry(&salon.guest).await["status"], "waiting");
    // Until it needs none.
    let change = json!({"requires_approval": false});
    salon.owner.edit(Method::PATCH, &service, &change).await.expect(200);
    ada.offer(&salon.guest).await;
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_missed_is_found_when_everybody_is_looked_at() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let (salon, start) = busy(&process).await;
    let taken = text(&salon.book(0, start).await.expect(201)["appointment_id"]);
    let later = start + SignedDuration::from_hours(24);
    salon.book(0, later).await.expect(201);
    let (ada, bob) = (join(&salon, start, "ada").await, join(&salon, later, "bob").await);
    cancel(&salon, &taken).await;
    process.kill();
    // As if the event had told nobody, and Bob's range were over.
    let uuid = bob.id.trim_start_matches("wait_");
    let over = "2026-03-02T10:00:00Z";
    stand
        .database
        .execute(&format!(
            "UPDATE consumer_checkpoint c SET (transaction_id, position) =
                    (SELECT transaction_id, position FROM events ORDER BY 1 DESC, 2 DESC LIMIT 1)
              WHERE consumer = 'wake-waitlists';
             DELETE FROM waitlist_wake;
             UPDATE waitlist_entry SET from_at = '2026-03-02T09:00:00Z', until_at = '{over}'
              WHERE waitlist_id = '{uuid}';
             UPDATE events SET payload = jsonb_set(payload, '{{wish,range}}',
                    '{{\"start\": \"2026-03-02T09:00:00Z\", \"end\": \"{over}\"}}')
              WHERE aggregate_id = '{}'",
            bob.id
        ))
        .await;
    process.start_again().await;
    ada.offer(&salon.guest).await;
    let entry = bob.until(&salon.guest, "expired").await;
    assert_eq!((&entry["to"], &entry["offer_url"]), (&json!(over), &json!(null)));
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}
