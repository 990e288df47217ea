use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{BusinessId, Fields, Locale, MessageTemplateId, notification::Kind};

/// One part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The subject of the mail.
    Subject,
    /// The mail without markup.
    Text,
    /// The mail with markup.
    Html,
    /// The text message.
    Sms,
}

impl Part {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Subject, Self::Text, Self::Html, Self::Sms];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Text => "text",
            Self::Html => "html",
            Self::Sms => "sms",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The words of each part; `None` is our own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateParts {
    /// The subject of the mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The mail without markup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The mail with markup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// The text message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms: Option<String>,
}

impl TemplateParts {
    /// One of them.
    #[must_use]
    pub fn get(&self, part: Part) -> Option<&str> {
        match part {
            Part::Subject => self.subject.as_deref(),
            Part::Text => self.text.as_deref(),
            Part::Html => self.html.as_deref(),
            Part::Sms => self.sms.as_deref(),
        }
    }

    /// Nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        Part::ALL.into_iter().all(|part| self.get(part).is_none())
    }

    /// These, and where they say nothing those.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            subject: self.subject.or(other.subject),
            text: self.text.or(other.text),
            html: self.html.or(other.html),
            sms: self.sms.or(other.sms),
        }
    }

    /// Notes each part that is longer than it may be.
    pub fn validate(&self, fields: &mut Fields) {
        if let Some(subject) = &self.subject {
            fields.line("subject", subject, 200);
        }
        for (part, most) in [(Part::Text, 20_000), (Part::Html, 60_000), (Part::Sms, 1_000)] {
            if let Some(words) = self.get(part) {
                fields.note(part.as_str(), words, most);
            }
        }
    }
}

const NAMESPACE: Uuid = Uuid::from_u128(0x0b6f_2f1c_6a57_4a5e_9d5b_2f3c_71e0_88d4);

/// The id follows from what it is for, so that there is one for each.
#[must_use]
pub fn template_id(business_id: BusinessId, kind: Kind, locale: &Locale) -> MessageTemplateId {
    let name = format!("{business_id}/{kind}/{}", locale.key());
    MessageTemplateId::new(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
}
