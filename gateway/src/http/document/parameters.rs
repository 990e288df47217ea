//! What parameters may be.

use std::collections::BTreeSet;

use utoipa::openapi::{
    RefOr, Type,
    path::Operation,
    schema::{AnyOfBuilder, ObjectBuilder, Schema},
};

use super::{
    rule::{Rule, never_null, number, one_of, text},
    words::{
        ANY_HANDLE, API_KEY, APPOINTMENT, BUSINESS_OR_HANDLE, CHANNEL, CLOSURE, CUSTOMER, DATE,
        DURATION, ENTRY_STATUS, GUEST_KIND, IDEMPOTENCY_KEY, INSTANT, INVITATION, LOCALE, LOGIN,
        MESSAGE_KIND, MESSAGE_STATUS, NOTIFICATION, PAGE, POSITION, RESOURCE, SERIES, SERVICE,
        STAFF, STAFF_OR_ANY, STATUS, TIME_OFF, TOKEN, USER, WAITLIST, ZONE, line,
    },
};

/// By name, or by operation and name where an operation has a meaning of its own.
const PARAMETERS: &[(&str, Rule)] = &[
    ("min_position", POSITION),
    ("limit", PAGE),
    ("service_id", SERVICE),
    ("staff_id", STAFF),
    ("customer_id", CUSTOMER),
    ("series_id", SERIES),
    ("time_off_id", TIME_OFF),
    ("handle", ANY_HANDLE),
    ("kind", GUEST_KIND),
    ("locale", LOCALE),
    ("link", TOKEN),
    ("file", text(r"^[A-Za-z0-9_-]+\.ics$")),
    ("as_of", INSTANT),
    ("start", INSTANT),
    ("duration_minutes", DURATION),
    ("subjects", number(1, 1000)),
    (
        "also",
        text(
            "^svc_[0-9a-f]{32}(@staff_[0-9a-f]{32})?(,svc_[0-9a-f]{32}(@staff_[0-9a-f]{32})?){0,3}$",
        ),
    ),
    ("Idempotency-Key", IDEMPOTENCY_KEY),
    ("X-Twilio-Signature", text("^[A-Za-z0-9+/=]{1,100}$")),
    ("list_slots.business", BUSINESS_OR_HANDLE),
    ("list_slots.staff_id", STAFF_OR_ANY),
    ("list_slots.date", DATE),
    ("list_slots.from", DATE),
    ("list_slots.to", DATE),
    ("list_slots.tz", ZONE),
    ("get_calendar.from", DATE),
    ("get_calendar.to", DATE),
    ("list_appointments.from", INSTANT),
    ("list_appointments.to", INSTANT),
    ("list_appointments.status", STATUS),
    ("list_appointments.cursor", text(r"^[0-9]{1,15}\.[0-9a-f]{32}$")),
    ("list_customers.search", line(100)),
    ("list_customers.cursor", CUSTOMER),
    ("list_waitlist.status", ENTRY_STATUS),
    ("list_waitlist.cursor", text("^w[0-9]{1,18}$")),
    ("list_time_off.from", INSTANT),
    ("list_time_off.cursor", INSTANT),
    ("list_audit.from", INSTANT),
    ("list_audit.to", INSTANT),
    ("list_audit.action", text(r"^[^\u0000]*$").most(100)),
    ("list_audit.actor", text(r"^[^\u0000]*$").most(100)),
    ("list_audit.cursor", text("^[0-9]{1,17}-[0-9]{1,18}$")),
    ("get_analytics.period", one_of(&["7d", "30d", "90d"])),
    ("list_notifications.from", INSTANT),
    ("list_notifications.to", INSTANT),
    ("list_notifications.channel", CHANNEL),
    ("list_notifications.kind", MESSAGE_KIND),
    ("list_notifications.status", MESSAGE_STATUS),
    ("list_notifications.cursor", text("^[0-9]{1,17}-[0-9a-f]{32}$")),
];

/// What `{id}` is, by what stands before it.
const PATH_IDS: &[(&str, Rule)] = &[
    ("/api/v1/api-keys/", API_KEY),
    ("/api/v1/appointments/", APPOINTMENT),
    ("/api/v1/auth/invitations/", INVITATION),
    ("/api/v1/auth/sessions/", LOGIN),
    ("/api/v1/business/closures/", CLOSURE),
    ("/api/v1/business/resources/", RESOURCE),
    ("/api/v1/business/services/", SERVICE),
    ("/api/v1/business/staff/", STAFF),
    ("/api/v1/callbacks/twilio/", text(r"^ntf_[0-9a-f]{32}\.[0-9]{1,9}\.[0-9]{1,9}$")),
    ("/api/v1/customers/", CUSTOMER),
    ("/api/v1/members/", USER),
    ("/api/v1/notifications/", NOTIFICATION),
    ("/api/v1/waitlist/", WAITLIST),
];

/// Says the rules of parameters, and remembers which.
#[derive(Default)]
pub(super) struct Parameters {
    used: BTreeSet<&'static str>,
}

impl Parameters {
    pub(super) fn complete(&mut self, path: &str, operation: &mut Operation) {
        let id = operation.operation_id.as_deref().unwrap_or_default();
        for parameter in operation.parameters.iter_mut().flatten() {
            let RefOr::T(parameter) = parameter else { continue };
            let Some(schema) = &mut parameter.schema else { continue };
            // Nothing in a URL or a header is null: what is not required may be left out.
            never_null(schema);
            if parameter.name == "If-Match" {
                *schema = if_match();
            } else if let Some((key, rule)) = rule_of(path, id, &parameter.name)
                && rule.put(schema)
            {
                self.used.insert(key);
            }
        }
    }

    /// The rules that found nothing to be said of.
    pub(super) fn idle(&self) -> Vec<String> {
        let all = PARAMETERS.iter().chain(PATH_IDS).map(|(key, _)| *key);
        all.filter(|key| !self.used.contains(key)).map(str::to_owned).collect()
    }
}

fn rule_of(path: &str, operation: &str, name: &str) -> Option<(&'static str, Rule)> {
    if name == "id" {
        return PATH_IDS.iter().find(|(start, _)| path.starts_with(start)).copied();
    }
    let own = format!("{operation}.{name}");
    let named = |wanted: &str| PARAMETERS.iter().find(|(key, _)| *key == wanted).copied();
    named(&own).or_else(|| named(name))
}

/// Two alternatives: programs that try out the document find no value for one pattern of both.
fn if_match() -> RefOr<Schema> {
    let any = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["*"]));
    let tag = ObjectBuilder::new().schema_type(Type::String).pattern(Some(r#"^"[0-9]{1,18}"$"#));
    AnyOfBuilder::new().item(any).item(tag).into()
}
