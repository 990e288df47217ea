//! What guests read.

use domain::{TimeSlot, Zone, appointment::Visit, business::BusinessState, notification::Kind};
use jiff::Timestamp;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use projections::agenda::Contact;

use crate::ics::Invitation;

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
    /// For the guest's calendar.
    pub(crate) invitation: Option<Invitation>,
}

/// Renders mails.
#[derive(Debug)]
pub(crate) struct Mails {
    templates: Environment<'static>,
}

const TEMPLATES: [(&str, &str); 11] = [
    ("layout.html", include_str!("templates/layout.html")),
    ("cancellation.html", include_str!("templates/cancellation.html")),
    ("cancellation.txt", include_str!("templates/cancellation.txt")),
    ("confirmation.html", include_str!("templates/confirmation.html")),
    ("confirmation.txt", include_str!("templates/confirmation.txt")),
    ("reminder.html", include_str!("templates/reminder.html")),
    ("reminder.txt", include_str!("templates/reminder.txt")),
    ("rescheduled.html", include_str!("templates/rescheduled.html")),
    ("rescheduled.txt", include_str!("templates/rescheduled.txt")),
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

    /// The kind names the template. `previous` is when the visit was to be before it was moved.
    pub(crate) fn render(
        &self,
        kind: Kind,
        state: &BusinessState,
        (visit, previous): (&Visit, Option<TimeSlot>),
        contact: &Contact,
        manage_url: &str,
    ) -> Result<Mail, TemplateError> {
        let profile = &state.profile.value;
        // A service or staff member may be gone by now; the visit stands all the same.
        let service = state.services.get(&visit.service_id).map(|s| s.value.name.as_str());
        let staff = state.staff.get(&visit.staff_id).map(|s| s.value.name.as_str());
        let start = visit.slot.start();
        let when = local(start, &profile.timezone);
        let guest_zone = contact.timezone.as_deref().and_then(|name| name.parse::<Zone>().ok());
        let there = |at: Timestamp, here: &str| {
            guest_zone.as_ref().map(|zone| local(at, zone)).filter(|there| there != here)
        };
        let was = previous.map(|slot| (slot.start(), local(slot.start(), &profile.timezone)));
        let values = context! {
            business => &profile.name,
            address => &profile.address,
            contact => &profile.contact,
            guest => &contact.name,
            service => service,
            staff => staff,
            guest_when => there(start, &when),
            when => when,
            manage => if kind.is_farewell() { "See your visit" } else { "See or cancel your visit" },
            manage_url => manage_url,
            guest_was => was.as_ref().and_then(|(at, here)| there(*at, here)),
            was => was.map(|(_, here)| here),
        };
        let part = |suffix| -> Result<String, TemplateError> {
            Ok(self.templates.get_template(&format!("{kind}.{suffix}"))?.render(&values)?)
        };
        let what = service.unwrap_or("your appointment");
        let news = match kind {
            Kind::Confirmation => "Booked",
            Kind::Reminder => "Reminder",
            Kind::Rescheduled => "Moved",
            Kind::Cancellation => "Cancelled",
        };
        let subject = format!("{news}: {what} at {}", profile.name);
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
mod tests;
