use jiff::Timestamp;

use super::{AccountPlan, Plan, Receipt};

/// What can happen to a message. An `attempt` counts from 1; a `reason` is a code of ours, never a
/// provider's words, which may quote an address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what the summary above says")]
pub enum NotificationCommand {
    /// Plan it; when it was due before `now` it is recorded as skipped.
    Request { plan: Plan, now: Timestamp },
    /// Plan a mail about an account, or a week.
    RequestAccountMail { plan: AccountPlan },
    /// Record that it is not needed, and why.
    Skip { plan: Plan, reason: String },
    /// Its time has come.
    MarkDue,
    /// The provider took it.
    RecordSent { attempt: u32, receipt: Option<Receipt> },
    /// The provider says that it arrived.
    RecordDelivered,
    /// The provider had taken it, and says that it did not arrive.
    RecordUndelivered { reason: String },
    /// The provider did not take it now; there is another try.
    RecordRetry { attempt: u32, reason: String, next_at: Timestamp },
    /// It will not be sent.
    RecordFailure { attempt: u32, reason: String },
    /// A person wants it tried once more.
    Retry,
    /// Nobody knows whether the provider took it.
    RecordUncertain { attempt: u32, reason: String },
    /// It is of no use any more: the visit changed, or the reason says why.
    Cancel { reason: Option<String> },
    /// The visit has begun.
    Expire,
}
