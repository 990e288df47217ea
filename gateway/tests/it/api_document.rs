//! The API document is what clients are generated from.

mod schema;

use std::collections::BTreeSet;

use serde_json::Value;

use self::schema::{Unbounded, misfits};
use crate::stand::{Addresses, Stand};

/// The command needs no server.
fn document() -> Value {
    let nowhere = "postgres://nobody@127.0.0.1:1/nothing".to_owned();
    let addresses =
        Addresses::new(nowhere, "nats://127.0.0.1:1".into(), "smtp://127.0.0.1:1".into());
    let (code, text) = addresses.run(&["openapi"]);
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut all = vec![];
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            all.push((format!("{} {path}", method.to_uppercase()), operation));
        }
    }
    all
}

#[test]
fn the_api_document_changes_only_on_purpose() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&document()).unwrap());
}

/// What users were promised, by method and path.
const PROMISED: &[&str] = &[
    "POST /api/v1/callbacks/twilio/{id}",
    "GET /api/v1/public/appointments/{link}/preferences",
    "PUT /api/v1/public/appointments/{link}/preferences",
    "GET /api/v1/public/unsubscribe/{link}",
    "POST /api/v1/public/unsubscribe/{link}",
    "POST /api/v1/auth/register",
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/refresh",
    "POST /api/v1/auth/logout",
    "POST /api/v1/auth/password-reset",
    "POST /api/v1/auth/password-reset/confirm",
    "GET /api/v1/auth/me",
    "POST /api/v1/auth/password",
    "GET /api/v1/auth/sessions",
    "DELETE /api/v1/auth/sessions",
    "DELETE /api/v1/auth/sessions/{id}",
    "GET /api/v1/auth/businesses",
    "POST /api/v1/auth/switch",
    "GET /api/v1/auth/invitations",
    "POST /api/v1/auth/invitations",
    "DELETE /api/v1/auth/invitations/{id}",
    "POST /api/v1/auth/invitations/accept",
    "GET /api/v1/members",
    "PATCH /api/v1/members/{id}",
    "DELETE /api/v1/members/{id}",
    "GET /api/v1/api-keys",
    "POST /api/v1/api-keys",
    "DELETE /api/v1/api-keys/{id}",
    "GET /api/v1/audit",
    "GET /api/v1/notifications",
    "GET /api/v1/notifications/{id}",
    "GET /.well-known/jwks.json",
    "GET /api/v1/analytics",
    "GET /.well-known/evidence-jwks.json",
    "GET /api/v1/appointments/{id}/evidence",
    "GET /api/v1/business/profile",
    "PATCH /api/v1/business/profile",
    "GET /api/v1/business/services",
    "POST /api/v1/business/services",
    "GET /api/v1/business/services/{id}",
    "PATCH /api/v1/business/services/{id}",
    "DELETE /api/v1/business/services/{id}",
    "GET /api/v1/business/staff",
    "POST /api/v1/business/staff",
    "GET /api/v1/business/staff/{id}",
    "PATCH /api/v1/business/staff/{id}",
    "DELETE /api/v1/business/staff/{id}",
    "GET /api/v1/business/staff/{id}/working-hours",
    "PUT /api/v1/business/staff/{id}/working-hours",
    "GET /api/v1/business/staff/{id}/time-off",
    "POST /api/v1/business/staff/{id}/time-off",
    "DELETE /api/v1/business/staff/{id}/time-off/{time_off_id}",
    "GET /api/v1/business/closures",
    "POST /api/v1/business/closures",
    "DELETE /api/v1/business/closures/{id}",
    "GET /api/v1/business/resources",
    "POST /api/v1/business/resources",
    "GET /api/v1/business/resources/{id}",
    "PATCH /api/v1/business/resources/{id}",
    "DELETE /api/v1/business/resources/{id}",
    "GET /api/v1/business/templates",
    "GET /api/v1/business/templates/{kind}/{locale}",
    "PUT /api/v1/business/templates/{kind}/{locale}",
    "DELETE /api/v1/business/templates/{kind}/{locale}",
    "POST /api/v1/business/templates/{kind}/{locale}/preview",
    "POST /api/v1/business/templates/{kind}/{locale}/test-send",
    "GET /api/v1/public/business",
    "GET /api/v1/public/businesses/{handle}",
    "GET /api/v1/public/slots",
    "GET /api/v1/public/slots/explain",
    "GET /api/v1/calendars/{staff_id}",
    "GET /api/v1/calendars/{staff_id}/explain",
    "POST /api/v1/public/book",
    "GET /api/v1/public/appointments/{link}",
    "POST /api/v1/public/appointments/{link}/reschedule",
    "POST /api/v1/public/appointments/{link}/cancel",
    "POST /api/v1/public/appointments/{link}/accept",
    "GET /api/v1/public/appointments/{link}/calendar.ics",
    "POST /api/v1/public/waitlist",
    "GET /api/v1/public/waitlist/{link}",
    "POST /api/v1/public/waitlist/{link}/leave",
    "GET /api/v1/waitlist",
    "DELETE /api/v1/waitlist/{id}",
    "GET /api/v1/business/staff/{id}/calendar-feed",
    "GET /api/v1/public/feeds/{file}",
    "GET /api/v1/appointments",
    "POST /api/v1/appointments",
    "GET /api/v1/appointments/{id}",
    "DELETE /api/v1/appointments/{id}",
    "GET /api/v1/appointments/{id}/history",
    "POST /api/v1/appointments/{id}/cancel",
    "POST /api/v1/appointments/{id}/confirm",
    "POST /api/v1/appointments/{id}/decline",
    "POST /api/v1/appointments/{id}/reschedule",
    "POST /api/v1/appointments/{id}/reinstate",
    "POST /api/v1/appointments/{id}/complete",
    "POST /api/v1/appointments/{id}/no-show",
    "GET /api/v1/customers",
    "GET /api/v1/customers/{id}",
    "PATCH /api/v1/customers/{id}",
    "POST /api/v1/customers/{id}/merge",
    "GET /healthz",
    "GET /readyz",
];

#[test]
fn what_was_promised_is_in_the_document() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let there: BTreeSet<String> = operations(&document).into_iter().map(|(name, _)| name).collect();
    for promised in PROMISED {
        assert!(there.contains(*promised), "{promised} is missing");
    }
}

#[test]
fn every_operation_has_a_name_a_tag_and_problems() {
    let document = document();
    let tags: BTreeSet<&str> =
        document["tags"].as_array().unwrap().iter().filter_map(|t| t["name"].as_str()).collect();
    let mut names = BTreeSet::new();
    for (operation, described) in operations(&document) {
        let name = described["operationId"].as_str().unwrap_or_default();
        assert!(!name.is_empty(), "{operation} has no operationId");
        assert!(names.insert(name), "{operation}: {name} is another operation's");
        let tag = described["tags"][0].as_str().unwrap_or_default();
        assert!(tags.contains(tag), "{operation} has no known tag");
        assert!(!described["summary"].as_str().unwrap_or_default().is_empty(), "{operation}");

        let responses = described["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{operation}");
        for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
            if operation == "GET /readyz" {
                continue;
            }
            let content = response["content"].as_object().unwrap();
            let kinds: Vec<&String> = content.keys().collect();
            assert_eq!(kinds, ["application/problem+json"], "{operation} {status}");
            let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/Problem", "{operation} {status}");
        }
        let mut expected = vec![];
        if described.get("requestBody").is_some() {
            // Not JSON, too large, no JSON type, a wrong field.
            expected.extend(["400", "408", "413", "415", "422"]);
        }
        if described["security"].as_array().is_some_and(|s| !s.is_empty()) {
            expected.extend(["401", "403"]);
        }
        if operation.contains('{') {
            expected.push("404");
        }
        let parameters = described["parameters"].as_array().cloned().unwrap_or_default();
        if parameters.iter().any(|p| p["name"] == "If-Match") {
            expected.extend(["412", "428"]);
        }
        if parameters.iter().any(|p| p["in"] == "query") {
            expected.push("422");
        }
        for status in expected {
            assert!(responses.contains_key(status), "{operation} does not say {status}");
        }
    }
}

/// The bodies of an operation: what they are for, and what is said of them.
fn bodies(operation: &Value) -> Vec<(String, &Value)> {
    let mut all = vec![];
    for (kind, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
        all.push((format!("request {kind}"), content));
    }
    for (status, response) in operation["responses"].as_object().unwrap() {
        for (kind, content) in response["content"].as_object().into_iter().flatten() {
            all.push((format!("{status} {kind}"), content));
        }
    }
    all
}

#[test]
fn every_body_has_an_example_that_fits_its_schema() {
    let document = document();
    let (mut seen, mut wrong) = (0, vec![]);
    for (operation, described) in operations(&document) {
        for (body, content) in bodies(described) {
            let at = format!("{operation} {body}");
            match content.get("example") {
                Some(example) => {
                    wrong.extend(misfits(&document, &content["schema"], example, &at));
                }
                None => wrong.push(format!("{at} has none")),
            }
            seen += 1;
        }
    }
    assert!(seen > 500, "{seen}");
    assert_eq!(wrong, Vec::<String>::new());
}

/// Any header is taken: what is no tag of ours matches nothing.
const ANY_TEXT: &[&str] = &["GET /api/v1/public/slots If-None-Match may be any string"];

/// What the document does not say, whoever generates requests from it cannot know.
#[test]
fn whatever_may_be_sent_is_bounded() {
    let document = document();
    let mut unbounded = Unbounded::of(&document);
    for (operation, described) in operations(&document) {
        for (body, content) in bodies(described) {
            if body.starts_with("request") {
                unbounded.look(&operation, &content["schema"]);
            }
        }
        for parameter in described["parameters"].as_array().into_iter().flatten() {
            let place = format!("{operation} {}", parameter["name"].as_str().unwrap());
            unbounded.look(&place, &parameter["schema"]);
        }
    }
    assert_eq!(unbounded.places, ANY_TEXT);
}

/// A generated client cannot be built from a document with loose ends.
#[test]
fn every_schema_that_is_named_is_there() {
    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(to) = members.get("$ref").and_then(Value::as_str) {
                    into.insert(to.to_owned());
                }
                members.values().for_each(|member| references(member, into));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document();
    let mut named = BTreeSet::new();
    references(&document, &mut named);
    assert!(named.len() > 10);
    for reference in named {
        let found = document.pointer(reference.trim_start_matches('#'));
        assert!(found.is_some(), "{reference} is not there");
    }
    assert!(document.pointer("/components/securitySchemes/bearer").is_some());
}

#[tokio::test]
async fn the_document_and_its_page_are_served() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let served = client.read("/openapi.json").await.expect(200);
    assert_eq!(served, document());
    // The page redirects to where its files lie.
    let page = client.read("/docs").await;
    assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
    let page = page.expect(200);
    let page = page.as_str().unwrap();
    assert!(page.contains("swagger-ui"), "{page}");
    assert!(!page.contains("https://"), "nothing is fetched from elsewhere: {page}");
}
