//! Every stored event type, and how old versions are read.

use serde_json::Value;

use crate::{
    api_key::ApiKeyEvent, appointment::AppointmentEvent, business::BusinessEvent,
    customer::CustomerEvent, invitation::InvitationEvent, login::LoginEvent,
    message_template::MessageTemplateEvent, notification::NotificationEvent,
    resource_calendar::ResourceCalendarEvent, series::SeriesEvent,
    staff_calendar::StaffCalendarEvent, staff_schedule::StaffScheduleEvent,
    subscription::SubscriptionEvent, team::TeamEvent, user::UserEvent, waitlist::WaitlistEvent,
};

/// The stored type names, by aggregate.
pub const EVENT_TYPES: &[&[&str]] = &[
    BusinessEvent::TYPES,
    StaffScheduleEvent::TYPES,
    StaffCalendarEvent::TYPES,
    ResourceCalendarEvent::TYPES,
    AppointmentEvent::TYPES,
    SeriesEvent::TYPES,
    CustomerEvent::TYPES,
    SubscriptionEvent::TYPES,
    NotificationEvent::TYPES,
    UserEvent::TYPES,
    LoginEvent::TYPES,
    TeamEvent::TYPES,
    InvitationEvent::TYPES,
    MessageTemplateEvent::TYPES,
    ApiKeyEvent::TYPES,
    WaitlistEvent::TYPES,
];

/// Turns a payload of one stored version into that of the next.
type Upcaster = fn(Value) -> Value;

/// (event type, version it reads, version it makes, step). None so far: every event is in its first
/// version. Each reader of the log goes through here.
const UPCASTERS: &[(&str, &str, &str, Upcaster)] = &[];

/// The payload in the version that this build reads: step by step, in the order of the list.
#[must_use]
pub fn upcast(event_type: &str, version: &str, payload: Value) -> Value {
    climb(UPCASTERS, event_type, version, payload)
}

/// Whether [`upcast`] changes payloads of this version.
#[must_use]
pub fn is_upcast(event_type: &str, version: &str) -> bool {
    UPCASTERS.iter().any(|(kind, from, _, _)| *kind == event_type && *from == version)
}

fn climb(
    steps: &[(&str, &str, &str, Upcaster)],
    event_type: &str,
    version: &str,
    payload: Value,
) -> Value {
    let mut at = version;
    let mut payload = payload;
    for (kind, from, to, step) in steps {
        if *kind == event_type && *from == at {
            payload = step(payload);
            at = to;
        }
    }
    payload
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn old_versions_climb_every_step_to_the_present() {
        fn add(field: &str, mut payload: Value) -> Value {
            payload[field] = json!(true);
            payload
        }
        let steps: [(&str, &str, &str, Upcaster); 3] = [
            ("a", "1", "2", |p| add("second", p)),
            ("b", "2", "3", |p| add("other", p)),
            ("a", "2", "3", |p| add("third", p)),
        ];
        let all = json!({"second": true, "third": true});
        assert_eq!(climb(&steps, "a", "1", json!({})), all);
        assert_eq!(climb(&steps, "a", "2", json!({})), json!({"third": true}));
        assert_eq!(climb(&steps, "a", "3", json!({})), json!({}));
    }
}
