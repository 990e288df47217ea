//! Businesses and guests in four zones, across a change of the clocks: what is booked, moved and called off
//! is at the same instant in the answer, in each mail and in its calendar file, and each reads their own time.

use std::process::{Command, Stdio};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use serde_json::{Value, json};
use testkit::mailsink::Mail;

use crate::{
    calendar_readers::read,
    reminders::until,
    salon::{Salon, text},
    stand::Stand,
};

const ZONES: [&str; 4] =
    ["America/Los_Angeles", "America/New_York", "Europe/London", "Australia/Sydney"];

/// Somebody else's time zones: instants of local times, and words for instants.
const ORACLE: &str = r#"
import datetime, json, sys
from zoneinfo import ZoneInfo

asked = json.load(sys.stdin)
told = []
for zone, moment in asked:
    moment = datetime.datetime.fromisoformat(moment.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        utc = moment.replace(tzinfo=ZoneInfo(zone)).astimezone(datetime.timezone.utc)
        told.append(utc.strftime("%Y-%m-%dT%H:%M:%SZ"))
    else:
        local = moment.astimezone(ZoneInfo(zone))
        told.append(f"{local:%A}, {local.day} {local:%B %Y, %H:%M %Z} ({zone})")
json.dump(told, sys.stdout)
"#;

fn oracle(asked: &[(&str, String)]) -> Vec<String> {
    let python = std::env::var("APPTREMIND_TEST_PYTHON").expect("run the tests by ./scripts/test");
    let mut child = Command::new(python)
        .args(["-c", ORACLE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), asked).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One business, one guest.
struct Case {
    business: &'static str,
    guest: &'static str,
    /// Local times of the business: the day before its clocks change, and the day after.
    local: [String; 2],
    starts: [Timestamp; 2],
    /// In words: when it was and when it is, as the business says it and as the guest does.
    said: [[String; 2]; 2],
    email: String,
    appointment: String,
}

/// The hour differs by guest, so that one staff member serves all.
fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for business in ZONES {
        let zone = TimeZone::get(business).unwrap();
        let soon = streams::clock::now() + SignedDuration::from_hours(72);
        let change = zone.following(soon).next().unwrap().timestamp().to_zoned(zone.clone()).date();
        for (n, guest) in ZONES.into_iter().enumerate() {
            let hour = i8::try_from(9 + n).unwrap();
            let local = [-1, 1].map(|days| (change + days.days()).at(hour, 0, 0, 0).to_string());
            let asked = local.clone().map(|local| (business, local));
            let starts: Vec<Timestamp> =
                oracle(&asked).iter().map(|at| at.parse().unwrap()).collect();
            let starts = <[Timestamp; 2]>::try_from(starts).unwrap();
            let asked: Vec<_> = starts
                .iter()
                .flat_map(|at| [business, guest].map(|zone| (zone, at.to_string())))
                .collect();
            let said = <[String; 4]>::try_from(oracle(&asked)).unwrap();
            let [was, was_there, is, is_there] = said;
            let short = |zone: &str| zone.to_lowercase().replace(['/', '_'], "-");
            cases.push(Case {
                business,
                guest,
                local,
                starts,
                said: [[was, was_there], [is, is_there]],
                email: format!("{}@{}.example", short(guest), short(business)),
                appointment: String::new(),
            });
        }
    }
    cases
}

impl Case {
    async fn book(&mut self, salon: &Salon) {
        let mut body = salon.booking(0, self.starts[0]);
        body["start"] = json!(self.local[0]);
        body["timezone"] = json!(self.guest);
        body["customer"]["email"] = json!(self.email);
        let booked = salon.guest.post("/api/v1/public/book", &body).await.expect(201);
        assert_eq!(booked["start"], json!(self.starts[0]), "{}", self.business);
        self.appointment = text(&booked["appointment_id"]);
    }

    async fn change(&self, salon: &Salon, how: &str, body: &Value) -> Value {
        let path = format!("/api/v1/appointments/{}/{how}", self.appointment);
        salon.owner.post(&path, body).await.expect(200)
    }

    async fn told(&self, salon: &Salon, kind: &str) {
        until(salon, &self.appointment, kind, "sent").await;
    }

    /// Words and file of one mail: method, sequence, and which of the two times.
    fn check(&self, mails: &[Mail], subject: &str, (method, sequence, at): (&str, u32, usize)) {
        let name = format!("{} {} {subject}", self.business, self.guest);
        let own = |mail: &&Mail| mail.to == [self.email.as_str()];
        let mut found = mails.iter().filter(own).filter(|mail| mail.subject.starts_with(subject));
        let (Some(mail), None) = (found.next(), found.next()) else { panic!("{name}") };
        let words = mail.text.as_deref().unwrap().replace("\r\n", "\n");
        let html = mail.html.as_deref().unwrap().replace("&#x2f;", "/");
        let [here, there] = &self.said[at];
        assert!(words.contains(&format!("\nWhen: {here}\n")), "{name}: {words}");
        assert!(html.contains(here), "{name}: {html}");
        let away = self.business != self.guest;
        assert_eq!(words.contains(&format!("\nIn your time: {there}\n")), away, "{name}: {words}");
        assert_eq!(html.contains("In your time"), away, "{name}: {html}");
        assert!(html.contains(there), "{name}: {html}");
        if subject == "Moved" {
            for was in &self.said[0] {
                assert!(words.contains(was) && html.contains(was), "{name}: {words}");
            }
        }
        let file = read(mail.calendar.as_deref().unwrap());
        let event = &file["events"][0];
        assert_eq!(file["method"], method, "{name}");
        assert_eq!(event["sequence"], sequence, "{name}");
        assert_eq!(event["dtstart"], json!(self.starts[at]), "{name}");
        let end = self.starts[at] + SignedDuration::from_mins(45);
        assert_eq!(event["dtend"], json!(end), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_agree_on_the_instant_and_each_reads_their_own_time() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 1, 45).await;
    salon.set(&json!({"host_notices": false, "booking_policy": {"window_days": 730}})).await;
    let mut cases = cases();
    for mine in cases.chunks_mut(ZONES.len()) {
        salon.set(&json!({"timezone": mine[0].business})).await;
        for case in &mut *mine {
            case.book(&salon).await;
            // The local time is the same, so what lies between are not whole days.
            let between = case.starts[0].duration_until(case.starts[1]).as_hours();
            assert!(matches!(between, 47 | 49), "{} {between}", case.business);
        }
        join_all(mine.iter().map(|case| case.told(&salon, "confirmation"))).await;
        for case in &*mine {
            let body = json!({"start": case.local[1]});
            let moved = case.change(&salon, "reschedule", &body).await;
            assert_eq!(moved["start"], json!(case.starts[1]), "{}", case.business);
        }
        join_all(mine.iter().map(|case| case.told(&salon, "rescheduled"))).await;
        for case in &*mine {
            case.change(&salon, "cancel", &json!({})).await;
        }
        join_all(mine.iter().map(|case| case.told(&salon, "cancellation"))).await;
    }
    let mails = stand.mail.messages().await;
    assert_eq!((cases.len(), mails.len()), (16, 48));
    for case in &cases {
        case.check(&mails, "Booked", ("REQUEST", 0, 0));
        case.check(&mails, "Moved", ("REQUEST", 1, 1));
        case.check(&mails, "Cancelled", ("CANCEL", 2, 1));
    }
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
}
