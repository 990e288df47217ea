//! What counts as an e-mail address: one that a mail can be addressed to.

use email_address::{EmailAddress, Options};

/// Without a display name, without comments, without control characters, 254 characters at most.
pub(crate) fn is_email(text: &str) -> bool {
    let options = Options::default().without_display_text();
    text.len() <= 254
        && !text.chars().any(char::is_control)
        && EmailAddress::parse_with_options(text, options).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_mail_can_be_addressed_to_is_an_address() {
        assert!(is_email("ada@example.com"));
        assert!(is_email("ada+salon@mail.example.co.uk"));
        for odd in
            ["", "ada", "@example.com", "Ada <ada@example.com>", "a\0 <a@example.com>", "a@b\n.com"]
        {
            assert!(!is_email(odd), "{odd:?}");
        }
    }
}
