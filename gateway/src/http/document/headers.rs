//! The headers of answers: which there are follows from the method, the status and the body.

use utoipa::openapi::{
    Content, Header, HeaderBuilder, Object, RefOr, Response, Type, extensions::Extensions,
    path::Operation, schema::Schema,
};

use super::{
    PROBLEM_JSON,
    rule::{Rule, any_text, one_of, text},
    words::POSITION,
};

/// A header: its name, what it tells, and what it is.
type Told = (&'static str, &'static str, Rule);

const REQUEST_ID: Told = ("X-Request-Id", "names the request, for asking about it", any_text());
const POSITION_OF: Told =
    ("X-Position", "the position of the write, for `min_position` of later reads", POSITION);
const ETAG: Told = ("ETag", "names the version, for `If-Match`", text(r#"^"[0-9]+"$"#));
const SLOTS_ETAG: Told = ("ETag", "names the slots, for `If-None-Match`", any_text());
const LOCATION: Told = ("Location", "where it is now", text("^/api/v1/"));
const RETRY_AFTER: Told = ("Retry-After", "seconds to wait", text("^[0-9]+$"));
const AUTHENTICATE: Told = ("WWW-Authenticate", "how to sign in", any_text());
const COOKIES: Told = ("Set-Cookie", "the tokens, for pages in browsers", any_text());
const REPLAYED: Told =
    ("Idempotent-Replayed", "that it was done by an earlier request", one_of(&["true"]));
const LIMITS: [Told; 2] = [
    (
        "RateLimit",
        "what is left of each limit (draft-ietf-httpapi-ratelimit-headers-10)",
        any_text(),
    ),
    ("RateLimit-Policy", "the limits that the request counted for", any_text()),
];

/// What has a version, as its schema is called.
const TAGGED: &[&str] = &[
    "ProfileAnswer",
    "Service",
    "Staff",
    "Resource",
    "MessageTemplate",
    "WorkingHours",
    "Customer",
    "Appointment",
];
/// Changes that no read model waits for.
const WITHOUT_POSITION: &[&str] = &[
    "login",
    "refresh",
    "logout",
    "request_password_reset",
    "end_session",
    "end_other_sessions",
    "switch_business",
    "preview_template",
];
/// What is made there has no address of its own.
const WITHOUT_LOCATION: &[&str] = &["register", "join_waitlist", "accept_invitation"];
const WITH_COOKIES: &[&str] = &["login", "refresh", "logout", "switch_business"];
const WITH_KEY: &[&str] = &["book", "create_appointment", "join_waitlist"];

/// Says which headers every answer of the operation has.
pub(super) fn complete(path: &str, method: &str, operation: &mut Operation) {
    let id = operation.operation_id.as_deref().unwrap_or_default();
    let limited = path.starts_with("/api/") || path.starts_with("/.well-known/");
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        tell(response, REQUEST_ID, true);
        if limited {
            LIMITS.into_iter().for_each(|limit| tell(response, limit, false));
        }
        match status.as_str() {
            "401" => tell(response, AUTHENTICATE, true),
            "429" | "503" if response.content.contains_key(PROBLEM_JSON) => {
                tell(response, RETRY_AFTER, true);
            }
            success if success.starts_with('2') => succeeded(method, id, success, response),
            _ => {}
        }
    }
}

fn succeeded(method: &str, id: &str, status: &str, response: &mut Response) {
    let changes = method != "GET";
    let body = body(response).unwrap_or_default();
    let tagged = TAGGED.contains(&body) || (changes && body == "GuestAppointment");
    if changes && !WITHOUT_POSITION.contains(&id) {
        tell(response, POSITION_OF, true);
    }
    if tagged {
        tell(response, ETAG, true);
    }
    if id == "list_slots" {
        tell(response, SLOTS_ETAG, true);
    }
    if status == "201" && !WITHOUT_LOCATION.contains(&id) {
        tell(response, LOCATION, true);
    }
    if status == "201" && WITH_KEY.contains(&id) {
        tell(response, REPLAYED, false);
    }
    if WITH_COOKIES.contains(&id) {
        tell(response, COOKIES, false);
    }
}

/// The name of the schema of the body.
fn body(response: &Response) -> Option<&str> {
    response.content.values().find_map(|content| match content {
        RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }) => {
            schema.ref_location.strip_prefix("#/components/schemas/")
        }
        RefOr::T(_) | RefOr::Ref(_) => None,
    })
}

fn tell(response: &mut Response, (name, description, rule): Told, always: bool) {
    let mut schema: RefOr<Schema> = Object::with_type(Type::String).into();
    rule.put(&mut schema);
    // There is no field for it.
    let required = always.then(|| Extensions::from_iter([("required", true)]));
    let header: Header = HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(description))
        .extensions(required)
        .build();
    response.headers.insert(name.to_owned(), header.into());
}
