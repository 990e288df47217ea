use serde::{Deserialize, Serialize};

use super::TemplateParts;
use crate::{Locale, StaffId, UserId, notification::Kind, pure::event_types};

/// Stored for ever: add, never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MessageTemplateEvent {
    /// It is said in these words from now on.
    Changed {
        /// Of which kind of message.
        kind: Kind,
        /// In which language.
        locale: Locale,
        /// The words of each part; one that is missing is said in our own.
        #[serde(flatten)]
        parts: TemplateParts,
    },
    /// It is said in our own words again.
    Removed {},
    /// Somebody had it mailed to them, to see how it looks.
    TestSent {
        /// Of which kind of message.
        kind: Kind,
        /// In which language.
        locale: Locale,
        /// To whom it went. Their address is personal and not in the event.
        to: TestRecipient,
    },
}

/// Who is sent a test: somebody of the business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestRecipient {
    /// Who signs in.
    User(UserId),
    /// Who takes appointments.
    Staff(StaffId),
}

event_types!(MessageTemplateEvent {
    Changed => "message_template.changed.v1",
    Removed => "message_template.removed.v1",
    TestSent => "message_template.test_sent.v1",
});
