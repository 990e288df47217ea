use domain::{CustomerId, FieldError, Fields, customer};
use serde::{Deserialize, Serialize};
use streams::{
    clock,
    log::{GuestAddress, KnownCustomer, NewCustomer, StreamKey, UnitOfWork},
};

use crate::{
    email::is_email,
    mailbox::Guests,
    phone::{self, is_phone},
};

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
            fields.check(is_phone(phone), "customer.phone", phone::RULE);
        }
        fields.done()
    }
}

/// A guest as the business knows them, or is about to.
pub(super) enum Customer {
    Known(KnownCustomer),
    New(NewCustomer),
}

impl Customer {
    pub(super) const fn id(&self) -> CustomerId {
        match self {
            Self::Known(known) => known.customer_id,
            Self::New(new) => new.customer_id,
        }
    }

    /// Expects that whoever is known is still who they were when they were looked up: another process
    /// may have changed or merged them since.
    pub(super) fn guard(&self, unit: &mut UnitOfWork) {
        if let Self::Known(known) = self {
            let key = StreamKey::of::<customer::Customer>(known.customer_id);
            unit.guard_after(key, known.version);
        }
    }
}

impl Guest {
    /// By what a guest is found again: the phone number counts only without an e-mail address, because
    /// families share one.
    pub(crate) fn address(&self) -> Option<GuestAddress> {
        let email = self.email.as_deref().map(GuestAddress::email);
        email.or_else(|| self.phone.as_deref().map(GuestAddress::phone))
    }

    /// Finds a guest again by their address. A public booking never changes what is known of them:
    /// anyone could redirect another guest's mails.
    pub(super) fn as_customer(&self, guests: &Guests) -> Customer {
        let known = self.address().and_then(|address| guests.get(&address));
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
