use serde::{Deserialize, Serialize};

use super::{BookingPolicy, Branding, BrandingChange, PolicyChange, QuietHours, reminders};
use crate::{Currency, Fields, Locale, NotALocale, Zone, notification::Channel};

/// What a business says of itself, and its policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Shown to guests.
    pub name: String,
    /// The name in the public address: lower-case letters, digits and hyphens.
    pub handle: String,
    /// Opening hours are wall-clock time of this zone.
    pub timezone: Zone,
    /// Where guests go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How guests reach the business: the business's own line, not a person's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Language of mails and pages (BCP 47).
    pub locale: String,
    /// What prices are in.
    pub currency: Currency,
    /// How long before an appointment its reminders are due, in elapsed minutes.
    pub reminder_offsets_minutes: Vec<u32>,
    /// By what guests are reminded.
    #[serde(default = "by_mail", skip_serializing_if = "is_by_mail")]
    pub reminder_channels: Vec<Channel>,
    /// When nobody is reminded, on the guest's own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
    /// Whether whoever serves is mailed about bookings, moves and cancellations.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub host_notices: bool,
    /// Whether owners are mailed each Monday how the week went and what comes.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub weekly_summary: bool,
    /// How mails and pages show whose they are.
    #[serde(default, skip_serializing_if = "Branding::is_empty")]
    pub branding: Branding,
    /// What guests may book, and when.
    pub booking_policy: BookingPolicy,
}

fn by_mail() -> Vec<Channel> {
    vec![Channel::Email]
}

fn is_by_mail(channels: &[Channel]) -> bool {
    *channels == [Channel::Email]
}

const fn yes() -> bool {
    true
}

const fn is_yes(answer: &bool) -> bool {
    *answer
}

/// The fields of a [`Profile`] to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is that of `Profile`")]
pub struct ProfileChange {
    pub name: Option<String>,
    pub handle: Option<String>,
    pub timezone: Option<Zone>,
    pub address: Option<Option<String>>,
    pub contact: Option<Option<String>>,
    pub locale: Option<String>,
    pub currency: Option<Currency>,
    pub reminder_offsets_minutes: Option<Vec<u32>>,
    pub reminder_channels: Option<Vec<Channel>>,
    pub quiet_hours: Option<Option<QuietHours>>,
    pub host_notices: Option<bool>,
    pub weekly_summary: Option<bool>,
    pub branding: Option<BrandingChange>,
    pub booking_policy: Option<PolicyChange>,
}

impl Profile {
    /// The languages that guests are written to in, the best first: that of the business exactly, then
    /// the same without what tells one country from the next.
    #[must_use]
    pub fn locales(&self) -> Vec<Locale> {
        let own = self.locale.parse::<Locale>().ok();
        own.map_or_else(Vec::new, |own| own.with_fallbacks())
    }

    /// The profile of a business that has only a name, handle and zone.
    #[must_use]
    pub fn new(name: String, handle: String, timezone: Zone) -> Self {
        Self {
            name,
            handle,
            timezone,
            address: None,
            contact: None,
            locale: "en".to_owned(),
            currency: Currency::USD,
            reminder_offsets_minutes: vec![1440, 60],
            reminder_channels: by_mail(),
            quiet_hours: None,
            host_notices: true,
            weekly_summary: true,
            branding: Branding::default(),
            booking_policy: BookingPolicy::default(),
        }
    }

    pub(super) fn with(mut self, change: ProfileChange) -> Self {
        fn put<T>(field: &mut T, new: Option<T>) {
            if let Some(new) = new {
                *field = new;
            }
        }
        put(&mut self.name, change.name);
        put(&mut self.handle, change.handle);
        put(&mut self.timezone, change.timezone);
        put(&mut self.address, change.address);
        put(&mut self.contact, change.contact);
        put(&mut self.locale, change.locale);
        put(&mut self.currency, change.currency);
        put(&mut self.reminder_offsets_minutes, change.reminder_offsets_minutes);
        put(&mut self.reminder_channels, change.reminder_channels);
        put(&mut self.quiet_hours, change.quiet_hours);
        put(&mut self.host_notices, change.host_notices);
        put(&mut self.weekly_summary, change.weekly_summary);
        if let Some(branding) = change.branding {
            self.branding = self.branding.with(branding);
        }
        if let Some(policy) = change.booking_policy {
            self.booking_policy = self.booking_policy.with(policy);
        }
        self
    }

    pub(super) fn validate(&self, fields: &mut Fields) {
        fields.line("name", &self.name, 120);
        let edges = self.handle.starts_with('-') || self.handle.ends_with('-');
        let clean = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        fields.check(
            (3..=40).contains(&self.handle.len()) && !edges && self.handle.bytes().all(clean),
            "handle",
            "must be 3 to 40 of a-z, 0-9 and -, not at the edges",
        );
        if let Some(address) = &self.address {
            fields.note("address", address, 500);
        }
        if let Some(contact) = &self.contact {
            fields.note("contact", contact, 500);
        }
        let locale = self.locale.parse::<Locale>();
        fields.check(locale.is_ok(), "locale", NotALocale.to_string());
        let offsets = &self.reminder_offsets_minutes;
        reminders::check_offsets(fields, "reminder_offsets_minutes", offsets);
        reminders::check_channels(fields, "reminder_channels", &self.reminder_channels);
        if let Some(quiet) = self.quiet_hours {
            quiet.validate(fields);
        }
        self.branding.validate(fields);
        self.booking_policy.validate(fields);
    }
}
