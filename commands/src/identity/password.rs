use std::{sync::Arc, time::Duration};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use streams::BoxError;
use tokio::sync::Semaphore;

use crate::CommandError;

/// Whoever waits longer for a turn is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// At most `at_once` hashes are computed at the same time.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn try_new(at_once: usize) -> Result<Self, BoxError> {
        let argon2 = Argon2::default();
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
    ) -> Result<bool, CommandError<E>> {
        let argon2 = self.argon2.clone();
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        self.off_thread(move || {
            let hash = PasswordHash::new(&hash)?;
            Ok(argon2.verify_password(password.as_bytes(), &hash).is_ok() && known)
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
