//! Every operation as everybody: nobody, a stranger, the owner of another business, staff, owner.

mod accounts;
mod requests;
mod words;

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    salon::{Salon, fresh_email, path_of, start_in, text, wait_until},
    stand::{Answer, Client, Stand},
};

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Without signing in.
    Anybody,
    /// Whoever is signed in, about themselves.
    Account,
    /// Owners and admins, and no program.
    Team,
    /// Owners, admins, programs.
    Managers,
    /// The same, and staff for their own calendar.
    Own,
    /// The same, and all staff.
    All,
}
use Access::{Account, All, Anybody, Managers, Own};

/// One operation, called with things of the first business.
struct Operation {
    name: &'static str,
    access: Access,
    path: String,
    body: Option<Value>,
    /// What the owner is answered.
    answer: u16,
}

impl Operation {
    fn method(&self) -> Method {
        self.name.split(' ').next().unwrap().parse().unwrap()
    }

    fn names_something_of_ours(&self) -> bool {
        let body = self.body.as_ref().map_or_else(String::new, ToString::to_string);
        self.path.contains('_') || body.contains("svc_") || body.contains("biz_")
    }

    async fn call(&self, client: &Client) -> Answer {
        client.call(self.method(), &self.path, self.body.as_ref()).await
    }
}

/// What the table needs to exist in the first business.
struct Things {
    salon: Salon,
    email: String,
    time_off: String,
    closure: String,
    resource: String,
    /// To cancel, to delete, to complete, to miss, and one for its guest.
    appointments: Vec<String>,
    /// Who has the appointments, and somebody who has none of them.
    customers: [String; 2],
    /// The path of a manage link, and the nonce that its view answered.
    managed: (String, String),
    feed: String,
    /// An entry of the waitlist, and the path of its link.
    waiting: (String, String),
    /// The confirmation of an appointment.
    notification: String,
    refresh_token: String,
    /// Of the team, by what is done to them.
    team: accounts::Team,
}

/// Operations that end something come last. A new operation belongs in here.
#[expect(clippy::too_many_lines, reason = "one line each")]
fn table(things: &Things) -> Vec<Operation> {
    let Things {
        salon,
        email,
        time_off,
        closure,
        resource,
        appointments,
        managed,
        feed,
        customers: [customer, other],
        refresh_token,
        ..
    } = things;
    let one = |name: &'static str, access, path: String, body: Value, answer| Operation {
        name,
        access,
        path,
        body: (!body.is_null()).then_some(body),
        answer,
    };
    let business = |rest: &str| format!("/api/v1/business/{rest}");
    let staff = |rest: &str| format!("/api/v1/business/staff/{}{rest}", salon.staff[0]);
    let service = business(&format!("services/{}", salon.service_id));
    let visit = |n: usize, rest: &str| format!("/api/v1/appointments/{}{rest}", appointments[n]);
    let auth = |rest: &str| format!("/api/v1/auth/{rest}");
    let slots = format!("/api/v1/public/slots?date=2026-03-02&service_id={}", salon.service_id);
    let register =
        json!({"email": fresh_email(), "password": "correct horse", "business_name": "N"});
    let login = json!({"email": email, "password": "correct horse"});
    let refresh = json!({ "refresh_token": refresh_token });
    let handle = format!("/api/v1/public/businesses/{}", salon.handle);
    let new_service =
        json!({"name": "Wash", "duration_minutes": 5, "price": {"amount": 1, "currency": "USD"}});
    let away = json!({"start": start_in(9_000), "end": start_in(9_060)});
    let closed = json!({"date_from": "2026-12-24", "date_to": "2026-12-26"});
    let room = json!({"name": "Room 2", "kind": "room"});
    let booking = salon.booking(0, start_in(3_000));
    let (link, nonce) = managed;
    let off = json!({ "nonce": nonce });
    let mut by_owner = salon.booking(0, start_in(4_000));
    by_owner["override"] = json!(["outside_hours"]);
    // The same answer at any time.
    let as_of = streams::clock::now();
    let why = format!("service_id={}&start=2026-03-02T09:00:00Z", salon.service_id);
    let explain = format!("/api/v1/public/slots/explain?{why}&staff_id={}", salon.staff[0]);
    let explain_as_of = format!("/api/v1/calendars/{}/explain?{why}&as_of={as_of}", salon.staff[0]);
    let calendar = format!("/api/v1/calendars/{}?from=2026-03-02&as_of={as_of}", salon.staff[0]);
    vec![
        one("GET /healthz", Anybody, "/healthz".into(), json!(null), 200),
        one("GET /readyz", Anybody, "/readyz".into(), json!(null), 200),
        one(
            "GET /.well-known/jwks.json",
            Anybody,
            "/.well-known/jwks.json".into(),
            json!(null),
            200,
        ),
        one("POST /api/v1/auth/register", Anybody, auth("register"), register, 201),
        one("POST /api/v1/auth/login", Anybody, auth("login"), login, 200),
        one("POST /api/v1/auth/refresh", Anybody, auth("refresh"), refresh.clone(), 200),
        one("POST /api/v1/auth/logout", Anybody, auth("logout"), refresh, 204),
        one("GET /api/v1/auth/me", Account, auth("me"), json!(null), 200),
        one("GET /api/v1/public/businesses/{handle}", Anybody, handle, json!(null), 200),
        one("GET /api/v1/public/slots", Anybody, slots, json!(null), 200),
        one("GET /api/v1/public/slots/explain", Anybody, explain, json!(null), 200),
        one("GET /api/v1/calendars/{staff_id}/explain", Own, explain_as_of, json!(null), 200),
        one("POST /api/v1/public/book", Anybody, "/api/v1/public/book".into(), booking, 201),
        one("GET /api/v1/public/appointments/{link}", Anybody, link.clone(), json!(null), 200),
        one(
            "GET /api/v1/public/appointments/{link}/calendar.ics",
            Anybody,
            format!("{link}/calendar.ics"),
            json!(null),
            200,
        ),
        // Refused by the clock, which spends nothing: the nonce is needed once more.
        one(
            "POST /api/v1/public/appointments/{link}/reschedule",
            Anybody,
            format!("{link}/reschedule"),
            json!({"nonce": nonce, "start": "2026-01-01T09:00:00Z"}),
            422,
        ),
        one(
            "POST /api/v1/public/appointments/{link}/cancel",
            Anybody,
            format!("{link}/cancel"),
            off,
            200,
        ),
        one("GET /api/v1/business/profile", All, business("profile"), json!(null), 200),
        one(
            "PATCH /api/v1/business/profile",
            Managers,
            business("profile"),
            json!({"name": "New"}),
            200,
        ),
        one("GET /api/v1/business/services", All, business("services"), json!(null), 200),
        one("POST /api/v1/business/services", Managers, business("services"), new_service, 201),
        one("GET /api/v1/business/services/{id}", All, service.clone(), json!(null), 200),
        one(
            "PATCH /api/v1/business/services/{id}",
            Managers,
            service.clone(),
            json!({"name": "New"}),
            200,
        ),
        one("GET /api/v1/business/staff", All, business("staff"), json!(null), 200),
        one(
            "POST /api/v1/business/staff",
            Managers,
            business("staff"),
            json!({"name": "Eve"}),
            201,
        ),
        one("GET /api/v1/business/staff/{id}", All, staff(""), json!(null), 200),
        one(
            "PATCH /api/v1/business/staff/{id}",
            Managers,
            staff(""),
            json!({"name": "New", "email": "new@example.com"}),
            200,
        ),
        one(
            "GET /api/v1/business/staff/{id}/working-hours",
            Own,
            staff("/working-hours"),
            json!(null),
            200,
        ),
        one(
            "PUT /api/v1/business/staff/{id}/working-hours",
            Managers,
            staff("/working-hours"),
            json!({"weekly": []}),
            200,
        ),
        one("GET /api/v1/business/staff/{id}/time-off", Own, staff("/time-off"), json!(null), 200),
        one("POST /api/v1/business/staff/{id}/time-off", Own, staff("/time-off"), away, 201),
        one(
            "DELETE /api/v1/business/staff/{id}/time-off/{time_off_id}",
            Own,
            staff(&format!("/time-off/{time_off}")),
            json!(null),
            204,
        ),
        one(
            "GET /api/v1/business/staff/{id}/calendar-feed",
            Own,
            staff("/calendar-feed"),
            json!(null),
            200,
        ),
        one("GET /api/v1/public/feeds/{file}", Anybody, feed.clone(), json!(null), 200),
        one("GET /api/v1/business/closures", All, business("closures"), json!(null), 200),
        one("POST /api/v1/business/closures", Managers, business("closures"), closed, 201),
        one(
            "DELETE /api/v1/business/closures/{id}",
            Managers,
            business(&format!("closures/{closure}")),
            json!(null),
            204,
        ),
        one("GET /api/v1/business/resources", All, business("resources"), json!(null), 200),
        one("POST /api/v1/business/resources", Managers, business("resources"), room, 201),
        one(
            "GET /api/v1/business/resources/{id}",
            All,
            business(&format!("resources/{resource}")),
            json!(null),
            200,
        ),
        one(
            "PATCH /api/v1/business/resources/{id}",
            Managers,
            business(&format!("resources/{resource}")),
            json!({"capacity": 2}),
            200,
        ),
        one(
            "DELETE /api/v1/business/resources/{id}",
            Managers,
            business(&format!("resources/{resource}")),
            json!(null),
            204,
        ),
        one("GET /api/v1/calendars/{staff_id}", Own, calendar, json!(null), 200),
        one("POST /api/v1/appointments", Own, "/api/v1/appointments".into(), by_owner, 201),
        one("GET /api/v1/appointments", Own, "/api/v1/appointments".into(), json!(null), 200),
        one("GET /api/v1/appointments/{id}", Own, visit(0, ""), json!(null), 200),
        one("GET /api/v1/appointments/{id}/history", Own, visit(0, "/history"), json!(null), 200),
        one(
            "POST /api/v1/appointments/{id}/reschedule",
            Own,
            visit(0, "/reschedule"),
            json!({"start": start_in(2_050), "override": ["outside_hours"]}),
            200,
        ),
        one("POST /api/v1/appointments/{id}/cancel", Own, visit(0, "/cancel"), json!({}), 200),
        one(
            "POST /api/v1/appointments/{id}/reinstate",
            Own,
            visit(0, "/reinstate"),
            json!(null),
            200,
        ),
        one("DELETE /api/v1/appointments/{id}", Own, visit(1, ""), json!(null), 204),
        one(
            "POST /api/v1/appointments/{id}/complete",
            Own,
            visit(2, "/complete"),
            json!(null),
            200,
        ),
        one("POST /api/v1/appointments/{id}/no-show", Own, visit(3, "/no-show"), json!(null), 200),
        one("GET /api/v1/customers", Managers, "/api/v1/customers".into(), json!(null), 200),
        one(
            "GET /api/v1/customers/{id}",
            Managers,
            format!("/api/v1/customers/{customer}"),
            json!(null),
            200,
        ),
        one(
            "PATCH /api/v1/customers/{id}",
            Managers,
            format!("/api/v1/customers/{customer}"),
            json!({"notes": "New"}),
            200,
        ),
        one(
            "POST /api/v1/customers/{id}/merge",
            Managers,
            format!("/api/v1/customers/{other}/merge"),
            json!({ "into": customer }),
            200,
        ),
        one("DELETE /api/v1/business/staff/{id}", Managers, staff(""), json!(null), 204),
        one("DELETE /api/v1/business/services/{id}", Managers, service, json!(null), 204),
    ]
}

/// The operations of the API document, and who may call each by it.
fn documented(stand: &Stand) -> BTreeMap<String, Access> {
    let (code, document) = stand.addresses.run(&["openapi"]);
    assert_eq!(code, 0);
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut all = BTreeMap::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let name = format!("{} {path}", method.to_uppercase());
            let secured = operation["security"].as_array().is_some_and(|s| !s.is_empty());
            for status in ["401", "403"] {
                let told = operation["responses"].get(status).is_some();
                assert!(!secured || told, "{name} does not say {status}");
            }
            let says = |words: &str| {
                operation["description"].as_str().is_some_and(|text| text.contains(words))
            };
            let access = match () {
                () if !secured => Anybody,
                () if says("For whoever is signed in.") => Account,
                () if says("For owners and admins.") => Access::Team,
                () if says("For owners and admins; API keys with") => Managers,
                () if says("; staff, for their own calendar; API keys with") => Own,
                () if says("For owners and admins; staff; API keys with") => All,
                () => panic!("{name} does not say for whom it is: {operation}"),
            };
            all.insert(name, access);
        }
    }
    all
}

/// Everything that an owner can see of the business, but for what is noted of those who look.
async fn seen(owner: &Client, table: &[Operation]) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let of_business = |op: &&Operation| matches!(op.access, Managers | Own | All);
    let reads = table.iter().filter(|op| op.method() == Method::GET).filter(of_business);
    // Two grow by themselves, one says when it was asked for.
    let others =
        ["GET /api/v1/audit", "GET /api/v1/analytics", "GET /api/v1/appointments/{id}/evidence"];
    for operation in reads.filter(|op| !others.contains(&op.name)) {
        all.insert(operation.path.clone(), operation.call(owner).await.expect(200));
    }
    all
}

/// Waits until what changes by itself is over: everybody who is told at once has been told.
async fn told(stand: &Stand, salon: &Salon) {
    stand.addresses.caught_up().await;
    eventually("everybody was told", async || {
        let listed = salon.owner.read("/api/v1/notifications?limit=200").await.expect(200);
        assert_eq!(listed["next"], json!(null));
        let messages = listed["items"].as_array()?;
        messages.iter().all(|message| message["status"] == "sent").then_some(())
    })
    .await;
    stand.addresses.caught_up().await;
}

async fn things(stand: &Stand, client: &Client) -> (Things, jiff::Timestamp) {
    let salon = Salon::open(client, 3).await;
    let begins = salon.begin_soon().await;
    let mut begun = vec![];
    for staff in [0, 1] {
        // Somebody else than those who are looked at: what is told of a guest changes when they come.
        let mut visit = salon.booking(staff, begins);
        visit["customer"]["email"] = json!("early@example.com");
        let booked = salon.guest.post("/api/v1/public/book", &visit).await.expect(201);
        begun.push(text(&booked["appointment_id"]));
    }
    let away = json!({"start": start_in(8_000), "end": start_in(8_060)});
    let path = format!("/api/v1/business/staff/{}/time-off", salon.staff[0]);
    let time_off = text(&salon.owner.post(&path, &away).await.expect(201)["id"]);
    let closed = json!({"date_from": "2000-01-01", "date_to": "2000-01-01"});
    let closed = salon.owner.post("/api/v1/business/closures", &closed).await.expect(201);
    let closure = text(&closed["id"]);
    let room = json!({"name": "Room 1", "kind": "room"});
    let room = salon.owner.post("/api/v1/business/resources", &room).await.expect(201);
    let resource = text(&room["id"]);
    let mut appointments = vec![];
    for start in [start_in(2_000), start_in(2_100)] {
        let booked = salon.book(0, start).await.expect(201);
        appointments.push(text(&booked["appointment_id"]));
    }
    appointments.extend(begun);
    let booked = salon.book(0, start_in(2_200)).await.expect(201);
    appointments.push(text(&booked["appointment_id"]));
    let link = path_of(&booked["manage_url"]);
    let nonce = text(&client.read(&link).await.expect(200)["nonce"]);
    let mut other = salon.booking(1, start_in(2_300));
    other["customer"]["email"] = json!("other@example.com");
    let other = salon.guest.post("/api/v1/public/book", &other).await.expect(201);
    appointments.push(text(&other["appointment_id"]));
    let mut customers = vec![];
    for id in [&appointments[0], &appointments[5]] {
        let shown = salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
        customers.push(text(&shown["customer"]["id"]));
    }
    let customers: [String; 2] = customers.try_into().unwrap();
    let email = text(&salon.owner.read("/api/v1/auth/me").await.expect(200)["email"]);
    let login = json!({"email": email, "password": "correct horse"});
    let session = client.post("/api/v1/auth/login", &login).await.expect(200);
    let refresh_token = text(&session["refresh_token"]);
    let managed = (link, nonce);
    let path = format!("/api/v1/business/staff/{}/calendar-feed", salon.staff[0]);
    let feed = path_of(&salon.owner.read(&path).await.expect(200)["url"]);
    let waiting = requests::waiting(&salon).await;
    let team = accounts::team(stand, &salon).await;
    told(stand, &salon).await;
    let confirmed = crate::reminders::until(&salon, &appointments[0], "confirmation", "sent").await;
    let things = Things {
        notification: text(&confirmed["id"]),
        salon,
        email,
        time_off,
        closure,
        resource,
        appointments,
        customers,
        managed,
        feed,
        waiting,
        refresh_token,
        team,
    };
    (things, begins)
}

/// Tokens that are not ours, or not any more what we signed.
fn forged(good: &str) -> Vec<String> {
    let parts: Vec<&str> = good.split('.').collect();
    let (head, claims, signature) = (parts[0], parts[1], parts[2]);
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    vec![
        "garbage".to_owned(),
        "a.b.c".to_owned(),
        format!("{head}.{claims}."),
        format!("{head}.{claims}.{flipped}{}", &signature[1..]),
        format!("{head}.{}.{signature}", &claims[..claims.len() - 4]),
        // {"alg":"none","typ":"JWT"}
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}."),
        // {"alg":"HS256","typ":"JWT"}
        format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{claims}.{signature}"),
    ]
}

/// Each as somebody of the staff with another calendar, and as programs.
async fn by_staff_and_programs(table: &[Operation], things: &Things) {
    let accounts::Team { colleague, program, limited, .. } = &things.team;
    for operation in table.iter().filter(|operation| operation.access != Anybody) {
        let refused = |answer: Answer| drop(answer.problem(403, "forbidden").clone());
        let name = operation.name;
        // Somebody of the staff, whose calendar is another than those that the table is about.
        let answer = operation.call(colleague).await;
        match operation.access {
            Access::Team | Managers => refused(answer),
            Own if operation.names_something_of_ours() => refused(answer),
            Account | All | Own | Anybody => {
                assert_eq!(answer.status, operation.answer, "{name}: {answer:?}");
            }
        }
        // A program with every scope there is, and one that may do next to nothing.
        let reads = operation.method() == Method::GET;
        match operation.access {
            Access::Team | Account => refused(operation.call(program).await),
            Managers | Own | All | Anybody if reads => {
                let answer = operation.call(program).await;
                assert_eq!(answer.status, operation.answer, "{name}: {answer:?}");
            }
            Managers | Own | All | Anybody => {}
        }
        if name != "GET /api/v1/audit" {
            refused(operation.call(limited).await);
        }
    }
}

#[tokio::test]
async fn every_operation_is_for_whom_it_is_meant_and_for_nobody_else() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let nobody = process.client();
    let (things, begins) = things(&stand, &nobody).await;
    let owner = things.salon.owner.clone();
    let table: Vec<Operation> = accounts::operations(&things)
        .into_iter()
        .chain(requests::operations(&things))
        .chain(words::operations())
        .chain(table(&things))
        .collect();
    let listed: BTreeMap<String, Access> =
        table.iter().map(|operation| (operation.name.to_owned(), operation.access)).collect();
    assert_eq!(listed.len(), table.len(), "an operation stands in the table twice");
    assert_eq!(listed, documented(&stand), "table and API document differ");
    let before = seen(&owner, &table).await;

    let secured = || table.iter().filter(|operation| operation.access != Anybody);
    let bad = forged(owner.token().unwrap()).into_iter().chain(accounts::of_other_use(&things));
    let bad: Vec<String> = bad.collect();
    for operation in secured() {
        operation.call(&nobody).await.problem(401, "unauthorized");
        for token in &bad {
            let answer = operation.call(&nobody.signed_in(token)).await;
            answer.problem(401, "unauthorized");
        }
    }

    let other = Salon::open(&nobody, 1).await;
    for operation in secured() {
        let answer = operation.call(&other.owner).await;
        if operation.names_something_of_ours() {
            let told = answer.problem(404, "not_found");
            assert!(told["detail"].as_str().is_some(), "{}", operation.name);
        } else {
            // Without an id in the path it is about their own business.
            assert_eq!(answer.status, operation.answer, "{}: {answer:?}", operation.name);
            for theirs in [&things.salon.service_id, &things.salon.staff[0], &things.email] {
                assert!(!answer.body.to_string().contains(theirs.as_str()), "{}", operation.name);
            }
        }
    }
    stand.addresses.caught_up().await;
    assert_eq!(seen(&owner, &table).await, before, "somebody else changed something");

    by_staff_and_programs(&table, &things).await;
    stand.addresses.caught_up().await;
    assert_eq!(seen(&owner, &table).await, before, "staff or a program changed something");

    wait_until(begins).await;
    // Whoever is admin may do all that is here.
    let admin = &things.team.admin;
    for operation in &table {
        let client = if operation.access == Anybody { &nobody } else { admin };
        let answer = operation.call(client).await;
        assert_eq!(answer.status, operation.answer, "{}: {}", operation.name, answer.body);
    }
    stand.addresses.assert_healthy();
}

/// Ids of two businesses in one request: the second is not there.
#[tokio::test]
async fn ids_of_another_business_cannot_be_mixed_in() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let ours = Salon::open(&process.client(), 1).await;
    let theirs = Salon::open(&process.client(), 1).await;
    let mut body = ours.booking(0, start_in(60));
    body["staff_id"] = json!(theirs.staff[0]);
    ours.guest.post("/api/v1/public/book", &body).await.problem(404, "not_found");
    let slots = |business: &str, service: &str, staff: &str| {
        let date = "/api/v1/public/slots?date=2026-03-02";
        format!("{date}&business={business}&service_id={service}&staff_id={staff}")
    };
    for path in [
        slots(&ours.handle, &theirs.service_id, "any"),
        slots(&ours.business_id, &theirs.service_id, "any"),
        slots(&ours.handle, &ours.service_id, &theirs.staff[0]),
        slots(&theirs.handle, &ours.service_id, &ours.staff[0]),
    ] {
        ours.guest.read(&path).await.problem(404, "not_found");
    }
    ours.guest.read(&slots(&ours.business_id, &ours.service_id, &ours.staff[0])).await.expect(200);

    let unknown = |answer: &Answer, field: &str| {
        answer.problem(422, "invalid_request");
        assert_eq!(answer.fields(), [field]);
    };
    let service = json!({"name": "X", "duration_minutes": 5, "staff_ids": [theirs.staff[0]],
                         "price": {"amount": 1, "currency": "USD"}});
    unknown(&ours.owner.post("/api/v1/business/services", &service).await, "staff_ids[0]");
    let staff = json!({"name": "X", "service_ids": [ours.service_id, theirs.service_id]});
    unknown(&ours.owner.post("/api/v1/business/staff", &staff).await, "service_ids[1]");

    // Filters by what is not theirs find nothing.
    let booked = theirs.book(0, start_in(60)).await;
    let position = booked.header("x-position").to_owned();
    let booked = text(&booked.expect(201)["appointment_id"]);
    let shown = theirs.owner.read(&format!("/api/v1/appointments/{booked}")).await.expect(200);
    let customer = text(&shown["customer"]["id"]);
    for filter in [
        format!("staff_id={}", theirs.staff[0]),
        format!("service_id={}", theirs.service_id),
        format!("customer_id={customer}"),
        String::from("status=booked"),
    ] {
        let path = format!("/api/v1/appointments?{filter}&min_position={position}");
        assert_eq!(ours.owner.read(&path).await.expect(200)["items"], json!([]));
        assert_eq!(theirs.owner.read(&path).await.expect(200)["items"][0]["id"], json!(booked));
    }
    // A cursor of theirs leads nowhere, and no body says whose business it is about.
    let cursor = format!("/api/v1/customers?cursor={customer}");
    let answer = ours.owner.read(&cursor).await;
    assert_eq!(answer.problem(422, "invalid_request")["errors"][0]["field"], "cursor");
    theirs.owner.read(&cursor).await.expect(200);
    let switch = json!({"business_id": theirs.business_id});
    ours.owner.post("/api/v1/auth/switch", &switch).await.problem(404, "not_found");
    let mut forged = ours.booking(0, start_in(90));
    forged["business_id"] = json!(theirs.business_id);
    for path in ["/api/v1/public/book", "/api/v1/appointments"] {
        unknown(&ours.owner.post(path, &forged).await, "business_id");
    }
    let query = format!("/api/v1/appointments?business_id={}", theirs.business_id);
    unknown(&ours.owner.read(&query).await, "business_id");
    // Time off is found by its own staff member only.
    let away = |salon: &Salon| format!("/api/v1/business/staff/{}/time-off", salon.staff[0]);
    let entered = json!({"start": start_in(600), "end": start_in(660)});
    let entered = theirs.owner.post(&away(&theirs), &entered).await.expect(201);
    let path = format!("{}/{}", away(&ours), text(&entered["id"]));
    ours.owner.call(Method::DELETE, &path, None).await.problem(404, "not_found");
    let listed = theirs.owner.read(&away(&theirs)).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    stand.addresses.assert_healthy();
}
