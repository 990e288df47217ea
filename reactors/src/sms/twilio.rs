//! Text messages by Twilio: <https://www.twilio.com/docs/messaging/api/message-resource>.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::notification::Receipt;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha1::Sha1;
use url::Url;

use super::{Answer, Text, client, not_connected, words};
use crate::provider::HandOver;

/// An account, and from which number or service its messages come.
pub struct Twilio {
    messages: Url,
    account: String,
    token: String,
    from: String,
    /// Where Twilio tells what became of a message; the message's id is put behind it.
    callback: String,
    client: reqwest::Client,
}

impl std::fmt::Debug for Twilio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Twilio").field("account", &self.account).finish_non_exhaustive()
    }
}

/// The account cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TwilioError {
    /// Not an address of the form that is needed.
    #[error("must be an http:// or https:// address")]
    Url,
    /// Not the id of an account.
    #[error("must be AC and 32 hexadecimal digits")]
    Account,
    /// There is none.
    #[error("is needed")]
    Token,
    /// Neither a number nor a messaging service.
    #[error("must be a number such as +15005550006, or MG and 32 hexadecimal digits")]
    From,
    /// No client could be made.
    #[error("the system has no way to make requests: {0}")]
    Client(String),
}

/// What Twilio says of a message that it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TwilioStatus {
    /// It is under way.
    Underway,
    /// It arrived.
    Delivered,
    /// It did not; the code says why.
    Undelivered {
        /// A code of ours, such as `twilio_30006`.
        reason: String,
    },
}

#[derive(Default, Deserialize)]
struct Taken {
    sid: Option<String>,
    status: Option<String>,
}

#[derive(Deserialize)]
struct Refused {
    code: Option<u32>,
}

fn is_sid(text: &str, prefix: &str) -> bool {
    let hex = |rest: &str| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit());
    text.strip_prefix(prefix).is_some_and(hex)
}

fn is_number(text: &str) -> bool {
    let digits =
        |rest: &str| (5..=15).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_digit());
    text.strip_prefix('+').is_some_and(digits)
}

impl Twilio {
    /// `api` is the address of Twilio, `callback` where it tells what became of a message.
    ///
    /// # Errors
    /// When one of them does not parse.
    pub fn try_new(
        api: &str,
        account: &str,
        token: &str,
        from: &str,
        callback: String,
    ) -> Result<Self, TwilioError> {
        let api = Url::parse(api).map_err(|_odd| TwilioError::Url)?;
        if !matches!(api.scheme(), "http" | "https") || !api.has_host() {
            return Err(TwilioError::Url);
        }
        if !is_sid(account, "AC") {
            return Err(TwilioError::Account);
        }
        if token.is_empty() {
            return Err(TwilioError::Token);
        }
        if !is_number(from) && !is_sid(from, "MG") {
            return Err(TwilioError::From);
        }
        let path = format!("/2010-04-01/Accounts/{account}/Messages.json");
        let messages = api.join(&path).map_err(|_odd| TwilioError::Url)?;
        let client = client().map_err(|error| TwilioError::Client(error.to_string()))?;
        let (account, token, from) = (account.to_owned(), token.to_owned(), from.to_owned());
        Ok(Self { messages, account, token, from, callback, client })
    }

    /// Twilio does not know a message that comes again, so what is left open stays open.
    pub(super) async fn send(&self, text: &Text) -> HandOver {
        let sender = if self.from.starts_with('+') { "From" } else { "MessagingServiceSid" };
        // With the try in it: what is said late of one try must not end the next.
        let callback = self.callback(&format!("{}.{}", text.id, text.attempt));
        let form = [
            ("To", text.to.as_str()),
            (sender, self.from.as_str()),
            ("Body", text.body.as_str()),
            ("StatusCallback", callback.as_str()),
        ];
        let request = self.client.post(self.messages.clone());
        let request = request.basic_auth(&self.account, Some(&self.token)).form(&form);
        let answer = match request.send().await {
            Ok(response) => Answer::read(response).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => sorted(&answer),
            Err(error) => match not_connected(&error) {
                Some(refusal) => HandOver::Refused(refusal),
                None => {
                    let reason = "sms_timeout".to_owned();
                    HandOver::Unknown { reason, answer: words(&error), repeatable: false }
                }
            },
        }
    }

    /// Whether Twilio signed this: `url` is the address that it was told, `form` what it sent.
    #[must_use]
    pub fn has_signed(&self, url: &str, form: &BTreeMap<String, String>, signature: &str) -> bool {
        let Ok(signature) = BASE64_STANDARD.decode(signature) else { return false };
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(self.token.as_bytes()) else {
            return false;
        };
        mac.update(url.as_bytes());
        for (name, value) in form {
            mac.update(name.as_bytes());
            mac.update(value.as_bytes());
        }
        mac.verify_slice(&signature).is_ok()
    }

    /// The address at which Twilio tells of the message.
    #[must_use]
    pub fn callback(&self, id: &str) -> String {
        format!("{}/{id}", self.callback)
    }

    /// What the form of a callback says; `None` when nothing that is known.
    #[must_use]
    pub fn status(form: &BTreeMap<String, String>) -> Option<TwilioStatus> {
        match form.get("MessageStatus")?.as_str() {
            "accepted" | "scheduled" | "queued" | "sending" | "sent" => {
                Some(TwilioStatus::Underway)
            }
            "delivered" | "read" => Some(TwilioStatus::Delivered),
            "undelivered" | "failed" | "canceled" => {
                let code = form.get("ErrorCode").and_then(|code| code.parse::<u32>().ok());
                let reason = code.map_or_else(|| "undelivered".to_owned(), coded);
                Some(TwilioStatus::Undelivered { reason })
            }
            _ => None,
        }
    }
}

fn coded(code: u32) -> String {
    format!("twilio_{code}")
}

fn sorted(answer: &Answer) -> HandOver {
    let status = answer.status.as_u16();
    let reason = || {
        let said: Option<Refused> = serde_json::from_str(&answer.text).ok();
        said.and_then(|said| said.code).map_or_else(|| format!("sms_{status}"), coded)
    };
    match status {
        200..=299 => {
            // Nothing else of it is kept: it repeats the number, and the guest's secret link.
            let taken: Option<Taken> = serde_json::from_str(&answer.text).ok();
            let Taken { sid, status: said } = taken.unwrap_or_default();
            let provider_id = sid.filter(|id| id.len() <= 200);
            let words = format!(
                "{status} {}",
                said.unwrap_or_default().chars().take(40).collect::<String>()
            );
            let receipt = Receipt { provider: "twilio".to_owned(), provider_id };
            HandOver::Accepted { answer: words, receipt }
        }
        // Refused at the door: all that is asked, as long as the token or the account is not in order.
        401 | 403 | 429 | 503 => HandOver::Refused(answer.refusal(false, reason())),
        // It broke on the way: whether before or behind the sending, nobody says.
        500..=599 => {
            HandOver::Unknown { reason: reason(), answer: answer.said(), repeatable: false }
        }
        _ => HandOver::Refused(answer.refusal(true, reason())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "AC00000000000000000000000000000000";

    fn twilio(token: &str) -> Twilio {
        let callback = "https://book.example/api/v1/callbacks/twilio".to_owned();
        Twilio::try_new("https://api.twilio.com", ACCOUNT, token, "+15005550006", callback).unwrap()
    }

    #[test]
    fn a_signature_is_checked_as_twilio_documents_it() {
        // The example of https://www.twilio.com/docs/usage/security#validating-requests
        let form = [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675310"),
            ("Digits", "1234"),
            ("From", "+14158675310"),
            ("To", "+18005551212"),
        ];
        let form: BTreeMap<String, String> =
            form.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let url = "https://example.com/myapp.php?foo=1&bar=2";
        let signature = "L/OH5YylLD5NRKLltdqwSvS0BnU=";
        assert!(twilio("12345").has_signed(url, &form, signature));
        assert!(!twilio("12346").has_signed(url, &form, signature));
        assert!(!twilio("12345").has_signed("https://example.com/myapp.php", &form, signature));
        assert!(!twilio("12345").has_signed(url, &form, "nonsense"));
        let mut other = form;
        other.insert("Digits".to_owned(), "4321".to_owned());
        assert!(!twilio("12345").has_signed(url, &other, signature));
    }

    #[test]
    fn what_twilio_says_is_sorted() {
        let status = |status: &str, code: &str| {
            let form = [("MessageStatus", status), ("ErrorCode", code)];
            Twilio::status(&form.map(|(k, v)| (k.to_owned(), v.to_owned())).into())
        };
        assert_eq!(status("queued", ""), Some(TwilioStatus::Underway));
        assert_eq!(status("delivered", ""), Some(TwilioStatus::Delivered));
        let reason = "twilio_30006".to_owned();
        assert_eq!(status("undelivered", "30006"), Some(TwilioStatus::Undelivered { reason }));
        let reason = "undelivered".to_owned();
        assert_eq!(status("failed", ""), Some(TwilioStatus::Undelivered { reason }));
        assert_eq!(status("jubilant", ""), None);
    }

    #[test]
    fn odd_accounts_are_refused() {
        let new = |api: &str, account: &str, token: &str, from: &str| {
            Twilio::try_new(api, account, token, from, String::new()).unwrap_err()
        };
        let api = "https://api.twilio.com";
        assert_eq!(new("twilio", ACCOUNT, "t", "+15005550006"), TwilioError::Url);
        assert_eq!(new(api, "AC1", "t", "+15005550006"), TwilioError::Account);
        assert_eq!(new(api, ACCOUNT, "", "+15005550006"), TwilioError::Token);
        assert_eq!(new(api, ACCOUNT, "t", "15005550006"), TwilioError::From);
    }
}
