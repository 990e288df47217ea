//! A business to test with.

use std::sync::atomic::{AtomicU32, Ordering};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::{Answer, Client};

/// A salon that is open around the clock, with visits of five minutes at every fifth minute.
pub(crate) struct Salon {
    pub(crate) owner: Client,
    pub(crate) guest: Client,
    pub(crate) business_id: String,
    pub(crate) handle: String,
    pub(crate) service_id: String,
    pub(crate) staff: Vec<String>,
}

static NEXT: AtomicU32 = AtomicU32::new(1);

/// An e-mail address that nobody has used in this test.
pub(crate) fn fresh_email() -> String {
    format!("owner{}@example.com", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn around_the_clock() -> Value {
    let day = |day| json!({"day": day, "start": "00:00", "end": "24:00"});
    json!({ "weekly": (0..7).map(day).collect::<Vec<_>>() })
}

impl Salon {
    pub(crate) async fn open(client: &Client, staff: usize) -> Self {
        Self::with(client, staff, 5).await
    }

    /// Visits last `minutes`; starts lie at every fifth minute.
    pub(crate) async fn with(client: &Client, staff: usize, minutes: u32) -> Self {
        let registered = client
            .post(
                "/api/v1/auth/register",
                &json!({"email": fresh_email(), "password": "correct horse", "business_name": "Test Salon"}),
            )
            .await
            .expect(201);
        Self::furnished(client, &registered, staff, minutes).await
    }

    /// That of somebody who has just registered.
    pub(crate) async fn furnish(client: &Client, registered: &Value, staff: usize) -> Self {
        Self::furnished(client, registered, staff, 5).await
    }

    async fn furnished(client: &Client, registered: &Value, staff: usize, minutes: u32) -> Self {
        let owner = client.signed_in(registered["access_token"].as_str().unwrap());
        let policy = json!({"booking_policy": {"slot_grid": "aligned", "slot_step_minutes": 5},
                            "reminder_offsets_minutes": []});
        owner.edit(Method::PATCH, "/api/v1/business/profile", &policy).await.expect(200);
        let service = json!({"name": "Cut", "duration_minutes": minutes,
                             "price": {"amount": 4500, "currency": "USD"}});
        let service = owner.post("/api/v1/business/services", &service).await.expect(201);
        let mut salon = Self {
            owner,
            guest: client.clone(),
            business_id: text(&registered["business_id"]),
            handle: text(&registered["handle"]),
            service_id: text(&service["id"]),
            staff: vec![],
        };
        for n in 0..staff {
            salon.hire(&format!("Staff {n}")).await;
        }
        salon
    }

    pub(crate) async fn hire(&mut self, name: &str) {
        let hired =
            self.owner.post("/api/v1/business/staff", &json!({"name": name})).await.expect(201);
        let id = text(&hired["id"]);
        let hours = format!("/api/v1/business/staff/{id}/working-hours");
        self.owner.edit(Method::PUT, &hours, &around_the_clock()).await.expect(200);
        self.staff.push(id);
    }

    pub(crate) fn booking(&self, staff: usize, start: Timestamp) -> Value {
        json!({"service_id": self.service_id, "staff_id": self.staff[staff], "start": start,
               "customer": {"name": "Ada Guest", "email": "ada@example.com"}})
    }

    /// The starts on offer; `more` narrows, as in `&date=2026-03-02`.
    pub(crate) async fn slots(&self, more: &str) -> Vec<Value> {
        let path = format!("/api/v1/public/slots?service_id={}{more}", self.service_id);
        let mut listed = self.guest.read(&path).await.expect(200);
        serde_json::from_value(listed["slots"].take()).unwrap()
    }

    /// Changes the profile.
    pub(crate) async fn set(&self, change: &Value) {
        self.owner.edit(Method::PATCH, "/api/v1/business/profile", change).await.expect(200);
    }

    /// Sets the hours of a staff member.
    pub(crate) async fn set_hours(&self, staff: usize, hours: &Value) {
        let path = format!("/api/v1/business/staff/{}/working-hours", self.staff[staff]);
        self.owner.edit(Method::PUT, &path, hours).await.expect(200);
    }

    /// Lets the day of all staff begin at the next full minute, and gives that minute: for visits
    /// that begin while the test goes on.
    pub(crate) async fn begin_soon(&self) -> Timestamp {
        let now = streams::clock::now();
        let soon = (now + SignedDuration::from_secs(20)).as_second() / 60 * 60;
        let minute = Timestamp::from_second(soon + 60).unwrap();
        let (today, local) =
            (TimeZone::UTC.to_datetime(now).date(), TimeZone::UTC.to_datetime(minute));
        let open = json!({"start": local.strftime("%H:%M").to_string(), "end": "24:00"});
        let mut hours = around_the_clock();
        hours["overrides"] = json!([{"date": local.date(), "windows": [open]}]);
        if local.date() != today {
            // Shortly before midnight.
            let days = hours["overrides"].as_array_mut().unwrap();
            days.insert(0, json!({"date": today, "windows": []}));
        }
        self.set(&json!({"booking_policy": {"slot_grid": "packed", "slot_step_minutes": 5}})).await;
        for staff in 0..self.staff.len() {
            self.set_hours(staff, &hours).await;
        }
        minute
    }

    pub(crate) async fn book(&self, staff: usize, start: Timestamp) -> Answer {
        self.guest.post("/api/v1/public/book", &self.booking(staff, start)).await
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Of an address that points to the server under test.
pub(crate) fn path_of(url: &Value) -> String {
    let url = text(url);
    let rest = url.strip_prefix("http://127.0.0.1:").unwrap_or_else(|| panic!("{url}"));
    let (_, path) = rest.split_once('/').unwrap_or_else(|| panic!("{url}"));
    format!("/{path}")
}

/// The first multiple of five minutes at least `minutes` from now.
pub(crate) fn start_in(minutes: i64) -> Timestamp {
    let at = (streams::clock::now() + SignedDuration::from_mins(minutes)).as_second();
    Timestamp::from_second((at / 300 + 1) * 300).unwrap()
}

/// Noon of that day: tests that are about days must not meet midnight.
pub(crate) fn noon_of(at: Timestamp) -> Timestamp {
    let date = TimeZone::UTC.to_datetime(at).date();
    date.at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp()
}

/// The moment has come. Asks the clock again after each sleep: those are measured by another one.
pub(crate) async fn wait_until(moment: Timestamp) {
    while let left @ 1.. = moment.duration_since(streams::clock::now()).as_micros() {
        let left = u64::try_from(left).unwrap_or(0);
        tokio::time::sleep(std::time::Duration::from_micros(left)).await;
    }
}
