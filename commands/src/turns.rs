//! Racers for one calendar take turns within a process: without it each burns many retries.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use uuid::Uuid;

/// Longer queues are refused: the caller would have given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// One queue a key.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<Uuid, Weak<Turn<()>>>>);

impl Turns {
    /// Waits for the turn; `None` when it took too long.
    pub(crate) async fn wait(&self, key: Uuid) -> Option<OwnedMutexGuard<()>> {
        let turn = self.queue(key);
        tokio::time::timeout(PATIENCE, turn.lock_owned()).await.ok()
    }

    fn queue(&self, key: Uuid) -> Arc<Turn<()>> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = queues.get(&key).and_then(Weak::upgrade) {
            return turn;
        }
        // Nobody waits in most of them: forget those now and then.
        if queues.len() >= 1_024 && queues.len().is_power_of_two() {
            queues.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Turn::new(()));
        queues.insert(key, Arc::downgrade(&turn));
        turn
    }
}
