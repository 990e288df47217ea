//! Sends messages, each at most once, and records what became of it.

mod deliver;
mod gate;
mod heard;
mod lease;
mod queue;
mod record;
mod together;
mod week;

use std::{sync::Arc, time::Duration};

use domain::{BusinessId, NotificationId, notification::Channel};
use sqlx::PgConnection;
use streams::log::Log;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use gate::Gate;
pub use gate::SendRates;
pub use heard::record_delivery;
use lease::{Seen, Taken};
pub(crate) use queue::{publish, run};
use record::Outcome;
use together::Together;

use crate::{GuestLinks, Timing, mail::Mails, sms::Sms, smtp::Smtp};

/// What shares a statement waits for it no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);
/// Its crash points.
const POINT: &str = "notifier";

/// A message that may be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    pub(crate) id: NotificationId,
    pub(crate) channel: Channel,
    pub(crate) business_id: BusinessId,
}

/// Sends one message at a time; used by many tasks at once.
#[derive(Debug)]
pub struct Notifier {
    log: Log,
    smtp: Arc<Smtp>,
    sms: Arc<Sms>,
    mails: Mails,
    gates: [Gate; Channel::ALL.len()],
    links: Arc<dyn GuestLinks>,
    timing: Timing,
    sends: TaskTracker,
    takes: Together<(NotificationId, Uuid), Option<Taken>, PgConnection>,
    marks: Together<Seen, bool, PgConnection>,
    outcomes: Together<Outcome, (), PgConnection>,
}

impl Notifier {
    /// Sends mails by this server and text messages by that provider, with these links.
    ///
    /// # Errors
    /// When a template of ours does not parse.
    pub fn try_new(
        log: Log,
        smtp: Arc<Smtp>,
        sms: Arc<Sms>,
        links: Arc<dyn GuestLinks>,
        rates: [SendRates; Channel::ALL.len()],
        timing: Timing,
    ) -> Result<Self, crate::TemplateError> {
        let mails = Mails::try_new()?;
        let [email, sms_rates] = rates;
        let gates = [Gate::new(Channel::Email, email), Gate::new(Channel::Sms, sms_rates)];
        Ok(Self {
            log,
            smtp,
            sms,
            mails,
            gates,
            links,
            timing,
            sends: TaskTracker::new(),
            takes: Together::new(PATIENCE),
            marks: Together::new(PATIENCE),
            // What was sent is worth waiting for.
            outcomes: Together::new(PATIENCE * 3),
        })
    }

    /// What statements are shared on: what was kept, or another.
    async fn steady(&self, kept: Option<PgConnection>) -> Result<PgConnection, sqlx::Error> {
        match kept {
            Some(connection) => Ok(connection),
            None => self.log.database().steady().await,
        }
    }

    pub(crate) const fn timing(&self) -> &Timing {
        &self.timing
    }

    fn gate(&self, channel: Channel) -> &Gate {
        let [email, sms] = &self.gates;
        match channel {
            Channel::Email => email,
            Channel::Sms => sms,
        }
    }

    /// So many messages of a channel are offered at most, when its provider is asked only so often: what is
    /// handed out is taken long before its offer ends.
    pub(crate) fn room(&self, channel: Channel) -> Option<i64> {
        self.gate(channel).room(self.timing.offer_lease / 4)
    }

    /// To be called now and then: whoever sent once is not remembered for ever.
    pub(crate) fn forget(&self) {
        self.gates.iter().for_each(Gate::forget);
    }

    /// Sends in a task of its own, which goes on when the one who asked is stopped: a send that is
    /// broken off after the hand-over would be uncertain for ever.
    pub(crate) fn start(self: &Arc<Self>, offer: Offer) -> JoinHandle<()> {
        let notifier = Arc::clone(self);
        self.sends.spawn(async move { notifier.deliver(offer).await })
    }

    /// Waits for the sends that are under way.
    pub(crate) async fn drain(&self) {
        self.sends.close();
        self.sends.wait().await;
    }
}
