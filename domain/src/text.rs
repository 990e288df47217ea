//! Checks of what people type: every failure names the field and the rule, all at once.

use serde::{Deserialize, Serialize};

/// One field that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The field as the request names it, such as `weekly[2].start`.
    pub field: String,
    /// The rule, in one sentence for people.
    pub message: String,
}

/// Collects the failures of one request.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    /// Notes a failure unless `holds`.
    pub fn check(&mut self, holds: bool, field: impl Into<String>, message: impl Into<String>) {
        if !holds {
            self.0.push(FieldError { field: field.into(), message: message.into() });
        }
    }

    /// Text of `1..=max` characters that is not only white space and has no control characters.
    pub fn line(&mut self, field: &str, text: &str, max: usize) {
        let fits = !text.trim().is_empty() && text.chars().count() <= max;
        self.check(
            fits && !text.chars().any(char::is_control),
            field,
            format!("must be 1 to {max} characters on one line"),
        );
    }

    /// Text of at most `max` characters; line breaks are fine.
    pub fn note(&mut self, field: &str, text: &str, max: usize) {
        let clean = !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
        self.check(
            clean && text.chars().count() <= max,
            field,
            format!("must be at most {max} characters, without control characters"),
        );
    }

    /// A number within the inclusive range.
    pub fn range(&mut self, field: &str, number: i64, least: i64, most: i64, unit: &str) {
        self.check(
            (least..=most).contains(&number),
            field,
            format!("must be {least} to {most} {unit}").trim_end().to_owned(),
        );
    }

    /// The outcome: nothing was noted, or every failure.
    ///
    /// # Errors
    /// The failures, in the order they were noted.
    pub fn done(self) -> Result<(), Vec<FieldError>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}
