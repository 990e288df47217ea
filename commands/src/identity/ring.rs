//! The keys that sign tokens, one after the other. They are not stored: each is derived from the secret of
//! the settings and a salt that all processes read, so that a new one needs no new secret.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, Row};
use streams::{BoxError, Database, clock};

use super::{
    Identity, KeyError, RootKeys, SigningKey, Tokens,
    token::{LEEWAY, LIFETIME, TokenKey},
};

/// How soon a process learns of a new key.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// A new key is known this long before it signs: every process has learned of it by then.
const AHEAD: SignedDuration = SignedDuration::from_secs(30);

/// A key that signs or signed tokens, without the key.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    /// Names it in tokens.
    pub kid: String,
    /// Since when it signs.
    pub signs_from: Timestamp,
    /// Until when what it signed is good; `None` for the newest.
    pub retires_at: Option<Timestamp>,
    /// Whether the settings have the secret that it follows from.
    pub usable: bool,
}

struct Stored {
    info: KeyInfo,
    root: String,
    salt: Vec<u8>,
}

/// Makes tokens follow the table of keys.
#[derive(Debug)]
pub struct KeyRing {
    roots: RootKeys,
    database: Database,
    /// A key that is older is replaced.
    age: SignedDuration,
}

impl KeyRing {
    /// Over these secrets. Keys are replaced at this age.
    #[must_use]
    pub const fn new(roots: RootKeys, database: Database, age: SignedDuration) -> Self {
        Self { roots, database, age }
    }

    /// The tokens of this ring, as its keys are now. Makes the first key when there is none.
    ///
    /// # Errors
    /// When Postgres does not answer, or no key can be derived.
    pub async fn tokens(&self) -> Result<Tokens, BoxError> {
        let first = self.roots.iter().next().ok_or(KeyError::Empty)?;
        let tokens = Tokens::try_new(first)?;
        self.follow(&tokens).await?;
        Ok(tokens)
    }

    /// Brings tokens up to date, and makes a key when the newest is too old or follows from a secret that is
    /// not known here.
    ///
    /// # Errors
    /// As [`Self::tokens`].
    pub(super) async fn follow(&self, tokens: &Tokens) -> Result<(), BoxError> {
        let mut stored = read(&mut *self.database.system().acquire().await?).await?;
        if self.is_due(&stored) {
            self.make(false).await?;
            stored = read(&mut *self.database.system().acquire().await?).await?;
        }
        let now = clock::now();
        let mut verifying = Vec::with_capacity(stored.len());
        let mut signing = None;
        for key in &stored {
            let Some(root) = self.root(&key.root) else { continue };
            let made = Arc::new(TokenKey::try_new(&root.derive(&key.salt)?)?);
            // They come in the order in which they sign.
            if key.info.signs_from <= now {
                signing = Some(Arc::clone(&made));
            }
            verifying.push(made);
        }
        let signing = signing.or_else(|| verifying.first().cloned()).ok_or(KeyError::Empty)?;
        tokens.turn(signing, verifying);
        Ok(())
    }

    fn root(&self, kid: &str) -> Option<&SigningKey> {
        self.roots.iter().find(|root| root.kid() == kid)
    }

    fn is_due(&self, stored: &[Stored]) -> bool {
        let Some(newest) = stored.last() else { return true };
        // One that follows from an older secret is left until it is old itself: while the secret is
        // exchanged, process by process, they would make keys in turn.
        let old = newest.info.signs_from + self.age <= clock::now();
        old || self.root(&newest.root).is_none()
    }

    /// Makes a key that signs in half a minute; the one before it verifies until its last token has expired.
    ///
    /// # Errors
    /// When Postgres does not answer, or no key can be derived.
    pub async fn rotate(&self) -> Result<KeyInfo, BoxError> {
        self.make(true).await?.ok_or_else(|| "no key was made".into())
    }

    /// All keys that still verify, the oldest first.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn list(&self) -> Result<Vec<KeyInfo>, BoxError> {
        let stored = read(&mut *self.database.system().acquire().await?).await?;
        let info =
            |stored: Stored| KeyInfo { usable: self.root(&stored.root).is_some(), ..stored.info };
        Ok(stored.into_iter().map(info).collect())
    }

    /// `None` when somebody else has just made one, and it was not asked for all the same.
    async fn make(&self, whatever: bool) -> Result<Option<KeyInfo>, BoxError> {
        let root = self.roots.iter().next().ok_or(KeyError::Empty)?;
        let mut transaction = self.database.system().begin().await?;
        // One at a time, in all processes.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('signing-keys', 0))")
            .execute(&mut *transaction)
            .await?;
        let stored = read(&mut transaction).await?;
        if !whatever && !self.is_due(&stored) {
            return Ok(None);
        }
        let now = clock::now();
        let usable = stored.iter().any(|key| self.root(&key.root).is_some());
        // Without any key that is good nobody is waited for.
        let signs_from = if usable { now + AHEAD } else { now };
        let salt: [u8; 32] = rand::random();
        let kid = root.derive(&salt)?.kid();
        sqlx::query("UPDATE signing_key SET retires_at = $1 WHERE retires_at IS NULL")
            .bind((signs_from + LIFETIME + LEEWAY * 2).to_sqlx())
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO signing_key (kid, root, salt, signs_from) VALUES ($1, $2, $3, $4)",
        )
        .bind(&kid)
        .bind(root.kid())
        .bind(&salt[..])
        .bind(signs_from.to_sqlx())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        tracing::info!(kid, %signs_from, "a new key signs tokens");
        metrics::counter!("apptremind_signing_keys_total").increment(1);
        Ok(Some(KeyInfo { kid, signs_from, retires_at: None, usable: true }))
    }
}

/// In the order in which they sign.
async fn read(connection: &mut PgConnection) -> Result<Vec<Stored>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT kid, root, salt, signs_from, retires_at FROM signing_key
          WHERE retires_at IS NULL OR retires_at > now() ORDER BY signs_from, created_at",
    )
    .fetch_all(connection)
    .await?;
    let stored = |row: &sqlx::postgres::PgRow| {
        let retires_at = row.try_get::<Option<jiff_sqlx::Timestamp>, _>("retires_at")?;
        let info = KeyInfo {
            kid: row.try_get("kid")?,
            signs_from: row.try_get::<jiff_sqlx::Timestamp, _>("signs_from")?.to_jiff(),
            retires_at: retires_at.map(jiff_sqlx::Timestamp::to_jiff),
            usable: true,
        };
        Ok(Stored { info, root: row.try_get("root")?, salt: row.try_get("salt")? })
    };
    rows.iter().map(stored).collect()
}

impl Identity {
    /// Learns of new keys and of sessions that ended elsewhere; to be asked every few seconds.
    ///
    /// # Errors
    /// When Postgres does not answer: what was known goes on.
    pub async fn follow(&self) -> Result<(), BoxError> {
        self.ring.follow(&self.tokens).await
    }

    /// How often [`Self::follow`] is to be asked.
    #[must_use]
    pub const fn look() -> Duration {
        LOOK
    }
}
