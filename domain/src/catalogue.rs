//! Every stored event type, and how old versions are read.

use serde_json::Value;

use crate::{
    appointment::AppointmentEvent, business::BusinessEvent, notification::NotificationEvent,
    staff_calendar::StaffCalendarEvent, staff_schedule::StaffScheduleEvent,
    subscription::SubscriptionEvent, user::UserEvent,
};

/// The stored type names, by aggregate.
pub const EVENT_TYPES: &[&[&str]] = &[
    BusinessEvent::TYPES,
    StaffScheduleEvent::TYPES,
    StaffCalendarEvent::TYPES,
    AppointmentEvent::TYPES,
    SubscriptionEvent::TYPES,
    NotificationEvent::TYPES,
    UserEvent::TYPES,
];

/// Turns a payload of one stored version into that of the next.
type Upcaster = fn(Value) -> Value;

/// (event type, version it reads, step to the next version). None so far: every event is in its
/// first version. Each reader of the log goes through here.
const UPCASTERS: &[(&str, &str, Upcaster)] = &[];

/// The payload in the version that this build reads.
#[must_use]
pub fn upcast(event_type: &str, version: &str, payload: Value) -> Value {
    UPCASTERS
        .iter()
        .filter(|(kind, from, _)| *kind == event_type && *from == version)
        .fold(payload, |payload, (_, _, step)| step(payload))
}
