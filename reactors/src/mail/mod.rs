//! What guests, hosts and members read.

mod account;
mod brand;
mod guest;
mod host;
mod language;
mod own;
mod said;
mod sample;
mod week;

pub(crate) use guest::Urls;

use domain::{
    Zone, appointment::Visit, business::BusinessState, message_template::Part, notification::Kind,
};
use jiff::Timestamp;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use projections::agenda::Contact;

use crate::ics::Invitation;
pub(crate) use own::Own;
use own::environment;
pub use own::{PartError, Rendered};
pub(crate) use sample::{Sample, Shape};

/// A template of ours does not parse or does not fit its data.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// One that is rendered as it is.
    #[error("a mail template failed: {0}")]
    Engine(#[from] minijinja::Error),
    /// One that businesses can replace.
    #[error("a mail template failed: {0}")]
    Part(#[from] PartError),
}

/// A message, ready to be addressed.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(crate) from_name: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
    /// For the guest's calendar.
    pub(crate) invitation: Option<Invitation>,
    /// Where whoever wants no more of these says so.
    pub(crate) unsubscribe: Option<String>,
}

/// Renders mails.
#[derive(Debug)]
pub(crate) struct Mails {
    templates: Environment<'static>,
    /// The same templates for words that are not ours, with limits.
    own: Environment<'static>,
}

const TEMPLATES: [(&str, &str); 33] = [
    ("layout.html", include_str!("templates/layout.html")),
    ("cancellation.html", include_str!("templates/cancellation.html")),
    ("cancellation.txt", include_str!("templates/cancellation.txt")),
    ("confirmation.html", include_str!("templates/confirmation.html")),
    ("confirmation.txt", include_str!("templates/confirmation.txt")),
    ("declined.html", include_str!("templates/declined.html")),
    ("declined.txt", include_str!("templates/declined.txt")),
    ("expired.html", include_str!("templates/expired.html")),
    ("expired.txt", include_str!("templates/expired.txt")),
    ("guest.subject", include_str!("templates/guest.subject")),
    ("guest.sms", include_str!("templates/guest.sms")),
    ("host.html", include_str!("templates/host.html")),
    ("host.txt", include_str!("templates/host.txt")),
    ("invitation.html", include_str!("templates/invitation.html")),
    ("invitation.txt", include_str!("templates/invitation.txt")),
    ("offered.html", include_str!("templates/offered.html")),
    ("offered.txt", include_str!("templates/offered.txt")),
    ("password_reset.html", include_str!("templates/password_reset.html")),
    ("password_reset.txt", include_str!("templates/password_reset.txt")),
    ("reminder.html", include_str!("templates/reminder.html")),
    ("reminder.txt", include_str!("templates/reminder.txt")),
    ("requested.html", include_str!("templates/requested.html")),
    ("requested.txt", include_str!("templates/requested.txt")),
    ("rescheduled.html", include_str!("templates/rescheduled.html")),
    ("rescheduled.txt", include_str!("templates/rescheduled.txt")),
    ("row.html", include_str!("templates/row.html")),
    ("said.html", include_str!("templates/said.html")),
    ("said.txt", include_str!("templates/said.txt")),
    ("sign_off.html", include_str!("templates/sign_off.html")),
    ("visit.html", include_str!("templates/visit.html")),
    ("visit.txt", include_str!("templates/visit.txt")),
    ("weekly_summary.html", include_str!("templates/weekly_summary.html")),
    ("weekly_summary.txt", include_str!("templates/weekly_summary.txt")),
];

/// What a mail is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    /// As it is now.
    pub(crate) business: &'a BusinessState,
    /// As agreed, or as it was to be when it was called off.
    pub(crate) visit: &'a Visit,
    /// What was agreed before it was moved.
    pub(crate) previous: Option<&'a Visit>,
    /// Until when a request or an offer can be answered.
    pub(crate) expires_at: Option<Timestamp>,
    /// Whether it was offered to a guest who waited.
    pub(crate) offered: bool,
}

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
        let own = environment(templates.clone());
        Ok(Self { templates, own })
    }

    /// Both forms of a mail.
    fn render(
        &self,
        template: &str,
        from_name: &str,
        subject: String,
        values: &Value,
    ) -> Result<Mail, TemplateError> {
        let part = |suffix| -> Result<String, TemplateError> {
            Ok(self.templates.get_template(&format!("{template}.{suffix}"))?.render(values)?)
        };
        Ok(Mail {
            from_name: from_name.to_owned(),
            subject,
            text: part("txt")?,
            html: part("html")?,
            invitation: None,
            unsubscribe: None,
        })
    }
}

/// What templates of this part are called behind the dot.
const fn suffix_of(part: Part) -> &'static str {
    match part {
        Part::Subject => ".subject",
        Part::Text => ".txt",
        Part::Html => ".html",
        Part::Sms => ".sms",
    }
}

/// How the words of a business for a part are called when they are rendered.
const fn file_of(part: Part) -> &'static str {
    match part {
        Part::Subject => "own.subject",
        Part::Text => "own.txt",
        Part::Html => "own.html",
        Part::Sms => "own.sms",
    }
}

/// Our own template for a part of a message to guests.
fn built_in(kind: Kind, part: Part) -> String {
    let of_all = matches!(part, Part::Subject | Part::Sms);
    format!("{}{}", if of_all { "guest" } else { kind.as_str() }, suffix_of(part))
}

impl About<'_> {
    /// What is done, one after the other. A service may be gone by now; the visit stands all the same.
    fn service(&self) -> Option<String> {
        let services = &self.business.services;
        let parts = self.visit.parts();
        let names = parts.iter().filter_map(|part| services.get(&part.service_id));
        listed(names.map(|service| service.value.name.as_str()))
    }

    /// Who serves in a visit. They may be gone, too.
    fn staff(&self, visit: &Visit) -> Option<String> {
        let parts = visit.parts();
        let names = parts.iter().filter_map(|part| self.business.staff.get(&part.staff_id));
        listed(names.map(|member| member.value.name.as_str()))
    }

    /// In the time of the business.
    fn when(&self) -> String {
        self.local(self.visit)
    }

    fn was(&self) -> Option<String> {
        self.previous.map(|visit| self.local(visit))
    }

    fn local(&self, visit: &Visit) -> String {
        local(visit.slot.start(), &self.business.profile.value.timezone)
    }

    /// The same moment in the guest's own time, unless that is how the business says it, too.
    fn there(&self, visit: &Visit, zone: Option<&Zone>) -> Option<String> {
        let there = zone.map(|zone| local(visit.slot.start(), zone));
        there.filter(|there| *there != self.local(visit))
    }
}

/// Each name once.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut all: Vec<&str> = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    (!all.is_empty()).then(|| all.join(", "))
}

/// The guest's own zone, when they named one.
fn zone_of(contact: &Contact) -> Option<Zone> {
    contact.timezone.as_deref().and_then(|name| name.parse().ok())
}

/// The day and time as people read it, with the zone.
fn local(at: Timestamp, zone: &Zone) -> String {
    let zoned = at.to_zoned(zone.tz().clone());
    format!("{} ({})", zoned.strftime("%A, %-d %B %Y, %H:%M %Z"), zone.name())
}

#[cfg(test)]
mod own_tests;
#[cfg(test)]
mod tests;
