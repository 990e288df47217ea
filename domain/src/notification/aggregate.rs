use serde::{Deserialize, Serialize};

use super::{Kind, NotificationCommand, NotificationError, NotificationEvent};
use crate::{Decide, pure::pure_aggregate};

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the event of that name")]
pub enum Outcome {
    Sent,
    Delivered,
    Undelivered,
    Failed,
    Uncertain,
    Cancelled,
    Expired,
    Skipped,
}

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Notification {
    /// Nothing was planned under this id.
    #[default]
    Unrequested,
    /// Waits for its time.
    Pending,
    /// Its time has come.
    Due,
    /// Over.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

pure_aggregate!(
    Notification,
    "notification",
    NotificationCommand,
    NotificationEvent,
    NotificationError
);

impl Notification {
    /// An event for a message that has not ended; ending it the same way again is already so.
    fn unless_ended(
        &self,
        same: Option<Outcome>,
        event: NotificationEvent,
    ) -> Result<Vec<NotificationEvent>, NotificationError> {
        match self {
            Self::Unrequested => Err(NotificationError::NotFound),
            Self::Pending | Self::Due => Ok(vec![event]),
            Self::Ended { outcome } if Some(*outcome) == same => Ok(vec![]),
            Self::Ended { outcome } => Err(NotificationError::Ended { outcome: *outcome }),
        }
    }
}

impl Notification {
    /// What was given up may be tried once more.
    fn retry(&self) -> Result<Vec<NotificationEvent>, NotificationError> {
        match self {
            Self::Unrequested => Err(NotificationError::NotFound),
            Self::Pending | Self::Due => Ok(vec![]),
            Self::Ended { outcome: Outcome::Failed | Outcome::Undelivered } => {
                Ok(vec![NotificationEvent::Retried {}])
            }
            Self::Ended { outcome } => Err(NotificationError::Ended { outcome: *outcome }),
        }
    }

    /// What a provider says of a message that it has taken, or may have.
    fn once_sent(
        &self,
        becomes: Outcome,
        event: NotificationEvent,
    ) -> Result<Vec<NotificationEvent>, NotificationError> {
        match self {
            Self::Unrequested => Err(NotificationError::NotFound),
            Self::Pending => Err(NotificationError::NotSent),
            // The provider may be faster than our own record of having handed it over.
            Self::Due | Self::Ended { outcome: Outcome::Sent | Outcome::Uncertain } => {
                Ok(vec![event])
            }
            Self::Ended { outcome } if *outcome == becomes => Ok(vec![]),
            Self::Ended { outcome } => Err(NotificationError::Ended { outcome: *outcome }),
        }
    }
}

impl Decide for Notification {
    fn decide(
        &self,
        command: NotificationCommand,
    ) -> Result<Vec<NotificationEvent>, NotificationError> {
        match command {
            NotificationCommand::Request { .. } if *self != Self::Unrequested => Ok(vec![]),
            NotificationCommand::Request { plan, now } => Ok(vec![match plan.kind {
                Kind::Reminder if plan.due_at <= now => {
                    let in_time = plan.moved_from.is_some_and(|wanted| wanted > now);
                    let reason = if in_time { "quiet_hours" } else { "due_before_booking" };
                    NotificationEvent::Skipped { plan, reason: reason.to_owned() }
                }
                Kind::Reminder => NotificationEvent::ReminderRequested { plan },
                Kind::Confirmation
                | Kind::Rescheduled
                | Kind::Cancellation
                | Kind::Requested
                | Kind::Offered
                | Kind::Declined
                | Kind::Expired
                | Kind::HostBooked
                | Kind::HostRequested
                | Kind::HostRescheduled
                | Kind::HostCancelled => NotificationEvent::Requested { plan },
            }]),
            NotificationCommand::RequestAccountMail { .. } if *self != Self::Unrequested => {
                Ok(vec![])
            }
            NotificationCommand::RequestAccountMail { plan } => {
                Ok(vec![NotificationEvent::AccountMailRequested { plan }])
            }
            NotificationCommand::Skip { .. } if *self != Self::Unrequested => Ok(vec![]),
            NotificationCommand::Skip { plan, reason } => {
                Ok(vec![NotificationEvent::Skipped { plan, reason }])
            }
            NotificationCommand::MarkDue if *self == Self::Due => Ok(vec![]),
            NotificationCommand::MarkDue => self.unless_ended(None, NotificationEvent::FellDue {}),
            // What was thought uncertain may turn out to have been taken.
            NotificationCommand::RecordSent { attempt, receipt }
                if *self == (Self::Ended { outcome: Outcome::Uncertain }) =>
            {
                Ok(vec![NotificationEvent::Sent { attempt, receipt }])
            }
            NotificationCommand::RecordSent { attempt, receipt } => {
                self.unless_ended(Some(Outcome::Sent), NotificationEvent::Sent { attempt, receipt })
            }
            NotificationCommand::RecordDelivered => {
                self.once_sent(Outcome::Delivered, NotificationEvent::Delivered {})
            }
            NotificationCommand::RecordUndelivered { reason } => {
                self.once_sent(Outcome::Undelivered, NotificationEvent::Undelivered { reason })
            }
            NotificationCommand::RecordRetry { attempt, reason, next_at } => {
                self.unless_ended(None, NotificationEvent::Deferred { attempt, reason, next_at })
            }
            NotificationCommand::RecordFailure { attempt, reason } => self
                .unless_ended(Some(Outcome::Failed), NotificationEvent::Failed { attempt, reason }),
            NotificationCommand::Retry => self.retry(),
            NotificationCommand::RecordUncertain { attempt, reason } => self.unless_ended(
                Some(Outcome::Uncertain),
                NotificationEvent::BecameUncertain { attempt, reason },
            ),
            NotificationCommand::Cancel { reason } => {
                self.unless_ended(Some(Outcome::Cancelled), NotificationEvent::Cancelled { reason })
            }
            NotificationCommand::Expire => {
                self.unless_ended(Some(Outcome::Expired), NotificationEvent::Expired {})
            }
        }
    }

    fn evolve(&mut self, event: Self::Event) {
        let ended = |outcome| Self::Ended { outcome };
        *self = match event {
            NotificationEvent::ReminderRequested { .. }
            | NotificationEvent::Requested { .. }
            | NotificationEvent::AccountMailRequested { .. } => Self::Pending,
            NotificationEvent::FellDue {}
            | NotificationEvent::Deferred { .. }
            | NotificationEvent::Retried {} => Self::Due,
            NotificationEvent::Skipped { .. } => ended(Outcome::Skipped),
            NotificationEvent::Sent { .. } => ended(Outcome::Sent),
            NotificationEvent::Delivered {} => ended(Outcome::Delivered),
            NotificationEvent::Undelivered { .. } => ended(Outcome::Undelivered),
            NotificationEvent::Failed { .. } => ended(Outcome::Failed),
            NotificationEvent::BecameUncertain { .. } => ended(Outcome::Uncertain),
            NotificationEvent::Cancelled { .. } => ended(Outcome::Cancelled),
            NotificationEvent::Expired {} => ended(Outcome::Expired),
        };
    }
}
