//! Whether a provider is asked now: not while it fails all that it is asked, and not more often than it, or one
//! business, may be.

use std::{
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
    each: Option<DefaultKeyedRateLimiter<BusinessId>>,
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
            each: rates.a_minute_each.map(|rate| RateLimiter::keyed(Quota::per_minute(rate))),
        }
    }

    /// Lets one pass, or says how long to wait.
    pub(crate) fn pass(&self, business_id: BusinessId) -> Result<(), Duration> {
        let mut breaker = self.lock();
        let now = Instant::now();
        let pause = match *breaker {
            Breaker::Closed { .. } => None,
            Breaker::Open { until, .. } if now < until => return Err(until - now),
            // Whoever was to see has not come back: somebody else is.
            Breaker::Probing { since, .. } if since.elapsed() <= LONGEST => return Err(SHORTEST),
            Breaker::Open { pause, .. } | Breaker::Probing { pause, .. } => Some(pause),
        };
        // Only what is sent counts for the rates.
        self.limited(business_id)?;
        if let Some(pause) = pause {
            *breaker = Breaker::Probing { since: now, pause };
        }
        Ok(())
    }

    /// What was let through did not ask the provider after all: the next one is to see whether it works.
    pub(crate) fn unasked(&self) {
        let mut breaker = self.lock();
        if let Breaker::Probing { pause, .. } = *breaker {
            *breaker = Breaker::Open { until: Instant::now(), pause };
        }
    }

    fn limited(&self, business_id: BusinessId) -> Result<(), Duration> {
        let now = DefaultClock::default().now();
        // That of all comes first: what it refuses is back in a second, what one business spends in vain is
        // missing for a minute.
        if let Some(all) = &self.all {
            all.check().map_err(|until| until.wait_time_from(now))?;
        }
        if let Some(each) = &self.each {
            each.check_key(&business_id).map_err(|until| until.wait_time_from(now))?;
        }
        Ok(())
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
            each.retain_recent();
            each.shrink_to_fit();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            assert!(gate.pass(business(1)).is_ok());
        }
        gate.fails();
        assert_eq!(gate.pass(business(1)).unwrap_err(), SHORTEST);
        tokio::time::advance(SHORTEST).await;
        // One sees whether it works; the others wait.
        assert!(gate.pass(business(1)).is_ok());
        assert!(gate.pass(business(1)).is_err());
        gate.fails();
        assert_eq!(gate.pass(business(1)).unwrap_err(), SHORTEST * 2);
        tokio::time::advance(SHORTEST * 2).await;
        assert!(gate.pass(business(1)).is_ok());
        gate.works();
        assert!(gate.pass(business(1)).is_ok() && gate.pass(business(1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_asks_nothing_leaves_its_place_to_the_next() {
        let gate = Gate::new(Channel::Sms, SendRates::default());
        (0..FAILURES).for_each(|_| gate.fails());
        tokio::time::advance(SHORTEST).await;
        assert!(gate.pass(business(1)).is_ok() && gate.pass(business(1)).is_err());
        gate.unasked();
        assert!(gate.pass(business(1)).is_ok() && gate.pass(business(1)).is_err());
        gate.works();
        gate.unasked();
        assert!(gate.pass(business(1)).is_ok() && gate.pass(business(1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_never_comes_back_is_replaced() {
        let gate = Gate::new(Channel::Sms, SendRates::default());
        (0..FAILURES).for_each(|_| gate.fails());
        tokio::time::advance(SHORTEST).await;
        assert!(gate.pass(business(1)).is_ok());
        tokio::time::advance(LONGEST + SHORTEST).await;
        assert!(gate.pass(business(1)).is_ok());
    }

    #[test]
    fn an_answer_in_between_begins_the_count_anew() {
        let gate = Gate::new(Channel::Email, SendRates::default());
        for _ in 0..3 {
            (0..FAILURES - 1).for_each(|_| gate.fails());
            gate.works();
        }
        assert!(gate.pass(business(1)).is_ok());
    }

    #[test]
    fn what_one_business_may_send_is_not_taken_from_another() {
        let rates = SendRates { a_minute_each: NonZeroU32::new(2), ..SendRates::default() };
        let gate = Gate::new(Channel::Sms, rates);
        assert!(gate.pass(business(1)).is_ok() && gate.pass(business(1)).is_ok());
        assert!(gate.pass(business(1)).unwrap_err() <= Duration::from_secs(60));
        assert!(gate.pass(business(2)).is_ok());
        let rates = SendRates { a_second: NonZeroU32::new(1), ..SendRates::default() };
        let gate = Gate::new(Channel::Sms, rates);
        assert!(gate.pass(business(1)).is_ok());
        assert!(gate.pass(business(2)).unwrap_err() <= Duration::from_secs(1));
    }
}
