use domain::{
    Aggregate, Currency, CustomerId, Money, ServiceId, StaffId,
    business::{Business, BusinessEvent, Profile, Service, StaffMember},
};
use jiff::SignedDuration;
use uuid::Uuid;

use super::*;

const MANAGE_URL: &str = "https://book.example/salons/api/v1/public/appointments/AQ-_";

fn render(kind: Kind, guest: &str, timezone: Option<&str>) -> Mail {
    let (service_id, staff_id) = (ServiceId::new(Uuid::nil()), StaffId::new(Uuid::nil()));
    let zone = "America/New_York".parse().unwrap();
    let price = Money { amount: 4500, currency: Currency::USD };
    let mut business = Business::default();
    business.apply(BusinessEvent::Registered {
        profile: Profile::new("Salon <Dana> & Co".into(), "salon".into(), zone),
    });
    business
        .apply(BusinessEvent::ServiceAdded { service_id, service: Service::new("Cut", 30, price) });
    let member = StaffMember::new("Dana");
    business.apply(BusinessEvent::StaffAdded { staff_id, member });
    let start: Timestamp = "2026-07-06T13:00:00Z".parse().unwrap();
    let visit = Visit {
        staff_id,
        service_id,
        customer_id: CustomerId::new(Uuid::nil()),
        slot: TimeSlot::lasting(start, 30).unwrap(),
        buffer_before_minutes: 0,
        buffer_after_minutes: 0,
        price,
        reminder_offsets_minutes: vec![],
    };
    let before = (kind == Kind::Rescheduled).then(|| start - SignedDuration::from_hours(24));
    let previous = before.and_then(|start| TimeSlot::lasting(start, 30));
    let contact = Contact {
        name: guest.into(),
        email: None,
        phone: None,
        timezone: timezone.map(str::to_owned),
        notes: None,
        cancel_reason: None,
    };
    Mails::try_new()
        .unwrap()
        .render(kind, business.registered().unwrap(), (&visit, previous), &contact, MANAGE_URL)
        .unwrap()
}

#[test]
fn a_mail_shows_business_time_and_the_guests_own_when_they_differ() {
    let same = render(Kind::Confirmation, "Ada", Some("America/New_York"));
    assert!(
        same.text.contains("Monday, 6 July 2026, 09:00 EDT (America/New_York)"),
        "{}",
        same.text
    );
    assert!(!same.text.contains("your time"), "{}", same.text);
    let away = render(Kind::Reminder, "Ada", Some("Europe/London"));
    assert!(away.text.contains("Monday, 6 July 2026, 14:00 BST (Europe/London)"), "{}", away.text);
    assert!(away.html.contains("09:00 EDT"), "{}", away.html);
}

#[test]
fn every_mail_has_the_manage_link_once_in_each_of_its_forms() {
    for kind in Kind::ALL {
        let mail = render(kind, "Ada", None);
        let or_cancel = if kind.is_farewell() { "" } else { " or cancel" };
        let line = format!("\nSee{or_cancel} your visit: {MANAGE_URL}\n");
        assert!(mail.text.contains(&line), "{}", mail.text);
        assert!(mail.html.contains(&format!("href=\"{MANAGE_URL}\"")), "{}", mail.html);
        for part in [&mail.text, &mail.html] {
            assert_eq!(part.matches(MANAGE_URL).count(), 1, "{part}");
        }
        assert!(!mail.subject.contains("AQ-_"), "{}", mail.subject);
    }
}

#[test]
fn a_moved_visit_says_when_it_was_to_be_and_when_it_is() {
    let mail = render(Kind::Rescheduled, "Ada", None);
    for part in [&mail.text, &mail.html] {
        assert!(part.contains("Sunday, 5 July 2026, 09:00 EDT"), "{part}");
        assert!(part.contains("Monday, 6 July 2026, 09:00 EDT"), "{part}");
    }
    assert!(mail.subject.contains("Moved"), "{}", mail.subject);
}

#[test]
fn what_people_type_is_escaped_in_html() {
    let mail = render(Kind::Confirmation, "<script>alert(1)</script>", None);
    assert!(!mail.html.contains("<script>"), "{}", mail.html);
    assert!(mail.html.contains("Salon &lt;Dana&gt; &amp; Co"), "{}", mail.html);
    assert!(mail.text.contains("Salon <Dana> & Co"), "{}", mail.text);
}

#[test]
fn a_moved_visit_has_both_its_times_in_the_guests_own_too() {
    let mail = render(Kind::Rescheduled, "Ada", Some("Asia/Kolkata"));
    for part in [&mail.text, &mail.html] {
        for when in ["Sunday, 5 July 2026, 18:30 IST", "Monday, 6 July 2026, 18:30 IST"] {
            assert!(part.contains(when), "{part}");
        }
    }
}

#[test]
fn a_visit_that_was_called_off_says_which() {
    let mail = render(Kind::Cancellation, "Ada", Some("Europe/London"));
    assert_eq!(mail.subject, "Cancelled: Cut at Salon <Dana> & Co");
    for part in [&mail.text, &mail.html] {
        for fact in ["was cancelled", "Cut", "Dana", "6 July 2026, 09:00 EDT", "14:00 BST"] {
            assert!(part.contains(fact), "{fact}: {part}");
        }
    }
}
