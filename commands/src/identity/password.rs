use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use streams::BoxError;
use tokio::sync::Semaphore;

use crate::CommandError;

/// Whoever waits longer for a turn is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a hash costs to compute (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: Params::DEFAULT_M_COST, iterations: Params::DEFAULT_T_COST }
    }
}

/// What came of checking a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Wrong,
    Right,
    /// Right, and hashed at another cost than today's: it is to be hashed anew.
    Outdated,
}

/// Hashes and checks passwords (Argon2id), off the threads that serve requests and few at a time:
/// each takes 19 MiB and tens of milliseconds.
#[derive(Debug)]
pub struct Passwords {
    argon2: Argon2<'static>,
    at_once: Arc<Semaphore>,
    /// Checked in place of a hash when the account is unknown, so that both take as long.
    nobody: String,
}

impl Passwords {
    /// At most `at_once` hashes are computed at the same time, each with this cost.
    ///
    /// # Errors
    /// When the cost is out of range, or the system gives no random bytes.
    pub fn try_new(at_once: usize, cost: Cost) -> Result<Self, BoxError> {
        let params = Params::new(cost.memory_kib, cost.iterations, 1, None)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = argon2.hash_password(&rand::random::<[u8; 32]>())?.to_string();
        Ok(Self { argon2, at_once: Arc::new(Semaphore::new(at_once)), nobody })
    }

    pub(super) async fn hash<E>(&self, password: String) -> Result<String, CommandError<E>> {
        let argon2 = self.argon2.clone();
        self.off_thread(move || Ok(argon2.hash_password(password.as_bytes())?.to_string())).await
    }

    /// Takes as long when there is no hash.
    pub(super) async fn verify<E>(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<Checked, CommandError<E>> {
        let argon2 = self.argon2.clone();
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        self.off_thread(move || {
            let hash = PasswordHash::new(&hash)?;
            let right = argon2.verify_password(password.as_bytes(), &hash).is_ok() && known;
            let params = Params::try_from(&hash)?;
            let now = argon2.params();
            let same = (params.m_cost(), params.t_cost()) == (now.m_cost(), now.t_cost());
            Ok(match (right, same) {
                (false, _) => Checked::Wrong,
                (true, true) => Checked::Right,
                (true, false) => Checked::Outdated,
            })
        })
        .await
    }

    async fn off_thread<T: Send + 'static, E>(
        &self,
        work: impl FnOnce() -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, CommandError<E>> {
        let turn = Arc::clone(&self.at_once).acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout(PATIENCE, turn).await else {
            return Err(CommandError::Conflict);
        };
        let worked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        worked
            .await
            .map_err(BoxError::from)
            .and_then(|outcome| outcome)
            .map_err(CommandError::Store)
    }
}
