use domain::{CustomerId, FieldError, Fields};
use serde::{Deserialize, Serialize};
use streams::{clock, log::NewCustomer};

use crate::{email::is_email, mailbox::Guests};

/// Who comes, in their own words.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// How to call them.
    pub name: String,
    /// Where mails go.
    pub email: Option<String>,
    /// Where calls go.
    pub phone: Option<String>,
}

impl Guest {
    /// # Errors
    /// Every field that breaks a rule.
    pub(crate) fn validate(&self) -> Result<(), Vec<FieldError>> {
        let mut fields = Fields::default();
        fields.line("customer.name", &self.name, 120);
        if let Some(email) = &self.email {
            fields.check(is_email(email), "customer.email", "must be an e-mail address");
        }
        if let Some(phone) = &self.phone {
            let digits = phone.bytes().filter(u8::is_ascii_digit).count();
            let clean = phone.bytes().all(|b| b.is_ascii_digit() || b"+-() .".contains(&b));
            fields.check(
                clean && (5..=15).contains(&digits),
                "customer.phone",
                "must be a phone number of 5 to 15 digits",
            );
        }
        fields.done()
    }
}

/// A guest as the business knows them, or is about to.
pub(super) enum Customer {
    Known(CustomerId),
    New(NewCustomer),
}

impl Customer {
    pub(super) const fn id(&self) -> CustomerId {
        match self {
            Self::Known(id) => *id,
            Self::New(new) => new.customer_id,
        }
    }
}

impl Guest {
    /// Under what a guest is kept in mind.
    pub(crate) fn address(&self) -> Option<String> {
        self.email.as_ref().map(|email| email.to_ascii_lowercase())
    }

    /// Finds a guest again by their address. A public booking never changes what is known of them:
    /// anyone could redirect another guest's mails.
    pub(super) fn as_customer(&self, guests: &Guests) -> Customer {
        let known = self.address().and_then(|email| guests.get(&email));
        known.map_or_else(
            || {
                Customer::New(NewCustomer {
                    customer_id: CustomerId::new(clock::new_id()),
                    name: self.name.clone(),
                    email: self.email.clone(),
                    phone: self.phone.clone(),
                })
            },
            Customer::Known,
        )
    }
}
