//! Who signs in: accounts, passwords, sessions, tokens; what they are in a business; the programs that act
//! for one. And who need not sign in: the holders of links.

mod api_key;
mod ending;
mod invitation;
mod keys;
mod link;
mod login;
mod member;
mod password;
mod register;
mod reset;
mod ring;
mod seal;
mod session;
mod token;

use std::{net::IpAddr, sync::Arc, time::Duration};

pub use api_key::{ApiKeyRefused, ApiKeyRow, CreateApiKey, KeyHolder, NewApiKey};
pub use invitation::{Accepted, InvitationRefused, InvitationRow, Invite, Invited};
use jiff::SignedDuration;
pub use keys::{KeyError, RootKeys, SigningKey};
pub use link::{Link, Links, NonceRefused};
pub use login::{Account, LoginRefused, Session};
pub use member::{ChangeMember, MemberRefused, MemberRow, Membership};
pub use password::{Cost, Passwords};
pub use register::{Register, RegisterRefused, Registered};
pub use reset::{PasswordRefused, Resets};
pub use ring::{KeyInfo, KeyRing};
pub use seal::{SealError, Seals};
pub use session::SessionRow;
use sha2::{Digest, Sha256};
pub use token::{Audience, Claims, TokenError, Tokens};
use tokio_util::task::TaskTracker;

use crate::{Commands, Quota};

/// How long sign-ins last and how often they may be tried.
#[derive(Debug, Clone)]
pub struct SignInPolicy {
    /// A session ends after this, whatever happens.
    pub session_lifetime: SignedDuration,
    /// A session that nobody refreshes ends after this.
    pub session_idle: SignedDuration,
    /// Tries to sign in to one account from one network.
    pub tries_from_network_to_account: Quota,
    /// Tries to sign in to one account.
    pub tries_to_account: Quota,
    /// Tries to sign in from one network.
    pub tries_from_network: Quota,
    /// Mails that one address is sent because somebody says that they forgot the password.
    pub resets_to_account: Quota,
    /// Mails that somebody in one network causes so.
    pub resets_from_network: Quota,
    /// Businesses that are made from one network.
    pub registrations_from_network: Quota,
    /// Invitations that one business sends.
    pub invitations: Quota,
}

const QUARTER: Duration = Duration::from_secs(900);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

impl Default for SignInPolicy {
    fn default() -> Self {
        let quota = |scope, most, window| Quota { scope, most, window };
        Self {
            session_lifetime: SignedDuration::from_hours(30 * 24),
            session_idle: SignedDuration::from_hours(14 * 24),
            tries_from_network_to_account: quota("sign_in_network_account", 10, QUARTER),
            tries_to_account: quota("sign_in_account", 50, QUARTER),
            tries_from_network: quota("sign_in_network", 100, QUARTER),
            resets_to_account: quota("reset_account", 3, HOUR),
            resets_from_network: quota("reset_network", 30, HOUR),
            registrations_from_network: quota("register_network", 20, HOUR),
            invitations: quota("invitations", 50, DAY),
        }
    }
}

/// From where somebody calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Their address, as far as proxies can be trusted.
    pub address: IpAddr,
    /// The program that they use, in its own words.
    pub user_agent: Option<String>,
}

impl Caller {
    /// Whom the provider gave the address to: one of version 4, or the first half of one of version 6.
    #[must_use]
    pub fn network(&self) -> String {
        match self.address.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        }
    }

    /// The address without what tells one home from the next: for people who look at their sessions.
    fn masked(&self) -> String {
        match self.address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            IpAddr::V6(address) => {
                let [a, b, c, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}::/48")
            }
        }
    }

    /// Tells one client from another, as well as that can be told.
    fn fingerprint(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        hash.update(self.address.to_canonical().to_string());
        hash.update([0]);
        hash.update(self.user_agent.as_deref().unwrap_or_default());
        hash.finalize().to_vec()
    }

    /// No longer than anybody wants to read.
    fn shown_agent(&self) -> Option<String> {
        let agent = self.user_agent.as_deref()?;
        let clean = agent.chars().filter(|c| !c.is_control()).take(200);
        Some(clean.collect())
    }
}

/// The use cases of signing in.
#[derive(Debug, Clone)]
pub struct Identity {
    commands: Commands,
    passwords: Arc<Passwords>,
    tokens: Arc<Tokens>,
    ring: Arc<KeyRing>,
    links: Links,
    policy: Arc<SignInPolicy>,
    voided: ending::Voided,
    keys: api_key::KnownKeys,
    /// What is written down after an answer, so that the answer takes as long whatever it says.
    afterwards: TaskTracker,
}

impl Identity {
    /// Over the same log as the other commands, with the keys of the ring as they are now.
    ///
    /// # Errors
    /// When Postgres does not answer, or the keys cannot be used.
    pub async fn open(
        commands: Commands,
        passwords: Passwords,
        ring: KeyRing,
        links: Links,
        policy: SignInPolicy,
    ) -> Result<Self, streams::BoxError> {
        let tokens = Arc::new(ring.tokens().await?);
        Ok(Self {
            commands,
            passwords: Arc::new(passwords),
            tokens,
            ring: Arc::new(ring),
            links,
            policy: Arc::new(policy),
            voided: ending::Voided::default(),
            keys: api_key::KnownKeys::default(),
            afterwards: TaskTracker::new(),
        })
    }

    /// For those who verify.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Who bears a token, unless their session is over or they are something else by now.
    ///
    /// # Errors
    /// When the token is not good.
    pub fn bearer(&self, token: &str) -> Result<Claims, TokenError> {
        let claims = self.tokens.verify(token)?;
        if self.voided.covers(&claims) {
            return Err(TokenError::from(jsonwebtoken::errors::Error::from(
                jsonwebtoken::errors::ErrorKind::ExpiredSignature,
            )));
        }
        Ok(claims)
    }

    /// Waits for what is still to be written down.
    pub async fn drain(&self) {
        self.afterwards.close();
        self.afterwards.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Caller {
        Caller { address: address.parse().unwrap(), user_agent: None }
    }

    #[test]
    fn a_network_is_what_one_customer_of_a_provider_has() {
        assert_eq!(at("203.0.113.7").network(), "203.0.113.7");
        assert_eq!(at("::ffff:203.0.113.7").network(), "203.0.113.7");
        assert_eq!(at("2001:db8:1:2:3:4:5:6").network(), at("2001:db8:1:2::1").network());
        assert_ne!(at("2001:db8:1:2::1").network(), at("2001:db8:1:3::1").network());
        assert_eq!(at("203.0.113.7").masked(), "203.0.113.0/24");
        assert_eq!(at("2001:db8:1:2::1").masked(), "2001:db8:1::/48");
    }
}
