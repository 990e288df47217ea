//! Who signs in: accounts, passwords, tokens. And who need not: the holders of links.

mod keys;
mod link;
mod login;
mod password;
mod register;
mod session;
mod token;

use std::sync::Arc;

pub use keys::{KeyError, SigningKey};
pub use link::{Link, Links, NonceRefused};
pub use login::{LoginRefused, Session};
pub use password::Passwords;
pub use register::{Register, RegisterRefused, Registered};
pub use token::{Audience, Claims, TokenError, Tokens};

use crate::Commands;

/// The use cases of signing in.
#[derive(Debug, Clone)]
pub struct Identity {
    commands: Commands,
    passwords: Arc<Passwords>,
    tokens: Arc<Tokens>,
}

impl Identity {
    /// Over the same log as the other commands.
    #[must_use]
    pub fn new(commands: Commands, passwords: Passwords, tokens: Tokens) -> Self {
        Self { commands, passwords: Arc::new(passwords), tokens: Arc::new(tokens) }
    }

    /// For those who verify.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }
}
