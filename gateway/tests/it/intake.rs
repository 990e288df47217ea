//! What services ask, what guests answer, and whom they bring.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    salon::{Salon, path_of, start_in, text},
    stand::{Answer, Process, Stand},
};

const BOOK: &str = "/api/v1/public/book";
const APPOINTMENTS: &str = "/api/v1/appointments";

fn questions() -> Value {
    json!([
        {"key": "allergies", "label": "Any allergies?", "kind": "text", "required": true},
        {"key": "size", "label": "Size", "kind": "choice", "required": false, "choices": ["small", "large"]},
        {"key": "weight_kg", "label": "Weight", "kind": "number", "required": false},
        {"key": "vaccinated", "label": "Vaccinated", "kind": "boolean", "required": false},
        {"key": "born", "label": "Born", "kind": "date", "required": false},
    ])
}

async fn asking(process: &Process) -> Salon {
    let salon = Salon::open(&process.client(), 1).await;
    ask(&salon, &questions()).await.expect(200);
    salon
}

async fn ask(salon: &Salon, questions: &Value) -> Answer {
    let path = format!("/api/v1/business/services/{}", salon.service_id);
    salon.owner.edit(Method::PATCH, &path, &json!({ "intake_fields": questions })).await
}

fn saying(salon: &Salon, minutes: i64, answers: Value, subjects: Value) -> Value {
    let mut body = salon.booking(0, start_in(minutes));
    body["answers"] = answers;
    body["subjects"] = subjects;
    body
}

#[tokio::test]
async fn what_a_service_asks_is_edited_by_its_owner_and_shown_to_guests() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = asking(&process).await;
    let path = format!("/api/v1/business/services/{}", salon.service_id);
    assert_eq!(salon.owner.read(&path).await.expect(200)["intake_fields"], questions());
    // Another edit leaves them.
    salon.owner.edit(Method::PATCH, &path, &json!({"name": "Groom"})).await.expect(200);
    let public = format!("/api/v1/public/businesses/{}", salon.handle);
    let shown = salon.guest.read(&public).await.expect(200);
    assert_eq!(shown["services"][0]["intake_fields"], questions());

    let mut odd = questions();
    odd[1]["choices"] = json!([]);
    odd[3]["key"] = json!("Born?");
    let answer = ask(&salon, &odd).await;
    answer.problem(422, "invalid_request");
    assert_eq!(answer.fields(), ["intake_fields[1].choices", "intake_fields[3].key"]);
    for (odd, field) in [
        (json!([{"key": "a", "label": "A", "kind": "colour"}]), "intake_fields[0].kind"),
        (json!([{"key": "a", "label": "A", "kind": "text", "hint": "x"}]), "intake_fields[0].hint"),
        (json!([["a", "A", "text"]]), "intake_fields[0]"),
        (json!({}), "intake_fields"),
    ] {
        let answer = ask(&salon, &odd).await;
        answer.problem(422, "invalid_request");
        assert_eq!(answer.fields(), [field]);
    }
    let service = json!({"name": "Bath", "duration_minutes": 30, "intake_fields": questions(),
                         "price": {"amount": 100, "currency": "USD"}});
    let made = salon.owner.post("/api/v1/business/services", &service).await.expect(201);
    assert_eq!(made["intake_fields"], questions());
    ask(&salon, &json!([])).await.expect(200);
    assert_eq!(salon.owner.read(&path).await.expect(200)["intake_fields"], json!([]));
}

#[tokio::test]
async fn answers_and_subjects_are_kept_beside_the_visit_and_never_in_events() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = asking(&process).await;
    let answers = json!({"allergies": "pollen", "size": "large", "weight_kg": 31.50317,
                         "vaccinated": true, "born": "2020-02-29"});
    let subjects = json!([{"name": "Rex", "notes": "afraid of dryers"}, {"name": "Luna"}]);
    let body = saying(&salon, 60, answers.clone(), subjects.clone());
    let send = async || {
        let request = salon.guest.request(Method::POST, BOOK).header("Idempotency-Key", "once");
        Answer::of(request.json(&body).send().await.unwrap()).await.expect(201)
    };
    let booked = send().await;
    assert_eq!(send().await["appointment_id"], booked["appointment_id"]);
    let path = format!("{APPOINTMENTS}/{}", text(&booked["appointment_id"]));
    let link = path_of(&booked["manage_url"]);
    let shown = salon.owner.read(&path).await.expect(200);
    let seen = salon.guest.read(&link).await.expect(200);
    for view in [shown, seen] {
        assert_eq!(view["answers"], answers, "{view}");
        assert_eq!(view["subjects"], subjects, "{view}");
    }
    let told = eventually("the confirmation is there", async || {
        stand.mail.messages().await.into_iter().find_map(|mail| mail.text)
    })
    .await;
    for line in ["For: Rex, Luna", "Any allergies? pollen", "Size: large", "Vaccinated: yes"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    // Another request under the same key is another request.
    let mut other = body.clone();
    other["answers"]["size"] = json!("small");
    let request = salon.guest.request(Method::POST, BOOK).header("Idempotency-Key", "once");
    let answer = Answer::of(request.json(&other).send().await.unwrap()).await;
    answer.problem(422, "idempotency_key_reused");

    let events = stand.database.texts("SELECT payload::text FROM events").await;
    assert!(events.len() > 3);
    for said in ["pollen", "Rex", "dryers", "Luna", "2020-02-29", "31.50317"] {
        assert!(!events.iter().any(|event| event.contains(said)), "{said} stands in an event");
    }
    // Whoever says nothing has nothing kept.
    ask(&salon, &json!([])).await.expect(200);
    let booked = salon.book(0, start_in(90)).await.expect(201);
    let path = format!("{APPOINTMENTS}/{}", text(&booked["appointment_id"]));
    let shown = salon.owner.read(&path).await.expect(200);
    assert_eq!((&shown["answers"], &shown["subjects"]), (&json!({}), &json!([])));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_its_name_and_books_nothing() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = asking(&process).await;
    let good = json!({"allergies": "none"});
    for (answers, subjects, fields) in [
        (json!({}), json!([]), vec!["answers.allergies"]),
        (json!({"allergies": 7}), json!([]), vec!["answers.allergies"]),
        (json!({"allergies": null}), json!([]), vec!["answers.allergies"]),
        (json!({"allergies": ["none"]}), json!([]), vec!["answers.allergies"]),
        (json!({"allergies": "a\u{0}b"}), json!([]), vec!["answers.allergies"]),
        (json!({"allergies": "none", "size": "huge"}), json!([]), vec!["answers.size"]),
        (
            json!({"size": "huge", "born": "soon"}),
            json!([]),
            vec!["answers.allergies", "answers.size", "answers.born"],
        ),
        (json!({"allergies": "none", "colour": "red"}), json!([]), vec!["answers.colour"]),
        (json!(["none"]), json!([]), vec!["answers"]),
        (good.clone(), json!([{"name": " "}]), vec!["subjects[0].name"]),
        (good.clone(), json!([{"name": "Rex"}, {"notes": "x"}]), vec!["subjects[1].name"]),
        (good.clone(), json!([{"name": "Rex", "age": 3}]), vec!["subjects[0].age"]),
        (good.clone(), json!([["Rex"]]), vec!["subjects[0]"]),
        (good.clone(), json!([{"name": "Rex", "notes": "\u{0}"}]), vec!["subjects[0].notes"]),
        (good.clone(), json!(vec![json!({"name": "Rex"}); 11]), vec!["subjects"]),
    ] {
        let answer = salon.guest.post(BOOK, &saying(&salon, 60, answers, subjects)).await;
        answer.problem(422, "invalid_request");
        assert_eq!(answer.fields(), fields, "{}", answer.body);
    }
    let listed = salon.owner.read(APPOINTMENTS).await.expect(200);
    assert_eq!(listed["items"], json!([]));
    let body = saying(&salon, 60, good, json!([{"name": "Rex"}]));
    salon.guest.post(BOOK, &body).await.expect(201);
}

#[tokio::test]
async fn the_owner_may_leave_answers_out_and_what_is_asked_is_what_counts_when_it_is_decided() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    // Asks the first one to decide, or decides itself on what it has: either way it is up to date.
    let second = Process::start(&stand.addresses, &["gateway"]).await;
    let salon = asking(&process).await;
    let body = saying(&salon, 60, json!({"size": "small"}), json!([]));
    let by_owner = salon.owner.post(APPOINTMENTS, &body).await.expect(201);
    let path = format!("{APPOINTMENTS}/{}", text(&by_owner["appointment_id"]));
    assert_eq!(salon.owner.read(&path).await.expect(200)["answers"], json!({"size": "small"}));
    let odd = saying(&salon, 90, json!({"size": "huge"}), json!([]));
    assert_eq!(salon.owner.post(APPOINTMENTS, &odd).await.fields(), ["answers.size"]);

    let there = salon.guest.at(&second);
    let said = json!({"allergies": "none"});
    there.post(BOOK, &saying(&salon, 120, said.clone(), json!([]))).await.expect(201);
    ask(&salon, &json!([{"key": "name_of_pet", "label": "Pet", "kind": "text", "required": true}]))
        .await
        .expect(200);
    for client in [&salon.guest, &there] {
        let answer = client.post(BOOK, &saying(&salon, 150, said.clone(), json!([]))).await;
        answer.problem(422, "invalid_request");
        assert_eq!(answer.fields(), ["answers.name_of_pet", "answers.allergies"]);
    }
    let said = json!({"name_of_pet": "Rex"});
    there.post(BOOK, &saying(&salon, 150, said, json!([]))).await.expect(201);
    stand.addresses.assert_healthy();
}
