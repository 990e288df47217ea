//! A request that names a key is done once, however often it is sent.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use domain::BusinessId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use sqlx::Row;
use streams::{Cursor, log::IdempotencyRow};

use crate::{CommandError, Commands, Done};

/// A key and what it was sent with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdempotencyKey {
    key: String,
    request_hash: Vec<u8>,
}

impl IdempotencyKey {
    /// `request` is what makes two requests the same: method, path and parsed body.
    #[must_use]
    pub fn new(key: String, request: &[u8]) -> Self {
        Self { key, request_hash: Sha256::digest(request).to_vec() }
    }

    pub(crate) fn row(&self, answer: serde_json::Value) -> IdempotencyRow {
        IdempotencyRow { key: self.key.clone(), request_hash: self.request_hash.clone(), answer }
    }
}

type Entry = (BusinessId, String);

/// The keys that this process is working on.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<HashSet<Entry>>);

/// Ends with the request.
pub(crate) struct Entered {
    running: Arc<Running>,
    entry: Entry,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.running.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.entry);
    }
}

impl Commands {
    /// Marks the key as being worked on.
    pub(crate) fn enter<E>(
        &self,
        business_id: BusinessId,
        key: Option<&IdempotencyKey>,
    ) -> Result<Option<Entered>, CommandError<E>> {
        let Some(key) = key else { return Ok(None) };
        let entry = (business_id, key.key.clone());
        let mut running = self.running.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.insert(entry.clone()) {
            return Err(CommandError::InProgress);
        }
        Ok(Some(Entered { running: Arc::clone(&self.running), entry }))
    }

    /// Whether there is an answer to this key: a repeat is answered whatever is counted by now.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn is_repeat<E>(
        &self,
        business_id: BusinessId,
        key: &IdempotencyKey,
    ) -> Result<bool, CommandError<E>> {
        Ok(!self.stored(business_id, &[key]).await?.0.is_empty())
    }

    /// The stored answers to these keys, all in one query.
    pub(crate) async fn stored(
        &self,
        business_id: BusinessId,
        keys: &[&IdempotencyKey],
    ) -> Result<Stored, sqlx::Error> {
        if keys.is_empty() {
            return Ok(Stored::default());
        }
        let query = sqlx::query(
            "SELECT key, request_hash, answer, transaction_id::text::bigint AS transaction_id,
                    position
               FROM idempotency_key WHERE business_id = $1 AND key = ANY($2)",
        )
        .bind(business_id.uuid())
        .bind(keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>());
        let database = self.log.database();
        let rows = database
            .within(async { query.fetch_all(&mut *database.tenant(business_id).await?).await })
            .await?;
        let mut stored = HashMap::with_capacity(rows.len());
        for row in rows {
            let transaction_id = row.try_get("transaction_id")?;
            let position = Cursor { transaction_id, position: row.try_get("position")? };
            let answer = (row.try_get("request_hash")?, row.try_get("answer")?, position);
            stored.insert(row.try_get("key")?, answer);
        }
        Ok(Stored(stored))
    }
}

/// Hash of the request, answer and place in the log, by key.
#[derive(Debug, Default)]
pub(crate) struct Stored(HashMap<String, (Vec<u8>, serde_json::Value, Cursor)>);

impl Stored {
    /// The stored answer to this request, if it succeeded before.
    pub(crate) fn replay<T: DeserializeOwned, E>(
        &self,
        key: Option<&IdempotencyKey>,
    ) -> Option<Result<Done<T>, CommandError<E>>> {
        let key = key?;
        let (hash, answer, position) = self.0.get(&key.key)?;
        if *hash != key.request_hash {
            return Some(Err(CommandError::KeyReused));
        }
        let replayed = serde_json::from_value(answer.clone())
            .map(|value| Done { value, position: *position, replayed: true })
            .map_err(|error| CommandError::Store(error.into()));
        Some(replayed)
    }
}
