//! What is asked for, what is offered, and who waits.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    Access::{self, Anybody, Managers, Own},
    Operation, Things,
};
use crate::salon::{Salon, path_of, start_in, text};

/// Farther ahead than can be booked, so that nothing is offered while the table is tried.
fn wish(salon: &Salon) -> Value {
    let from = start_in(200 * 1_440);
    json!({"service_id": salon.service_id, "from": from, "to": from + SignedDuration::from_hours(24),
           "customer": {"name": "Ada Guest", "email": "ada@example.com"}})
}

/// Somebody who waits: the entry, and the path of its link.
pub(super) async fn waiting(salon: &Salon) -> (String, String) {
    let joined = salon.guest.post("/api/v1/public/waitlist", &wish(salon)).await.expect(201);
    (text(&joined["waitlist_id"]), path_of(&joined["manage_url"]))
}

/// None of them ends what another needs.
pub(super) fn operations(things: &Things) -> Vec<Operation> {
    let Things { salon, appointments, managed: (link, nonce), waiting: (entry, place), .. } =
        things;
    let one = |name, access: Access, path: String, body: Value, answer| Operation {
        name,
        access,
        path,
        body: (!body.is_null()).then_some(body),
        answer,
    };
    let visit = |rest: &str| format!("/api/v1/appointments/{}{rest}", appointments[0]);
    let join = "POST /api/v1/public/waitlist";
    let leave = "POST /api/v1/public/waitlist/{link}/leave";
    let accept = "POST /api/v1/public/appointments/{link}/accept";
    let keys = "GET /.well-known/evidence-jwks.json";
    let evidence = "GET /api/v1/appointments/{id}/evidence";
    let preferred = "GET /api/v1/public/appointments/{link}/preferences";
    let prefer = "PUT /api/v1/public/appointments/{link}/preferences";
    let wished = json!({"reminder_channels": null});
    let see = "GET /api/v1/public/unsubscribe/{link}";
    let click = "POST /api/v1/public/unsubscribe/{link}";
    let told = "POST /api/v1/callbacks/twilio/{id}";
    vec![
        // Nobody sends text messages here, so nobody tells of any.
        one(told, Anybody, "/api/v1/callbacks/twilio/ntf_1.1".into(), json!({}), 404),
        one(
            "GET /api/v1/notifications",
            Managers,
            "/api/v1/notifications".into(),
            json!(null),
            200,
        ),
        one(
            "GET /api/v1/notifications/{id}",
            Managers,
            format!("/api/v1/notifications/{}", things.notification),
            json!(null),
            200,
        ),
        // It is agreed already.
        one("POST /api/v1/appointments/{id}/confirm", Own, visit("/confirm"), json!(null), 200),
        one("POST /api/v1/appointments/{id}/decline", Own, visit("/decline"), json!({}), 409),
        one(accept, Anybody, format!("{link}/accept"), json!({ "nonce": nonce }), 409),
        one(keys, Anybody, "/.well-known/evidence-jwks.json".into(), json!(null), 200),
        one("GET /api/v1/analytics", Managers, "/api/v1/analytics".into(), json!(null), 200),
        one(evidence, Managers, visit("/evidence"), json!(null), 200),
        one(preferred, Anybody, format!("{link}/preferences"), json!(null), 200),
        one(prefer, Anybody, format!("{link}/preferences"), wished, 200),
        // Its link is in reminders alone.
        one(see, Anybody, "/api/v1/public/unsubscribe/a".into(), json!(null), 404),
        one(click, Anybody, "/api/v1/public/unsubscribe/a".into(), json!({}), 404),
        one(join, Anybody, "/api/v1/public/waitlist".into(), wish(salon), 201),
        one("GET /api/v1/public/waitlist/{link}", Anybody, place.clone(), json!(null), 200),
        one(leave, Anybody, format!("{place}/leave"), json!(null), 200),
        one("GET /api/v1/waitlist", Managers, "/api/v1/waitlist".into(), json!(null), 200),
        one(
            "DELETE /api/v1/waitlist/{id}",
            Managers,
            format!("/api/v1/waitlist/{entry}"),
            json!(null),
            204,
        ),
    ]
}
