//! Whether a provider is asked now: not while it fails all that it is asked, and not more often than it, or one
//! business, may be.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{BusinessId, notification::Channel};
use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use tokio::time::Instant;

/// So many failures in a row close the gate.
const FAILURES: u32 = 5;
/// For so long at first, and twice as long each time that the provider still fails.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(120);

/// How long a message waits at the gate for its turn among all: longer than what is handed out at a time takes.
const PATIENCE: Duration = Duration::from_secs(6);

/// How much is sent at most.
#[derive(Debug, Clone, Copy, Default)]
pub struct SendRates {
    /// To the provider, in a second; `None` is no limit.
    pub a_second: Option<NonZeroU32>,
    /// For one business, in a minute; `None` is no limit.
    pub a_minute_each: Option<NonZeroU32>,
}

/// In front of one provider.
#[derive(Debug)]
pub(crate) struct Gate {
    channel: Channel,
    breaker: Mutex<Breaker>,
    all: Option<DefaultDirectRateLimiter>,
    each: Option<Each>,
    a_second: Option<NonZeroU32>,
}

/// What one business may send.
#[derive(Debug)]
struct Each {
    limiter: DefaultKeyedRateLimiter<BusinessId>,
    /// From one message to the next.
    step: Duration,
    /// When the last one of a business may return that was sent away. They return one by one, or all of them
    /// would come again for each that may pass.
    lines: Mutex<HashMap<BusinessId, Instant>>,
}

impl Each {
    fn new(a_minute: NonZeroU32) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_minute(a_minute));
        let step = Duration::from_secs(60) / a_minute.get();
        Self { limiter, step, lines: Mutex::default() }
    }

    /// Lets one of the business pass, or says how long it waits in its line.
    fn pass(&self, business_id: BusinessId) -> Result<(), Duration> {
        let Err(until) = self.limiter.check_key(&business_id) else { return Ok(()) };
        let (now, wait) = (Instant::now(), until.wait_time_from(DefaultClock::default().now()));
        let mut lines = lock(&self.lines);
        let last = lines.entry(business_id).or_insert(now);
        *last = (*last + self.step).max(now + wait);
        Err(*last - now)
    }

    /// Forgets businesses that have not sent of late.
    fn forget(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
        let (now, mut lines) = (Instant::now(), lock(&self.lines));
        lines.retain(|_, last| *last > now);
        lines.shrink_to_fit();
    }
}

#[derive(Debug, Clone, Copy)]
enum Breaker {
    /// It is asked, and has failed so often since it last did not.
    Closed { failures: u32 },
    /// It is not asked.
    Open { until: Instant, pause: Duration },
    /// One is asked, to see; the others wait for what becomes of it.
    Probing { since: Instant, pause: Duration },
}

impl Gate {
    pub(crate) fn new(channel: Channel, rates: SendRates) -> Self {
        Self {
            channel,
            breaker: Mutex::new(Breaker::Closed { failures: 0 }),
            all: rates.a_second.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
            each: rates.a_minute_each.map(Each::new),
            a_second: rates.a_second,
        }
    }

    /// As many messages as pass in this time; `None` when there is no limit. To have more of them wait in front
    /// of the provider gains nothing.
    pub(crate) fn room(&self, time: Duration) -> Option<i64> {
        let rate = f64::from(self.a_second?.get());
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        Some((rate * time.as_secs_f64()).ceil() as i64)
    }

    /// Lets one pass, or says how long to wait before it asks again. What all of them together may send is soon
    /// there again, and is waited for here.
    pub(crate) async fn pass(&self, business_id: BusinessId) -> Result<(), Duration> {
        let probes = self.begin(business_id)?;
        let Some(all) = &self.all else { return Ok(()) };
        let turn = tokio::time::timeout(PATIENCE, all.until_ready()).await;
        if probes {
            return turn.map_err(|_elapsed| {
                self.unasked();
                PATIENCE
            });
        }
        turn.map_err(|_elapsed| PATIENCE)?;
        // Others found out meanwhile.
        match *self.lock() {
            Breaker::Open { until, .. } if Instant::now() < until => Err(until - Instant::now()),
            Breaker::Closed { .. } | Breaker::Open { .. } | Breaker::Probing { .. } => Ok(()),
        }
    }

    /// The same without what all may send; whether it is to see if the provider works.
    fn begin(&self, business_id: BusinessId) -> Result<bool, Duration> {
        let mut breaker = self.lock();
        let now = Instant::now();
        let pause = match *breaker {
            Breaker::Closed { .. } => None,
            Breaker::Open { until, .. } if now < until => return Err(until - now),
            // Whoever was to see has not come back: somebody else is.
            Breaker::Probing { since, .. } if since.elapsed() <= LONGEST => return Err(SHORTEST),
            Breaker::Open { pause, .. } | Breaker::Probing { pause, .. } => Some(pause),
        };
        // What meets a closed gate does not count for the rate.
        if let Some(each) = &self.each {
            each.pass(business_id)?;
        }
        if let Some(pause) = pause {
            *breaker = Breaker::Probing { since: now, pause };
        }
        Ok(pause.is_some())
    }

    /// What was let through did not ask the provider after all: the next one is to see whether it works.
    pub(crate) fn unasked(&self) {
        let mut breaker = self.lock();
        if let Breaker::Probing { pause, .. } = *breaker {
            *breaker = Breaker::Open { until: Instant::now(), pause };
        }
    }

    /// The provider answered, whatever it said about this message.
    pub(crate) fn works(&self) {
        let was = std::mem::replace(&mut *self.lock(), Breaker::Closed { failures: 0 });
        if !matches!(was, Breaker::Closed { .. }) {
            tracing::info!(channel = %self.channel, "the provider answers again");
        }
    }

    /// The provider was not reached, or refuses everything.
    pub(crate) fn fails(&self) {
        let mut breaker = self.lock();
        let pause = match *breaker {
            Breaker::Closed { failures } if failures + 1 < FAILURES => {
                *breaker = Breaker::Closed { failures: failures + 1 };
                return;
            }
            Breaker::Closed { .. } => SHORTEST,
            // Others were under way when it was closed.
            Breaker::Open { .. } => return,
            Breaker::Probing { pause, .. } => (pause * 2).min(LONGEST),
        };
        *breaker = Breaker::Open { until: Instant::now() + pause, pause };
        tracing::warn!(channel = %self.channel, ?pause, "the provider is not asked for a while");
        metrics::counter!("apptremind_provider_pauses_total", "channel" => self.channel.as_str())
            .increment(1);
    }

    /// Forgets businesses that have not sent of late.
    pub(crate) fn forget(&self) {
        if let Some(each) = &self.each {
            each.forget();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        lock(&self.breaker)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn business(n: u128) -> BusinessId {
        BusinessId::new(Uuid::from_u128(n))
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_fails_everything_is_left_alone_for_longer_and_longer() {
        let gate = Gate::new(Channel::Email, SendRates::default());
        for _ in 0..FAILURES - 1 {
            gate.fails();
            assert!(gate.begin(business(1)).is_ok());
        }
        gate.fails();
        assert_eq!(gate.begin(business(1)).unwrap_err(), SHORTEST);
        tokio::time::advance(SHORTEST).await;
        // One sees whether it works; the others wait.
        assert!(gate.begin(business(1)).is_ok());
        assert!(gate.begin(business(1)).is_err());
        gate.fails();
        assert_eq!(gate.begin(business(1)).unwrap_err(), SHORTEST * 2);
        tokio::time::advance(SHORTEST * 2).await;
        assert!(gate.begin(business(1)).is_ok());
        gate.works();
        assert!(gate.begin(business(1)).is_ok() && gate.begin(business(1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_asks_nothing_leaves_its_place_to_the_next() {
        let gate = Gate::new(Channel::Sms, SendRates::default());
        (0..FAILURES).for_each(|_| gate.fails());
        tokio::time::advance(SHORTEST).await;
        assert!(gate.begin(business(1)).is_ok() && gate.begin(business(1)).is_err());
        gate.unasked();
        assert!(gate.begin(business(1)).is_ok() && gate.begin(business(1)).is_err());
        gate.works();
        gate.unasked();
        assert!(gate.begin(business(1)).is_ok() && gate.begin(business(1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_never_comes_back_is_replaced() {
        let gate = Gate::new(Channel::Sms, SendRates::default());
        (0..FAILURES).for_each(|_| gate.fails());
        tokio::time::advance(SHORTEST).await;
        assert!(gate.begin(business(1)).is_ok());
        tokio::time::advance(LONGEST + SHORTEST).await;
        assert!(gate.begin(business(1)).is_ok());
    }

    #[test]
    fn an_answer_in_between_begins_the_count_anew() {
        let gate = Gate::new(Channel::Email, SendRates::default());
        for _ in 0..3 {
            (0..FAILURES - 1).for_each(|_| gate.fails());
            gate.works();
        }
        assert!(gate.begin(business(1)).is_ok());
    }

    #[test]
    fn what_one_business_may_send_is_not_taken_from_another() {
        let rates = SendRates { a_minute_each: NonZeroU32::new(2), ..SendRates::default() };
        let gate = Gate::new(Channel::Sms, rates);
        assert!(gate.begin(business(1)).is_ok() && gate.begin(business(1)).is_ok());
        assert!(gate.begin(business(1)).unwrap_err() <= Duration::from_secs(60));
        assert!(gate.begin(business(2)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_sent_away_returns_when_it_is_its_turn() {
        let rates = SendRates { a_minute_each: NonZeroU32::new(60), ..SendRates::default() };
        let gate = Gate::new(Channel::Email, rates);
        (0..60).for_each(|_| assert!(gate.begin(business(1)).is_ok()));
        let waits: Vec<Duration> = (0..500).map(|_| gate.begin(business(1)).unwrap_err()).collect();
        assert!(waits.windows(2).all(|two| two[1] - two[0] >= Duration::from_secs(1)), "{waits:?}");
        assert!(*waits.last().unwrap() <= Duration::from_secs(501));
        // The line is forgotten when its end has come.
        let lines = || lock(&gate.each.as_ref().unwrap().lines).len();
        gate.forget();
        assert_eq!(lines(), 1);
        tokio::time::advance(Duration::from_secs(502)).await;
        gate.forget();
        assert_eq!(lines(), 0);
    }

    #[tokio::test]
    async fn what_all_may_send_is_waited_for_at_the_gate() {
        let rates = SendRates { a_second: NonZeroU32::new(50), ..SendRates::default() };
        let gate = Gate::new(Channel::Email, rates);
        assert_eq!(gate.room(Duration::from_secs(5)), Some(250));
        let passing = (0..53).map(|_| gate.pass(business(1)));
        assert!(futures::future::join_all(passing).await.into_iter().all(|passed| passed.is_ok()));
        assert_eq!(Gate::new(Channel::Sms, SendRates::default()).room(Duration::MAX), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_is_no_probe() {
        let rates = SendRates { a_second: NonZeroU32::new(1), ..SendRates::default() };
        let gate = Gate::new(Channel::Email, rates);
        assert!(gate.pass(business(1)).await.is_ok());
        (0..FAILURES).for_each(|_| gate.fails());
        tokio::time::advance(SHORTEST).await;
        // The clock of these tests runs ahead of the limit's own.
        assert_eq!(gate.pass(business(1)).await, Err(PATIENCE));
        assert!(gate.begin(business(1)).is_ok());
    }
}
