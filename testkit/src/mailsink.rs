//! A mail provider that delivers nothing, and that can be told to refuse, stall or hang up.

use std::{collections::BTreeMap, path::Path, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    client, eventually,
    process::{Process, folder, last_words},
    setting,
};

/// `scripts/mailsink.py` on ports of its own.
#[derive(Debug)]
pub struct MailSink {
    _process: Process,
    _folder: TempDir,
    ports: Ports,
    client: reqwest::Client,
}

#[derive(Debug, Deserialize)]
struct Ports {
    smtp: u16,
    http: u16,
}

/// A mail that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mail {
    /// Without angle brackets.
    pub message_id: String,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// Of the envelope.
    pub to: Vec<String>,
    /// Of the header.
    pub from: String,
    /// Decoded.
    pub subject: String,
    /// The plain body.
    pub text: Option<String>,
    /// The other body.
    pub html: Option<String>,
    /// The invitation among the bodies.
    pub calendar: Option<String>,
    /// The headers that say how whoever wants no more of these says so.
    pub unsubscribe: Vec<String>,
    /// Names of files.
    pub attachments: Vec<String>,
}

/// What the next mails meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every mail is accepted.
    None,
    /// 421 at MAIL.
    Busy,
    /// 451 at RCPT.
    TryLater,
    /// 550 at RCPT.
    NoSuchMailbox,
    /// So long no greeting.
    StallConnect(Duration),
    /// Received, and accepted so much later.
    StallData(Duration),
    /// Accepted, but the connection ends without an answer.
    DropAfterData,
}

impl MailSink {
    /// Starts one without mails and faults.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Self {
        let folder = folder("mail");
        let (log, ports) = (folder.path().join("log"), folder.path().join("ports.json"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/mailsink.py");
        // As ourselves: the account of the servers may not look into this clone.
        let mut command = std::process::Command::new(setting("APPTREMIND_TEST_PYTHON"));
        command.arg(script).args(["--smtp-port", "0", "--http-port", "0", "--dir"]);
        command.arg(folder.path());
        let mut process = Process::start(command, &log);
        let ports = eventually("the mail sink listens", async || {
            assert!(!process.has_ended(), "the mail sink ended: {}", last_words(&log));
            serde_json::from_slice(&std::fs::read(&ports).ok()?).ok()
        })
        .await;
        let client = client().build().expect("a client");
        Self { _process: process, _folder: folder, ports, client }
    }

    /// Where mails are handed in.
    #[must_use]
    pub fn smtp_url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.ports.smtp)
    }

    /// All mails that were accepted, the oldest first.
    pub async fn messages(&self) -> Vec<Mail> {
        self.get("messages").await
    }

    /// How often each message id was accepted.
    pub async fn counts(&self) -> BTreeMap<String, u32> {
        self.get("counts").await
    }

    /// The next `count` mails meet this, in place of what was wished before.
    ///
    /// # Panics
    /// When the sink does not answer.
    pub async fn fault(&self, fault: Fault, count: u32) {
        let (mode, seconds) = match fault {
            Fault::None => ("none", Duration::ZERO),
            Fault::Busy => ("421", Duration::ZERO),
            Fault::TryLater => ("451", Duration::ZERO),
            Fault::NoSuchMailbox => ("550", Duration::ZERO),
            Fault::StallConnect(time) => ("stall_connect", time),
            Fault::StallData(time) => ("stall_data", time),
            Fault::DropAfterData => ("drop_after_data", Duration::ZERO),
        };
        let wish = json!({ "mode": mode, "seconds": seconds.as_secs_f64(), "count": count });
        let answer = self.client.post(self.url("faults")).json(&wish).send().await;
        let answer = answer.expect("the mail sink answers").error_for_status();
        answer.expect("the mail sink knows the fault");
    }

    async fn get<T: DeserializeOwned>(&self, what: &str) -> T {
        let answer = self.client.get(self.url(what)).send().await.expect("the mail sink answers");
        answer.json().await.expect("the mail sink answers JSON")
    }

    fn url(&self, what: &str) -> String {
        format!("http://127.0.0.1:{}/api/{what}", self.ports.http)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
        net::TcpStream,
    };

    use super::*;

    /// Hands a mail in and gives the last answer.
    async fn send(sink: &MailSink) -> String {
        let stream = TcpStream::connect(("127.0.0.1", sink.ports.smtp)).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut answer = String::new();
        let mail = "Message-ID: <one@test>\r\nFrom: Ann <a@test>\r\nSubject: Hi\r\n\r\nBody\r\n.";
        for line in ["", "HELO test", "MAIL FROM:<a@test>", "RCPT TO:<b@test>", "DATA", mail] {
            if !line.is_empty() {
                stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
            }
            answer.clear();
            stream.read_line(&mut answer).await.unwrap();
            if answer.starts_with(['4', '5']) {
                break;
            }
        }
        answer
    }

    #[tokio::test]
    async fn the_mail_sink_keeps_what_it_accepts_and_refuses_what_it_is_told_to() {
        let sink = MailSink::start().await;
        sink.fault(Fault::TryLater, 1).await;
        assert!(send(&sink).await.starts_with("451"));
        assert_eq!(sink.messages().await, []);
        assert!(send(&sink).await.starts_with("250"));
        let mail = Mail {
            message_id: "one@test".into(),
            received_at: sink.messages().await[0].received_at,
            to: vec!["b@test".into()],
            from: "Ann <a@test>".into(),
            subject: "Hi".into(),
            text: Some("Body\r\n".into()),
            html: None,
            calendar: None,
            unsubscribe: vec![],
            attachments: vec![],
        };
        let mails = sink.messages().await;
        assert_eq!(mails.len(), 1);
        assert_eq!(mails[0].text.as_deref().map(str::trim_end), Some("Body"));
        assert_eq!(Mail { text: mail.text.clone(), ..mails[0].clone() }, mail);
        assert_eq!(sink.counts().await, BTreeMap::from([("one@test".into(), 1)]));
    }
}
