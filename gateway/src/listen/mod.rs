//! The door: who may connect, how long a connection may take, and how it ends.
//!
//! It speaks HTTP/1. Hyper has a time limit for the head of a request, but counts from the moment
//! it begins to wait for one: with it, a connection could rest no longer between two requests than
//! a head may take, and a request begun late in that time would be cut off. So its limit is off,
//! and the door watches what comes and goes: see [`progress`].

mod progress;

use std::{
    collections::{HashMap, hash_map::Entry},
    convert::Infallible,
    future::poll_fn,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::ConnectInfo,
    http::{HeaderValue, Request, Response, header::CONNECTION},
};
use futures::future::BoxFuture;
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::Service,
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, futures::Notified},
    time::Instant,
};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture},
    task::TaskTracker,
};

use self::progress::{Phase, Progress, Wire};

/// Hyper takes no smaller buffer.
const LEAST_BUFFER: usize = 8 * 1024;
/// So many headers hyper reads without asking for memory; to say the same number costs an
/// allocation with each request.
const HEADERS_ON_THE_STACK: usize = 100;
/// What a client is told whose head was not whole in time.
const LATE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// So long, and so many bytes, a client may still send after the last answer.
const GOODBYE: Duration = Duration::from_secs(1);
const LEFTOVER: u64 = 1024 * 1024;
/// After an error of the listener (no file descriptor left): so long until the next try.
const LEAST_PAUSE: Duration = Duration::from_millis(10);
const MOST_PAUSE: Duration = Duration::from_secs(1);
/// These concern one connection, not the listener.
const LOST: [ErrorKind; 3] =
    [ErrorKind::ConnectionAborted, ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset];
/// Handshakes that have begun may end within it, once no new one is let in.
const HANDSHAKES: Duration = Duration::from_millis(100);

/// What a listener allows those who connect to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The listener's name in the metrics.
    pub(crate) listener: &'static str,
    /// Connections at a time. When that many are open the next one waits in the kernel's queue,
    /// where it costs nothing here, and is served late rather than refused. Meanwhile every answer
    /// closes its connection, and whoever has rested longest leaves.
    pub(crate) connections: usize,
    /// Connections at a time from one IPv4 address or one IPv6 network of 64 bits: more are closed
    /// at once. 0 is no limit, which is needed behind a proxy, since all connections are the
    /// proxy's.
    pub(crate) per_address: usize,
    /// The head of a request must be whole so long after its first byte. The first byte of a
    /// connection must come so soon, too.
    pub(crate) header_timeout: Duration,
    /// A connection may rest so long between two requests. A client that takes nothing of what is
    /// written to it has as long.
    pub(crate) idle_timeout: Duration,
    /// A connection that rests so long puts its buffers away until the next request: a client that works
    /// asks again before.
    pub(crate) awake: Duration,
    /// The most bytes of a request's head, and of each buffer of a connection. Less than 8 KiB is 8
    /// KiB.
    pub(crate) header_bytes: usize,
    /// The most headers of a request.
    pub(crate) headers: usize,
    /// Once told to stop, new connections are accepted and resting ones kept for so long.
    pub(crate) linger: Duration,
}

/// Answers requests until told to stop, and then until all connections have ended, at most for
/// `drain`.
///
/// A request that crosses the end of its connection on the wire is lost, and no client can know
/// whether it was carried out. So a connection is told that it ends before it does: from `stop` on
/// each answer says `connection: close`, and everything else goes on for [`Limits::linger`]. A
/// client that is busy hears of it with its next answer and connects anew; in the end only those
/// are closed that have said nothing for all that time. A begun request is answered in any case.
pub(crate) async fn listen(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    drain: Duration,
) {
    let house = Arc::new(House::new(router, limits, stop));
    tokio::select! {
        () = house.welcome(&listener) => {}
        () = house.stop.cancelled() => {}
    }
    let end = Instant::now() + drain;
    house.connections.close();
    tokio::select! {
        () = house.welcome(&listener) => {}
        () = house.connections.wait() => {}
        () = tokio::time::sleep(limits.linger) => {}
    }
    // A connection that the kernel has made and nobody has accepted is reset when its listener
    // goes, though its client may have sent a request already. So no new one may be made while the
    // rest is accepted.
    if let Err(error) = let_nobody_in(&listener) {
        tracing::debug!(%error, "somebody may connect in the very last moment, in vain");
    }
    let rest = house.welcome(&listener);
    drop(tokio::time::timeout(HANDSHAKES.min(limits.linger), rest).await);
    drop(listener);
    if tokio::time::timeout_at(end, house.connections.wait()).await.is_err() {
        let open = house.connections.len();
        tracing::warn!(open, listener = limits.listener, "connections did not end in time");
    }
}

/// Drops the first packet of each handshake (SYN without ACK), unanswered: the client sends it
/// again a second later and is refused then, or meets the process that comes next. What belongs to
/// connections and begun handshakes passes.
#[cfg(target_os = "linux")]
fn let_nobody_in(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};
    // A classic BPF program on the TCP header, whose byte 13 has the flags: SYN is 0x02, ACK is
    // 0x10.
    let (load_byte, and, jump_if_equal, give) = (0x30, 0x54, 0x15, 0x06);
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(load_byte, 0, 0, 13),
        SockFilter::new(and, 0, 0, 0x12),
        SockFilter::new(jump_if_equal, 0, 1, 0x02),
        SockFilter::new(give, 0, 0, 0),
        SockFilter::new(give, 0, 0, u32::MAX),
    ])
}

#[cfg(not(target_os = "linux"))]
fn let_nobody_in(_: &TcpListener) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything that the connections of one listener share.
struct House {
    router: TowerToHyperService<Router>,
    protocol: http1::Builder,
    limits: Limits,
    stop: CancellationToken,
    seats: Arc<Semaphore>,
    /// Told when the last seat is taken. Those who rest wait for it, in the order in which they
    /// began.
    crowded: Notify,
    /// Connections by network: see [`network`].
    guests: Mutex<HashMap<IpAddr, usize>>,
    open: metrics::Gauge,
    connections: TaskTracker,
}

impl House {
    fn new(router: Router, limits: Limits, stop: CancellationToken) -> Self {
        let mut protocol = http1::Builder::new();
        protocol.header_read_timeout(None::<Duration>);
        protocol.max_buf_size(limits.header_bytes.max(LEAST_BUFFER));
        if limits.headers != HEADERS_ON_THE_STACK {
            protocol.max_headers(limits.headers);
        }
        // With its state, or the router would be put together again for each request.
        let router: Router = router.with_state(());
        Self {
            router: TowerToHyperService::new(router),
            protocol,
            limits,
            stop,
            seats: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
            crowded: Notify::new(),
            guests: Mutex::default(),
            open: metrics::gauge!("apptremind_connections", "listener" => limits.listener),
            connections: TaskTracker::new(),
        }
    }

    /// Accepts connections for ever. Nothing is lost when it is dropped.
    async fn welcome(self: &Arc<Self>, listener: &TcpListener) {
        let mut pause = LEAST_PAUSE;
        loop {
            let permit = self.free_seat().await;
            match listener.accept().await {
                Ok((stream, peer)) => {
                    pause = LEAST_PAUSE;
                    self.admit(stream, peer, permit);
                }
                Err(error) if LOST.contains(&error.kind()) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted for now");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MOST_PAUSE);
                }
            }
        }
    }

    /// Waits until another connection may be open. `None` would mean that there is no limit.
    async fn free_seat(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.seats.clone().try_acquire_owned() {
            return Some(permit);
        }
        self.crowded.notify_one();
        self.seats.clone().acquire_owned().await.ok()
    }

    fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let Some(seat) = Seat::take(self.clone(), peer.ip(), permit) else {
            metrics::counter!("apptremind_connections_refused_total",
                "listener" => self.limits.listener, "reason" => "address")
            .increment(1);
            return;
        };
        // An answer is written whole: there is nothing to wait for.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "an answer may go out in two steps");
        }
        self.connections.spawn(attend(stream, peer, seat));
    }

    /// Whether a connection shall end with the answer that is given now.
    fn is_closing(&self) -> bool {
        self.stop.is_cancelled() || self.seats.available_permits() == 0
    }
}

/// What counts as one address: whoever has an IPv6 address has a network of 64 bits full of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

/// An open connection's place, free again when dropped.
struct Seat {
    house: Arc<House>,
    network: IpAddr,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Seat {
    /// Nothing when the address has all that it may have.
    fn take(
        house: Arc<House>,
        address: IpAddr,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Option<Self> {
        let (network, most) = (network(address), house.limits.per_address);
        {
            let mut guests = lock(&house.guests);
            let held = guests.entry(network).or_default();
            if most > 0 && *held >= most {
                return None;
            }
            *held += 1;
        }
        house.open.increment(1.0);
        Some(Self { house, network, _permit: permit })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.house.open.decrement(1.0);
        if let Entry::Occupied(mut held) = lock(&self.house.guests).entry(self.network) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

/// How a connection came to its end, or to a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// As HTTP has it, or the client left.
    Over,
    /// A head was begun and not finished in time.
    Late,
    /// Nothing was under way, or the client does not take its answer.
    Quiet,
    /// It goes on when the client asks for more.
    Asleep,
}

/// Serves one connection to its end.
async fn attend(stream: TcpStream, peer: SocketAddr, seat: Seat) {
    let progress = Arc::new(Progress::new());
    let mut wire = Wire { stream, progress, unread: Bytes::new() };
    let mut told = pin!(seat.house.stop.cancelled());
    let mut stopped: Option<Instant> = None;
    let ending = loop {
        // Boxed, so that a connection that sleeps does not keep room for one that is awake.
        let awake = Box::pin(serve(&seat.house, wire, peer, told.as_mut(), &mut stopped));
        let (ending, left) = awake.await;
        wire = left;
        if ending != Ending::Asleep {
            break ending;
        }
        if !sleep(&seat.house, &wire, told.as_mut(), &mut stopped).await {
            break Ending::Quiet;
        }
    };
    let last_word: &[u8] = match ending {
        Ending::Quiet | Ending::Asleep => return,
        Ending::Late => LATE,
        Ending::Over => &[],
    };
    drop(tokio::time::timeout(GOODBYE, part(wire.stream, last_word)).await);
}

/// Answers what comes, until the connection ends or has rested for a while.
async fn serve(
    house: &Arc<House>,
    wire: Wire,
    peer: SocketAddr,
    mut told: Pin<&mut WaitForCancellationFuture<'_>>,
    stopped: &mut Option<Instant>,
) -> (Ending, Wire) {
    let progress = wire.progress.clone();
    let door = Door { house: house.clone(), peer, progress: progress.clone() };
    let mut connection = house.protocol.serve_connection(TokioIo::new(wire), door);
    let mut timer = pin!(tokio::time::sleep(house.limits.header_timeout));
    let mut crowded = pin!(None::<Notified<'_>>);
    let ending = poll_fn(|cx| {
        // First of all: a request that has arrived is seen before its connection can be closed.
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke off");
            }
            return Poll::Ready(Ending::Over);
        }
        if stopped.is_none() && told.as_mut().poll(cx).is_ready() {
            *stopped = Some(Instant::now());
        }
        let state = progress.state();
        if state.is_resting() {
            if crowded.is_none() {
                crowded.set(Some(house.crowded.notified()));
            }
            if crowded.as_mut().as_pin_mut().is_some_and(|full| full.poll(cx).is_ready()) {
                return Poll::Ready(Ending::Quiet);
            }
        } else {
            crowded.set(None);
        }
        let drowsy = state.drowsy(&house.limits);
        let Some(deadline) =
            state.deadline(&house.limits, *stopped).into_iter().chain(drowsy).min()
        else {
            return Poll::Pending;
        };
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        let asleep = drowsy == Some(deadline);
        let ending = if asleep { Ending::Asleep } else { state.ending() };
        timer.as_mut().poll(cx).map(|()| ending)
    })
    .await;
    // Whoever rests has all its answers; what came of a next request is kept.
    let parts = connection.into_parts();
    let mut wire = parts.io.into_inner();
    wire.unread = parts.read_buf;
    (ending, wire)
}

/// Waits, without any buffer, for the next request of a connection that rests; false when it is to end
/// before.
async fn sleep(
    house: &House,
    wire: &Wire,
    mut told: Pin<&mut WaitForCancellationFuture<'_>>,
    stopped: &mut Option<Instant>,
) -> bool {
    loop {
        let Some(deadline) = wire.progress.state().deadline(&house.limits, *stopped) else {
            return true;
        };
        tokio::select! {
            // First of all: a request that has arrived is seen before its connection can be closed.
            biased;
            _ = wire.stream.readable() => return true,
            () = told.as_mut(), if stopped.is_none() => *stopped = Some(Instant::now()),
            () = house.crowded.notified() => return false,
            () = tokio::time::sleep_until(deadline) => return false,
        }
    }
}

/// Closes a connection so that its last answer arrives: were it closed while something of the
/// client is unread, the kernel would reset it, and the client would lose the answer.
async fn part(mut stream: TcpStream, last_word: &[u8]) -> io::Result<()> {
    stream.write_all(last_word).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(LEFTOVER), &mut tokio::io::sink()).await?;
    Ok(())
}

/// What answers the requests of one connection.
struct Door {
    house: Arc<House>,
    peer: SocketAddr,
    progress: Arc<Progress>,
}

impl Service<Request<Incoming>> for Door {
    type Response = Response<Tail>;
    type Error = Infallible;
    /// Boxed, so that a connection that rests does not keep room for a request.
    type Future = BoxFuture<'static, Result<Response<Tail>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.progress.enter(Phase::Answering);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let answering = self.house.router.call(request);
        let (house, progress) = (self.house.clone(), self.progress.clone());
        Box::pin(async move {
            let mut response: Response<Body> = answering.await?;
            if house.is_closing() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| Tail { body, progress }))
        })
    }
}

/// The body of an answer: once hyper has dropped it the connection rests.
struct Tail {
    body: Body,
    progress: Arc<Progress>,
}

impl HttpBody for Tail {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.progress.enter(Phase::Resting(Instant::now()));
    }
}

#[cfg(test)]
mod tests;
