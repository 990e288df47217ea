//! What owners publish, and how it shows to guests at once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    salon::{Salon, start_in, text},
    stand::{Answer, Client, Process, Stand},
};

const PROFILE: &str = "/api/v1/business/profile";
const SERVICES: &str = "/api/v1/business/services";
const STAFF: &str = "/api/v1/business/staff";

pub(crate) async fn edit(client: &Client, path: &str, tag: &str, body: &Value) -> Answer {
    let request = client.request(Method::PATCH, path).header("If-Match", tag);
    client.send(request.json(body)).await
}

/// The first date at least two days ahead that is this day of the week, 0 = Monday.
pub(crate) fn next(weekday: i8) -> Date {
    let mut date = TimeZone::UTC.to_datetime(start_in(48 * 60)).date();
    while date.weekday().to_monday_zero_offset() != weekday {
        date = date.tomorrow().unwrap();
    }
    date
}

/// The starts on a date on the clock of the business, as HH:MM.
pub(crate) async fn starts(salon: &Salon, date: Date) -> Vec<String> {
    let slots = salon.slots(&format!("&date={date}")).await;
    slots.iter().map(|slot| text(&slot["local_start"])[11..16].to_owned()).collect()
}

#[tokio::test]
async fn the_profile_is_edited_only_in_the_version_that_was_read() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 0).await;
    let read = salon.owner.read(PROFILE).await;
    let tag = read.header("etag").to_owned();
    assert!(tag.starts_with('"'), "{tag}");
    let old = read.expect(200);
    assert_eq!(old["name"], "Test Salon");

    let request = salon.owner.request(Method::PATCH, PROFILE).json(&json!({"name": "New"}));
    let answer = Answer::of(request.send().await.unwrap()).await;
    answer.problem(428, "if_match_required");
    let change = json!({"name": "New", "address": "1 High St", "locale": "pt-BR",
                        "booking_policy": {"min_notice_minutes": 5}});
    let answer = edit(&salon.owner, PROFILE, &tag, &change).await;
    assert!(!answer.header("x-position").is_empty());
    let newer = answer.header("etag").to_owned();
    assert_ne!(newer, tag);
    let new = answer.expect(200);
    assert_eq!(new["address"], "1 High St");
    assert_eq!(new["booking_policy"]["slot_step_minutes"], 5, "absent fields stay");
    edit(&salon.owner, PROFILE, &tag, &json!({"name": "Lost"})).await.problem(412, "stale");
    edit(&salon.owner, PROFILE, "\"999\"", &json!({"name": "Lost"})).await.problem(412, "stale");
    let read = salon.owner.read(PROFILE).await;
    assert_eq!(read.header("etag"), newer);
    assert_eq!(read.expect(200), new);

    // Null takes away what may be absent, and only that.
    let cleared = edit(&salon.owner, PROFILE, "*", &json!({"address": null})).await.expect(200);
    assert_eq!(cleared["address"], Value::Null);
    let step = json!({"booking_policy": {"slot_step_minutes": null}});
    let cleared = edit(&salon.owner, PROFILE, "*", &step).await.expect(200);
    assert_eq!(cleared["booking_policy"]["slot_step_minutes"], Value::Null);
    // No change is no event.
    let tag = salon.owner.read(PROFILE).await.header("etag").to_owned();
    let same = edit(&salon.owner, PROFILE, &tag, &json!({"name": "New"})).await;
    assert_eq!(same.header("etag"), tag);
    same.expect(200);
    let public = format!("/api/v1/public/businesses/{}", salon.handle);
    assert_eq!(salon.guest.read(&public).await.expect(200)["name"], "New");

    // Of two edits of one version one gets through.
    let (one, two) = (json!({"name": "One"}), json!({"name": "Two"}));
    let both = tokio::join!(
        edit(&salon.owner, PROFILE, &tag, &one),
        edit(&salon.owner, PROFILE, &tag, &two)
    );
    let mut statuses = [both.0.status, both.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    stand.addresses.assert_healthy();
}

/// Whoever edits sees the edit in what guests see next: the answer waits for their read model.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_answered_once_guests_see_it() {
    let stand = Stand::new().await;
    let others = ["gateway", "relay", "scheduler", "notifier"];
    let process = Process::start(&stand.addresses, &others).await;
    let projector = Process::start(&stand.addresses, &["projector"]).await;
    let salon = Salon::open(&process.client(), 1).await;
    // On a machine that stands still for two seconds just then, the answer comes without: once more.
    for attempt in 0.. {
        assert!(attempt < 5, "the answer waits for nothing");
        let name = json!(format!("Salon {attempt}"));
        projector.signal("-STOP");
        let body = json!({ "name": name });
        let edit = salon.owner.set_unseen(&body);
        tokio::pin!(edit);
        let early = tokio::time::timeout(Duration::from_millis(300), &mut edit).await;
        projector.signal("-CONT");
        if early.is_ok() {
            continue;
        }
        edit.await;
        let shown = salon.owner.ask(PROFILE).await.expect(200);
        if shown["name"] == name {
            break;
        }
    }
}

#[tokio::test]
async fn services_are_added_changed_and_archived() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let wanted = json!({"name": "Colour", "description": "All of it", "duration_minutes": 90,
                        "price": {"amount": 12000, "currency": "USD"},
                        "buffer_before_minutes": 5, "buffer_after_minutes": 10});
    let answer = salon.owner.post(SERVICES, &wanted).await;
    let (path, tag) = (answer.header("location").to_owned(), answer.header("etag").to_owned());
    assert!(!answer.header("x-position").is_empty());
    let mut expected = wanted.clone();
    let created = answer.expect(201);
    expected["id"] = created["id"].clone();
    expected["staff_ids"] = Value::Null;
    expected["skills"] = json!([]);
    expected["min_notice_minutes"] = Value::Null;
    expected["window_days"] = Value::Null;
    expected["requires_approval"] = Value::Bool(false);
    expected["max_per_day"] = Value::Null;
    expected["max_per_week"] = Value::Null;
    expected["capacity"] = json!(1);
    expected["resources"] = json!([]);
    expected["intake_fields"] = json!([]);
    expected["reminders"] = Value::Null;
    assert_eq!(created, expected);
    assert_eq!(path, format!("{SERVICES}/{}", text(&created["id"])));
    let read = salon.owner.read(&path).await;
    assert_eq!(read.header("etag"), tag);
    assert_eq!(read.expect(200), expected);

    let changed = edit(&salon.owner, &path, &tag, &json!({"description": null})).await;
    expected["description"] = Value::Null;
    assert_eq!(changed.expect(200), expected);
    edit(&salon.owner, &path, &tag, &json!({"name": "X"})).await.problem(412, "stale");
    // Its version is its own: editing another resource leaves it.
    let tag = salon.owner.read(&path).await.header("etag").to_owned();
    salon.set(&json!({"name": "Other"})).await;
    edit(&salon.owner, &path, &tag, &json!({"name": "Balayage"})).await.expect(200);
    let wrong =
        json!({"name": "", "duration_minutes": 3, "price": {"amount": -1, "currency": "USD"}});
    let answer = edit(&salon.owner, &path, "*", &wrong).await;
    answer.problem(422, "invalid_request");
    assert_eq!(answer.fields(), ["name", "duration_minutes", "price.amount"], "all at once");

    let listed = salon.owner.read(SERVICES).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let answer = salon.owner.call(Method::DELETE, &path, None).await;
    assert!(!answer.header("x-position").is_empty());
    answer.expect(204);
    salon.owner.read(&path).await.problem(404, "not_found");
    salon.owner.call(Method::DELETE, &path, None).await.problem(404, "not_found");
    edit(&salon.owner, &path, "*", &json!({"name": "X"})).await.problem(404, "not_found");
    let mut body = salon.booking(0, start_in(60));
    body["service_id"] = created["id"].clone();
    salon.guest.post("/api/v1/public/book", &body).await.problem(404, "not_found");
    let public = format!("/api/v1/public/businesses/{}", salon.handle);
    let public = salon.guest.read(&public).await.expect(200);
    assert_eq!(public["services"].as_array().unwrap().len(), 1);
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn staff_come_change_and_go_and_guests_see_it_at_once() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 0, 60).await;
    salon.set(&json!({"booking_policy": {"slot_step_minutes": 60}})).await;
    let wanted = json!({"name": "Dana", "email": "dana@example.com", "kind": "stylist"});
    let answer = salon.owner.post(STAFF, &wanted).await;
    let (path, tag) = (answer.header("location").to_owned(), answer.header("etag").to_owned());
    let dana = answer.expect(201);
    let expected = json!({"id": dana["id"], "name": "Dana", "email": "dana@example.com",
                          "active": true, "kind": "stylist", "service_ids": null,
                          "skills": [], "max_per_day": null, "max_per_week": null});
    assert_eq!(dana, expected);
    let read = salon.owner.read(&path).await;
    assert_eq!(read.header("etag"), tag);
    assert_eq!(read.expect(200), expected);
    let public_path = format!("/api/v1/public/businesses/{}", salon.handle);
    let public = salon.guest.read(&public_path).await.expect(200);
    let shown = json!([{"id": dana["id"], "name": "Dana", "kind": "stylist"}]);
    assert_eq!(public["staff"], shown, "no address is shown");

    // Until told otherwise they work office hours.
    let hours = salon.owner.read(&format!("{path}/working-hours")).await.expect(200);
    assert_eq!(hours["weekly"].as_array().unwrap().len(), 5);
    assert_eq!(hours["weekly"][0], json!({"day": 0, "start": "09:00", "end": "17:00"}));
    let office: Vec<String> = (9..17).map(|hour| format!("{hour:02}:00")).collect();
    assert_eq!(starts(&salon, next(0)).await, office);
    assert_eq!(starts(&salon, next(5)).await, [""; 0]);

    let booked = json!({"service_id": salon.service_id, "customer": {"name": "Ada"},
                        "start": next(0).at(9, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp()});
    let booked = salon.guest.post("/api/v1/public/book", &booked).await.expect(201);
    edit(&salon.owner, &path, &tag, &json!({"active": false})).await.expect(200);
    assert_eq!(starts(&salon, next(0)).await, [""; 0]);
    let public = salon.guest.read(&public_path).await.expect(200);
    assert_eq!(public["staff"], json!([]));
    let appointment = format!("/api/v1/appointments/{}", text(&booked["appointment_id"]));
    let kept = salon.owner.read(&appointment).await.expect(200);
    assert_eq!(kept["status"], "booked", "what is booked stays booked");
    let mut body = json!({"service_id": salon.service_id, "staff_id": dana["id"],
                          "start": start_in(0), "customer": {"name": "Ada"}});
    salon.guest.post("/api/v1/public/book", &body).await.problem(422, "not_offered");
    edit(&salon.owner, &path, "*", &json!({"active": true, "email": null})).await.expect(200);
    assert_eq!(starts(&salon, next(0)).await, office[1..], "and is still taken");
    assert_eq!(salon.owner.read(&path).await.expect(200)["email"], Value::Null);

    salon.owner.call(Method::DELETE, &path, None).await.expect(204);
    salon.owner.read(&path).await.problem(404, "not_found");
    for rest in ["working-hours", "time-off"] {
        salon.owner.read(&format!("{path}/{rest}")).await.problem(404, "not_found");
    }
    let hours = json!({"weekly": []});
    let hours = salon.owner.edit(Method::PUT, &format!("{path}/working-hours"), &hours).await;
    hours.problem(404, "not_found");
    body["start"] = json!(start_in(60));
    salon.guest.post("/api/v1/public/book", &body).await.problem(404, "not_found");
    assert_eq!(starts(&salon, next(0)).await, [""; 0]);
    assert_eq!(salon.owner.read(&appointment).await.expect(200)["status"], "booked");
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_service_is_offered_by_those_whom_service_and_roster_name() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 3, 60).await;
    let who = async || -> Vec<String> {
        let slots = salon.slots(&format!("&date={}", next(2))).await;
        let all: std::collections::BTreeSet<String> =
            slots.iter().map(|slot| text(&slot["staff_id"])).collect();
        all.into_iter().collect()
    };
    let mut everybody = salon.staff.clone();
    everybody.sort();
    assert_eq!(who().await, everybody);
    let service = format!("{SERVICES}/{}", salon.service_id);
    let two = json!({"staff_ids": [salon.staff[0], salon.staff[1]]});
    edit(&salon.owner, &service, "*", &two).await.expect(200);
    let mut named = salon.staff[..2].to_vec();
    named.sort();
    assert_eq!(who().await, named);
    salon.book(2, start_in(60)).await.problem(422, "not_offered");
    let member = format!("{STAFF}/{}", salon.staff[0]);
    edit(&salon.owner, &member, "*", &json!({"service_ids": []})).await.expect(200);
    assert_eq!(who().await, [salon.staff[1].clone()]);
    salon.book(0, start_in(60)).await.problem(422, "not_offered");
    salon.book(1, start_in(60)).await.expect(201);
    edit(&salon.owner, &service, "*", &json!({"staff_ids": []})).await.expect(200);
    assert_eq!(who().await, [""; 0]);
    let mut anybody = salon.booking(0, start_in(600));
    anybody["staff_id"] = json!("any");
    let answer = salon.guest.post("/api/v1/public/book", &anybody).await;
    answer.problem(422, "not_offered");
    edit(&salon.owner, &service, "*", &json!({"staff_ids": null})).await.expect(200);
    assert_eq!(who().await.len(), 2);

    // Whoever offers one service needs not name it.
    let path = format!("/api/v1/public/slots?date={}&staff_id={}", next(2), salon.staff[1]);
    let slots = salon.guest.read(&path).await.expect(200);
    assert!(!slots["slots"].as_array().unwrap().is_empty());
    let other =
        json!({"name": "Wash", "duration_minutes": 5, "price": {"amount": 1, "currency": "USD"}});
    salon.owner.post(SERVICES, &other).await.expect(201);
    let answer = salon.guest.read(&path).await;
    answer.problem(422, "invalid_request");
    assert_eq!(answer.fields(), ["service_id"]);
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn working_hours_of_any_shape_show_to_guests_at_once() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 1, 60).await;
    salon
        .set(&json!({"timezone": "America/New_York", "booking_policy": {"slot_grid": "packed",
                      "slot_step_minutes": 60}}))
        .await;
    let path = format!("{STAFF}/{}/working-hours", salon.staff[0]);
    let set = async |hours: Value| salon.owner.edit(Method::PUT, &path, &hours).await;
    let window = |day: i8, start: &str, end: &str| json!({"day": day, "start": start, "end": end});

    // Several windows; a visit needs one that holds it, and touching windows are one.
    let split = json!([
        window(0, "09:00", "10:30"),
        window(0, "13:00", "14:00"),
        window(0, "14:00", "15:00"),
        window(0, "20:15", "20:45")
    ]);
    let answer = set(json!({"weekly": split, "overrides": []})).await;
    assert!(!answer.header("x-position").is_empty());
    let tag = answer.header("etag").to_owned();
    assert_eq!(answer.expect(200)["weekly"], split);
    assert_eq!(starts(&salon, next(0)).await, ["09:00", "13:00", "14:00"]);
    assert_eq!(starts(&salon, next(1)).await, [""; 0]);
    let read = salon.owner.read(&path).await;
    assert_eq!(read.header("etag"), tag);
    assert_eq!(read.expect(200)["overrides"], json!([]));

    // The weekend opens, and closes again.
    let weekend = json!([window(5, "10:00", "12:00"), window(6, "22:00", "24:00")]);
    set(json!({ "weekly": weekend })).await.expect(200);
    assert_eq!(starts(&salon, next(5)).await, ["10:00", "11:00"]);
    assert_eq!(starts(&salon, next(6)).await, ["22:00", "23:00"], "until midnight");
    assert_eq!(starts(&salon, next(0)).await, [""; 0]);
    // Into the next day, when that begins at midnight.
    let night = json!([window(5, "22:30", "24:00"), window(6, "00:00", "01:00")]);
    set(json!({ "weekly": night })).await.expect(200);
    assert_eq!(starts(&salon, next(5)).await, ["22:30", "23:30"]);

    // Single dates stand in place of the week.
    let monday = next(0);
    let later = monday + jiff::ToSpan::days(7);
    let overrides = json!([{"date": monday, "windows": []},
                           {"date": later, "windows": [{"start": "06:00", "end": "08:00"}]},
                           {"date": next(5), "windows": [{"start": "00:00", "end": "24:00"}]}]);
    let weekly = json!([window(0, "09:00", "11:00")]);
    set(json!({"weekly": weekly, "overrides": overrides})).await.expect(200);
    assert_eq!(starts(&salon, monday).await, [""; 0]);
    assert_eq!(starts(&salon, later).await, ["06:00", "07:00"]);
    assert_eq!(starts(&salon, later + jiff::ToSpan::days(7)).await, ["09:00", "10:00"]);
    assert_eq!(starts(&salon, next(5)).await.len(), 24);

    let request = salon.owner.request(Method::PUT, &path).json(&json!({"weekly": []}));
    Answer::of(request.send().await.unwrap()).await.problem(428, "if_match_required");
    let request = salon.owner.request(Method::PUT, &path).header("If-Match", &tag);
    let answer = Answer::of(request.json(&json!({"weekly": []})).send().await.unwrap()).await;
    answer.problem(412, "stale");
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn time_off_takes_the_slots_away_names_who_is_affected_and_gives_them_back() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::with(&process.client(), 2, 60).await;
    salon.set(&json!({"booking_policy": {"slot_step_minutes": 60}})).await;
    let day = next(3);
    let at = |hour: i8| -> Timestamp {
        day.at(hour, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp()
    };
    let mut affected = vec![];
    for (staff, hour) in [(0, 9), (0, 10), (0, 11), (0, 14), (1, 10)] {
        let booked = salon.book(staff, at(hour)).await.expect(201);
        affected.push(text(&booked["appointment_id"]));
    }
    let path = format!("{STAFF}/{}/time-off", salon.staff[0]);
    let free =
        async || salon.slots(&format!("&date={day}&staff_id={}", salon.staff[0])).await.len();
    assert_eq!(free().await, 20);
    // From the middle of a visit to the middle of another.
    let half = SignedDuration::from_mins(30);
    let away = json!({"start": at(10) + half, "end": at(13) + half, "reason": "dentist"});
    let answer = salon.owner.post(&path, &away).await;
    assert_eq!(answer.header("x-position"), answer.body["position"].as_str().unwrap());
    let entered = answer.expect(201);
    let named: Vec<String> = serde_json::from_value(entered["affected"].clone()).unwrap();
    let mut expected = affected[1..3].to_vec();
    expected.sort();
    assert_eq!(named, expected, "theirs, in that time, and no others");
    assert_eq!(free().await, 18);
    for id in &affected {
        let shown = salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
        assert_eq!(shown["status"], "booked");
    }
    let told = salon.book(0, at(12)).await;
    assert_eq!(told.problem(422, "outside_availability")["rule"], "time_off");
    salon.book(1, at(12)).await.expect(201);

    // Absences touch but do not overlap.
    let over = json!({"start": at(13), "end": at(14)});
    let answer = salon.owner.post(&path, &over).await;
    assert_eq!(answer.problem(409, "time_off_overlaps")["time_off_id"], entered["id"]);
    let next_to = json!({"start": at(13) + half, "end": at(14)});
    let second = salon.owner.post(&path, &next_to).await.expect(201);
    let other = format!("{STAFF}/{}/time-off", salon.staff[1]);
    salon.owner.post(&other, &over).await.expect(201);

    let listed = salon.owner.read(&path).await.expect(200);
    let expected = json!([
        {"id": entered["id"], "start": at(10) + half, "end": at(13) + half, "reason": "dentist"},
        {"id": second["id"], "start": at(13) + half, "end": at(14), "reason": null},
    ]);
    assert_eq!(listed["items"], expected);
    let from = format!("{path}?from={}", at(13) + half);
    let listed = salon.owner.read(&from).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);

    for id in [&entered["id"], &second["id"]] {
        let one = format!("{path}/{}", text(id));
        salon.owner.call(Method::DELETE, &one, None).await.expect(204);
        salon.owner.call(Method::DELETE, &one, None).await.problem(404, "not_found");
    }
    assert_eq!(free().await, 20);
    assert_eq!(salon.owner.read(&path).await.expect(200)["items"], json!([]));
    salon.book(0, at(12)).await.expect(201);

    // A long one crosses many weeks and is taken back from all of them.
    let long = json!({"start": at(0), "end": at(0) + SignedDuration::from_hours(24 * 60)});
    let entered = salon.owner.post(&path, &long).await.expect(201);
    let listed = salon.owner.read(&path).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let later = day + jiff::ToSpan::days(40);
    let slots = format!("&date={later}&staff_id={}", salon.staff[0]);
    assert_eq!(salon.slots(&slots).await.len(), 0);
    let one = format!("{path}/{}", text(&entered["id"]));
    salon.owner.call(Method::DELETE, &one, None).await.expect(204);
    assert_eq!(salon.slots(&slots).await.len(), 24);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn absences_are_listed_page_by_page() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let path = format!("{STAFF}/{}/time-off", salon.staff[0]);
    let (mut entered, mut position) = (vec![], String::new());
    for day in [5, 1, 3, 2, 4] {
        let start = start_in(day * 1_440);
        let away = json!({"start": start, "end": start + SignedDuration::from_hours(1)});
        let answer = salon.owner.post(&path, &away).await.expect(201);
        position = text(&answer["position"]);
        entered.push((day, answer["id"].clone()));
    }
    entered.sort_by_key(|(day, _)| *day);
    let (mut listed, mut more) = (vec![], String::new());
    loop {
        let query = format!("{path}?limit=2&min_position={position}{more}");
        let page = salon.owner.read(&query).await.expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        listed.extend(items.iter().map(|item| item["id"].clone()));
        if page["next"].is_null() {
            break;
        }
        more = format!("&cursor={}", text(&page["next"]));
    }
    let ids: Vec<Value> = entered.into_iter().map(|(_, id)| id).collect();
    assert_eq!(listed, ids);
    // A position is taken by every read, also by those that are never late.
    let (service, staff) = (&salon.service_id, &salon.staff[0]);
    let start = start_in(1_000);
    let today = start.to_zoned(TimeZone::UTC).date();
    for path in [
        "/api/v1/customers?limit=1".to_owned(),
        "/api/v1/waitlist?limit=1".to_owned(),
        format!("/api/v1/calendars/{staff}?from={today}"),
        format!("/api/v1/calendars/{staff}/explain?service_id={service}&start={start}"),
        format!("/api/v1/public/slots/explain?service_id={service}&staff_id={staff}&start={start}"),
    ] {
        salon.owner.read(&format!("{path}&min_position={position}")).await.expect(200);
    }
}
