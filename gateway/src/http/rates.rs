//! How often something may be asked, of this process. What must hold for all processes together is counted in
//! Postgres instead (`commands::Quota`).

use std::{num::NonZeroU32, time::Duration};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue},
};
use commands::identity::Caller;
use domain::BusinessId;
use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
};

use super::{Problem, context};
use crate::settings::RateLimits;

type Limiter = governor::RateLimiter<
    String,
    governor::state::keyed::DefaultKeyedStateStore<String>,
    DefaultClock,
    StateInformationMiddleware,
>;

/// Requests of one class, by whom they come from.
#[derive(Debug)]
struct Class {
    name: &'static str,
    a_minute: NonZeroU32,
    limiter: Limiter,
}

/// What is left of a limit, for the headers of the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    class: &'static str,
    a_minute: u32,
    remaining: u32,
    /// Seconds until all of it is there again.
    reset: u64,
}

impl Class {
    /// `None` when it is without limit.
    fn new(name: &'static str, a_minute: u32) -> Option<Self> {
        let a_minute = NonZeroU32::new(a_minute)?;
        let limiter: DefaultKeyedRateLimiter<String> =
            governor::RateLimiter::keyed(Quota::per_minute(a_minute));
        let limiter = limiter.with_middleware::<StateInformationMiddleware>();
        Some(Self { name, a_minute, limiter })
    }

    /// Counts one more, and notes for the answer what is left.
    fn check(&self, whose: &str) -> Result<(), Problem> {
        let (class, a_minute) = (self.name, self.a_minute.get());
        match self.limiter.check_key(&whose.to_owned()) {
            Ok(left) => {
                let remaining = left.remaining_burst_capacity();
                let used = u64::from(a_minute.saturating_sub(remaining));
                let reset = (used * 60).div_ceil(u64::from(a_minute));
                context::note_limit(Left { class, a_minute, remaining, reset });
                Ok(())
            }
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                context::note_limit(Left { class, a_minute, remaining: 0, reset: 60 });
                metrics::counter!("apptremind_rate_limited_total", "class" => class).increment(1);
                Err(Problem::too_many("too many requests; slow down", wait).with("limit", class))
            }
        }
    }

    /// Forgets whoever has not asked of late.
    fn forget(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// All limits of this process.
#[derive(Debug)]
pub(crate) struct Gauges {
    sign_in: Option<Class>,
    public: Option<Class>,
    guesses: Option<Class>,
    account: Option<Class>,
    tenant: Option<Class>,
}

/// How often to forget.
pub(crate) const FORGET: Duration = Duration::from_secs(60);

impl Gauges {
    pub(crate) fn new(rates: &RateLimits) -> Self {
        Self {
            sign_in: Class::new("sign_in", rates.sign_in),
            public: Class::new("public", rates.public),
            guesses: Class::new("guesses", rates.sign_in),
            account: Class::new("account", rates.account),
            tenant: Class::new("tenant", rates.tenant),
        }
    }

    /// Before anything else is done for them: by the route and the network.
    fn arrived(&self, path: &str) -> Result<(), Problem> {
        let class = match path {
            "/api/v1/auth/login"
            | "/api/v1/auth/register"
            | "/api/v1/auth/password-reset"
            | "/api/v1/auth/password-reset/confirm"
            | "/api/v1/auth/invitations/accept" => &self.sign_in,
            // An office of many people refreshes often, from one address.
            "/api/v1/auth/refresh"
            | "/api/v1/auth/logout"
            | "/.well-known/jwks.json"
            | "/.well-known/evidence-jwks.json" => &self.public,
            path if path.starts_with("/api/v1/public/") => &self.public,
            _signed_in => &None,
        };
        class.as_ref().map_or(Ok(()), |class| class.check(&context::caller().network()))
    }

    /// Before a key is looked up that was not good here of late: guessing is not free.
    pub(super) fn guessing(&self, caller: &Caller) -> Result<(), Problem> {
        self.guesses.as_ref().map_or(Ok(()), |class| class.check(&caller.network()))
    }

    /// Once it is known who they are. What one of them asks in vain is not taken from the others.
    pub(super) fn signed_in(&self, who: &str, business_id: BusinessId) -> Result<(), Problem> {
        self.account.as_ref().map_or(Ok(()), |class| class.check(who))?;
        self.tenant.as_ref().map_or(Ok(()), |class| class.check(&business_id.to_string()))
    }

    /// To be called now and then: whoever asked once is not remembered for ever.
    pub(crate) fn forget(&self) {
        let all = [&self.sign_in, &self.public, &self.guesses, &self.account, &self.tenant];
        all.into_iter().flatten().for_each(Class::forget);
    }
}

/// Refuses whoever asks too often.
pub(super) fn arrived(gauges: &Gauges, request: &Request) -> Result<(), Problem> {
    let route = request.extensions().get::<MatchedPath>();
    gauges.arrived(route.map_or("", MatchedPath::as_str))
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What is left, in the form of draft-ietf-httpapi-ratelimit-headers-10.
pub(super) fn tell(headers: &mut HeaderMap, limits: &[Left]) {
    if limits.is_empty() {
        return;
    }
    let joined = |one: fn(&Left) -> String| limits.iter().map(one).collect::<Vec<_>>().join(", ");
    let policy = joined(|left| format!("\"{}\";q={};w=60", left.class, left.a_minute));
    let limit = joined(|left| format!("\"{}\";r={};t={}", left.class, left.remaining, left.reset));
    for (name, value) in [(POLICY, policy), (LIMIT, limit)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}
