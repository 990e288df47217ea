//! The processes that decide bookings, and which of them decides for a business.
//!
//! Two processes that decide for the same business are right, but slow: each meets what the other
//! has just written. So each business has one owner among the processes that were heard of lately,
//! and the others ask it. This is a hint and never a lock: whoever thinks that it owns a business
//! decides, and the primary key of the log judges.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, Message, Request, Subject, Subscriber, client::RequestErrorKind};
use domain::BusinessId;
use futures::StreamExt;
use jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{MissedTickBehavior, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{BoxError, broker::Broker, clock};

/// Processes that would misunderstand each other have different numbers here, and never meet.
const NEWS: &str = "peers.v1.*";
const HELLO: &str = "peers.v1.hello";
const BYE: &str = "peers.v1.bye";
/// How often each says that it is there.
const EVERY: Duration = Duration::from_millis(500);
/// Who was not heard of for so long is gone.
const SILENT: Duration = Duration::from_secs(2);
/// Requests that are worked on for others at one time; more are declined at once.
const AT_ONCE: usize = 256;
/// Requests that wait for others at one time; more are not sent.
const ASKING: usize = 1_024;
/// More processes than anybody runs.
const MOST: usize = 256;
const BACK_OFF: Duration = Duration::from_millis(500);

/// When the one who asks gives up, in microseconds since 1970.
const DEADLINE: &str = "ar-deadline";
/// On an answer: nothing was done.
const DECLINED: &str = "ar-declined";

/// This process among those that decide. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Peers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    me: Uuid,
    broker: Broker,
    others: RwLock<Vec<Known>>,
    takes_part: AtomicBool,
    asking: Semaphore,
    working: Arc<Semaphore>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    peer: Peer,
    heard: Instant,
}

/// Another process, from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(Uuid);

/// Who decides for a business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This process.
    Here,
    /// Another one.
    There(Peer),
}

/// Why another process did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnswered {
    /// It did not get the request, or declined it: nothing has happened.
    #[error("the other process did nothing")]
    NotReached,
    /// It may have done what it was asked for.
    #[error("the other process did not answer")]
    Unanswered,
}

impl Peers {
    /// A process that knows nobody yet: it owns everything until [`Self::answer`] runs.
    #[must_use]
    pub fn new(broker: Broker) -> Self {
        Self(Arc::new(Inner {
            me: clock::new_id(),
            broker,
            others: RwLock::default(),
            takes_part: AtomicBool::new(false),
            asking: Semaphore::new(ASKING),
            working: Arc::new(Semaphore::new(AT_ONCE)),
        }))
    }

    /// Who decides for a business, as far as this process knows: itself when it is alone, or when
    /// the broker is away.
    #[must_use]
    pub fn owner(&self, business_id: BusinessId) -> Owner {
        let others = self.0.others.read().unwrap_or_else(PoisonError::into_inner);
        let here = others.is_empty()
            || !self.0.takes_part.load(Ordering::Relaxed)
            || !self.0.broker.is_connected();
        if here {
            return Owner::Here;
        }
        let (mut owner, mut best) = (Owner::Here, weight(self.0.me, business_id));
        for known in others.iter().filter(|known| known.heard.elapsed() < SILENT) {
            let weight = weight(known.peer.0, business_id);
            if weight > best {
                (owner, best) = (Owner::There(known.peer), weight);
            }
        }
        owner
    }

    /// Asks another process, which gives up when we do.
    ///
    /// # Errors
    /// When there is no answer: whether something may have happened nevertheless.
    pub async fn ask(
        &self,
        peer: Peer,
        payload: Vec<u8>,
        patience: Duration,
    ) -> Result<Vec<u8>, NotAnswered> {
        let Ok(_asking) = self.0.asking.try_acquire() else { return Err(NotAnswered::NotReached) };
        let mut connects = self.0.broker.connects();
        connects.mark_unchanged();
        let mut headers = HeaderMap::new();
        let deadline = clock::now().as_microsecond() + micros(patience);
        headers.insert(DEADLINE, deadline.to_string());
        let request =
            Request::new().headers(headers).payload(payload.into()).timeout(Some(patience));
        let asked = self.0.broker.client().send_request(inbox(peer), request);
        let answer = tokio::select! {
            answer = timeout(patience, asked) => answer,
            // What was on the way over the old connection does not come over the new one.
            _ = connects.changed() => return Err(NotAnswered::Unanswered),
        };
        match answer {
            Ok(Ok(message)) if is_declined(&message) => Err(NotAnswered::NotReached),
            Ok(Ok(message)) => Ok(message.payload.into()),
            Ok(Err(error)) => match error.kind() {
                RequestErrorKind::NoResponders => {
                    self.forget(peer);
                    Err(NotAnswered::NotReached)
                }
                RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject => {
                    Err(NotAnswered::NotReached)
                }
                RequestErrorKind::TimedOut | RequestErrorKind::Other => {
                    Err(NotAnswered::Unanswered)
                }
            },
            Err(_elapsed) => Err(NotAnswered::Unanswered),
        }
    }

    /// Takes part until stopped: says hello, learns of others, and works on what they ask. Says
    /// goodbye first when stopped, then ends what it has begun. A `handler` that gives nothing has
    /// done nothing.
    pub async fn answer<H, F>(self, handler: H, stop: CancellationToken)
    where
        H: Fn(Vec<u8>) -> F + Clone + Send + 'static,
        F: Future<Output = Option<Vec<u8>>> + Send + 'static,
    {
        let mut work = JoinSet::new();
        while !stop.is_cancelled() {
            if let Err(error) = self.take_part(&handler, &mut work, &stop).await {
                tracing::warn!(%error, "cannot speak with other processes");
                timeout(BACK_OFF, stop.cancelled()).await.unwrap_or_default();
            }
        }
        // Each ends by its deadline.
        while work.join_next().await.is_some() {}
    }

    async fn take_part<H, F>(
        &self,
        handler: &H,
        work: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<(), BoxError>
    where
        H: Fn(Vec<u8>) -> F + Clone + Send + 'static,
        F: Future<Output = Option<Vec<u8>>> + Send + 'static,
    {
        let client = self.0.broker.client();
        // Before the first hello: whoever hears of us can ask us.
        let mut asked = client.subscribe(inbox(Peer(self.0.me))).await?;
        let mut news = client.subscribe(NEWS).await?;
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.0.takes_part.store(true, Ordering::Relaxed);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {
                    self.sweep();
                    self.say(HELLO).await;
                }
                Some(message) = news.next() => self.learn(&message),
                Some(message) = asked.next() => self.take(message, handler, work).await,
                Some(_ended) = work.join_next() => {}
            }
        }
        self.0.takes_part.store(false, Ordering::Relaxed);
        self.say(BYE).await;
        self.drain(asked, handler, work).await
    }

    /// Works on what was on the way when we said goodbye. What comes later is told that nobody is
    /// here.
    async fn drain<H, F>(
        &self,
        mut asked: Subscriber,
        handler: &H,
        work: &mut JoinSet<()>,
    ) -> Result<(), BoxError>
    where
        H: Fn(Vec<u8>) -> F + Clone + Send + 'static,
        F: Future<Output = Option<Vec<u8>>> + Send + 'static,
    {
        if !self.0.broker.is_connected() {
            return Ok(());
        }
        timeout(EVERY, asked.drain()).await??;
        while let Ok(Some(message)) = timeout(EVERY, asked.next()).await {
            self.take(message, handler, work).await;
        }
        Ok(())
    }

    /// While the broker is away nobody can hear us.
    async fn say(&self, subject: &'static str) {
        if !self.0.broker.is_connected() {
            return;
        }
        let me = self.0.me.to_string();
        match timeout(EVERY, self.0.broker.client().publish(subject, me.into())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, subject, "not said"),
            Err(elapsed) => tracing::debug!(%elapsed, subject, "not said"),
        }
    }

    fn learn(&self, news: &Message) {
        let id = std::str::from_utf8(&news.payload).ok().and_then(|id| Uuid::parse_str(id).ok());
        let Some(peer) = id.filter(|id| *id != self.0.me).map(Peer) else { return };
        if news.subject.as_str() == BYE {
            self.forget(peer);
            return;
        }
        if news.subject.as_str() != HELLO {
            return;
        }
        let mut others = self.0.others.write().unwrap_or_else(PoisonError::into_inner);
        let heard = Instant::now();
        if let Some(known) = others.iter_mut().find(|known| known.peer == peer) {
            known.heard = heard;
        } else if others.len() < MOST {
            others.push(Known { peer, heard });
            count(&others);
        }
    }

    fn forget(&self, peer: Peer) {
        self.retain(|known| known.peer != peer);
    }

    fn sweep(&self) {
        self.retain(|known| known.heard.elapsed() < SILENT);
    }

    fn retain(&self, stays: impl Fn(&Known) -> bool) {
        let mut others = self.0.others.write().unwrap_or_else(PoisonError::into_inner);
        others.retain(stays);
        count(&others);
    }

    /// Begins to work on a request, or declines it at once.
    async fn take<H, F>(&self, message: Message, handler: &H, work: &mut JoinSet<()>)
    where
        H: Fn(Vec<u8>) -> F + Clone + Send + 'static,
        F: Future<Output = Option<Vec<u8>>> + Send + 'static,
    {
        let Some(reply) = message.reply.clone() else { return };
        let Ok(permit) = Arc::clone(&self.0.working).try_acquire_owned() else {
            self.reply(reply, None).await;
            return;
        };
        let (peers, handler) = (self.clone(), handler.clone());
        work.spawn(async move {
            peers.work(message, reply, handler, permit).await;
        });
    }

    async fn work<H, F>(
        &self,
        message: Message,
        reply: Subject,
        handler: H,
        _permit: OwnedSemaphorePermit,
    ) where
        H: Fn(Vec<u8>) -> F,
        F: Future<Output = Option<Vec<u8>>>,
    {
        // Past its deadline nobody waits for it any more, and it may have been decided elsewhere.
        let Some(left) = time_left(&message) else {
            self.reply(reply, None).await;
            return;
        };
        match timeout(left, handler(message.payload.into())).await {
            Ok(answer) => self.reply(reply, answer).await,
            Err(elapsed) => tracing::debug!(%elapsed, "too late to answer another process"),
        }
    }

    async fn reply(&self, to: Subject, answer: Option<Vec<u8>>) {
        let client = self.0.broker.client();
        let sent = match answer {
            Some(answer) => timeout(EVERY, client.publish(to, answer.into())).await,
            None => {
                let mut headers = HeaderMap::new();
                headers.insert(DECLINED, "1");
                timeout(EVERY, client.publish_with_headers(to, headers, "".into())).await
            }
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "another process was not answered"),
            Err(elapsed) => tracing::warn!(%elapsed, "another process was not answered"),
        }
    }
}

fn inbox(peer: Peer) -> String {
    format!("peers.v1.ask.{}", peer.0.simple())
}

#[expect(clippy::cast_precision_loss, reason = "there are at most 256")]
fn count(others: &[Known]) {
    metrics::gauge!("apptremind_peers").set(others.len() as f64);
}

fn is_declined(answer: &Message) -> bool {
    answer.headers.as_ref().is_some_and(|headers| headers.get(DECLINED).is_some())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// How long the one who asks still waits; `None` when it does not, or does not say.
fn time_left(request: &Message) -> Option<Duration> {
    let deadline = request.headers.as_ref()?.get(DEADLINE)?.as_str().parse().ok()?;
    let left = Timestamp::from_microsecond(deadline).ok()?.duration_since(clock::now());
    left.try_into().ok().filter(|left| *left > Duration::ZERO)
}

/// Rendezvous hashing: the largest weight owns the business. When a process comes or goes, only the
/// businesses that it owns change hands.
fn weight(process: Uuid, business_id: BusinessId) -> u64 {
    let mut hash = 0;
    for id in [process, business_id.uuid()] {
        let (high, low) = id.as_u64_pair();
        hash = mix(mix(hash ^ high) ^ low);
    }
    hash
}

/// The finalizer of `SplitMix64`: each bit of the input changes half of the output.
const fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner_of(processes: &[Uuid], business: BusinessId) -> Uuid {
        *processes.iter().max_by_key(|process| weight(**process, business)).unwrap()
    }

    #[test]
    fn businesses_are_shared_evenly_and_few_change_hands() {
        let processes: Vec<Uuid> = (0..4).map(|_| clock::new_id()).collect();
        let businesses: Vec<BusinessId> =
            (0..4_000).map(|_| BusinessId::new(clock::new_id())).collect();
        for process in &processes {
            let owned = businesses.iter().filter(|b| owner_of(&processes, **b) == *process);
            let owned = owned.count();
            assert!((850..1_150).contains(&owned), "{owned} of 4000");
        }
        let fewer = &processes[..3];
        for business in &businesses {
            let before = owner_of(&processes, *business);
            if before != processes[3] {
                assert_eq!(owner_of(fewer, *business), before, "its owner is still there");
            }
        }
    }
}
