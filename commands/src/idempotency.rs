//! A request that names a key is done once, however often it is sent.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use domain::BusinessId;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use sqlx::Row;
use streams::{Cursor, log::IdempotencyRow};

use crate::{CommandError, Commands, Done};

/// A key and what it was sent with.
#[derive(Debug, Clone)]
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

    /// The stored answer to this request, if it succeeded before.
    pub(crate) async fn replay<T: DeserializeOwned, E>(
        &self,
        business_id: BusinessId,
        key: Option<&IdempotencyKey>,
    ) -> Result<Option<Done<T>>, CommandError<E>> {
        let Some(key) = key else { return Ok(None) };
        let row = sqlx::query(
            "SELECT request_hash, answer, transaction_id::text::bigint AS transaction_id, position
               FROM idempotency_key WHERE business_id = $1 AND key = $2",
        )
        .bind(business_id.uuid())
        .bind(&key.key)
        .fetch_optional(self.log.database().pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.try_get::<Vec<u8>, _>("request_hash")? != key.request_hash {
            return Err(CommandError::KeyReused);
        }
        let value = serde_json::from_value(row.try_get("answer")?)
            .map_err(|error| CommandError::Store(error.into()))?;
        let position = Cursor {
            transaction_id: row.try_get("transaction_id")?,
            position: row.try_get("position")?,
        };
        Ok(Some(Done { value, position, replayed: true }))
    }
}
