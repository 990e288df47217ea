//! Sends messages, each at most once, and records what became of it.

mod deliver;
mod queue;
mod record;

use streams::log::Log;

pub(crate) use queue::{publish, run};

use crate::{Timing, mail::Mails, smtp::Smtp};

/// Sends one message at a time; used by many tasks at once.
#[derive(Debug)]
pub struct Notifier {
    log: Log,
    smtp: Smtp,
    mails: Mails,
    timing: Timing,
}

impl Notifier {
    /// Sends by this server.
    ///
    /// # Errors
    /// When a template of ours does not parse.
    pub fn try_new(log: Log, smtp: Smtp, timing: Timing) -> Result<Self, crate::TemplateError> {
        let mails = Mails::try_new()?;
        Ok(Self { log, smtp, mails, timing })
    }

    pub(crate) const fn timing(&self) -> &Timing {
        &self.timing
    }
}
