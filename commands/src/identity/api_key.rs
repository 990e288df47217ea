//! Keys by which programs of a business call the API.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{
    ApiKeyId, BusinessId, Decide, FieldError, UserId,
    api_key::{ApiKey, ApiKeyCommand, ApiKeyError, Scope},
};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, Row, postgres::PgRow};
use streams::{
    CommandContext, clock,
    log::{Loaded, StreamKey, UnitOfWork},
};
use uuid::Uuid;

use super::{Identity, session::hash};
use crate::{CommandError, Done, again::until_decided, error::Attempt};

/// Keys that one business has at once.
const MOST: i64 = 50;
/// What is known of a key is looked up again after this: a revoked one is good no longer.
const KNOWN_FOR: Duration = Duration::from_secs(2);
/// Whoever came with a good key is not taken for somebody who guesses for so long.
const TRUSTED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// So many are known at once.
const KNOWN: u64 = 10_000;
/// What every key begins with, so that it is recognised where it should not be.
const PREFIX: &str = "ark_";

/// A key that is wanted.
#[derive(Debug, Clone)]
pub struct CreateApiKey {
    /// What the owner calls it.
    pub name: String,
    /// What may be done with it.
    pub scopes: BTreeSet<Scope>,
    /// Until when; for ever when `None`.
    pub expires_at: Option<Timestamp>,
    /// Who makes it.
    pub by: UserId,
}

/// A key that was made: its secret is never told again.
#[derive(Clone)]
pub struct NewApiKey {
    /// Names it.
    pub key_id: ApiKeyId,
    /// The key itself.
    pub key: String,
}

impl std::fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewApiKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// A key, without its secret.
#[derive(Debug, Clone)]
pub struct ApiKeyRow {
    /// Names it.
    pub key_id: ApiKeyId,
    /// What the owner calls it.
    pub name: String,
    /// What may be done with it.
    pub scopes: BTreeSet<Scope>,
    /// Who made it.
    pub created_by: UserId,
    /// When.
    pub created_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    pub used_at: Option<Timestamp>,
}

/// What a good key stands for.
#[derive(Debug, Clone)]
pub struct KeyHolder {
    /// Names the key.
    pub key_id: ApiKeyId,
    /// Whose it is.
    pub business_id: BusinessId,
    /// What may be done with it.
    pub scopes: BTreeSet<Scope>,
    expires_at: Option<Timestamp>,
}

/// Why a key was not made or revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyRefused {
    /// The business has no such key.
    #[error("not found")]
    NotFound,
    /// A field breaks a rule.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// Whoever asks does not manage the business any more.
    #[error("your role does not allow this")]
    NotAllowed,
    /// There are enough.
    #[error("a business has at most {MOST} keys: revoke one first")]
    Full,
}

impl From<ApiKeyError> for ApiKeyRefused {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::Invalid(errors) => Self::Invalid(errors),
            ApiKeyError::NotFound | ApiKeyError::AlreadyThere => Self::NotFound,
        }
    }
}

/// What was looked up lately, by the hash of the key.
#[derive(Debug, Clone)]
pub(super) struct KnownKeys {
    found: moka::sync::Cache<Vec<u8>, Option<KeyHolder>>,
    /// Those that were good; what they stand for is looked up again all the same.
    good: moka::sync::Cache<Vec<u8>, ()>,
}

impl Default for KnownKeys {
    fn default() -> Self {
        let found = moka::sync::Cache::builder().max_capacity(KNOWN).time_to_live(KNOWN_FOR);
        let good = moka::sync::Cache::builder().max_capacity(KNOWN).time_to_live(TRUSTED_FOR);
        Self { found: found.build(), good: good.build() }
    }
}

/// The id within a key.
fn parse(key: &str) -> Option<ApiKeyId> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let id = (id.len() == 32 && secret.len() == 43).then(|| Uuid::try_parse(id).ok()).flatten()?;
    Some(ApiKeyId::new(id))
}

impl Identity {
    /// Whether a bearer token is meant to be a key.
    #[must_use]
    pub fn is_api_key(token: &str) -> bool {
        token.starts_with(PREFIX)
    }

    /// Whether looking it up is no guess: it was good of late, or was looked up a moment ago.
    #[must_use]
    pub fn knows_key(&self, key: &str) -> bool {
        let hashed = hash(key);
        self.keys.good.contains_key(&hashed) || self.keys.found.contains_key(&hashed)
    }

    /// What a key stands for; `None` when it is not good.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn key_holder<E>(&self, key: &str) -> Result<Option<KeyHolder>, CommandError<E>> {
        let Some(key_id) = parse(key) else { return Ok(None) };
        let hashed = hash(key);
        let known = match self.keys.found.get(&hashed) {
            Some(known) => known,
            None => {
                let found = self.find_key(key_id, &hashed).await?;
                if found.is_some() {
                    self.keys.good.insert(hashed.clone(), ());
                } else {
                    self.keys.good.invalidate(&hashed);
                }
                self.keys.found.insert(hashed, found.clone());
                found
            }
        };
        Ok(known.filter(|holder| holder.expires_at.is_none_or(|at| at > clock::now())))
    }

    /// The hash is compared by Postgres: it is of 256 random bits, so how long that takes tells nothing.
    async fn find_key(
        &self,
        key_id: ApiKeyId,
        hashed: &[u8],
    ) -> Result<Option<KeyHolder>, sqlx::Error> {
        let database = self.commands.log().database();
        let query = sqlx::query(
            "SELECT business_id, scopes, expires_at,
                    used_at IS NULL OR used_at < now() - interval '1 minute' AS stale
               FROM api_key WHERE key_id = $1 AND secret_hash = $2 AND revoked_at IS NULL",
        )
        .bind(key_id.uuid())
        .bind(hashed);
        let row = database.within(query.fetch_optional(database.system())).await?;
        let Some(row) = row else { return Ok(None) };
        if row.try_get("stale")? {
            let used = sqlx::query("UPDATE api_key SET used_at = now() WHERE key_id = $1")
                .bind(key_id.uuid());
            database.within(used.execute(database.system())).await?;
        }
        Ok(Some(KeyHolder {
            key_id,
            business_id: BusinessId::new(row.try_get("business_id")?),
            scopes: scopes(&row)?,
            expires_at: row
                .try_get::<Option<jiff_sqlx::Timestamp>, _>("expires_at")?
                .map(jiff_sqlx::Timestamp::to_jiff),
        }))
    }

    /// Makes a key.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(business.id = %context.business_id))]
    pub async fn create_api_key(
        &self,
        create: &CreateApiKey,
        context: &CommandContext,
    ) -> Result<Done<NewApiKey>, CommandError<ApiKeyRefused>> {
        let key_id = ApiKeyId::new(clock::new_id());
        let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let key = format!("{PREFIX}{}_{secret}", key_id.uuid().simple());
        let attempt = || self.try_create_key(create, key_id, &key, context);
        let done = until_decided("create_api_key", attempt, |_| None).await?;
        Ok(Done::new(NewApiKey { key_id, key: key.clone() }, done.position))
    }

    async fn try_create_key(
        &self,
        create: &CreateApiKey,
        key_id: ApiKeyId,
        key: &str,
        context: &CommandContext,
    ) -> Result<Done<()>, Attempt<ApiKeyRefused>> {
        let business_id = context.business_id;
        let new: Loaded<ApiKey> =
            Loaded { key: StreamKey::of::<ApiKey>(key_id), state: ApiKey::default(), sequence: 0 };
        let events = new.state.decide(ApiKeyCommand::Create {
            name: create.name.clone(),
            scopes: create.scopes.clone(),
            expires_at: create.expires_at,
            now: context.now,
        });
        let mut unit = UnitOfWork::new(context.clone());
        unit.append(&new, events.map_err(|error| Attempt::Refused(error.into()))?)?;
        // The key outlives the token by which it is made, so that must not be of yesterday.
        let manager = self.manager(&mut unit, context).await?;
        manager.ok_or(Attempt::Refused(ApiKeyRefused::NotAllowed))?;
        let mut writing = self.commands.log().begin(business_id).await?;
        if full(writing.connection(), business_id).await? {
            return Err(Attempt::Refused(ApiKeyRefused::Full));
        }
        let position = writing.append(&unit).await?;
        sqlx::query(
            "INSERT INTO api_key (key_id, business_id, name, secret_hash, scopes, created_by,
                                  expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(key_id.uuid())
        .bind(business_id.uuid())
        .bind(&create.name)
        .bind(hash(key))
        .bind(create.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>())
        .bind(create.by.uuid())
        .bind(create.expires_at.map(ToSqlx::to_sqlx))
        .execute(writing.connection())
        .await?;
        writing.commit().await?;
        Ok(Done::new((), position))
    }

    /// The keys of a business that were not revoked, the newest first.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn api_keys<E>(
        &self,
        business_id: BusinessId,
    ) -> Result<Vec<ApiKeyRow>, CommandError<E>> {
        let mut tenant = self.commands.log().database().tenant(business_id).await?;
        let rows = sqlx::query(
            "SELECT key_id, name, scopes, created_by, created_at, expires_at, used_at FROM api_key
              WHERE business_id = $1 AND revoked_at IS NULL
              ORDER BY created_at DESC, key_id LIMIT 200",
        )
        .bind(business_id.uuid())
        .fetch_all(&mut *tenant)
        .await?;
        let row = |row: &PgRow| -> Result<ApiKeyRow, CommandError<E>> {
            let maybe = |column| -> Result<Option<Timestamp>, sqlx::Error> {
                let at = row.try_get::<Option<jiff_sqlx::Timestamp>, _>(column)?;
                Ok(at.map(jiff_sqlx::Timestamp::to_jiff))
            };
            Ok(ApiKeyRow {
                key_id: ApiKeyId::new(row.try_get("key_id")?),
                name: row.try_get("name")?,
                scopes: scopes(row)?,
                created_by: UserId::new(row.try_get("created_by")?),
                created_at: row.try_get::<jiff_sqlx::Timestamp, _>("created_at")?.to_jiff(),
                expires_at: maybe("expires_at")?,
                used_at: maybe("used_at")?,
            })
        };
        rows.iter().map(row).collect()
    }

    /// Lets a key be good no more, within two seconds everywhere. One that was revoked is already so.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(key.id = %key_id))]
    pub async fn revoke_api_key(
        &self,
        key_id: ApiKeyId,
        context: &CommandContext,
    ) -> Result<Done<()>, CommandError<ApiKeyRefused>> {
        let attempt = || async {
            let stream = StreamKey::of::<ApiKey>(key_id);
            let keys = std::slice::from_ref(&stream);
            let histories = self.commands.log().load(context.business_id, keys).await?;
            let known: Loaded<ApiKey> = histories.fold(&stream)?;
            let events = known.state.decide(ApiKeyCommand::Revoke);
            let events = events.map_err(|error| Attempt::Refused(error.into()))?;
            let mut unit = UnitOfWork::new(context.clone());
            unit.append(&known, events)?;
            if unit.is_empty() {
                let position = self.commands.last_position(&histories, &stream).await?;
                return Ok(Done::new((), position));
            }
            let mut writing = self.commands.log().begin(context.business_id).await?;
            let position = writing.append(&unit).await?;
            sqlx::query("UPDATE api_key SET revoked_at = now() WHERE key_id = $1")
                .bind(key_id.uuid())
                .execute(writing.connection())
                .await?;
            writing.commit().await?;
            Ok(Done::new((), position))
        };
        let done = until_decided("revoke_api_key", attempt, |_| None).await?;
        self.keys.found.invalidate_all();
        Ok(done)
    }
}

/// Whether there are enough keys. Keys of one business are made one after the other.
async fn full(connection: &mut PgConnection, business_id: BusinessId) -> Result<bool, sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('api_key ' || $1::text, 0))")
        .bind(business_id.uuid())
        .execute(&mut *connection)
        .await?;
    let there: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM api_key WHERE business_id = $1 AND revoked_at IS NULL",
    )
    .bind(business_id.uuid())
    .fetch_one(connection)
    .await?;
    Ok(there >= MOST)
}

fn scopes(row: &PgRow) -> Result<BTreeSet<Scope>, sqlx::Error> {
    let names: Vec<String> = row.try_get("scopes")?;
    let scope =
        |name: &String| name.parse::<Scope>().map_err(|error| sqlx::Error::Decode(error.into()));
    names.iter().map(scope).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_itself_and_nothing_else_is_one() {
        let id = ApiKeyId::new(Uuid::from_u128(7));
        let key = format!("{PREFIX}{}_{}", id.uuid().simple(), "s".repeat(43));
        assert_eq!(parse(&key), Some(id));
        for odd in ["", "ark_", "ark_7_s", &key[1..], &key[..key.len() - 1], &key.replace('7', "x")]
        {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
