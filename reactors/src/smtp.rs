//! Mail by SMTP, in two steps: up to RCPT, where nothing is sent yet, and the hand-over.

use std::{str::FromStr, time::Duration};

use domain::notification::Receipt;
use lettre::{
    Address, Message,
    message::{
        Attachment, Mailbox, MultiPart, SinglePart,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail as MailFrom, Rcpt},
        extension::ClientId,
    },
};
use streams::BoxError;
use tokio::net::TcpStream;
use url::Url;

use crate::{
    ics::Invitation,
    mail::Mail,
    provider::{HandOver, Refusal},
    work::Work,
};

/// For everything up to RCPT; lettre's own timeout covers only the connecting.
const PREPARE: Duration = Duration::from_secs(20);
/// For the hand-over itself.
const HAND_OVER: Duration = Duration::from_secs(30);

/// A mail server and who we are to it.
pub struct Smtp {
    host: String,
    port: u16,
    /// TLS from the first byte (`smtps`).
    implicit_tls: bool,
    /// Refuse to go on without STARTTLS.
    require_tls: bool,
    credentials: Option<Credentials>,
    from: Mailbox,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The server's address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmtpAddressError {
    /// Not a URL of the form that is needed.
    #[error("must be smtp://[user:password@]host[:port][?tls=required] or smtps://..")]
    Url,
    /// Not a mailbox.
    #[error("must be a mail address, such as Reminders <reminders@example.com>")]
    From,
}

/// The server knows sender and recipient and waits for the message.
pub(crate) struct Ready(AsyncSmtpConnection);

impl Smtp {
    /// # Errors
    /// When the address or the sender does not parse.
    pub fn try_new(url: &str, from: &str) -> Result<Self, SmtpAddressError> {
        let url = Url::parse(url).map_err(|_odd| SmtpAddressError::Url)?;
        let implicit_tls = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            _ => return Err(SmtpAddressError::Url),
        };
        let host = url.host_str().ok_or(SmtpAddressError::Url)?.to_owned();
        let text = |part: &str| {
            percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            ("", Some(_)) | (_, None) => return Err(SmtpAddressError::Url),
            (user, Some(password)) => Some(Credentials::new(text(user), text(password))),
        };
        let near = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
        // A password never goes over a network in the clear.
        let require_tls = url.query_pairs().any(|(k, v)| k == "tls" && v == "required")
            || (credentials.is_some() && !near);
        Ok(Self {
            port: url.port().unwrap_or(if implicit_tls { 465 } else { 587 }),
            host,
            implicit_tls,
            require_tls,
            credentials,
            from: Mailbox::from_str(from).map_err(|_odd| SmtpAddressError::From)?,
        })
    }

    /// The address that mails come from.
    #[must_use]
    pub fn address(&self) -> String {
        self.from.email.to_string()
    }

    /// The message, named after what it is so that a second copy could be recognised.
    pub(crate) fn message(
        &self,
        work: &Work,
        mail: &Mail,
        to: &[String],
    ) -> Result<Message, BoxError> {
        self.letter(&format!("{}.{}", work.notification_id, work.version), mail, to)
    }

    /// The same under another name.
    pub(crate) fn letter(
        &self,
        name: &str,
        mail: &Mail,
        to: &[String],
    ) -> Result<Message, BoxError> {
        let address = self.from.email.clone();
        let id = format!("<{name}@{}>", address.domain());
        let mut message = Message::builder()
            .message_id(Some(id))
            .from(Mailbox::new(Some(mail.from_name.clone()), address));
        for to in to {
            message = message.to(Mailbox::new(None, Address::from_str(to)?));
        }
        if let Some(url) = &mail.unsubscribe {
            message = message.header(Unsubscribe(format!("<{url}>"))).header(OneClick);
        }
        Ok(message.subject(mail.subject.clone()).multipart(body(mail)?)?)
    }

    /// Everything up to RCPT. Nothing has been sent if this fails.
    pub(crate) async fn prepare(&self, message: &Message) -> Result<Ready, Refusal> {
        match tokio::time::timeout(PREPARE, self.connect(message)).await {
            Ok(Ok(connection)) => Ok(Ready(connection)),
            Ok(Err(refusal)) => Err(refusal),
            Err(_elapsed) => Err(timed_out()),
        }
    }

    async fn connect(&self, message: &Message) -> Result<AsyncSmtpConnection, Refusal> {
        let stream = if self.implicit_tls { None } else { Some(self.dial().await?) };
        let mut connection =
            self.meet(stream).await.map_err(|error| refusal(Stage::Meeting, &error))?;
        let envelope = message.envelope();
        let ours = |error| refusal(Stage::Message, &error);
        let from = MailFrom::new(envelope.from().cloned(), vec![]);
        connection.command(from).await.map_err(ours)?;
        // One of several that is gone does not keep it from the others.
        let (mut taken, mut refused) = (false, None);
        for to in envelope.to() {
            match connection.command(Rcpt::new(to.clone(), vec![])).await {
                Ok(_) => taken = true,
                Err(error) if error.status().is_some() => refused = Some(ours(error)),
                Err(error) => return Err(ours(error)),
            }
        }
        match refused {
            Some(refusal) if !taken => Err(refusal),
            _ => Ok(connection),
        }
    }

    /// lettre writes a message and the dot behind it one after the other: without this the dot would wait for
    /// the server to acknowledge the message, which servers take 40 ms for.
    async fn dial(&self) -> Result<TcpStream, Refusal> {
        let dialled = TcpStream::connect((self.host.as_str(), self.port)).await;
        dialled.and_then(|stream| stream.set_nodelay(true).map(|()| stream)).map_err(|error| {
            let (reason, answer) = ("smtp_unreachable".to_owned(), error.to_string());
            Refusal { permanent: false, reason, answer, down: true, not_before: None }
        })
    }

    /// All that is the same for every message.
    async fn meet(
        &self,
        stream: Option<TcpStream>,
    ) -> Result<AsyncSmtpConnection, lettre::transport::smtp::Error> {
        let hello = ClientId::Domain(self.from.email.domain().to_owned());
        let tls = || TlsParameters::new(self.host.clone());
        let mut connection = match stream {
            Some(stream) => {
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello).await?
            }
            // It has no way to be handed a stream that speaks TLS already.
            None => {
                let server = (self.host.as_str(), self.port);
                let (patience, tls) = (Some(PREPARE), Some(tls()?));
                AsyncSmtpConnection::connect_tokio1(server, patience, &hello, tls, None).await?
            }
        };
        if !self.implicit_tls && (self.require_tls || connection.can_starttls()) {
            connection.starttls(tls()?, &hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await?;
        }
        Ok(connection)
    }
}

/// Where whoever wants no more of these says so (RFC 2369).
#[derive(Debug, Clone)]
struct Unsubscribe(String);

/// That a click is enough for that (RFC 8058).
#[derive(Debug, Clone)]
struct OneClick;

impl Header for Unsubscribe {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe")
    }

    fn parse(value: &str) -> Result<Self, BoxError> {
        Ok(Self(value.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}

impl Header for OneClick {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe-Post")
    }

    fn parse(_value: &str) -> Result<Self, BoxError> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "List-Unsubscribe=One-Click".to_owned())
    }
}

/// How far a conversation was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Greeting, TLS, signing in.
    Meeting,
    /// Sender, recipients, and what is sent.
    Message,
}

/// Some clients enter an invitation that is one of the alternatives, others only show what is attached.
fn body(mail: &Mail) -> Result<MultiPart, BoxError> {
    let words = MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone());
    let Some(invitation) = &mail.invitation else { return Ok(words) };
    let Invitation { method, file } = invitation;
    let inline = ContentType::parse(&format!("text/calendar; charset=utf-8; method={method}"))?;
    let inline = SinglePart::builder().header(inline).body(file.clone());
    let attached = ContentType::parse("application/ics")?;
    let attached = Attachment::new("appointment.ics".to_owned()).body(file.clone(), attached);
    Ok(MultiPart::mixed().multipart(words.singlepart(inline)).singlepart(attached))
}

impl Ready {
    /// Sends the message.
    pub(crate) async fn hand_over(self, message: &[u8]) -> HandOver {
        let mut connection = self.0;
        let sent = tokio::time::timeout(HAND_OVER, async {
            if let Err(error) = connection.command(Data).await {
                return Err(HandOver::Refused(refusal(Stage::Message, &error)));
            }
            // A clear refusal is one; anything else leaves open whether the server has it.
            connection.message(message).await.map_err(|error| {
                if error.is_transient() || error.is_permanent() {
                    HandOver::Refused(refusal(Stage::Message, &error))
                } else {
                    unknown(error.to_string())
                }
            })
        })
        .await;
        match sent {
            Ok(Ok(response)) => {
                let answer = response.first_line().unwrap_or_default().to_owned();
                // The server has it; whether it hears the farewell does not matter.
                tokio::spawn(async move {
                    drop(tokio::time::timeout(Duration::from_secs(2), connection.quit()).await);
                });
                let receipt = Receipt { provider: "smtp".to_owned(), provider_id: None };
                HandOver::Accepted { answer, receipt }
            }
            Ok(Err(outcome)) => outcome,
            Err(_elapsed) => unknown("no answer in time".to_owned()),
        }
    }

    /// Goes away without having sent anything.
    pub(crate) async fn abandon(mut self) {
        drop(tokio::time::timeout(Duration::from_secs(2), self.0.abort()).await);
    }
}

fn timed_out() -> Refusal {
    let answer = "no answer in time".to_owned();
    let reason = "smtp_timeout".to_owned();
    Refusal { permanent: false, reason, answer, down: true, not_before: None }
}

fn unknown(answer: String) -> HandOver {
    let reason = "connection_lost_after_hand_over".to_owned();
    HandOver::Unknown { reason, answer, repeatable: false }
}

/// Whoever is refused before they said what they want may be taken later: an operator has a password to mend.
fn refusal(stage: Stage, error: &lettre::transport::smtp::Error) -> Refusal {
    let reason = match error.status() {
        Some(code) => format!("smtp_{code}"),
        None if error.is_timeout() => "smtp_timeout".to_owned(),
        None => "smtp_unreachable".to_owned(),
    };
    let answer = error.to_string();
    let permanent = error.is_permanent() && stage == Stage::Message;
    let busy = error.status().is_some_and(|code| code.to_string() == "421");
    let down = stage == Stage::Meeting || error.status().is_none() || busy;
    Refusal { permanent, reason, answer, down, not_before: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp(url: &str) -> Result<Smtp, SmtpAddressError> {
        Smtp::try_new(url, "Reminders <reminders@example.com>")
    }

    #[test]
    fn a_password_over_a_network_asks_for_tls() {
        assert!(smtp("smtp://user:p%26ss@mail.example.com").unwrap().require_tls);
        assert!(!smtp("smtp://mail.example.com").unwrap().require_tls);
        assert!(smtp("smtp://mail.example.com?tls=required").unwrap().require_tls);
        assert!(!smtp("smtp://user:pass@127.0.0.1:1025").unwrap().require_tls);
    }

    #[test]
    fn half_a_sign_in_and_odd_addresses_are_refused() {
        for odd in
            ["smtp://user@mail.example.com", "smtp://:pass@mail.example.com", "http://mail", "mail"]
        {
            assert_eq!(smtp(odd).unwrap_err(), SmtpAddressError::Url, "{odd}");
        }
        let from = Smtp::try_new("smtp://mail.example.com", "nobody").unwrap_err();
        assert_eq!(from, SmtpAddressError::From);
    }

    #[test]
    fn a_file_for_a_calendar_says_beside_itself_what_it_is_for() {
        for method in ["REQUEST", "CANCEL"] {
            let file = format!("BEGIN:VCALENDAR\r\nMETHOD:{method}\r\nEND:VCALENDAR\r\n");
            let mail = Mail {
                from_name: "Salon".into(),
                subject: "News".into(),
                text: "words".into(),
                html: "<p>words</p>".into(),
                invitation: Some(Invitation { method, file }),
                unsubscribe: None,
            };
            let sent = String::from_utf8(body(&mail).unwrap().formatted()).unwrap();
            let said = format!("text/calendar; charset=utf-8; method={method}");
            assert!(sent.contains(&said), "{sent}");
            assert_eq!(sent.matches(&format!("METHOD:{method}")).count(), 2, "{sent}");
        }
    }
}
