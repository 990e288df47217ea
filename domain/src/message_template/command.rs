use super::{TemplateParts, TestRecipient};
use crate::{Locale, notification::Kind};

/// What can be asked of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageTemplateCommand {
    /// Say it in these words from now on.
    Change {
        /// Of which kind of message.
        kind: Kind,
        /// In which language.
        locale: Locale,
        /// All of it: what is left out is said in our own words.
        parts: TemplateParts,
        /// Refuses when it is no longer in this version; `None` takes any.
        expected: Option<u64>,
    },
    /// Say it in our own words again.
    Remove {
        /// Refuses when it is no longer in this version; `None` takes any.
        expected: Option<u64>,
    },
    /// Note that somebody had it mailed to them, to see how it looks.
    NoteTest {
        /// Of which kind of message.
        kind: Kind,
        /// In which language.
        locale: Locale,
        /// To whom it went.
        to: TestRecipient,
    },
}
