//! How much is taken from whom.

use std::time::Duration;

use commands::{Quota, identity::SignInPolicy};
use jiff::SignedDuration;

use super::reader::Reader;

/// What one process holds at once, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct HttpLimits {
    /// Connections at once.
    pub(crate) connections: usize,
    /// Connections at once from one address; 0 is without limit.
    pub(crate) connections_per_address: usize,
    /// The head of a request must be there within this.
    pub(crate) header_timeout: Duration,
    /// The body of a request must be there within this.
    pub(crate) body_timeout: Duration,
    /// Requests that are answered at once; more are told to come back.
    pub(crate) requests: usize,
}

impl HttpLimits {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let seconds = |seconds: u64| Duration::from_secs(seconds);
        Self {
            connections: reader.number("HTTP_CONNECTIONS", 10_000, 16, 1_000_000),
            connections_per_address: reader.number("HTTP_CONNECTIONS_PER_ADDRESS", 0, 0, 1_000_000),
            header_timeout: seconds(reader.number("HTTP_HEADER_TIMEOUT_SECONDS", 10, 1, 60)),
            body_timeout: seconds(reader.number("HTTP_BODY_TIMEOUT_SECONDS", 20, 1, 25)),
            requests: reader.number("HTTP_REQUESTS", 2_000, 1, 1_000_000),
        }
    }
}

/// How often something may be done, by whom.
#[derive(Debug, Clone)]
pub(crate) struct RateLimits {
    /// Off for development only.
    pub(crate) on: bool,
    /// Requests a minute: of the routes by which people sign in, from one network.
    pub(crate) sign_in: u32,
    /// Of the public routes, from one network.
    pub(crate) public: u32,
    /// Of the other routes, by one account or key.
    pub(crate) account: u32,
    /// Of the other routes, for one business.
    pub(crate) tenant: u32,
    /// Counted in Postgres, for all processes together.
    pub(crate) policy: SignInPolicy,
    /// Public bookings from one network in an hour.
    pub(crate) bookings_from_network: Quota,
    /// Changes of its own words that one business makes in a day: each is kept for ever.
    pub(crate) template_changes: Quota,
    /// Tests of its own words that one business has mailed in an hour.
    pub(crate) template_tests: Quota,
    /// Visits to come that one guest may have booked by themselves.
    pub(crate) open_visits_of_guest: u32,
}

impl RateLimits {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let on = reader.switch("LIMITS", true);
        let mut most = |name: &str, default: u32| {
            let most = reader.number(name, default, 0, 1_000_000_000);
            if on { most } else { 0 }
        };
        let (sign_in, public) = (most("RATE_SIGN_IN", 60), most("RATE_PUBLIC", 300));
        let (account, tenant) = (most("RATE_ACCOUNT", 1_200), most("RATE_TENANT", 6_000));
        let usual = SignInPolicy::default();
        let mut quota = |name: &str, usual: Quota| Quota { most: most(name, usual.most), ..usual };
        let usual_bookings =
            Quota { scope: "book_network", most: 120, window: Duration::from_secs(3_600) };
        let usual_changes =
            Quota { scope: "template_changes", most: 200, window: Duration::from_secs(86_400) };
        let usual_tests =
            Quota { scope: "template_tests", most: 10, window: Duration::from_secs(3_600) };
        let policy = SignInPolicy {
            tries_from_network_to_account: quota(
                "SIGN_IN_TRIES_PER_ACCOUNT_AND_NETWORK",
                usual.tries_from_network_to_account,
            ),
            tries_to_account: quota("SIGN_IN_TRIES_PER_ACCOUNT", usual.tries_to_account),
            tries_from_network: quota("SIGN_IN_TRIES_PER_NETWORK", usual.tries_from_network),
            resets_to_account: quota("RESETS_PER_ACCOUNT", usual.resets_to_account),
            resets_from_network: quota("RESETS_PER_NETWORK", usual.resets_from_network),
            registrations_from_network: quota(
                "REGISTRATIONS_PER_NETWORK",
                usual.registrations_from_network,
            ),
            invitations: quota("INVITATIONS_PER_BUSINESS", usual.invitations),
            ..usual
        };
        let bookings_from_network = quota("BOOKINGS_PER_NETWORK", usual_bookings);
        let template_changes = quota("TEMPLATE_CHANGES_PER_BUSINESS", usual_changes);
        let template_tests = quota("TEMPLATE_TESTS_PER_BUSINESS", usual_tests);
        let open_visits_of_guest = most("OPEN_VISITS_PER_GUEST", 10);
        let days = |days: i64| SignedDuration::from_hours(days * 24);
        let policy = SignInPolicy {
            session_lifetime: days(reader.number("SESSION_DAYS", 30, 1, 365)),
            session_idle: days(reader.number("SESSION_IDLE_DAYS", 14, 1, 365)),
            ..policy
        };
        Self {
            on,
            sign_in,
            public,
            account,
            tenant,
            policy,
            bookings_from_network,
            template_changes,
            template_tests,
            open_visits_of_guest,
        }
    }
}
