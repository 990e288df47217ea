//! What owners rule about bookings: what is listed follows it, and so does what is booked.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date, tz::TimeZone};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    business::{edit, next, starts},
    races::race,
    replay::replay,
    salon::{Salon, start_in, text},
    stand::{Addresses, Answer, Process, Stand},
};

const SERVICES: &str = "/api/v1/business/services";
const STAFF: &str = "/api/v1/business/staff";
const CLOSURES: &str = "/api/v1/business/closures";

/// A full hour on a date in New York.
fn at(date: Date, hour: i8) -> Timestamp {
    let zone = TimeZone::get("America/New_York").unwrap();
    date.at(hour, 0, 0, 0).to_zoned(zone).unwrap().timestamp()
}

/// Visits of an hour, each full hour from nine to five in New York.
async fn new_york(process: &Process, staff: usize) -> Salon {
    let salon = Salon::with(&process.client(), staff, 60).await;
    salon
        .set(&json!({"timezone": "America/New_York", "booking_policy": {"slot_step_minutes": 60}}))
        .await;
    let day = |day| json!({"day": day, "start": "09:00", "end": "17:00"});
    for staff in 0..staff {
        salon.set_hours(staff, &json!({"weekly": (0..7).map(day).collect::<Vec<_>>()})).await;
    }
    salon
}

#[tokio::test]
async fn a_closure_shuts_the_whole_business_and_opens_it_again() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    let salon = new_york(&process, 2).await;
    let (day, after) = (next(2), next(2) + 2.days());
    let mut affected = vec![];
    for (staff, start) in [(0, at(day, 9)), (1, at(day + 1.day(), 16)), (0, at(after, 9))] {
        affected.push(text(&salon.book(staff, start).await.expect(201)["appointment_id"]));
    }
    let free = async |date| starts(&salon, date).await.len();
    assert_eq!(free(day).await, 15);

    let closure = json!({"date_from": day, "date_to": day + 1.day(), "reason": "Christmas"});
    let answer = salon.owner.post(CLOSURES, &closure).await;
    assert_eq!(answer.header("x-position"), answer.body["position"].as_str().unwrap());
    let path = answer.header("location").to_owned();
    let entered = answer.expect(201);
    assert_eq!(entered["affected"], json!(affected[..2]), "who comes then, and nobody else");
    let shown = json!({"id": entered["id"], "date_from": day, "date_to": day + 1.day(),
                       "reason": "Christmas"});
    assert_eq!(salon.owner.read(CLOSURES).await.expect(200)["items"], json!([shown]));
    assert_eq!(path, format!("{CLOSURES}/{}", text(&entered["id"])));

    // Nothing is listed and nothing booked, whatever the hours of somebody say about that date.
    let window = json!({"start": "08:00", "end": "20:00"});
    let hours = json!({"weekly": [], "overrides": [{"date": day, "windows": [window]}]});
    salon.set_hours(1, &hours).await;
    for date in [day, day + 1.day()] {
        assert_eq!(free(date).await, 0);
        for client in [process.client(), second.client()] {
            let mut booking = salon.booking(1, at(date, 10));
            let told = client.post("/api/v1/public/book", &booking).await;
            assert_eq!(told.problem(422, "outside_availability")["rule"], "closed");
            booking["staff_id"] = json!("any");
            let told = client.post("/api/v1/public/book", &booking).await;
            assert_eq!(told.problem(422, "outside_availability")["rule"], "closed");
        }
    }
    assert_eq!(free(day - 1.day()).await, 8);
    assert_eq!(free(after).await, 7, "only the first of them works now");
    for id in &affected {
        let shown = salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
        assert_eq!(shown["status"], "booked", "what is booked stays booked");
    }

    // Each is taken back on its own.
    let within = json!({"date_from": day, "date_to": day});
    let within = salon.owner.post(CLOSURES, &within).await.expect(201);
    assert_eq!((&within["reason"], &within["affected"]), (&Value::Null, &json!([affected[0]])));
    salon.owner.call(Method::DELETE, &path, None).await.expect(204);
    salon.owner.call(Method::DELETE, &path, None).await.problem(404, "not_found");
    assert_eq!((free(day).await, free(day + 1.day()).await), (0, 8));
    let other = format!("{CLOSURES}/{}", text(&within["id"]));
    salon.owner.call(Method::DELETE, &other, None).await.expect(204);
    assert_eq!(salon.owner.read(CLOSURES).await.expect(200)["items"], json!([]));
    assert_eq!(free(day).await, 7 + 12, "and the override counts again");
    salon.book(1, at(day, 8)).await.expect(201);

    let closed = json!({"date_from": after, "date_to": after});
    salon.owner.post(CLOSURES, &closed).await.expect(201);
    stand.addresses.caught_up().await;
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    stand.addresses.assert_healthy();
}

/// Whoever decides last knows of the closure, in whatever process.
#[tokio::test]
async fn nobody_is_booked_behind_a_closure_while_guests_race() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    let salon = new_york(&process, 4).await;
    let day = next(2);
    let closure = json!({"date_from": day, "date_to": day});
    let guests = (0..32).map(|n| {
        let client = if n % 2 == 0 { process.client() } else { second.client() };
        let start = at(day, 9) + SignedDuration::from_hours(i64::from(n) / 4);
        let booking = salon.booking(usize::try_from(n).unwrap() % 4, start);
        async move { client.post("/api/v1/public/book", &booking).await }
    });
    let guests = futures::future::join_all(guests);
    let (answers, closed) = tokio::join!(guests, salon.owner.post(CLOSURES, &closure));
    let closed = closed.expect(201);
    let mut booked: Vec<String> = vec![];
    for answer in answers {
        if answer.status == 201 {
            booked.push(text(&answer.body["appointment_id"]));
        } else {
            assert_eq!(answer.problem(422, "outside_availability")["rule"], "closed");
        }
    }
    // One that was being committed at that very moment may be missing.
    let named: Vec<String> = serde_json::from_value(closed["affected"].clone()).unwrap();
    assert!(named.iter().all(|id| booked.contains(id)), "{named:?} {booked:?}");
    assert_eq!(salon.book(0, at(day, 9)).await.status, 422);
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_service_has_a_notice_and_a_window_of_its_own() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    salon.set(&json!({"booking_policy": {"min_notice_minutes": 600, "window_days": 2}})).await;
    let service = format!("{SERVICES}/{}", salon.service_id);
    // Rounded up, it still lies within the fifth day.
    let (soon, far) = (start_in(60), start_in(5 * 24 * 60 - 10));
    let far_date = TimeZone::UTC.to_datetime(far).date();
    let listed = async |start: Timestamp| {
        let date = TimeZone::UTC.to_datetime(start).date();
        let slots = salon.slots(&format!("&date={date}")).await;
        slots.iter().any(|slot| slot["start"] == json!(start))
    };
    assert!(!listed(soon).await && !listed(far).await);
    salon.book(0, soon).await.problem(422, "too_soon");
    salon.book(0, far).await.problem(422, "too_far");

    let own = json!({"min_notice_minutes": 30, "window_days": 5});
    let changed = edit(&salon.owner, &service, "*", &own).await.expect(200);
    assert_eq!((&changed["min_notice_minutes"], &changed["window_days"]), (&json!(30), &json!(5)));
    assert!(listed(soon).await && listed(far).await);
    salon.book(0, soon).await.expect(201);
    salon.book(0, far).await.expect(201);
    salon.book(0, start_in(10)).await.problem(422, "too_soon");
    let beyond = salon.book(0, start_in(7 * 24 * 60)).await;
    let before: Timestamp =
        beyond.problem(422, "too_far")["before"].as_str().unwrap().parse().unwrap();
    // Both were asked for within these minutes, unless midnight came between them.
    let edge = TimeZone::UTC.to_datetime(before).date();
    assert!([1, 2].map(|n| far_date + n.days()).contains(&edge), "{before}");

    // Null is as the policy says, and a policy that changes holds for those that have no own.
    let policy = json!({"min_notice_minutes": null, "window_days": null});
    edit(&salon.owner, &service, "*", &policy).await.expect(200);
    salon.book(0, start_in(65)).await.problem(422, "too_soon");
    edit(&salon.owner, &service, "*", &json!({"min_notice_minutes": 0})).await.expect(200);
    salon.book(0, start_in(5)).await.expect(201);
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_service_that_asks_for_skills_is_done_only_by_those_who_have_them() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 3, 60).await;
    let who = async || -> Vec<String> {
        let slots = salon.slots(&format!("&date={}", next(2))).await;
        let all: BTreeSet<String> = slots.iter().map(|slot| text(&slot["staff_id"])).collect();
        all.into_iter().collect()
    };
    let service = format!("{SERVICES}/{}", salon.service_id);
    let member = |n: usize| format!("{STAFF}/{}", salon.staff[n]);
    let wanted = json!({"skills": ["Colour", "Braids"]});
    let changed = edit(&salon.owner, &service, "*", &wanted).await.expect(200);
    assert_eq!(changed["skills"], wanted["skills"]);
    assert_eq!(who().await, [""; 0]);
    let mut anybody = salon.booking(0, start_in(60));
    anybody["staff_id"] = json!("any");
    let answer = salon.guest.post("/api/v1/public/book", &anybody).await;
    answer.problem(422, "not_offered");

    edit(&salon.owner, &member(0), "*", &json!({"skills": ["colour"]})).await.expect(200);
    let all = json!({"skills": ["braids", "COLOUR", "beards"]});
    let skilled = edit(&salon.owner, &member(1), "*", &all).await.expect(200);
    assert_eq!(skilled["skills"], all["skills"], "as they were written");
    edit(&salon.owner, &member(2), "*", &all).await.expect(200);
    assert_eq!(who().await.len(), 2);
    salon.book(0, start_in(60)).await.problem(422, "not_offered");
    let booked = salon.guest.post("/api/v1/public/book", &anybody).await.expect(201);
    assert_ne!(booked["staff_id"], salon.staff[0]);

    // Beside the skills, both lists still count.
    edit(&salon.owner, &service, "*", &json!({"staff_ids": [salon.staff[0], salon.staff[1]]}))
        .await
        .expect(200);
    assert_eq!(who().await, [salon.staff[1].clone()]);
    edit(&salon.owner, &member(1), "*", &json!({"service_ids": []})).await.expect(200);
    assert_eq!(who().await, [""; 0]);
    edit(&salon.owner, &service, "*", &json!({"skills": ["colour"]})).await.expect(200);
    assert_eq!(who().await, [salon.staff[0].clone()]);
    edit(&salon.owner, &service, "*", &json!({"skills": [], "staff_ids": null})).await.expect(200);
    assert_eq!(who().await.len(), 2);
    stand.addresses.caught_up().await;
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    stand.addresses.assert_healthy();
}

/// Which limit a refusal names.
fn limit(answer: &Answer) -> (String, String, u64, String) {
    let told = answer.problem(422, "limit_reached");
    (text(&told["scope"]), text(&told["limit"]), told["max"].as_u64().unwrap(), text(&told["date"]))
}

async fn cancel(salon: &Salon, booked: &Value) {
    let path = format!("/api/v1/appointments/{}", text(&booked["appointment_id"]));
    salon.owner.call(Method::DELETE, &path, None).await.expect(204);
}

#[tokio::test]
async fn a_full_day_is_not_listed_and_cancelling_gives_the_place_back() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = new_york(&process, 2).await;
    let monday = next(0);
    let free = async |date| starts(&salon, date).await.len();
    let member = format!("{STAFF}/{}", salon.staff[0]);
    // Booked before there was a limit: it counts as well.
    let first = salon.book(0, at(monday, 9)).await.expect(201);
    let day = json!({"max_per_day": 2});
    let changed = edit(&salon.owner, &member, "*", &day).await.expect(200);
    assert_eq!((&changed["max_per_day"], &changed["max_per_week"]), (&json!(2), &Value::Null));
    assert_eq!(free(monday).await, 7 + 8);
    let second = salon.book(0, at(monday, 16)).await.expect(201);
    assert_eq!(free(monday).await, 8, "only the other works on");
    let told = salon.book(0, at(monday, 12)).await;
    let (scope, name, date) = ("staff".to_owned(), "max_per_day".to_owned(), monday.to_string());
    assert_eq!(limit(&told), (scope, name, 2, date));
    assert_eq!(free(monday + 1.day()).await, 16);
    let mut anybody = salon.booking(0, at(monday, 12));
    anybody["staff_id"] = json!("any");
    let other = salon.guest.post("/api/v1/public/book", &anybody).await.expect(201);
    assert_eq!(other["staff_id"], salon.staff[1]);

    // A place that is given back is free for the next, and only for one.
    for booked in [&first, &second] {
        cancel(&salon, booked).await;
        assert_eq!(free(monday).await, 7 + 7);
        let hour = if booked == &first { 10 } else { 11 };
        salon.book(0, at(monday, hour)).await.expect(201);
        assert_eq!(free(monday).await, 7);
        limit(&salon.book(0, at(monday, 13)).await);
    }

    edit(&salon.owner, &member, "*", &json!({"max_per_day": null})).await.expect(200);
    assert_eq!(free(monday).await, 6 + 7);
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn weeks_of_a_service_and_days_of_the_business_are_full_with_whomever() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    let salon = new_york(&process, 2).await;
    let monday = next(0);
    let (tuesday, sunday) = (monday + 1.day(), monday + 6.days());
    let free = async |date| starts(&salon, date).await.len();
    let service = format!("{SERVICES}/{}", salon.service_id);
    for (staff, hour) in [(0, 10), (0, 11), (1, 12)] {
        salon.book(staff, at(monday, hour)).await.expect(201);
    }
    // The week is that of the business: from Monday to Sunday in New York.
    edit(&salon.owner, &service, "*", &json!({"max_per_week": 5})).await.expect(200);
    salon.book(0, at(sunday, 16)).await.expect(201);
    assert_eq!(free(tuesday).await, 16);
    salon.book(1, at(tuesday, 16)).await.expect(201);
    for date in [monday, tuesday, sunday] {
        assert_eq!(free(date).await, 0);
    }
    // Whichever process is asked, and whichever decides.
    for client in [process.client(), second.client()] {
        let told = client.post("/api/v1/public/book", &salon.booking(1, at(sunday, 9))).await;
        let (scope, name, most, date) = limit(&told);
        let named = (scope.as_str(), name.as_str(), most, date);
        assert_eq!(named, ("service", "max_per_week", 5, monday.to_string()));
        let path = "/api/v1/public/slots?service_id=";
        let path = format!("{path}{}&from={monday}&to={sunday}", salon.service_id);
        assert_eq!(client.read(&path).await.expect(200)["slots"], json!([]));
    }
    assert_eq!(free(sunday + 1.day()).await, 16);
    assert_eq!(free(monday - 1.day()).await, 16);
    let wash = json!({"name": "Wash", "duration_minutes": 60,
                      "price": {"amount": 1, "currency": "USD"}});
    let wash = salon.owner.post(SERVICES, &wash).await.expect(201);
    let mut washing = salon.booking(1, at(sunday, 9));
    washing["service_id"] = wash["id"].clone();
    let washed = salon.guest.post("/api/v1/public/book", &washing).await.expect(201);

    // All of the business; a booking that is repeated is not counted twice.
    edit(&salon.owner, &service, "*", &json!({"max_per_week": null})).await.expect(200);
    salon.set(&json!({"booking_policy": {"max_per_day": 3, "max_per_week": 7}})).await;
    assert_eq!(free(sunday).await, 14);
    let booking = salon.booking(0, at(sunday, 9));
    let repeat = async || {
        let request = salon.guest.request(Method::POST, "/api/v1/public/book");
        let request = request.header("Idempotency-Key", "again").json(&booking);
        salon.guest.send(request).await.expect(201)
    };
    assert_eq!(repeat().await["appointment_id"], repeat().await["appointment_id"]);
    let (scope, name, most, date) = limit(&salon.book(1, at(sunday, 10)).await);
    let named = (scope.as_str(), name.as_str(), most, date);
    assert_eq!(named, ("business", "max_per_day", 3, sunday.to_string()));
    assert_eq!((free(sunday).await, free(tuesday).await), (0, 0));
    cancel(&salon, &washed).await;
    assert_eq!((free(sunday).await, free(tuesday).await), (14, 15));
    salon.set(&json!({"booking_policy": {"max_per_day": null, "max_per_week": null}})).await;
    assert_eq!(free(monday).await, 16 - 3);
    stand.addresses.caught_up().await;
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    stand.addresses.assert_healthy();
}

/// Two gateways that know nothing of each other, as after a partition of the broker.
#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_exactly_while_two_processes_decide() {
    let stand = Stand::new().await;
    let first = stand.serve().await;
    let alone = Addresses { nats_url: "nats://127.0.0.1:1".to_owned(), ..stand.addresses.clone() };
    let second = Process::start(&alone, &["gateway"]).await;
    let salon = Salon::with(&first.client(), 8, 5).await;
    let day = next(2);
    salon.set(&json!({"booking_policy": {"max_per_day": 20, "max_per_week": 31}})).await;
    let service = format!("{SERVICES}/{}", salon.service_id);
    edit(&salon.owner, &service, "*", &json!({"max_per_day": 18})).await.expect(200);
    let start = |date: Date, n: i64| {
        let midnight = date.to_zoned(TimeZone::UTC).unwrap().timestamp();
        midnight + SignedDuration::from_mins(5 * n)
    };
    let wanted = |date: Date| -> Vec<Value> {
        (0..160_i64)
            .map(|n| salon.booking(usize::try_from(n % 8).unwrap(), start(date, n / 8)))
            .collect()
    };
    let mut statuses = race(&[&first, &second], wanted(day), 32).await;
    assert_eq!(statuses, BTreeMap::from([(201, 18), (422, 142)]));
    // Three days of that week, and two of them have room for what the week still takes.
    let other = day + 1.day();
    statuses = race(&[&first, &second], wanted(other), 32).await;
    assert_eq!(statuses, BTreeMap::from([(201, 13), (422, 147)]));
    assert_eq!(salon.slots(&format!("&date={day}")).await.len(), 0);
    assert_eq!(salon.slots(&format!("&date={other}")).await.len(), 0);
    stand.addresses.assert_healthy();
}
