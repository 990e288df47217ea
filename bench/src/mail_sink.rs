//! A mail server of this process that keeps nothing but what arrived how often and when; and the bare
//! client that talks to it. One in another language would cost more than the senders that are measured.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use streams::clock;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// So long a provider takes to say that it has a mail.
const TAKES: Duration = Duration::from_millis(5);
/// Longer no mail of ours is.
const LONGEST: u64 = 1 << 20;

/// Mails with one `Message-ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) times: u32,
    /// When the first of them was here to its end.
    pub(crate) at: Timestamp,
}

#[derive(Default)]
struct Kept {
    /// By what stands in front of the `@`.
    arrivals: HashMap<String, Arrival>,
    /// The last mail as it came, without its end.
    letter: Vec<u8>,
}

/// Takes every mail on a port of its own until dropped.
pub(crate) struct Sink {
    port: u16,
    kept: Arc<Mutex<Kept>>,
    listening: JoinHandle<()>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Sink {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let kept = Arc::<Mutex<Kept>>::default();
        let keeping = Arc::clone(&kept);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&keeping);
                // A client that hangs up has its own reasons.
                tokio::spawn(async move { drop(converse(stream, &kept).await) });
            }
        });
        Ok(Self { port, kept, listening })
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://{}", self.address())
    }

    /// How many different mails arrived since the last [`Self::take`].
    pub(crate) fn count(&self) -> usize {
        lock(&self.kept).arrivals.len()
    }

    /// What arrived since the last time, by what stands in front of the `@` of the id.
    pub(crate) fn take(&self) -> HashMap<String, Arrival> {
        std::mem::take(&mut lock(&self.kept).arrivals)
    }

    /// The last mail as it came.
    pub(crate) fn letter(&self) -> Vec<u8> {
        lock(&self.kept).letter.clone()
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One client, to its farewell.
async fn converse(stream: TcpStream, kept: &Mutex<Kept>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "EHLO" | "HELO" | "MAIL" | "RCPT" | "RSET" | "NOOP" => b"250 sink\r\n",
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let letter = content(&mut stream).await?;
                note(kept, letter);
                tokio::time::sleep(TAKES).await;
                b"250 taken\r\n"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => b"500 what?\r\n",
        };
        stream.write_all(answer).await?;
    }
}

/// All lines in front of the single dot.
async fn content(stream: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    let (mut letter, mut begins) = (Vec::with_capacity(8_192), 0);
    let mut stream = stream.take(LONGEST);
    loop {
        ensure!(stream.read_until(b'\n', &mut letter).await? > 0, "a mail without an end");
        if letter.get(begins..) == Some(b".\r\n") {
            letter.truncate(begins);
            return Ok(letter);
        }
        begins = letter.len();
    }
}

fn note(kept: &Mutex<Kept>, letter: Vec<u8>) {
    let now = clock::now();
    let id = id_in(&letter).map(|(id, _)| id.to_owned()).unwrap_or_default();
    let mut kept = lock(kept);
    kept.arrivals.entry(id).or_insert(Arrival { times: 0, at: now }).times += 1;
    kept.letter = letter;
}

/// What stands between `<` and `@` in the header `Message-ID`, and where it begins.
fn id_in(letter: &[u8]) -> Option<(&str, usize)> {
    const NAME: &[u8] = b"message-id:";
    let mut begins = 0;
    for line in letter.split_inclusive(|byte| *byte == b'\n') {
        if line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
            // It may stand on the next line.
            let open = begins + letter.get(begins..)?.iter().position(|byte| *byte == b'<')? + 1;
            let length = letter.get(open..)?.iter().position(|byte| *byte == b'@')?;
            return Some((std::str::from_utf8(letter.get(open..open + length)?).ok()?, open));
        }
        if line == b"\r\n" {
            return None;
        }
        begins += line.len();
    }
    None
}

/// A mail of which only the id changes.
#[derive(Clone)]
pub(crate) struct Form {
    before: Arc<[u8]>,
    after: Arc<[u8]>,
}

impl Form {
    /// # Errors
    /// When the mail has no id.
    pub(crate) fn of(letter: &[u8]) -> Result<Self> {
        let (id, begins) = id_in(letter).context("a mail with an id")?;
        let part = |bytes: Option<&[u8]>| bytes.map(Arc::from).context("a part of the mail");
        let after = part(letter.get(begins + id.len()..))?;
        Ok(Self { before: part(letter.get(..begins))?, after })
    }

    /// Such a mail, with its end.
    fn filled(&self, id: &str) -> Vec<u8> {
        [&*self.before, id.as_bytes(), &*self.after, b".\r\n"].concat()
    }
}

/// A conversation with a mail server that has come as far as RCPT.
pub(crate) struct Conversation(BufReader<TcpStream>);

impl Conversation {
    /// # Errors
    /// When the server is away or refuses.
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut conversation = Self(BufReader::new(stream));
        conversation.hear("220").await?;
        for line in ["EHLO bench", "MAIL FROM:<a@bench.example>", "RCPT TO:<b@bench.example>"] {
            conversation.say(format!("{line}\r\n").as_bytes(), "250").await?;
        }
        Ok(conversation)
    }

    /// Hands a mail in; the farewell takes its own time.
    ///
    /// # Errors
    /// When the server does not take it.
    pub(crate) async fn hand_in(mut self, form: &Form, id: &str) -> Result<()> {
        self.say(b"DATA\r\n", "354").await?;
        self.say(&form.filled(id), "250").await?;
        tokio::spawn(async move { drop(self.say(b"QUIT\r\n", "221").await) });
        Ok(())
    }

    async fn say(&mut self, words: &[u8], wanted: &str) -> Result<()> {
        self.0.write_all(words).await?;
        self.hear(wanted).await
    }

    async fn hear(&mut self, wanted: &str) -> Result<()> {
        let mut answer = String::new();
        self.0.read_line(&mut answer).await?;
        ensure!(answer.starts_with(wanted), "the mail server answered {answer:?}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTER: &[u8] =
        b"From: a@b\r\nMessage-Id: <ntf_1.1@c>\r\nSubject: Hi\r\n\r\nBody <x@y>\r\n";

    #[test]
    fn an_id_is_found_in_the_headers_alone() {
        assert_eq!(id_in(LETTER), Some(("ntf_1.1", 24)));
        assert_eq!(id_in(b"Message-ID:\r\n <one@c>\r\n\r\n"), Some(("one", 15)));
        assert_eq!(id_in(b"From: a\r\n\r\nMessage-ID: <one@c>\r\n"), None);
        assert_eq!(id_in(b""), None);
    }

    #[test]
    fn a_form_changes_the_id_and_nothing_else() {
        let filled = Form::of(LETTER).unwrap().filled("ntf_2.1");
        let expected = String::from_utf8(LETTER.to_vec()).unwrap().replace("ntf_1", "ntf_2");
        assert_eq!(String::from_utf8(filled).unwrap(), format!("{expected}.\r\n"));
        assert!(Form::of(b"Subject: Hi\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn a_mail_that_comes_twice_is_counted_twice() {
        let sink = Sink::start().await.unwrap();
        let form = Form::of(LETTER).unwrap();
        for id in ["one", "two", "one"] {
            let conversation = Conversation::open(&sink.address()).await.unwrap();
            conversation.hand_in(&form, id).await.unwrap();
        }
        assert_eq!(sink.count(), 2);
        let arrivals = sink.take();
        assert_eq!((arrivals["one"].times, arrivals["two"].times), (2, 1));
        assert_eq!(sink.count(), 0);
        assert_eq!(Form::of(&sink.letter()).unwrap().filled("x"), form.filled("x"));
    }
}
