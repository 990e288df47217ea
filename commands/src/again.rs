//! Decide again when somebody was faster.

use std::time::Duration;

use rand::RngExt as _;
use streams::log::CommitError;

use crate::{CommandError, error::Attempt};

/// So many tries; a calendar's racers in one process take turns, so few are ever needed.
const TRIES: u32 = 10;

/// Counts tries of one command.
pub(crate) struct Tries {
    left: u32,
    what: &'static str,
}

impl Tries {
    pub(crate) const fn of(what: &'static str) -> Self {
        Self { left: TRIES, what }
    }

    /// Waits a little, longer each time and never as long as the others; false when used up.
    pub(crate) async fn again(&mut self) -> bool {
        metrics::counter!("apptremind_command_conflicts_total", "command" => self.what)
            .increment(1);
        self.left -= 1;
        if self.left == 0 {
            return false;
        }
        let most = 4_u64 << (TRIES - self.left).min(6);
        let pause = rand::rng().random_range(1..=most);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        true
    }
}

/// Runs a command without an idempotency key until it is done, refused, or tried too often. What
/// the tables refuse as a rule becomes a refusal through `rule`.
pub(crate) async fn until_decided<T, E, F>(
    what: &'static str,
    mut attempt: impl FnMut() -> F,
    rule: impl Fn(&CommitError) -> Option<E>,
) -> Result<T, CommandError<E>>
where
    F: Future<Output = Result<T, Attempt<E>>>,
{
    let mut tries = Tries::of(what);
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(Attempt::Refused(refused)) => return Err(CommandError::Refused(refused)),
            Err(Attempt::Commit(error)) => {
                if let Some(refused) = rule(&error) {
                    return Err(CommandError::Refused(refused));
                }
                let retry = matches!(
                    error,
                    CommitError::Conflict | CommitError::TimeReserved | CommitError::Repeat
                );
                if !retry {
                    return Err(error.into());
                }
                if !tries.again().await {
                    return Err(CommandError::Conflict);
                }
            }
        }
    }
}
