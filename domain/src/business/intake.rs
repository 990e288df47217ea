//! What a service asks guests when they book, and the rule for their answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::Fields;

/// Questions that a service asks when it is booked, in the order in which they are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntakeFields(Vec<IntakeField>);

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntakeField {
    /// Names the answer: lower-case letters, digits and underscores.
    pub key: String,
    /// Shown to guests.
    pub label: String,
    /// What an answer looks like.
    pub kind: IntakeKind,
    /// Whether guests must answer. The business itself may leave any answer out.
    #[serde(default)]
    pub required: bool,
    /// What there is to choose from; only of [`IntakeKind::Choice`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

/// What an answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntakeKind {
    /// One line.
    Text,
    /// Several lines.
    LongText,
    /// A JSON number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// One of the choices, as it is written there.
    Choice,
    /// A date without a time, such as `2026-03-02`.
    Date,
}

/// What a guest answered, by the key of the question. Personal: it never stands in events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Answers(BTreeMap<String, Answer>);

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be text, a number, true or false")]
pub enum Answer {
    /// To a question of [`IntakeKind::Boolean`].
    Boolean(bool),
    /// To a question of [`IntakeKind::Number`].
    Number(Number),
    /// To any other question.
    Text(String),
}

const MAX_FIELDS: usize = 20;
const MAX_CHOICES: usize = 50;
const MAX_KEY: usize = 40;
const MAX_LABEL: usize = 200;
const MAX_CHOICE: usize = 120;
const MAX_LINE: usize = 200;
const MAX_TEXT: usize = 2_000;

impl From<Vec<IntakeField>> for IntakeFields {
    fn from(fields: Vec<IntakeField>) -> Self {
        Self(fields)
    }
}

impl IntakeFields {
    /// Whether nothing is asked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order in which they are shown.
    pub fn iter(&self) -> impl Iterator<Item = &IntakeField> {
        self.0.iter()
    }

    pub(super) fn validate(&self, fields: &mut Fields) {
        let message = format!("must have at most {MAX_FIELDS} fields");
        fields.check(self.0.len() <= MAX_FIELDS, "intake_fields", message);
        for (i, field) in self.0.iter().enumerate() {
            let at = format!("intake_fields[{i}]");
            field.validate(&at, fields);
            let earlier = self.0.iter().take(i).any(|other| other.key == field.key);
            fields.check(!earlier, format!("{at}.key"), "must not repeat another key");
        }
    }

    /// Whether the answers fit the questions; `all` asks for every required one.
    #[must_use]
    pub fn check(&self, answers: &Answers, all: bool) -> Fields {
        let mut fields = Fields::default();
        for field in &self.0 {
            let at = format!("answers.{}", field.key);
            match answers.0.get(&field.key) {
                Some(answer) => field.check(answer, &at, &mut fields),
                None => fields.check(!(all && field.required), at, "must be answered"),
            }
        }
        for key in answers.0.keys().filter(|key| !self.0.iter().any(|f| f.key == **key)) {
            fields.check(false, format!("answers.{key}"), "is not asked by the service");
        }
        fields
    }
}

impl IntakeField {
    fn validate(&self, at: &str, fields: &mut Fields) {
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        fields.check(
            self.key.len() <= MAX_KEY
                && self.key.starts_with(|c: char| c.is_ascii_lowercase())
                && self.key.bytes().all(letters),
            format!("{at}.key"),
            format!("must be 1 to {MAX_KEY} of a-z, 0-9 and _, with a letter first"),
        );
        fields.line(&format!("{at}.label"), &self.label, MAX_LABEL);
        let at = format!("{at}.choices");
        if self.kind != IntakeKind::Choice {
            let message = "must be left out: only a choice has them";
            return fields.check(self.choices.is_empty(), at, message);
        }
        let message = format!("must be 1 to {MAX_CHOICES} choices");
        fields.check((1..=MAX_CHOICES).contains(&self.choices.len()), at.as_str(), message);
        for (i, choice) in self.choices.iter().enumerate() {
            let at = format!("{at}[{i}]");
            fields.line(&at, choice, MAX_CHOICE);
            let earlier = self.choices.iter().take(i).any(|other| other == choice);
            fields.check(!earlier, at, "must not repeat another choice");
        }
    }

    fn check(&self, answer: &Answer, at: &str, fields: &mut Fields) {
        match (self.kind, answer) {
            (IntakeKind::Text, Answer::Text(text)) => fields.line(at, text, MAX_LINE),
            (IntakeKind::LongText, Answer::Text(text)) => {
                fields.note(at, text, MAX_TEXT);
                let empty = self.required && text.trim().is_empty();
                fields.check(!empty, at, "must not be empty");
            }
            (IntakeKind::Choice, Answer::Text(text)) => {
                fields.check(self.choices.contains(text), at, "must be one of the choices");
            }
            (IntakeKind::Date, Answer::Text(text)) => {
                fields.check(is_date(text), at, "must be a date such as 2026-03-02");
            }
            (IntakeKind::Number, Answer::Number(_)) | (IntakeKind::Boolean, Answer::Boolean(_)) => {
            }
            (kind, Answer::Text(_) | Answer::Number(_) | Answer::Boolean(_)) => {
                fields.check(false, at, format!("must be {}", kind.in_words()));
            }
        }
    }
}

impl IntakeKind {
    const fn in_words(self) -> &'static str {
        match self {
            Self::Text | Self::LongText => "text",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Choice => "one of the choices",
            Self::Date => "a date such as 2026-03-02",
        }
    }
}

/// In the one form that is written back: others than ISO 8601's extended one would also parse.
fn is_date(text: &str) -> bool {
    text.parse::<jiff::civil::Date>().is_ok_and(|date| date.to_string() == text)
}

impl Answers {
    /// Whether nothing was answered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What holds whatever the service asks: so many answers are never asked for, and no table takes
    /// such text.
    pub fn validate(&self, fields: &mut Fields) {
        let message = format!("must have at most {MAX_FIELDS} answers");
        fields.check(self.0.len() <= MAX_FIELDS, "answers", message);
        for (key, answer) in self.0.iter().take(MAX_FIELDS) {
            if let Answer::Text(text) = answer {
                fields.note(&format!("answers.{key}"), text, MAX_TEXT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(fields: Value) -> IntakeFields {
        serde_json::from_value(fields).unwrap()
    }

    fn told(checked: Fields) -> Vec<(String, String)> {
        let errors = checked.done().err().unwrap_or_default();
        errors.into_iter().map(|error| (error.field, error.message)).collect()
    }

    fn wrong(fields: &IntakeFields, answers: Value, all: bool) -> Vec<(String, String)> {
        told(fields.check(&serde_json::from_value(answers).unwrap(), all))
    }

    fn questions() -> IntakeFields {
        asked(json!([
            {"key": "allergies", "label": "Allergies?", "kind": "text", "required": true},
            {"key": "story", "label": "Tell us", "kind": "long_text", "required": true},
            {"key": "weight_kg", "label": "Weight", "kind": "number"},
            {"key": "first_visit", "label": "First visit?", "kind": "boolean"},
            {"key": "size", "label": "Size", "kind": "choice", "choices": ["small", "large"]},
            {"key": "born", "label": "Born", "kind": "date"},
        ]))
    }

    #[test]
    fn answers_that_fit_their_questions_are_taken() {
        let all = json!({"allergies": "none", "story": "one\ntwo", "weight_kg": 3.5,
                         "first_visit": false, "size": "large", "born": "2020-02-29"});
        assert_eq!(wrong(&questions(), all, true), []);
        assert_eq!(wrong(&questions(), json!({"allergies": "none", "story": "."}), true), []);
    }

    #[test]
    fn each_answer_that_does_not_fit_is_named_by_its_key() {
        for (key, answer, message) in [
            ("allergies", json!(""), "must be 1 to 200 characters on one line"),
            ("allergies", json!(7), "must be text"),
            ("story", json!(" \n"), "must not be empty"),
            ("story", json!(true), "must be text"),
            ("weight_kg", json!("3"), "must be a number"),
            ("weight_kg", json!(true), "must be a number"),
            ("first_visit", json!("yes"), "must be true or false"),
            ("first_visit", json!(1), "must be true or false"),
            ("size", json!("Large"), "must be one of the choices"),
            ("size", json!(1), "must be one of the choices"),
            ("born", json!("2021-02-29"), "must be a date such as 2026-03-02"),
            ("born", json!("20210228"), "must be a date such as 2026-03-02"),
            ("born", json!("2021-02-28T09:00:00"), "must be a date such as 2026-03-02"),
            ("born", json!(2021), "must be a date such as 2026-03-02"),
            ("shoe_size", json!(43), "is not asked by the service"),
        ] {
            let mut answers = json!({"allergies": "none", "story": "."});
            answers[key] = answer;
            let expected = [(format!("answers.{key}"), message.to_owned())];
            assert_eq!(wrong(&questions(), answers.clone(), true), expected, "{answers}");
        }
    }

    #[test]
    fn guests_must_answer_what_is_required_and_the_business_need_not() {
        let missing = wrong(&questions(), json!({}), true);
        let must = |key: &str| (format!("answers.{key}"), "must be answered".to_owned());
        assert_eq!(missing, [must("allergies"), must("story")]);
        assert_eq!(wrong(&questions(), json!({}), false), []);
        // What the business does say must fit all the same.
        assert_eq!(wrong(&questions(), json!({"size": "huge"}), false).len(), 1);
        assert_eq!(wrong(&IntakeFields::default(), json!({"size": "small"}), false).len(), 1);
    }

    #[test]
    fn questions_have_keys_labels_and_choices_that_can_be_used() {
        let fields = |fields: Value| -> Vec<String> {
            let mut checked = Fields::default();
            asked(fields).validate(&mut checked);
            told(checked).into_iter().map(|(field, _)| field).collect()
        };
        let one = |key: &str| json!([{"key": key, "label": "L", "kind": "text"}]);
        assert_eq!(fields(one("a_1")), Vec::<String>::new());
        for key in ["", "A", "1a", "_a", "a-b", "a.b", "é", &"a".repeat(41)] {
            assert_eq!(fields(one(key)), ["intake_fields[0].key"], "{key}");
        }
        let two = json!([{"key": "a", "label": "L", "kind": "text"}, {"key": "a", "label": "M", "kind": "date"}]);
        assert_eq!(fields(two), ["intake_fields[1].key"]);
        assert_eq!(
            fields(json!([{"key": "a", "label": " ", "kind": "text"}])),
            ["intake_fields[0].label"]
        );
        let choice = |kind: &str, choices: Value| json!([{"key": "a", "label": "L", "kind": kind, "choices": choices}]);
        assert_eq!(fields(choice("text", json!(["x"]))), ["intake_fields[0].choices"]);
        assert_eq!(fields(choice("choice", json!([]))), ["intake_fields[0].choices"]);
        let twice = json!(["x", "y", "x"]);
        assert_eq!(fields(choice("choice", twice)), ["intake_fields[0].choices[2]"]);
        let many: Vec<String> = (0..51).map(|n| n.to_string()).collect();
        assert_eq!(fields(choice("choice", json!(many))), ["intake_fields[0].choices"]);
        let many: Vec<Value> = (0..21)
            .map(|n| json!({"key": format!("k{n}"), "label": "L", "kind": "text"}))
            .collect();
        assert_eq!(fields(json!(many)), ["intake_fields"]);
    }

    #[test]
    fn answers_have_limits_whatever_is_asked() {
        let fields = |answers: Value| -> Vec<String> {
            let mut checked = Fields::default();
            serde_json::from_value::<Answers>(answers).unwrap().validate(&mut checked);
            told(checked).into_iter().map(|(field, _)| field).collect()
        };
        assert_eq!(fields(json!({"a": "x".repeat(2_001)})), ["answers.a"]);
        assert_eq!(fields(json!({"a": "\u{0}"})), ["answers.a"]);
        let many: serde_json::Map<String, Value> =
            (0..21).map(|n| (format!("k{n}"), json!(n))).collect();
        assert_eq!(fields(json!(many)), ["answers"]);
        assert!(serde_json::from_value::<Answers>(json!({"a": null})).is_err());
        assert!(serde_json::from_value::<Answers>(json!({"a": ["x"]})).is_err());
    }
}
