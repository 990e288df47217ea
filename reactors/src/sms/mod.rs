//! Text messages. Who sends them is a setting; each provider is a file.

mod twilio;
mod webhook;

use std::time::Duration;

use domain::notification::Receipt;
pub use twilio::{Twilio, TwilioError, TwilioStatus};
pub use webhook::{Webhook, WebhookError};

use crate::provider::{HandOver, Refusal};

/// For connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// For one request, from its first byte to the last of its answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// So much of an answer is read,
const MOST: usize = 64 * 1024;
/// and so many characters of it are kept.
const KEPT: usize = 2_000;
/// A provider that asks to wait for longer is tried again after this.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Who sends text messages.
#[derive(Debug)]
pub enum Sms {
    /// Nobody.
    None,
    /// They are written to the log, which is for development: they hold what guests are told.
    Log,
    /// Whatever takes a signed request.
    Webhook(Webhook),
    /// Twilio's REST API.
    Twilio(Twilio),
}

/// One text message.
#[derive(Debug)]
pub(crate) struct Text {
    /// The same at every try.
    pub(crate) id: String,
    /// Which try it is.
    pub(crate) attempt: u32,
    /// As the guest gave it, in E.164.
    pub(crate) to: String,
    pub(crate) body: String,
}

impl Sms {
    /// Sends one message.
    pub(crate) async fn send(&self, text: &Text) -> HandOver {
        match self {
            Self::None => HandOver::Refused(Refusal {
                permanent: true,
                reason: "no_sms_provider".to_owned(),
                answer: "no provider of text messages is set".to_owned(),
                down: false,
                not_before: None,
            }),
            Self::Log => {
                tracing::info!(to = text.to, body = text.body, "a text message");
                let receipt = Receipt { provider: "log".to_owned(), provider_id: None };
                HandOver::Accepted { answer: "written to the log".to_owned(), receipt }
            }
            Self::Webhook(webhook) => webhook.send(text).await,
            Self::Twilio(twilio) => twilio.send(text).await,
        }
    }
}

/// Never follows to another address: what is sent is for nobody else.
fn client() -> Result<reqwest::Client, reqwest::Error> {
    // Built with ring only; whoever is first to use TLS must not have to choose.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("apptremind/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// An answer, as much of it as is worth keeping.
struct Answer {
    status: reqwest::StatusCode,
    not_before: Option<Duration>,
    text: String,
}

impl Answer {
    async fn read(mut response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let status = response.status();
        let seconds = response.headers().get(reqwest::header::RETRY_AFTER);
        let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
        let not_before = seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST {
                body.truncate(MOST);
                break;
            }
        }
        Ok(Self { status, not_before, text: String::from_utf8_lossy(&body).into_owned() })
    }

    /// In words, for the record.
    fn said(&self) -> String {
        let text: String = self.text.chars().take(KEPT).collect();
        format!("{} {text}", self.status.as_u16())
    }

    fn refusal(&self, permanent: bool, reason: String) -> Refusal {
        let status = self.status.as_u16();
        let (down, not_before) = (matches!(status, 401 | 403 | 429 | 500..=599), self.not_before);
        Refusal { permanent, reason, answer: self.said(), down, not_before }
    }
}

/// Nothing went out when there was no connection.
fn not_connected(error: &reqwest::Error) -> Option<Refusal> {
    error.is_connect().then(|| Refusal {
        permanent: false,
        reason: "sms_unreachable".to_owned(),
        answer: words(error),
        down: true,
        not_before: None,
    })
}

/// Without the address, which may hold a secret.
fn words(error: &reqwest::Error) -> String {
    let kind = match error {
        error if error.is_timeout() => "no answer in time",
        error if error.is_connect() => "no connection",
        _ => "the connection broke",
    };
    let source = std::error::Error::source(error).map(ToString::to_string);
    source.map_or_else(|| kind.to_owned(), |source| format!("{kind}: {source}"))
}
