//! The words of one kind of message in one language, as a business wants them. What it leaves out is said in
//! our own words. Whether words are a template that can be rendered is found out by whoever renders.

mod aggregate;
mod command;
mod error;
mod event;
mod parts;
#[cfg(test)]
mod tests;

pub use aggregate::MessageTemplate;
pub use command::MessageTemplateCommand;
pub use error::MessageTemplateError;
pub use event::{MessageTemplateEvent, TestRecipient};
pub use parts::{Part, TemplateParts, template_id};
