//! What guests read.

use domain::{TimeSlot, Zone, appointment::Visit, business::BusinessState};
use jiff::Timestamp;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use projections::agenda::Contact;

/// A template of ours does not parse or does not fit its data.
#[derive(Debug, thiserror::Error)]
#[error("a mail template failed: {0}")]
pub struct TemplateError(#[from] minijinja::Error);

/// A message, ready to be addressed.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(crate) from_name: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
    /// For the guest's calendar: an invitation (METHOD:REQUEST).
    pub(crate) invitation: Option<String>,
}

/// The visit that a mail is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) visit: &'a Visit,
    /// When it was to be before it was moved.
    pub(crate) previous: Option<TimeSlot>,
    /// Until when it can be accepted or confirmed.
    pub(crate) expires_at: Option<Timestamp>,
    /// Whether it was offered to a guest who waited.
    pub(crate) offered: bool,
}

/// Renders mails.
#[derive(Debug)]
pub(crate) struct Mails {
    templates: Environment<'static>,
}

const TEMPLATES: [(&str, &str); 17] = [
    ("layout.html", include_str!("templates/layout.html")),
    ("confirmation.html", include_str!("templates/confirmation.html")),
    ("confirmation.txt", include_str!("templates/confirmation.txt")),
    ("reminder.html", include_str!("templates/reminder.html")),
    ("reminder.txt", include_str!("templates/reminder.txt")),
    ("rescheduled.html", include_str!("templates/rescheduled.html")),
    ("rescheduled.txt", include_str!("templates/rescheduled.txt")),
    ("requested.html", include_str!("templates/requested.html")),
    ("requested.txt", include_str!("templates/requested.txt")),
    ("offered.html", include_str!("templates/offered.html")),
    ("offered.txt", include_str!("templates/offered.txt")),
    ("declined.html", include_str!("templates/declined.html")),
    ("declined.txt", include_str!("templates/declined.txt")),
    ("expired.html", include_str!("templates/expired.html")),
    ("expired.txt", include_str!("templates/expired.txt")),
    ("visit.html", include_str!("templates/visit.html")),
    ("visit.txt", include_str!("templates/visit.txt")),
];

impl Mails {
    pub(crate) fn try_new() -> Result<Self, TemplateError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_auto_escape_callback(|name| {
            if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None }
        });
        for (name, source) in TEMPLATES {
            templates.add_template(name, source)?;
        }
        Ok(Self { templates })
    }

    /// `kind` names the template: that of a [`domain::notification::Kind`].
    pub(crate) fn render(
        &self,
        kind: &str,
        state: &BusinessState,
        about: &About<'_>,
        contact: &Contact,
        manage_url: &str,
    ) -> Result<Mail, TemplateError> {
        let About { visit, previous, expires_at, offered } = *about;
        let profile = &state.profile.value;
        // A service or staff member may be gone by now; the visit stands all the same.
        let service = state.services.get(&visit.service_id).map(|s| s.value.name.as_str());
        let staff = state.staff.get(&visit.staff_id).map(|s| s.value.name.as_str());
        let start = visit.slot.start();
        let when = local(start, &profile.timezone);
        let guest_zone = contact.timezone.as_deref().and_then(|name| name.parse::<Zone>().ok());
        let guest_when = guest_zone.map(|zone| local(start, &zone)).filter(|there| *there != when);
        let values = context! {
            business => &profile.name,
            address => &profile.address,
            contact => &profile.contact,
            guest => &contact.name,
            service => service,
            staff => staff,
            when => when,
            guest_when => guest_when,
            manage_url => manage_url,
            reason => &contact.cancel_reason,
            until => expires_at.map(|until| local(until, &profile.timezone)),
            offered => offered,
            was => previous.map(|slot| local(slot.start(), &profile.timezone)),
        };
        let part = |suffix| -> Result<String, TemplateError> {
            Ok(self.templates.get_template(&format!("{kind}.{suffix}"))?.render(&values)?)
        };
        let what = service.unwrap_or("your appointment");
        let subject = match kind {
            "confirmation" => format!("Booked: {what} at {}", profile.name),
            "rescheduled" => format!("Moved: {what} at {}", profile.name),
            "requested" => format!("Requested: {what} at {}", profile.name),
            "offered" => format!("Free for you: {what} at {}", profile.name),
            "declined" => format!("Declined: {what} at {}", profile.name),
            "expired" => format!("Not confirmed: {what} at {}", profile.name),
            _ => format!("Reminder: {what} at {}", profile.name),
        };
        Ok(Mail {
            from_name: profile.name.clone(),
            subject,
            text: part("txt")?,
            html: part("html")?,
            invitation: None,
        })
    }
}

/// The day and time as a guest reads it, with the zone.
fn local(at: Timestamp, zone: &Zone) -> String {
    let zoned = at.to_zoned(zone.tz().clone());
    format!("{} ({})", zoned.strftime("%A, %-d %B %Y, %H:%M %Z"), zone.name())
}

#[cfg(test)]
mod tests {
    use domain::{
        Aggregate, Currency, CustomerId, Money, ServiceId, StaffId,
        business::{Business, BusinessEvent, Profile, Service, StaffMember},
    };
    use jiff::SignedDuration;
    use uuid::Uuid;

    use super::*;

    const MANAGE_URL: &str = "https://book.example/salons/api/v1/public/appointments/AQ-_";

    fn render(kind: &str, guest: &str, timezone: Option<&str>) -> Mail {
        let (service_id, staff_id) = (ServiceId::new(Uuid::nil()), StaffId::new(Uuid::nil()));
        let zone = "America/New_York".parse().unwrap();
        let price = Money { amount: 4500, currency: Currency::USD };
        let mut business = Business::default();
        business.apply(BusinessEvent::Registered {
            profile: Profile::new("Salon <Dana> & Co".into(), "salon".into(), zone),
        });
        business.apply(BusinessEvent::ServiceAdded {
            service_id,
            service: Service::new("Cut", 30, price),
        });
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
        let before = (kind == "rescheduled").then(|| start - SignedDuration::from_hours(24));
        let previous = before.and_then(|start| TimeSlot::lasting(start, 30));
        let contact = Contact {
            name: guest.into(),
            email: None,
            phone: None,
            timezone: timezone.map(str::to_owned),
            notes: None,
            cancel_reason: None,
        };
        let (expires_at, offered) =
            (Some(start - SignedDuration::from_hours(1)), kind == "offered");
        let about = About { visit: &visit, previous, expires_at, offered };
        Mails::try_new()
            .unwrap()
            .render(kind, business.registered().unwrap(), &about, &contact, MANAGE_URL)
            .unwrap()
    }

    #[test]
    fn a_mail_shows_business_time_and_the_guests_own_when_they_differ() {
        let same = render("confirmation", "Ada", Some("America/New_York"));
        assert!(
            same.text.contains("Monday, 6 July 2026, 09:00 EDT (America/New_York)"),
            "{}",
            same.text
        );
        assert!(!same.text.contains("your time"), "{}", same.text);
        let away = render("reminder", "Ada", Some("Europe/London"));
        assert!(
            away.text.contains("Monday, 6 July 2026, 14:00 BST (Europe/London)"),
            "{}",
            away.text
        );
        assert!(away.html.contains("09:00 EDT"), "{}", away.html);
    }

    #[test]
    fn every_mail_has_the_manage_link_once_in_each_of_its_forms() {
        for (kind, what) in [
            ("confirmation", "See or cancel your visit"),
            ("reminder", "See or cancel your visit"),
            ("rescheduled", "See or cancel your visit"),
            ("requested", "See or cancel your visit"),
            ("offered", "Take it or leave it"),
            ("declined", "See your request"),
            ("expired", "See your request"),
        ] {
            let mail = render(kind, "Ada", None);
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
        let mail = render("rescheduled", "Ada", None);
        for part in [&mail.text, &mail.html] {
            assert!(part.contains("Sunday, 5 July 2026, 09:00 EDT"), "{part}");
            assert!(part.contains("Monday, 6 July 2026, 09:00 EDT"), "{part}");
        }
        assert!(mail.subject.contains("Moved"), "{}", mail.subject);
    }

    #[test]
    fn an_offer_says_until_when_it_can_be_accepted() {
        let mail = render("offered", "Ada", None);
        for part in [&mail.text, &mail.html] {
            assert!(
                part.contains("keeps it for you until Monday, 6 July 2026, 08:00 EDT"),
                "{part}"
            );
        }
    }

    #[test]
    fn what_people_type_is_escaped_in_html() {
        let mail = render("confirmation", "<script>alert(1)</script>", None);
        assert!(!mail.html.contains("<script>"), "{}", mail.html);
        assert!(mail.html.contains("Salon &lt;Dana&gt; &amp; Co"), "{}", mail.html);
        assert!(mail.text.contains("Salon <Dana> & Co"), "{}", mail.text);
    }
}
