use domain::{message_template::Part, notification::Kind};
use minijinja::{Value, context};
use projections::agenda::Contact;

use super::{About, Mail, Mails, Own, TemplateError, brand, local, said, zone_of};

/// What templates can name. `docs/templates.md` says what each is.
pub(super) const VARIABLES: [&str; 20] = [
    "brand",
    "business",
    "address",
    "contact",
    "guest",
    "service",
    "news",
    "staff",
    "when",
    "guest_when",
    "was",
    "guest_was",
    "reason",
    "said",
    "subjects",
    "manage",
    "until",
    "offered",
    "manage_url",
    "unsubscribe_url",
];

impl Mails {
    /// To the guest, in the business's own words where there are any that can be rendered.
    pub(crate) fn to_guest(
        &self,
        kind: Kind,
        about: &About<'_>,
        contact: &Contact,
        urls: Urls<'_>,
        own: Option<&Own>,
    ) -> Result<Mail, TemplateError> {
        let values = values(kind, about, contact, urls);
        let worded = self.own_or(kind, own, |words| {
            let part = |part| self.part(kind, part, words, &values);
            Ok((part(Part::Subject)?, part(Part::Text)?, part(Part::Html)?))
        });
        let (subject, text, html) = worded?;
        let from_name = about.business.profile.value.name.clone();
        let unsubscribe = urls.unsubscribe.map(str::to_owned);
        Ok(Mail { from_name, subject, text, html, invitation: None, unsubscribe })
    }

    /// The same in a few words, for a phone.
    pub(crate) fn text_to_guest(
        &self,
        kind: Kind,
        about: &About<'_>,
        contact: &Contact,
        manage_url: &str,
        own: Option<&Own>,
    ) -> Result<String, TemplateError> {
        let urls = Urls { manage: manage_url, unsubscribe: None };
        let values = values(kind, about, contact, urls);
        self.own_or(kind, own, |words| self.part(kind, Part::Sms, words, &values))
    }
}

/// Addresses for the guest alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Urls<'a> {
    pub(crate) manage: &'a str,
    /// Where they say that they want no more of these, if they can.
    pub(crate) unsubscribe: Option<&'a str>,
}

pub(super) fn values(kind: Kind, about: &About<'_>, contact: &Contact, urls: Urls<'_>) -> Value {
    let About { business, visit, previous, expires_at, offered } = *about;
    let (profile, zone) = (&business.profile.value, zone_of(contact));
    context! {
            brand => brand::values(&profile.branding),
            business => &profile.name,
            address => &profile.address,
            contact => &profile.contact,
            guest => &contact.name,
            service => about.service(),
            news => news(kind),
            staff => about.staff(visit),
            when => about.when(),
            guest_when => about.there(visit, zone.as_ref()),
            was => about.was(),
            guest_was => previous.and_then(|before| about.there(before, zone.as_ref())),
            reason => &contact.cancel_reason,
            said => said::answers(business, visit, contact),
            subjects => said::subjects(contact),
            manage => manage(kind),
            until => expires_at.map(|at| local(at, &profile.timezone)),
            offered => offered,
            manage_url => urls.manage,
            unsubscribe_url => urls.unsubscribe,
    }
}

const fn manage(kind: Kind) -> &'static str {
    if matches!(kind, Kind::Offered) {
        "Take it or leave it"
    } else if matches!(kind, Kind::Declined | Kind::Expired) {
        "See your request"
    } else if kind.is_farewell() {
        "See your visit"
    } else {
        "See or cancel your visit"
    }
}

const fn news(kind: Kind) -> &'static str {
    match kind {
        Kind::Confirmation | Kind::HostBooked => "Booked",
        Kind::Requested | Kind::HostRequested => "Requested",
        Kind::Offered => "Free for you",
        Kind::Declined => "Declined",
        Kind::Expired => "Not confirmed",
        Kind::Reminder => "Reminder",
        Kind::Rescheduled | Kind::HostRescheduled => "Moved",
        Kind::Cancellation | Kind::HostCancelled => "Cancelled",
    }
}
