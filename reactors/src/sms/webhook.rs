//! Text messages to whoever takes a request that is signed after Standard Webhooks, and sends them on.

use domain::notification::Receipt;
use serde::Deserialize;
use serde_json::json;
use standardwebhooks::Webhook as Signer;
use streams::clock;
use url::Url;

use super::{Answer, Text, client, not_connected, words};
use crate::provider::{HandOver, Refusal};

/// An address and the secret that requests to it are signed with.
pub struct Webhook {
    url: Url,
    signer: Signer,
    client: reqwest::Client,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

/// The webhook cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Not an address of the form that is needed.
    #[error("must be an http:// or https:// address")]
    Url,
    /// Not a secret of Standard Webhooks.
    #[error("must be whsec_ and base64 of 24 to 64 bytes")]
    Secret,
    /// No client could be made.
    #[error("the system has no way to make requests: {0}")]
    Client(String),
}

/// What the other side may say of a message that it took.
#[derive(Deserialize)]
struct Taken {
    id: Option<String>,
}

impl Webhook {
    /// # Errors
    /// When address or secret do not parse.
    pub fn try_new(url: &str, secret: &str) -> Result<Self, WebhookError> {
        let url = Url::parse(url).map_err(|_odd| WebhookError::Url)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(WebhookError::Url);
        }
        let signer = secret.strip_prefix("whsec_").map(|_| Signer::new(secret));
        let signer = signer.and_then(Result::ok).ok_or(WebhookError::Secret)?;
        let client = client().map_err(|error| WebhookError::Client(error.to_string()))?;
        Ok(Self { url, signer, client })
    }

    /// Whoever takes it knows it by its id when it comes again, so what is left open is tried again.
    pub(super) async fn send(&self, text: &Text) -> HandOver {
        let body = json!({"type": "sms.send", "id": text.id, "to": text.to, "body": text.body});
        let body = body.to_string();
        let now = clock::now().as_second();
        let signature = match self.signer.sign(&text.id, now, body.as_bytes()) {
            Ok(signature) => signature,
            Err(error) => {
                return HandOver::Refused(Refusal {
                    permanent: true,
                    reason: "sms_unsigned".to_owned(),
                    answer: error.to_string(),
                    down: false,
                    not_before: None,
                });
            }
        };
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", &text.id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature)
            .body(body);
        let answer = match request.send().await {
            Ok(response) => Answer::read(response).await,
            Err(error) => Err(error),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let refusal = not_connected(&error);
                let unknown = || HandOver::Unknown {
                    reason: "sms_timeout".to_owned(),
                    answer: words(&error),
                    repeatable: true,
                };
                return refusal.map_or_else(unknown, HandOver::Refused);
            }
        };
        let status = answer.status.as_u16();
        match status {
            200..=299 => {
                let taken: Option<Taken> = serde_json::from_str(&answer.text).ok();
                let provider_id = taken.and_then(|taken| taken.id).filter(|id| id.len() <= 200);
                let receipt = Receipt { provider: "webhook".to_owned(), provider_id };
                HandOver::Accepted { answer: answer.said(), receipt }
            }
            // The first two until the secret is in order again.
            401 | 403 | 408 | 425 | 429 | 500..=599 => {
                HandOver::Refused(answer.refusal(false, format!("sms_{status}")))
            }
            _ => HandOver::Refused(answer.refusal(true, format!("sms_{status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_addresses_and_secrets_are_refused() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert!(Webhook::try_new("https://sms.example/send", secret).is_ok());
        for odd in ["sms.example", "ftp://sms.example", "https://"] {
            assert_eq!(Webhook::try_new(odd, secret).unwrap_err(), WebhookError::Url, "{odd}");
        }
        for odd in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%%"] {
            let error = Webhook::try_new("https://sms.example", odd).unwrap_err();
            assert_eq!(error, WebhookError::Secret, "{odd}");
        }
    }
}
