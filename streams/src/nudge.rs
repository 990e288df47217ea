use std::sync::Arc;

use tokio::sync::Notify;

use crate::broker::Broker;

/// The subject by which one process wakes the relay of another.
pub(crate) const SUBJECT: &str = "nudge.relay";

/// Wakes the relay after a commit, in this process and in others. Losing one costs a poll interval.
#[derive(Debug, Clone, Default)]
pub struct Nudge {
    here: Arc<Notify>,
    elsewhere: Option<Broker>,
}

impl Nudge {
    /// Nudges this process, and others through the broker.
    #[must_use]
    pub fn new(broker: Broker) -> Self {
        Self { here: Arc::default(), elsewhere: Some(broker) }
    }

    pub(crate) fn send(&self) {
        self.here.notify_one();
        if let Some(broker) = &self.elsewhere {
            broker.nudge();
        }
    }

    pub(crate) async fn received(&self) {
        self.here.notified().await;
    }
}
