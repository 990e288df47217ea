use domain::notification::Kind;
use minijinja::{Value, context};
use projections::agenda::Contact;

use super::{About, Mail, Mails, TemplateError, brand, local, said, zone_of};

impl Mails {
    /// To the guest. The kind names the template.
    pub(crate) fn to_guest(
        &self,
        kind: Kind,
        about: &About<'_>,
        contact: &Contact,
        urls: Urls<'_>,
    ) -> Result<Mail, TemplateError> {
        let values = values(kind, about, contact, urls);
        let name = &about.business.profile.value.name;
        let service = about.service();
        let what = service.as_deref().unwrap_or("your appointment");
        let subject = format!("{}: {what} at {name}", news(kind));
        let mail = self.render(kind.as_str(), name, subject, &values)?;
        Ok(Mail { unsubscribe: urls.unsubscribe.map(str::to_owned), ..mail })
    }

    /// The same in a few words, for a phone.
    pub(crate) fn text_to_guest(
        &self,
        kind: Kind,
        about: &About<'_>,
        contact: &Contact,
        manage_url: &str,
    ) -> Result<String, TemplateError> {
        let urls = Urls { manage: manage_url, unsubscribe: None };
        let values = values(kind, about, contact, urls);
        Ok(self.templates.get_template("guest.sms")?.render(values)?)
    }
}

/// Addresses for the guest alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Urls<'a> {
    pub(crate) manage: &'a str,
    /// Where they say that they want no more of these, if they can.
    pub(crate) unsubscribe: Option<&'a str>,
}

fn values(kind: Kind, about: &About<'_>, contact: &Contact, urls: Urls<'_>) -> Value {
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
