//! Sends messages, each at most once, and records what became of it.

mod deliver;
mod heard;
mod queue;
mod record;

use std::sync::Arc;

use domain::NotificationId;
use streams::log::Log;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

pub use heard::record_delivery;
pub(crate) use queue::{publish, run};

use crate::{GuestLinks, Timing, mail::Mails, sms::Sms, smtp::Smtp};

/// Sends one message at a time; used by many tasks at once.
#[derive(Debug)]
pub struct Notifier {
    log: Log,
    smtp: Smtp,
    sms: Arc<Sms>,
    mails: Mails,
    links: Arc<dyn GuestLinks>,
    timing: Timing,
    sends: TaskTracker,
}

impl Notifier {
    /// Sends mails by this server and text messages by that provider, with these links.
    ///
    /// # Errors
    /// When a template of ours does not parse.
    pub fn try_new(
        log: Log,
        smtp: Smtp,
        sms: Arc<Sms>,
        links: Arc<dyn GuestLinks>,
        timing: Timing,
    ) -> Result<Self, crate::TemplateError> {
        let mails = Mails::try_new()?;
        Ok(Self { log, smtp, sms, mails, links, timing, sends: TaskTracker::new() })
    }

    pub(crate) const fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Sends in a task of its own, which goes on when the one who asked is stopped: a send that is
    /// broken off after the hand-over would be uncertain for ever.
    pub(crate) fn start(self: &Arc<Self>, id: NotificationId) -> JoinHandle<()> {
        let notifier = Arc::clone(self);
        self.sends.spawn(async move { notifier.deliver(id).await })
    }

    /// Waits for the sends that are under way.
    pub(crate) async fn drain(&self) {
        self.sends.close();
        self.sends.wait().await;
    }
}
