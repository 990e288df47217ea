use domain::notification::Kind;
use minijinja::context;
use projections::agenda::Contact;

use super::{About, Mail, Mails, TemplateError, brand, said, zone_of};

impl Mails {
    /// To whoever serves. Never with the guest's link: it is theirs alone. `contact` is absent once it is
    /// erased; `by_guest` says who did what the mail tells.
    pub(crate) fn to_host(
        &self,
        kind: Kind,
        about: &About<'_>,
        contact: Option<&Contact>,
        by_guest: bool,
    ) -> Result<Mail, TemplateError> {
        let About { business, visit, previous, .. } = *about;
        let service = about.service();
        let zone = contact.and_then(zone_of);
        let staff = about.staff(visit);
        let headline = headline(kind);
        let values = context! {
            brand => brand::values(&business.profile.value.branding),
            business => &business.profile.value.name,
            headline => headline,
            by => if by_guest { "the guest" } else { "the business" },
            service => &service,
            staff => &staff,
            when => about.when(),
            guest_when => about.there(visit, zone.as_ref()),
            was => about.was(),
            was_with => previous.and_then(|before| about.staff(before)).filter(|was| Some(was) != staff.as_ref()),
            said => contact.map(|contact| said::answers(business, visit, contact)).unwrap_or_default(),
            subjects => contact.map(said::subjects).unwrap_or_default(),
            guest => contact.map(|contact| &contact.name),
            email => contact.and_then(|contact| contact.email.as_ref()),
            phone => contact.and_then(|contact| contact.phone.as_ref()),
            notes => contact.and_then(|contact| contact.notes.as_ref()),
            reason => contact
                .filter(|_| kind.is_farewell())
                .and_then(|contact| contact.cancel_reason.as_ref()),
        };
        let subject =
            format!("{headline}: {}, {}", service.as_deref().unwrap_or("a visit"), about.when());
        self.render("host", &about.business.profile.value.name, subject, &values)
    }
}

const fn headline(kind: Kind) -> &'static str {
    match kind {
        Kind::HostBooked | Kind::Confirmation | Kind::Reminder => "New booking",
        Kind::HostRequested | Kind::Requested | Kind::Offered => {
            "New request, please confirm or decline"
        }
        Kind::HostRescheduled | Kind::Rescheduled => "Booking moved",
        Kind::HostCancelled | Kind::Cancellation => "Booking cancelled",
        Kind::Declined | Kind::Expired => "Request ended",
    }
}
