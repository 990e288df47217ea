//! Links from an answer to what can be asked next, where the names of fields do not tell it.

use serde_json::{Value, json};
use utoipa::openapi::{
    RefOr,
    link::{Link, LinkBuilder},
    path::Operation,
};

/// What can be done with an appointment that was booked.
const OF_APPOINTMENT: &[&str] = &[
    "get_appointment",
    "get_appointment_history",
    "cancel_appointment",
    "delete_appointment",
    "confirm_appointment",
    "decline_appointment",
    "complete_appointment",
    "mark_no_show",
    "reinstate_appointment",
    "reschedule_appointment",
];

/// Says the links of the operation.
pub(super) fn complete(operation: &mut Operation) {
    let (status, links) = match operation.operation_id.as_deref() {
        Some("book" | "create_appointment") => ("201", of_appointment()),
        Some("get_appointment_as_guest") => ("200", of_view()),
        Some(_) | None => return,
    };
    if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) {
        let links = links.into_iter().map(|link| (link.operation_id.clone(), RefOr::T(link)));
        response.links.extend(links);
    }
}

fn of_appointment() -> Vec<Link> {
    let link = |operation: &&str| {
        let id = "$response.body#/appointment_id";
        LinkBuilder::new().operation_id(*operation).parameter("id", id).build()
    };
    OF_APPOINTMENT.iter().map(link).collect()
}

/// A guest's view has a nonce, which is good for one change.
fn of_view() -> Vec<Link> {
    let nonce = "$response.body#/nonce";
    let moved = json!({"nonce": nonce, "start": "$response.body#/start"});
    let link = |operation: &str, body: Value| {
        LinkBuilder::new()
            .operation_id(operation)
            .parameter("link", "$request.path.link")
            .request_body(Some(body))
            .build()
    };
    vec![
        link("accept_appointment_as_guest", json!({"nonce": nonce})),
        link("cancel_appointment_as_guest", json!({"nonce": nonce})),
        link("reschedule_appointment_as_guest", moved),
    ]
}
