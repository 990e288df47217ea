use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AccountPlan, Plan};
use crate::pure::event_types;

/// Who took a message, and under which name they know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The provider's name with us, such as `smtp` or `twilio`.
    pub provider: String,
    /// What the provider calls it, where it says that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
}

/// Stored for ever: add, never change. A `reason` is a code of ours, without personal data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are those of the command")]
pub enum NotificationEvent {
    /// A reminder is planned.
    ReminderRequested { plan: Plan },
    /// Another message is planned.
    Requested { plan: Plan },
    /// A mail about an account, or a week, is planned.
    AccountMailRequested { plan: AccountPlan },
    /// It is not sent: it was due before it could be planned, or is not needed.
    Skipped { plan: Plan, reason: String },
    /// Its time came and it was handed to the senders.
    FellDue {},
    /// The provider took it.
    Sent {
        attempt: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receipt: Option<Receipt>,
    },
    /// The provider says that it arrived.
    Delivered {},
    /// The provider had taken it, and says that it did not arrive.
    Undelivered { reason: String },
    /// The provider did not take it; another try follows.
    Deferred { attempt: u32, reason: String, next_at: Timestamp },
    /// It was given up.
    Failed { attempt: u32, reason: String },
    /// A person wants it tried once more.
    Retried {},
    /// Nobody knows whether the provider took it; it is not sent again.
    BecameUncertain { attempt: u32, reason: String },
    /// It is of no use any more: the visit changed, or the reason says why.
    Cancelled {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The visit began before it could be sent.
    Expired {},
}

event_types!(NotificationEvent {
    ReminderRequested => "booking.reminder.requested.v1",
    Requested => "notification.requested.v1",
    AccountMailRequested => "notification.account_mail_requested.v1",
    Skipped => "notification.skipped.v1",
    FellDue => "scheduler.reminder.due.v1",
    Sent => "notification.sent.v1",
    Delivered => "notification.delivered.v1",
    Undelivered => "notification.undelivered.v1",
    Deferred => "notification.deferred.v1",
    Failed => "notification.failed.v1",
    Retried => "notification.retried.v1",
    BecameUncertain => "notification.uncertain.v1",
    Cancelled => "notification.cancelled.v1",
    Expired => "notification.expired.v1",
});
