use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::{
    AppointmentId, Currency, CustomerId, Money, ServiceId, StaffId, TimeSlot, appointment::Visit,
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn plan(kind: Kind) -> Plan {
    Plan {
        appointment_id: AppointmentId::new(Uuid::from_u128(1)),
        kind,
        channel: Channel::Email,
        offset_minutes: 60,
        version: 1,
        due_at: at("2026-03-02T08:00:00Z"),
        expires_at: at("2026-03-02T09:00:00Z"),
    }
}

fn given(events: Vec<NotificationEvent>) -> AggregateTestExecutor<Notification> {
    let requested = NotificationEvent::ReminderRequested { plan: plan(Kind::Reminder) };
    TestFramework::<Notification>::with(())
        .given(std::iter::once(requested).chain(events).collect())
}

#[test]
fn a_reminder_that_was_due_before_the_booking_is_skipped_and_recorded() {
    let plan = plan(Kind::Reminder);
    TestFramework::<Notification>::with(())
        .given_no_previous_events()
        .when(NotificationCommand::Request { plan: plan.clone(), now: at("2026-03-02T08:00:00Z") })
        .then_expect_events(vec![NotificationEvent::Skipped {
            plan,
            reason: "due_before_booking".into(),
        }]);
}

#[test]
fn a_sent_message_is_never_sent_or_cancelled_again() {
    let sent =
        || given(vec![NotificationEvent::FellDue {}, NotificationEvent::Sent { attempt: 1 }]);
    sent().when(NotificationCommand::RecordSent { attempt: 2 }).then_expect_events(vec![]);
    sent()
        .when(NotificationCommand::Cancel)
        .then_expect_error(NotificationError::Ended { outcome: Outcome::Sent });
}

#[test]
fn what_was_uncertain_may_turn_out_to_be_sent() {
    let reason = String::from("lease_expired_after_handover");
    given(vec![
        NotificationEvent::FellDue {},
        NotificationEvent::BecameUncertain { attempt: 1, reason },
    ])
    .when(NotificationCommand::RecordSent { attempt: 1 })
    .then_expect_events(vec![NotificationEvent::Sent { attempt: 1 }]);
}

#[test]
fn a_cancelled_message_does_not_fall_due() {
    given(vec![NotificationEvent::Cancelled {}])
        .when(NotificationCommand::MarkDue)
        .then_expect_error(NotificationError::Ended { outcome: Outcome::Cancelled });
}

#[test]
fn a_kind_is_found_by_its_name() {
    for kind in [Kind::Confirmation, Kind::Reminder, Kind::Rescheduled, Kind::Requested] {
        assert_eq!(Kind::named(kind.as_str()), Some(kind));
    }
    for kind in [Kind::Offered, Kind::Declined, Kind::Expired] {
        assert_eq!(Kind::named(kind.as_str()), Some(kind));
    }
    assert_eq!(Kind::named("postcard"), None);
}

#[test]
fn the_id_follows_from_what_is_sent() {
    let reminder = plan(Kind::Reminder);
    assert_eq!(notification_id(&reminder), notification_id(&reminder.clone()));
    let later = Plan { version: 2, ..reminder.clone() };
    assert_ne!(notification_id(&reminder), notification_id(&later));
}

#[test]
fn a_visit_that_is_called_off_has_one_message_and_no_reminders() {
    let start = at("2026-03-02T09:00:00Z");
    let visit = Visit {
        staff_id: StaffId::new(Uuid::nil()),
        service_id: ServiceId::new(Uuid::nil()),
        customer_id: CustomerId::new(Uuid::nil()),
        slot: TimeSlot::lasting(start, 30).unwrap(),
        buffer_before_minutes: 0,
        buffer_after_minutes: 0,
        price: Money { amount: 0, currency: Currency::USD },
        reminder_offsets_minutes: vec![1440, 60],
        offset_seconds: None,
        parts: vec![],
        resources: vec![],
        class: None,
        subjects: 1,
        series: None,
    };
    let (id, now) = (AppointmentId::new(Uuid::from_u128(1)), at("2026-03-01T09:00:00Z"));
    let kinds = |notice| {
        let plans = plans_for(id, &visit, (now, notice), 2);
        assert!(plans.iter().all(|plan| (plan.version, plan.expires_at) == (3, start)));
        plans.iter().map(|plan| plan.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(Kind::Cancellation), [Kind::Cancellation]);
    assert_eq!(kinds(Kind::Rescheduled), [Kind::Rescheduled, Kind::Reminder, Kind::Reminder]);
}

#[test]
fn every_kind_is_found_by_its_name() {
    for kind in Kind::ALL {
        assert_eq!(Kind::named(kind.as_str()), Some(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
    assert_eq!(Kind::named("other"), None);
}

#[test]
fn nobody_is_reminded_of_what_is_only_asked_for_and_a_no_outlives_the_visit() {
    let visit = Visit {
        staff_id: StaffId::new(Uuid::from_u128(1)),
        service_id: ServiceId::new(Uuid::from_u128(2)),
        customer_id: CustomerId::new(Uuid::from_u128(3)),
        slot: TimeSlot::lasting(at("2026-03-02T09:00:00Z"), 60).unwrap(),
        buffer_before_minutes: 0,
        buffer_after_minutes: 0,
        price: Money { amount: 0, currency: Currency::USD },
        reminder_offsets_minutes: vec![60],
        offset_seconds: None,
        parts: vec![],
        resources: vec![],
        class: None,
        subjects: 1,
        series: None,
    };
    let plans = |kind| {
        let id = AppointmentId::new(Uuid::from_u128(1));
        let plans = plans_for(id, &visit, (at("2026-03-02T08:30:00Z"), kind), 0);
        plans.into_iter().map(|plan| (plan.kind, plan.expires_at)).collect::<Vec<_>>()
    };
    let start = at("2026-03-02T09:00:00Z");
    assert_eq!(plans(Kind::Requested), [(Kind::Requested, start)]);
    assert_eq!(plans(Kind::Confirmation), [(Kind::Confirmation, start), (Kind::Reminder, start)]);
    let next_day = at("2026-03-03T08:30:00Z");
    for kind in [Kind::Declined, Kind::Expired] {
        assert_eq!(plans(kind), [(kind, next_day)]);
    }
}
