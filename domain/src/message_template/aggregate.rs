use serde::{Deserialize, Serialize};

use super::{MessageTemplateCommand, MessageTemplateError, MessageTemplateEvent, TemplateParts};
use crate::{
    Decide, Fields,
    notification::{Kind, Recipient},
    pure::pure_aggregate,
};

/// The words of one kind of message in one language. Without any it is said in our own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageTemplate {
    /// The words that are in force.
    pub parts: TemplateParts,
    /// Sequence of the event that they are from; zero for none.
    pub version: u64,
    /// Sequence of the last event: a test changes no words.
    pub sequence: u64,
}

pure_aggregate!(
    MessageTemplate,
    "message_template",
    MessageTemplateCommand,
    MessageTemplateEvent,
    MessageTemplateError
);

impl MessageTemplate {
    const fn check(&self, expected: Option<u64>) -> Result<(), MessageTemplateError> {
        match expected {
            Some(version) if version != self.version => {
                Err(MessageTemplateError::Stale { current: self.version })
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn validate(kind: Kind, parts: &TemplateParts) -> Result<(), MessageTemplateError> {
    let mut fields = Fields::default();
    let for_guests = kind.recipient() == Recipient::Guest;
    fields.check(for_guests, "kind", "must be a kind of message to guests");
    fields.check(
        !parts.is_empty(),
        "body",
        "must have at least one of subject, text, html and sms; DELETE removes all of them",
    );
    parts.validate(&mut fields);
    fields.done().map_err(MessageTemplateError::Invalid)
}

impl Decide for MessageTemplate {
    fn decide(
        &self,
        command: MessageTemplateCommand,
    ) -> Result<Vec<MessageTemplateEvent>, MessageTemplateError> {
        match command {
            MessageTemplateCommand::Change { kind, locale, parts, expected } => {
                self.check(expected)?;
                validate(kind, &parts)?;
                let changed = parts != self.parts;
                let event = || MessageTemplateEvent::Changed { kind, locale, parts };
                Ok(changed.then(event).into_iter().collect())
            }
            MessageTemplateCommand::Remove { expected } => {
                self.check(expected)?;
                let there = !self.parts.is_empty();
                Ok(there.then_some(MessageTemplateEvent::Removed {}).into_iter().collect())
            }
            MessageTemplateCommand::NoteTest { kind, locale, to } => {
                Ok(vec![MessageTemplateEvent::TestSent { kind, locale, to }])
            }
        }
    }

    fn evolve(&mut self, event: MessageTemplateEvent) {
        self.sequence += 1;
        match event {
            MessageTemplateEvent::Changed { parts, .. } => {
                self.parts = parts;
                self.version = self.sequence;
            }
            MessageTemplateEvent::Removed {} => {
                self.parts = TemplateParts::default();
                self.version = self.sequence;
            }
            MessageTemplateEvent::TestSent { .. } => {}
        }
    }
}
