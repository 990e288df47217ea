use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::{
    AppointmentId, Currency, CustomerId, Money, ServiceId, StaffId, TimeSlot, Zone,
    appointment::Visit,
    business::{QuietHours, ReminderPolicy},
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
        round: 0,
        due_at: at("2026-03-02T08:00:00Z"),
        moved_from: None,
        expires_at: at("2026-03-02T09:00:00Z"),
    }
}

fn policy(channels: &[Channel]) -> ReminderPolicy {
    let offsets_minutes = vec![1440, 60];
    ReminderPolicy { offsets_minutes, channels: channels.to_vec(), quiet_hours: None }
}

static UTC: Zone = Zone::UTC;

fn by_mail(policy: &ReminderPolicy) -> Reach<'_> {
    Reach { policy, zone: &UTC, email: true, phone: false, wished: None }
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
    let sent = || {
        given(vec![
            NotificationEvent::FellDue {},
            NotificationEvent::Sent { attempt: 1, receipt: None },
        ])
    };
    sent()
        .when(NotificationCommand::RecordSent { attempt: 2, receipt: None })
        .then_expect_events(vec![]);
    sent()
        .when(NotificationCommand::Cancel { reason: None })
        .then_expect_error(NotificationError::Ended { outcome: Outcome::Sent });
}

#[test]
fn what_was_uncertain_may_turn_out_to_be_sent() {
    let reason = String::from("lease_expired_after_handover");
    given(vec![
        NotificationEvent::FellDue {},
        NotificationEvent::BecameUncertain { attempt: 1, reason },
    ])
    .when(NotificationCommand::RecordSent { attempt: 1, receipt: None })
    .then_expect_events(vec![NotificationEvent::Sent { attempt: 1, receipt: None }]);
}

#[test]
fn a_cancelled_message_does_not_fall_due() {
    given(vec![NotificationEvent::Cancelled { reason: None }])
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
    let again = Plan { round: 1, ..reminder.clone() };
    let by_phone = Plan { channel: Channel::Sms, ..reminder.clone() };
    for other in [later, again, by_phone] {
        assert_ne!(notification_id(&reminder), notification_id(&other));
    }
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
        let policy = policy(&[Channel::Email]);
        let plans = plans_for(id, &visit, (now, notice), 2, by_mail(&policy));
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
        let policy = ReminderPolicy { offsets_minutes: vec![60], ..policy(&[Channel::Email]) };
        let now = at("2026-03-02T08:30:00Z");
        let plans = plans_for(id, &visit, (now, kind), 0, by_mail(&policy));
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

fn visit(start: &str) -> Visit {
    Visit {
        staff_id: StaffId::new(Uuid::from_u128(1)),
        service_id: ServiceId::new(Uuid::from_u128(2)),
        customer_id: CustomerId::new(Uuid::from_u128(3)),
        slot: TimeSlot::lasting(at(start), 60).unwrap(),
        buffer_before_minutes: 0,
        buffer_after_minutes: 0,
        price: Money { amount: 0, currency: Currency::USD },
        reminder_offsets_minutes: vec![],
        offset_seconds: None,
        parts: vec![],
        resources: vec![],
        class: None,
        subjects: 1,
        series: None,
    }
}

#[test]
fn guests_are_reminded_by_what_they_wish_of_what_the_business_uses() {
    use Channel::{Email, Sms};
    let both = policy(&[Email, Sms]);
    let reach = |policy, wished, email| Reach { policy, zone: &UTC, email, phone: true, wished };
    let channels = |reach: Reach<'_>| {
        let id = AppointmentId::new(Uuid::from_u128(1));
        let plans = reminders_for(id, &visit("2026-03-04T09:00:00Z"), 0, reach);
        let channels = plans.into_iter().take(plans_of_one(reach)).map(|plan| plan.channel);
        (channels.collect::<Vec<_>>(), reach.is_declined())
    };
    assert_eq!(channels(reach(&both, None, true)), (vec![Email, Sms], false));
    assert_eq!(channels(reach(&both, Some(&[Sms]), true)), (vec![Sms], false));
    assert_eq!(channels(reach(&both, Some(&Channel::ALL), false)), (vec![Sms], false));
    // It cannot arrive, and fails where everybody sees it: the other one is not wanted.
    assert_eq!(channels(reach(&both, Some(&[Email]), false)), (vec![Email], false));
    // One that is to be skipped says so.
    assert_eq!(channels(reach(&both, Some(&[]), true)), (vec![Email], true));
    assert_eq!(channels(reach(&policy(&[Email]), Some(&[Sms]), true)), (vec![Email], true));
}

/// How many channels a reminder is planned for, of which there is one at each of two offsets.
fn plans_of_one(reach: Reach<'_>) -> usize {
    let id = AppointmentId::new(Uuid::from_u128(1));
    reminders_for(id, &visit("2026-03-04T09:00:00Z"), 0, reach).len() / 2
}

#[test]
fn guests_are_reminded_by_every_channel_that_reaches_them() {
    let both = policy(&[Channel::Email, Channel::Sms]);
    let channels = |policy: &ReminderPolicy, email, phone| {
        let reach = Reach { policy, zone: &UTC, email, phone, wished: None };
        let id = AppointmentId::new(Uuid::from_u128(1));
        let news = (at("2026-03-01T08:00:00Z"), Kind::Confirmation);
        let plans = plans_for(id, &visit("2026-03-04T09:00:00Z"), news, 0, reach);
        plans.into_iter().map(|plan| plan.channel).collect::<Vec<_>>()
    };
    use Channel::{Email, Sms};
    assert_eq!(channels(&both, true, true), [Email, Email, Sms, Email, Sms]);
    assert_eq!(channels(&both, true, false), [Email, Email, Email]);
    assert_eq!(channels(&both, false, true), [Sms, Sms, Sms]);
    // What cannot arrive is planned once, to fail where everybody sees it.
    assert_eq!(channels(&both, false, false), [Email, Email, Email]);
    assert_eq!(channels(&policy(&[Email]), false, true), [Email, Email, Email]);
    assert_eq!(channels(&policy(&[Sms]), true, true), [Email, Sms, Sms]);
}

#[test]
fn what_would_come_in_a_quiet_hour_comes_before_it_and_says_so() {
    let night = QuietHours { start: "21:00".parse().unwrap(), end: "08:00".parse().unwrap() };
    let policy = ReminderPolicy { quiet_hours: Some(night), ..policy(&[Channel::Email]) };
    let id = AppointmentId::new(Uuid::from_u128(1));
    let due = |zone: &Zone| {
        let reach = Reach { zone, ..by_mail(&policy) };
        let plans = reminders_for(id, &visit("2026-03-04T08:30:00Z"), 0, reach);
        plans.into_iter().map(|plan| (plan.due_at, plan.moved_from)).collect::<Vec<_>>()
    };
    let day_before = at("2026-03-03T08:30:00Z");
    let evening = (at("2026-03-03T20:59:00Z"), Some(at("2026-03-04T07:30:00Z")));
    assert_eq!(due(&UTC), [(day_before, None), evening]);
    // In Berlin it is an hour later, and nobody sleeps any more.
    let berlin = "Europe/Berlin".parse().unwrap();
    assert_eq!(due(&berlin), [(day_before, None), (at("2026-03-04T07:30:00Z"), None)]);
}

#[test]
fn a_provider_may_say_later_whether_it_arrived() {
    let sent = || {
        let receipt = Some(Receipt { provider: "twilio".into(), provider_id: Some("SM1".into()) });
        given(vec![NotificationEvent::FellDue {}, NotificationEvent::Sent { attempt: 1, receipt }])
    };
    let bounced = || NotificationCommand::RecordUndelivered { reason: "twilio_30006".into() };
    sent()
        .when(NotificationCommand::RecordDelivered)
        .then_expect_events(vec![NotificationEvent::Delivered {}]);
    let undelivered = NotificationEvent::Undelivered { reason: "twilio_30006".into() };
    sent().when(bounced()).then_expect_events(vec![undelivered]);
    // Said twice, or in the wrong order, by a provider that tells again what it told before.
    let delivered = || {
        let receipt = None;
        let sent = NotificationEvent::Sent { attempt: 1, receipt };
        given(vec![NotificationEvent::FellDue {}, sent, NotificationEvent::Delivered {}])
    };
    delivered().when(NotificationCommand::RecordDelivered).then_expect_events(vec![]);
    delivered()
        .when(bounced())
        .then_expect_error(NotificationError::Ended { outcome: Outcome::Delivered });
    given(vec![])
        .when(NotificationCommand::RecordDelivered)
        .then_expect_error(NotificationError::NotSent);
}

#[test]
fn what_failed_may_be_tried_once_more_and_nothing_else() {
    let failed = || NotificationEvent::Failed { attempt: 1, reason: "smtp_550".into() };
    given(vec![NotificationEvent::FellDue {}, failed()])
        .when(NotificationCommand::Retry)
        .then_expect_events(vec![NotificationEvent::Retried {}]);
    let sent = NotificationEvent::Sent { attempt: 2, receipt: None };
    given(vec![NotificationEvent::FellDue {}, failed(), NotificationEvent::Retried {}, sent])
        .when(NotificationCommand::Retry)
        .then_expect_error(NotificationError::Ended { outcome: Outcome::Sent });
    given(vec![NotificationEvent::Cancelled { reason: None }])
        .when(NotificationCommand::Retry)
        .then_expect_error(NotificationError::Ended { outcome: Outcome::Cancelled });
}

#[test]
fn what_was_uncertain_may_turn_out_to_have_arrived() {
    let uncertain = |then| {
        let reason = String::from("sms_timeout");
        let events = vec![
            NotificationEvent::FellDue {},
            NotificationEvent::BecameUncertain { attempt: 1, reason },
        ];
        given(events).when(then)
    };
    uncertain(NotificationCommand::RecordDelivered)
        .then_expect_events(vec![NotificationEvent::Delivered {}]);
}
