use domain::{business::BusinessState, notification::AccountMail};
use jiff::Timestamp;
use minijinja::context;

use super::{Mail, Mails, TemplateError, brand, local};

/// Who writes about an account, which belongs to no business.
const US: &str = "ApptRemind";

/// Who a mail comes from, and what it is called.
pub(super) fn heading(mail: AccountMail, business: &str) -> (&str, String) {
    match mail {
        AccountMail::PasswordReset { .. } => (US, "Choose another password".to_owned()),
        AccountMail::Invitation { .. } => (business, format!("You are invited to join {business}")),
        AccountMail::WeeklySummary { week, .. } => {
            let monday = week.monday().strftime("%-d %B %Y");
            (business, format!("Your week from {monday}: {business}"))
        }
    }
}

impl Mails {
    /// To whoever has, or is to have, an account. `role` is what they are invited to be.
    pub(crate) fn about_account(
        &self,
        mail: AccountMail,
        business: &BusinessState,
        role: Option<&str>,
        url: &str,
        until: Timestamp,
    ) -> Result<Mail, TemplateError> {
        let profile = &business.profile.value;
        let (from, subject) = heading(mail, &profile.name);
        let values = context! {
            brand => brand::values(&profile.branding),
            business => from,
            role => role,
            url => url,
            until => local(until, &profile.timezone),
        };
        self.render(mail.as_str(), from, subject, &values)
    }
}
