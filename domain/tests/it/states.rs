//! The state machine of an appointment, as `docs/states.md` shows it.

use domain::{
    Aggregate, Currency, CustomerId, Decide, Money, ServiceId, StaffId, TimeSlot, WaitlistId,
    appointment::{Appointment, AppointmentCommand, AppointmentEvent, Visit},
};
use jiff::Timestamp;
use uuid::Uuid;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn visit(start: &str) -> Visit {
    Visit {
        staff_id: StaffId::new(Uuid::nil()),
        service_id: ServiceId::new(Uuid::nil()),
        customer_id: CustomerId::new(Uuid::nil()),
        slot: TimeSlot::lasting(at(start), 60).unwrap(),
        buffer_before_minutes: 0,
        buffer_after_minutes: 0,
        price: Money { amount: 0, currency: Currency::USD },
        reminder_offsets_minutes: vec![],
        parts: vec![],
        resources: vec![],
        class: None,
        subjects: 1,
        series: None,
        offset_seconds: None,
    }
}

const START: &str = "2026-03-02T09:00:00Z";
const EXPIRY: &str = "2026-03-02T08:00:00Z";
const BEFORE: &str = "2026-03-01T09:00:00Z";
const AFTER: &str = "2026-03-02T10:00:00Z";

fn states() -> Vec<(&'static str, Vec<AppointmentEvent>)> {
    let booked = || AppointmentEvent::Booked { visit: visit(START), choice: None };
    let expires_at = at(EXPIRY);
    let requested = || AppointmentEvent::Requested {
        visit: visit(START),
        choice: None,
        expires_at,
        waitlist_id: None,
    };
    let offered = || AppointmentEvent::Requested {
        visit: visit(START),
        choice: None,
        expires_at,
        waitlist_id: Some(WaitlistId::new(Uuid::nil())),
    };
    vec![
        ("nothing", vec![]),
        ("requested", vec![requested()]),
        ("offered", vec![offered()]),
        ("booked", vec![booked()]),
        ("cancelled", vec![booked(), AppointmentEvent::Cancelled {}]),
        ("declined", vec![requested(), AppointmentEvent::Declined {}]),
        ("expired", vec![requested(), AppointmentEvent::Expired {}]),
        ("completed", vec![booked(), AppointmentEvent::Completed {}]),
        ("no_show", vec![booked(), AppointmentEvent::MissedByGuest {}]),
    ]
}

fn commands() -> Vec<(&'static str, AppointmentCommand)> {
    let (before, after) = (at(BEFORE), at(AFTER));
    vec![
        ("book", AppointmentCommand::Book { visit: visit(AFTER), choice: None }),
        (
            "request",
            AppointmentCommand::Request {
                visit: visit(AFTER),
                choice: None,
                expires_at: at(EXPIRY),
                waitlist_id: None,
            },
        ),
        ("confirm", AppointmentCommand::Confirm),
        ("accept, by its guest", AppointmentCommand::Accept),
        ("decline", AppointmentCommand::Decline),
        ("expire", AppointmentCommand::Expire { now: at(EXPIRY) }),
        ("expire, too early", AppointmentCommand::Expire { now: before }),
        ("reschedule", AppointmentCommand::Reschedule { visit: visit(AFTER), limit: None }),
        ("cancel", AppointmentCommand::Cancel),
        (
            "cancel, by its guest",
            AppointmentCommand::CancelByGuest { notice_minutes: 0, now: before },
        ),
        ("complete, before it begins", AppointmentCommand::Complete { now: before }),
        ("complete", AppointmentCommand::Complete { now: after }),
        ("no-show", AppointmentCommand::MarkNoShow { now: after }),
        ("reinstate", AppointmentCommand::Reinstate { resources: vec![], now: before }),
        (
            "reinstate, once it began",
            AppointmentCommand::Reinstate { resources: vec![], now: after },
        ),
    ]
}

fn folded(events: &[AppointmentEvent]) -> Appointment {
    let mut appointment = Appointment::default();
    events.iter().for_each(|event| appointment.apply(event.clone()));
    appointment
}

/// What becomes of it.
fn outcome(events: &[AppointmentEvent], command: AppointmentCommand) -> String {
    match folded(events).decide(command) {
        Ok(new) if new.is_empty() => "already so".to_owned(),
        Ok(new) => {
            let after = folded(&[events, &new].concat());
            let status = after.known().map_or("nothing", |(_, status)| status.as_str());
            format!("**{status}**")
        }
        Err(error) => {
            let name = format!("{error:?}");
            format!("`{}`", name.split([' ', '{', '(']).next().unwrap_or_default())
        }
    }
}

fn table() -> String {
    let states = states();
    let mut lines = vec![format!(
        "| command | {} |",
        states.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" | ")
    )];
    lines.push(format!("|{}", " --- |".repeat(states.len() + 1)));
    for (name, command) in commands() {
        let cells: Vec<String> =
            states.iter().map(|(_, events)| outcome(events, command.clone())).collect();
        lines.push(format!("| {name} | {} |", cells.join(" | ")));
    }
    lines.join("\n")
}

#[test]
fn the_table_of_states_in_the_documents_is_what_the_aggregate_does() {
    let document = include_str!("../../../docs/states.md");
    let table = table();
    assert!(document.contains(&table), "docs/states.md must have this table:\n\n{table}\n");
}
