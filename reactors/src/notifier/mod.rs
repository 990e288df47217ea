//! Sends messages, each at most once, and records what became of it.

mod deliver;
mod gate;
mod heard;
mod queue;
mod record;
mod week;

use std::sync::Arc;

use domain::{BusinessId, NotificationId, notification::Channel};
use streams::log::Log;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use gate::Gate;
pub use gate::SendRates;
pub use heard::record_delivery;
pub(crate) use queue::{publish, run};

use crate::{GuestLinks, Timing, mail::Mails, sms::Sms, smtp::Smtp};

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
        Ok(Self { log, smtp, sms, mails, gates, links, timing, sends: TaskTracker::new() })
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
