//! What is seen of a connection while requests come and answers go.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::{Ending, Limits, lock};

/// Where a connection is between two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing has come yet. Since when.
    Silent(Instant),
    /// A head has begun to come. Since when.
    Head(Instant),
    /// The head is there, and the answer is not yet written: time limits are the router's.
    Answering,
    /// Between two requests. Since when.
    Resting(Instant),
}

/// A connection at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// Since when the client takes nothing of what is written to it.
    pub(super) stalled: Option<Instant>,
}

impl State {
    /// Whether nothing is lost if the connection ends.
    pub(super) fn is_resting(self) -> bool {
        matches!(self.phase, Phase::Resting(_)) && self.stalled.is_none()
    }

    /// When the connection ends unless something happens; `stopped` is when it was told to.
    pub(super) fn deadline(self, limits: &Limits, stopped: Option<Instant>) -> Option<Instant> {
        if let Some(since) = self.stalled {
            return Some(since + limits.idle_timeout);
        }
        let wait = |since: Instant, most: Duration| match stopped {
            Some(stopped) => (since + most).min(since.max(stopped) + limits.linger),
            None => since + most,
        };
        match self.phase {
            Phase::Silent(since) => Some(wait(since, limits.header_timeout)),
            Phase::Head(since) => Some(since + limits.header_timeout),
            Phase::Answering => None,
            Phase::Resting(since) => Some(wait(since, limits.idle_timeout)),
        }
    }

    /// When it has rested so long that its buffers are better used elsewhere.
    pub(super) fn drowsy(self, limits: &Limits) -> Option<Instant> {
        match self.phase {
            Phase::Resting(since) if self.stalled.is_none() => Some(since + limits.awake),
            Phase::Silent(_) | Phase::Head(_) | Phase::Answering | Phase::Resting(_) => None,
        }
    }

    /// What a missed deadline means.
    pub(super) fn ending(self) -> Ending {
        match (self.phase, self.stalled) {
            (Phase::Head(_), None) => Ending::Late,
            (Phase::Head(_), Some(_))
            | (Phase::Silent(_) | Phase::Answering | Phase::Resting(_), _) => Ending::Quiet,
        }
    }
}

/// What is seen of a connection, from below by its [`Wire`] and from above by its `Door`.
pub(super) struct Progress(Mutex<State>);

impl Progress {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { phase: Phase::Silent(Instant::now()), stalled: None }))
    }

    pub(super) fn state(&self) -> State {
        *lock(&self.0)
    }

    pub(super) fn enter(&self, phase: Phase) {
        lock(&self.0).phase = phase;
    }

    /// Bytes came.
    pub(super) fn heard(&self) {
        let mut state = lock(&self.0);
        match state.phase {
            Phase::Silent(_) | Phase::Resting(_) => state.phase = Phase::Head(Instant::now()),
            Phase::Head(_) | Phase::Answering => {}
        }
    }

    /// Bytes were written, or the client has no room for any.
    fn wrote(&self, is_full: bool) {
        let mut state = lock(&self.0);
        state.stalled = is_full.then(|| state.stalled.unwrap_or_else(Instant::now));
    }
}

/// A stream whose traffic is noticed.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    pub(super) progress: Arc<Progress>,
    /// What came before and was not understood yet, to be read once more.
    pub(super) unread: Bytes,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let most = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(most));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.progress.heard();
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.progress.wrote(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.progress.wrote(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
