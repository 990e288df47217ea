use domain::{
    Aggregate, BusinessId, Currency, CustomerId, Money, ServiceId, StaffId, TimeSlot,
    appointment::Part,
    business::{
        Branding, Business, BusinessEvent, IntakeField, IntakeKind, Profile, Service, StaffMember,
    },
    notification::{Kind, LocalWeek, Recipient},
};
use jiff::SignedDuration;
use projections::{agenda::Subject, weeks::WeekCounts};
use serde_json::json;
use uuid::Uuid;

use super::*;

const MANAGE_URL: &str = "https://book.example/salons/api/v1/public/appointments/AQ-_";
const URLS: Urls<'_> = Urls {
    manage: MANAGE_URL,
    unsubscribe: Some("https://book.example/api/v1/public/unsubscribe/AQ-_"),
};

const PRICE: Money = Money { amount: 4500, currency: Currency::USD };

fn visit() -> Visit {
    let start: Timestamp = "2026-07-06T13:00:00Z".parse().unwrap();
    Visit {
        staff_id: StaffId::new(Uuid::nil()),
        service_id: ServiceId::new(Uuid::nil()),
        customer_id: CustomerId::new(Uuid::nil()),
        slot: TimeSlot::lasting(start, 30).unwrap(),
        buffer_before_minutes: 0,
        buffer_after_minutes: 0,
        price: PRICE,
        reminder_offsets_minutes: vec![],
        offset_seconds: None,
        parts: vec![],
        resources: vec![],
        class: None,
        subjects: 1,
        series: None,
    }
}

fn business(profile: Profile) -> Business {
    let asked = [("first", "First visit?"), ("size", "Size"), ("other", "Other")];
    let asked = asked.map(|(key, label)| IntakeField {
        key: key.into(),
        label: label.into(),
        kind: IntakeKind::Text,
        required: false,
        choices: vec![],
    });
    let intake_fields = asked.to_vec().into();
    let service_id = ServiceId::new(Uuid::nil());
    let service = Service { intake_fields, ..Service::new("Cut", 30, PRICE) };
    let mut business = Business::default();
    business.apply(BusinessEvent::Registered { profile });
    business.apply(BusinessEvent::ServiceAdded { service_id, service });
    for (n, name) in [(0, "Dana"), (1, "Olga")] {
        let (staff_id, member) = (StaffId::new(Uuid::from_u128(n)), StaffMember::new(name));
        business.apply(BusinessEvent::StaffAdded { staff_id, member });
    }
    business
}

fn render(kind: Kind, guest: &str, timezone: Option<&str>) -> Mail {
    let zone = "America/New_York".parse().unwrap();
    let mut profile = Profile::new("Salon <Dana> & Co".into(), "salon".into(), zone);
    profile.address = Some("1 Main St\n3rd <floor>".into());
    profile.contact = Some("+1 555 0199 <desk>".into());
    profile.branding = Branding {
        logo_url: Some("https://salon.example/logo.png?a=1&b=\"2\"".into()),
        color: Some("#FFEE00".into()),
        sign_off: Some("Warmly,\n<Dana>".into()),
    };
    let business = business(profile);
    let visit = visit();
    let earlier = visit.slot.start() - SignedDuration::from_hours(24);
    let before = Visit {
        staff_id: StaffId::new(Uuid::from_u128(1)),
        slot: TimeSlot::lasting(earlier, 30).unwrap(),
        ..visit.clone()
    };
    let contact = Contact {
        name: guest.into(),
        email: Some("ada@example.com".into()),
        phone: Some("+1 555 0100".into()),
        timezone: timezone.map(str::to_owned),
        notes: Some("First line\n<b>second</b>".into()),
        answers: serde_json::from_value(json!({"first": true, "size": "<large>"})).unwrap(),
        subjects: vec![Subject { name: "Rex".into(), notes: None }],
        cancel_reason: Some("<i>ill</i>".into()),
    };
    let (expires_at, offered) = (Some(visit.slot.start()), kind == Kind::Offered);
    let moved = matches!(kind, Kind::Rescheduled | Kind::HostRescheduled);
    let previous = moved.then_some(&before);
    let about = About {
        business: business.registered().unwrap(),
        visit: &visit,
        previous,
        expires_at,
        offered,
    };
    let mails = Mails::try_new().unwrap();
    match kind.recipient() {
        Recipient::Guest => mails.to_guest(kind, &about, &contact, URLS, None).unwrap(),
        Recipient::Host => mails.to_host(kind, &about, Some(&contact), true).unwrap(),
    }
}

fn to_guests() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| kind.recipient() == Recipient::Guest)
}

fn to_hosts() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| kind.recipient() == Recipient::Host)
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
    for kind in to_guests() {
        let mail = render(kind, "Ada", None);
        let what = if kind == Kind::Offered {
            "Take it or leave it"
        } else if matches!(kind, Kind::Declined | Kind::Expired) {
            "See your request"
        } else if kind.is_farewell() {
            "See your visit"
        } else {
            "See or cancel your visit"
        };
        let line = format!("\n{what}: {MANAGE_URL}\n");
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
    let mail = render(Kind::Rescheduled, "Ada", Some("Europe/Berlin"));
    for part in [&mail.text, &mail.html] {
        for when in ["Sunday, 5 July 2026, 15:00 CEST", "Monday, 6 July 2026, 15:00 CEST"] {
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

#[test]
fn a_host_reads_who_comes_and_when_and_never_the_guests_link() {
    for kind in to_hosts() {
        let mail = render(kind, "Ada <Guest>", Some("Europe/London"));
        let facts = ["Cut", "Dana", "6 July 2026, 09:00 EDT", "14:00 BST", "ada@example.com"];
        for part in [&mail.text, &mail.html] {
            for fact in facts.into_iter().chain(["+1 555 0100", "First line", "by the guest"]) {
                assert!(part.contains(fact), "{fact}: {part}");
            }
            assert!(!part.contains(MANAGE_URL), "{part}");
        }
        assert!(mail.text.contains("Guest: Ada <Guest>"), "{}", mail.text);
        for markup in ["<Guest>", "<b>", "<i>"] {
            assert!(!mail.html.contains(markup), "{}", mail.html);
        }
        assert!(mail.html.contains("Ada &lt;Guest&gt;"), "{}", mail.html);
        assert!(mail.subject.contains("Cut, Monday, 6 July 2026, 09:00 EDT"), "{}", mail.subject);
    }
}

#[test]
fn a_host_reads_what_it_was_before_and_why_it_is_not() {
    let mail = render(Kind::HostRescheduled, "Ada", None);
    for part in [&mail.text, &mail.html] {
        for fact in ["Sunday, 5 July 2026, 09:00 EDT", ", with Olga", "With", "Dana"] {
            assert!(part.contains(fact), "{fact}: {part}");
        }
        assert!(!part.contains("ill"), "{part}");
    }
    let mail = render(Kind::HostCancelled, "Ada", None);
    assert!(mail.text.contains("Reason: <i>ill</i>"), "{}", mail.text);
    assert!(mail.html.contains("&lt;i&gt;ill&lt;&#x2f;i&gt;"), "{}", mail.html);
    assert!(!render(Kind::HostBooked, "Ada", None).text.contains("ill"));
}

#[test]
fn a_host_is_told_of_a_guest_who_was_erased_without_their_data() {
    let business = business(Profile::new("Salon".into(), "salon".into(), Zone::UTC));
    let visit = visit();
    let about = about(&business, &visit);
    let mails = Mails::try_new().unwrap();
    let mail = mails.to_host(Kind::HostBooked, &about, None, false).unwrap();
    assert!(mail.text.contains("When: Monday, 6 July 2026, 13:00 UTC"), "{}", mail.text);
    assert!(!mail.text.contains("Guest:"), "{}", mail.text);
}

fn about<'a>(business: &'a Business, visit: &'a Visit) -> About<'a> {
    let business = business.registered().unwrap();
    About { business, visit, previous: None, expires_at: None, offered: false }
}

#[test]
fn mails_are_dressed_in_the_colours_of_their_business() {
    for kind in Kind::ALL {
        let mail = render(kind, "Ada", None);
        for dress in [
            "background:#ffee00;color:#000000",
            "<img src=\"https:&#x2f;&#x2f;salon.example&#x2f;logo.png?a=1&amp;b=&quot;2&quot;\"",
        ] {
            assert!(mail.html.contains(dress), "{dress}: {}", mail.html);
        }
        // The logo is all that is fetched: no scripts, styles, fonts or other pictures.
        for foreign in ["<script", "<link", "@import", "url(", "<iframe"] {
            assert!(!mail.html.contains(foreign), "{foreign}: {}", mail.html);
        }
        assert_eq!(mail.html.matches("src=").count(), 1, "{}", mail.html);
        let signed = kind.recipient() == Recipient::Guest;
        assert_eq!(mail.text.contains("\nWarmly,\n<Dana>\n"), signed, "{}", mail.text);
        assert_eq!(mail.html.contains("Warmly,\n&lt;Dana&gt;"), signed, "{}", mail.html);
    }
}

#[test]
fn both_forms_have_every_fact_and_only_one_has_markup() {
    for kind in to_guests() {
        let mail = render(kind, "Ada", Some("Europe/London"));
        for fact in ["Ada", "Cut", "Dana", "09:00 EDT", "14:00 BST", "1 Main St", "+1 555 0199"] {
            assert!(mail.text.contains(fact), "{fact}: {}", mail.text);
            assert!(mail.html.contains(fact), "{fact}: {}", mail.html);
        }
        for typed in ["<floor>", "<desk>", "<Dana>"] {
            assert!(mail.text.contains(typed), "{typed}: {}", mail.text);
            assert!(!mail.html.contains(typed), "{typed}: {}", mail.html);
        }
        for markup in ["<p", "<td", "&lt;", "{{", "{%"] {
            assert!(!mail.text.contains(markup), "{markup}: {}", mail.text);
        }
    }
}

#[test]
fn a_business_without_branding_has_plain_mails_without_pictures() {
    let business = business(Profile::new("Salon".into(), "salon".into(), Zone::UTC));
    let visit = visit();
    let about = about(&business, &visit);
    let mail = Mails::try_new().unwrap().to_host(Kind::HostBooked, &about, None, true).unwrap();
    assert!(mail.html.contains("background:#1d4ed8;color:#ffffff"), "{}", mail.html);
    assert!(!mail.html.contains("<img"), "{}", mail.html);
}

#[test]
fn the_confirmation_and_every_mail_to_the_host_repeat_what_the_guest_said() {
    for kind in to_hosts().chain([Kind::Confirmation]) {
        let mail = render(kind, "Ada", None);
        let said = "For: Rex\nFirst visit? yes\nSize: <large>\n";
        assert!(mail.text.contains(said), "{}", mail.text);
        for part in ["Rex", "First visit?", "yes", "&lt;large&gt;"] {
            assert!(mail.html.contains(part), "{part}: {}", mail.html);
        }
        assert!(!mail.text.contains("Other"), "{}", mail.text);
    }
    let reminder = render(Kind::Reminder, "Ada", None);
    assert!(!reminder.text.contains("Rex"), "{}", reminder.text);
}

#[test]
fn a_visit_of_several_services_names_all_of_them_and_all_who_serve() {
    let mut business = business(Profile::new("Salon".into(), "salon".into(), Zone::UTC));
    let (service_id, service) =
        (ServiceId::new(Uuid::from_u128(1)), Service::new("Wash", 10, PRICE));
    business.apply(BusinessEvent::ServiceAdded { service_id, service });
    let first = *visit().parts().first().unwrap();
    let second = Part { service_id, staff_id: StaffId::new(Uuid::from_u128(1)), ..first };
    let visit = Visit { parts: vec![first, second], ..visit() };
    let about = about(&business, &visit);
    let mail = Mails::try_new().unwrap().to_host(Kind::HostBooked, &about, None, true).unwrap();
    assert!(mail.text.contains("What: Cut, Wash\nWith: Dana, Olga\n"), "{}", mail.text);
}

#[test]
fn owners_read_how_the_week_went_and_what_comes() {
    let zone = "Australia/Sydney".parse().unwrap();
    let profile = Profile::new("Salon <Dana>".into(), "salon".into(), zone);
    let business = business(profile);
    let mut counts = WeekCounts {
        visits: 12,
        completed: 9,
        missed: 1,
        cancelled: 3,
        made: 14,
        reminders_sent: 20,
        reminders_failed: 4,
        reminders_uncertain: 0,
        coming: [5, 0, 0, 0, 0, 0, 6],
    };
    let mails = Mails::try_new().unwrap();
    let week = LocalWeek::of("2026-03-02".parse().unwrap());
    let written = |counts: &WeekCounts| {
        let business = business.registered().unwrap();
        mails.about_week(BusinessId::new(Uuid::nil()), business, week, counts).unwrap()
    };
    let mail = written(&counts);
    assert_eq!(mail.subject, "Your week from 2 March 2026: Salon <Dana>");
    let lines = [
        "Monday, 2 March 2026 to Sunday, 8 March 2026",
        "Visits: 12",
        "Kept: 9",
        "Missed by the guest: 1",
        "Neither kept nor missed yet: 2",
        "Cancelled: 3",
        "Booked in this week, for whatever day: 14",
        "Reminders sent: 20",
        "Reminders failed: 4",
        "Monday, 9 March 2026: 5",
        "Tuesday, 10 March 2026: 0",
        "Sunday, 15 March 2026: 6",
        "In all: 11",
    ];
    for line in lines {
        assert!(mail.text.lines().any(|there| there == line), "{line}: {}", mail.text);
        let (label, value) = line.rsplit_once(": ").unwrap_or((line, ""));
        assert!(mail.html.contains(&format!("{label}</td>")) || value.is_empty(), "{label}");
    }
    assert!(mail.html.contains("Salon &lt;Dana&gt;") && mail.html.contains("Australia"));
    assert!(mail.text.contains("setting weekly_summary to false"), "{}", mail.text);
    assert!(!mail.text.contains("nobody knows"), "{}", mail.text);
    counts.reminders_uncertain = 2;
    counts.completed = 11;
    let mail = written(&counts);
    assert!(mail.text.contains("Reminders of which nobody knows: 2"), "{}", mail.text);
    assert!(!mail.text.contains("Neither kept"), "{}", mail.text);
}
