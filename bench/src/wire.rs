//! A client of few instructions: it shares the cores with what it measures. HTTP/1.1 over one kept
//! connection, nothing parsed but the length of the answer and the headers that are asked for.

use anyhow::{Context, Result, bail};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A request that is not answered in this time has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Wire {
    address: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// What came back; the body is kept until the next request.
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    head: &'a str,
    pub(crate) body: &'a [u8],
}

impl Reply<'_> {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name)
    }
}

impl Wire {
    /// `address` is host and port.
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None, buffer: Vec::with_capacity(65_536) }
    }

    /// Sends a whole request and reads its answer. What goes wrong costs the connection.
    ///
    /// # Errors
    /// When the server does not answer in time or answers no HTTP.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<Reply<'_>> {
        let answered = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
        match answered {
            Ok(Ok((status, head, body))) => Ok(Reply {
                status,
                head: std::str::from_utf8(self.buffer.get(..head).unwrap_or_default())?,
                body: self.buffer.get(body).unwrap_or_default(),
            }),
            Ok(Err(error)) => {
                self.stream = None;
                Err(error)
            }
            Err(_elapsed) => {
                self.stream = None;
                bail!("no answer in {} s", PATIENCE.as_secs())
            }
        }
    }

    /// Whether the server has kept the connection and says nothing.
    pub(crate) fn is_open(&mut self) -> bool {
        let said = self.stream.as_ref().map(|stream| stream.try_read(&mut [0]));
        said.is_some_and(|said| said.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock))
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<(u16, usize, std::ops::Range<usize>)> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(&self.address).await?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            read_more(stream, &mut self.buffer).await?;
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = std::str::from_utf8(self.buffer.get(..head).unwrap_or_default())?;
        let status = text.get(9..12).context("a status line")?.parse()?;
        let length = header(text, "content-length").map(str::parse::<usize>).transpose()?;
        if status == 204 || status == 304 {
            return Ok((status, head, head..head));
        }
        if let Some(length) = length {
            while self.buffer.len() < head + length {
                read_more(stream, &mut self.buffer).await?;
            }
            return Ok((status, head, head..head + length));
        }
        if header(text, "transfer-encoding").is_none() {
            bail!("an answer without a length");
        }
        // Left as it came, with the sizes of the chunks in it: only its end matters.
        while !self.buffer.get(head..).unwrap_or_default().ends_with(b"0\r\n\r\n") {
            read_more(stream, &mut self.buffer).await?;
        }
        Ok((status, head, head..self.buffer.len()))
    }
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<()> {
    if stream.read_buf(buffer).await? == 0 {
        bail!("the server closed the connection");
    }
    Ok(())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// The bytes of a GET.
pub(crate) fn get(path: &str, gzip: bool) -> Vec<u8> {
    let accept = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\n{accept}\r\n").into_bytes()
}

/// The bytes of a POST of JSON.
pub(crate) fn post(path: &str, key: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n\
         Idempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_any_case() {
        let head = "HTTP/1.1 201 Created\r\nContent-Length: 12\r\nx-position: a-b\r\n\r\n";
        assert_eq!(header(head, "content-length"), Some("12"));
        assert_eq!(header(head, "X-Position"), Some("a-b"));
        assert_eq!(header(head, "etag"), None);
    }
}
