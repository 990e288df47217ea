use serde::{Deserialize, Serialize};

use crate::Fields;

/// How mails and pages show whose they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branding {
    /// Where the logo is: an address that begins with `https://`. The only thing in a mail that is not in
    /// the mail itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo_url: Option<String>,
    /// The main colour, as `#rrggbb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// The last words of mails to guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_off: Option<String>,
}

/// The fields of a [`Branding`] to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is that of `Branding`")]
pub struct BrandingChange {
    pub logo_url: Option<Option<String>>,
    pub color: Option<Option<String>>,
    pub sign_off: Option<Option<String>>,
}

impl Branding {
    /// Nothing was set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.logo_url.is_none() && self.color.is_none() && self.sign_off.is_none()
    }

    pub(super) fn with(self, change: BrandingChange) -> Self {
        Self {
            logo_url: change.logo_url.unwrap_or(self.logo_url),
            color: change.color.unwrap_or(self.color),
            sign_off: change.sign_off.unwrap_or(self.sign_off),
        }
    }

    pub(super) fn validate(&self, fields: &mut Fields) {
        if let Some(url) = &self.logo_url {
            fields.check(
                url.len() <= 500
                    && url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty())
                    && url.bytes().all(|b| b.is_ascii_graphic()),
                "branding.logo_url",
                "must be an address that begins with https://, of at most 500 characters",
            );
        }
        if let Some(color) = &self.color {
            let digits = color.strip_prefix('#').unwrap_or_default();
            fields.check(
                digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()),
                "branding.color",
                "must be a colour as #rrggbb, such as #1d4ed8",
            );
        }
        if let Some(words) = &self.sign_off {
            fields.note("branding.sign_off", words, 500);
        }
    }
}
