//! Effects of events: what is to be sent, when, and the proof of what became of it.
//!
//! `scheduler` folds events into the work table, `dispatcher` hands out what falls due, `notifier`
//! sends, `account` plans mails about accounts, `weekly` those about a week, `expirer` ends requests that nobody answered, `waitlist` offers what becomes free. A rebuild runs
//! none of them.

mod account;
mod agreed;
mod dead_letters;
mod dispatcher;
mod expirer;
mod gauges;
mod hosts;
mod housekeeping;
mod ics;
mod mail;
mod notifier;
mod policies;
mod provider;
mod reach;
mod replan;
mod scheduler;
mod since;
mod sms;
mod smtp;
mod templates;
mod waitlist;
mod weekly;
mod work;

use std::{sync::Arc, time::Duration};

use commands::{Commands, identity::Resets};
pub use dead_letters::{DeadLetter, DeadLetters, Retried};
use domain::{AppointmentId, InvitationId, ResetId};
pub use ics::{GuestCalendar, staff_calendar};
pub use mail::{PartError, Rendered, TemplateError};
pub use notifier::{Notifier, SendRates, record_delivery};
pub use sms::{Sms, Twilio, TwilioError, TwilioStatus, Webhook, WebhookError};
pub use smtp::{Smtp, SmtpAddressError};
use streams::{broker::Broker, consumer, log::Log};
pub use templates::{Templates, TestTaken, TestUntaken};
use tokio_util::sync::CancellationToken;

/// Makes the addresses that are sent by mail. Whoever runs the notifier knows the keys.
pub trait GuestLinks: std::fmt::Debug + Send + Sync {
    /// Where the guest manages the appointment: a secret, for their mails only.
    fn manage_url(&self, appointment_id: AppointmentId) -> String;

    /// Where the guest of the appointment says that they want no more reminders by mail: good for nothing else.
    fn unsubscribe_url(&self, appointment_id: AppointmentId) -> String;

    /// Where a forgotten password is replaced: a secret, for the mail to the owner of the account only.
    fn reset_url(&self, reset_id: ResetId) -> String;

    /// Where an invitation is accepted: a secret, for the mail to whoever is invited only.
    fn invitation_url(&self, invitation_id: InvitationId) -> String;
}

/// How long things may take and how often they are tried.
#[derive(Debug, Clone)]
pub struct Timing {
    /// An offer that nobody took up is made again after this.
    pub offer_lease: Duration,
    /// A send that did not end by then has crashed. Longer than all timeouts of a send together.
    pub send_lease: Duration,
    /// The pauses between tries; after the last one the message has failed.
    pub retries: Vec<Duration>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            offer_lease: Duration::from_secs(20),
            send_lease: Duration::from_secs(60),
            retries: [15, 60, 300, 900, 3_600].map(Duration::from_secs).to_vec(),
        }
    }
}

/// Plans and hands out messages, ends requests that nobody answered and offers what becomes free, until
/// stopped.
pub async fn schedule(
    commands: Commands,
    resets: Resets,
    broker: Broker,
    notifier: Arc<Notifier>,
    stop: CancellationToken,
) {
    let log: Log = commands.log().clone();
    let database = log.database().clone();
    let expirer = expirer::Expirer::new(database.clone(), commands.clone());
    let offerer = waitlist::Offerer::new(database.clone(), commands);
    let waker = consumer::Reacting(waitlist::Waker);
    let accounts = consumer::Reacting(account::AccountMails);
    let reactor = consumer::Reacting(scheduler::Scheduler);
    let replanner = replan::Replanner::new(log.clone());
    let summaries = weekly::Summaries::new(log.clone());
    let dispatcher = dispatcher::Dispatcher::new(log, broker.clone(), Arc::clone(&notifier));
    tokio::join!(
        consumer::run(reactor, database.clone(), broker.clone(), stop.clone()),
        consumer::run(waker, database.clone(), broker.clone(), stop.clone()),
        consumer::run(accounts, database.clone(), broker, stop.clone()),
        account::grant_resets(database.clone(), resets, stop.clone()),
        dispatcher.run(stop.clone()),
        replanner.run(stop.clone()),
        summaries.run(stop.clone()),
        expirer.run(stop.clone()),
        offerer.run(stop.clone()),
        gauges::run(database.clone(), stop.clone()),
        housekeeping::run(database, stop),
    );
    notifier.drain().await;
}

/// Sends messages until stopped.
pub async fn notify(broker: Broker, notifier: Arc<Notifier>, stop: CancellationToken) {
    notifier::run(broker, notifier, stop).await;
}
