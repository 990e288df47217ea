//! Stands between the library and Postgres and counts round trips: each Sync or Query message of the
//! client is one, pings of a pool included.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::Result;
use streams::BoxError;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

use crate::postgres::Address;

/// A listener that passes everything on to Postgres.
pub(crate) struct Proxy {
    port: u16,
    trips: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// In front of the server of this address.
    pub(crate) async fn start(url: &str) -> Result<Self> {
        let server = url.parse::<Address>()?.port;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let trips = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&trips);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                // A broken connection is for its two ends to notice.
                tokio::spawn(async move { drop(pass(client, server, &counter).await) });
            }
        });
        Ok(Self { port, trips, task })
    }

    /// The same address, through here.
    pub(crate) fn url(&self, url: &str) -> Result<String> {
        let server = url.parse::<Address>()?.port;
        Ok(url.replacen(&format!(":{server}/"), &format!(":{}/", self.port), 1))
    }

    pub(crate) fn trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }
}

async fn pass(client: TcpStream, server: u16, trips: &AtomicU64) -> Result<(), BoxError> {
    let server = TcpStream::connect(("127.0.0.1", server)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let back = tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    let counted = count(from_client, to_server, trips).await;
    back.abort();
    counted
}

/// Follows the frames: a byte that says what it is, unless it is the first, and four of length.
async fn count(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    trips: &AtomicU64,
) -> Result<(), BoxError> {
    let mut pending: Vec<u8> = Vec::with_capacity(65_536);
    let mut started = false;
    while client.read_buf(&mut pending).await? > 0 {
        let mut whole = 0;
        while let Some(frame) = frame(pending.get(whole..).unwrap_or_default(), started) {
            if matches!(frame.kind, Kind::RoundTrip) {
                trips.fetch_add(1, Ordering::Relaxed);
            }
            started = started || !matches!(frame.kind, Kind::Encryption);
            whole += frame.size;
        }
        server.write_all(pending.get(..whole).unwrap_or_default()).await?;
        pending.drain(..whole);
    }
    Ok(())
}

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Asks whether the server speaks TLS or GSS; the first message proper is still to come.
    Encryption,
    /// Waits for an answer from now on.
    RoundTrip,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    kind: Kind,
    size: usize,
}

/// The frame that begins here, once all of it is there. Only those before the first message proper have no
/// byte that says what they are.
fn frame(bytes: &[u8], started: bool) -> Option<Frame> {
    let (letter, rest) = if started { bytes.split_first()? } else { (&0, bytes) };
    let length = u32::from_be_bytes(*rest.first_chunk::<4>()?);
    let size = usize::try_from(length).ok()? + usize::from(started);
    let whole = bytes.get(..size)?;
    let kind = match letter {
        b'S' | b'Q' => Kind::RoundTrip,
        0 if whole.get(4..8).is_some_and(|code| ENCRYPTION.contains(&code)) => Kind::Encryption,
        _ => Kind::Other,
    };
    Some(Frame { kind, size })
}

/// The codes by which a client asks for TLS or GSS.
const ENCRYPTION: [&[u8]; 2] = [&[4, 210, 22, 47], &[4, 210, 22, 48]];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], started: bool) -> Option<(Kind, usize)> {
        frame(bytes, started).map(|frame| (frame.kind, frame.size))
    }

    #[test]
    fn a_frame_tells_its_kind_and_size() {
        assert_eq!(read(&[0, 0, 0, 8, 4, 210, 22, 47], false), Some((Kind::Encryption, 8)));
        assert_eq!(read(&[0, 0, 0, 9, 0, 3, 0, 0, 0], false), Some((Kind::Other, 9)));
        assert_eq!(read(b"S\0\0\0\x04P", true), Some((Kind::RoundTrip, 5)));
        assert_eq!(read(b"P\0\0\0\x05x", true), Some((Kind::Other, 6)));
    }

    #[test]
    fn a_frame_that_is_not_whole_waits() {
        assert_eq!(read(b"S\0\0", true), None);
        assert_eq!(read(b"Q\0\0\0\x09x", true), None);
    }
}
