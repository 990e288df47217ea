//! Every event as it was first stored. The files are never changed: what is in a log must be read
//! by every later build, so a new version of an event gets a new file.

use std::{collections::BTreeSet, fs, path::PathBuf};

use domain::{
    DomainEvent, EVENT_TYPES, api_key::ApiKeyEvent, appointment::AppointmentEvent,
    business::BusinessEvent, customer::CustomerEvent, invitation::InvitationEvent,
    login::LoginEvent, message_template::MessageTemplateEvent, notification::NotificationEvent,
    resource_calendar::ResourceCalendarEvent, series::SeriesEvent,
    staff_calendar::StaffCalendarEvent, staff_schedule::StaffScheduleEvent,
    subscription::SubscriptionEvent, team::TeamEvent, upcast, user::UserEvent,
    waitlist::WaitlistEvent,
};
use serde_json::Value;

fn files() -> Vec<(String, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap())
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

/// The stored event, read and written again by this build: its type name and its payload.
fn read<E: DomainEvent>(name: &str, stored: &Value) -> (String, Value) {
    let payload = upcast(name, "1", stored.clone());
    let event: E =
        serde_json::from_value(payload).unwrap_or_else(|error| panic!("{name}: {error}"));
    (event.event_type(), serde_json::to_value(&event).unwrap())
}

fn by_stream(name: &str, stored: &Value) -> (String, Value) {
    type Reader = fn(&str, &Value) -> (String, Value);
    let readers: [(&[&str], Reader); 16] = [
        (BusinessEvent::TYPES, read::<BusinessEvent>),
        (StaffScheduleEvent::TYPES, read::<StaffScheduleEvent>),
        (StaffCalendarEvent::TYPES, read::<StaffCalendarEvent>),
        (ResourceCalendarEvent::TYPES, read::<ResourceCalendarEvent>),
        (SeriesEvent::TYPES, read::<SeriesEvent>),
        (AppointmentEvent::TYPES, read::<AppointmentEvent>),
        (CustomerEvent::TYPES, read::<CustomerEvent>),
        (SubscriptionEvent::TYPES, read::<SubscriptionEvent>),
        (NotificationEvent::TYPES, read::<NotificationEvent>),
        (UserEvent::TYPES, read::<UserEvent>),
        (LoginEvent::TYPES, read::<LoginEvent>),
        (TeamEvent::TYPES, read::<TeamEvent>),
        (InvitationEvent::TYPES, read::<InvitationEvent>),
        (MessageTemplateEvent::TYPES, read::<MessageTemplateEvent>),
        (ApiKeyEvent::TYPES, read::<ApiKeyEvent>),
        (WaitlistEvent::TYPES, read::<WaitlistEvent>),
    ];
    let reader = readers.iter().find(|(types, _)| types.contains(&name));
    reader.unwrap_or_else(|| panic!("no stream has {name}")).1(name, stored)
}

/// What was stored must still be there; new fields may have joined it.
fn assert_kept(name: &str, stored: &Value, now: &Value) {
    match (stored, now) {
        (Value::Object(stored), Value::Object(now)) => {
            for (field, value) in stored {
                let kept = now.get(field).unwrap_or_else(|| panic!("{name}: {field} is lost"));
                assert_kept(&format!("{name}.{field}"), value, kept);
            }
        }
        _ => assert_eq!(stored, now, "{name}"),
    }
}

#[test]
fn every_event_ever_stored_is_read_and_keeps_what_it_says() {
    for (name, stored) in files() {
        let (kind, now) = by_stream(&name, &stored);
        assert_eq!(kind, name);
        assert_kept(&name, &stored, &now);
    }
}

#[test]
fn every_event_of_this_build_has_its_golden_file() {
    let names: BTreeSet<String> = files().into_iter().map(|(name, _)| name).collect();
    let types: BTreeSet<String> =
        EVENT_TYPES.iter().flat_map(|types| types.iter().map(|t| (*t).to_owned())).collect();
    assert_eq!(names, types);
}
