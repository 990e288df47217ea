//! What services ask guests, and who comes along: in requests and answers alike.

use domain::{
    appointment::Subject,
    business::{IntakeField, IntakeFields, IntakeKind},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a service asks when it is booked.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IntakeField, example = json!({
    "key": "size", "label": "How big is your dog?", "kind": "choice", "required": true,
    "choices": ["small", "large"],
}))]
pub(crate) struct IntakeBody {
    /// Names the answer: 1 to 40 of a-z, 0-9 and _, with a letter first.
    key: String,
    /// Shown to guests: at most 200 characters.
    label: String,
    /// `text` (one line of at most 200 characters), `long_text` (at most 2000), `number`, `boolean`,
    /// `choice` (one of the choices), or `date` (such as `2026-03-02`).
    #[schema(value_type = String)]
    kind: IntakeKind,
    /// Whether guests must answer. The owner, who books for them, may leave any answer out.
    #[serde(default)]
    required: bool,
    /// What there is to choose from: at most 50, each of at most 120 characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    choices: Vec<String>,
}

/// Who or what a visit is for, when that is not the guest alone: a pet, a child, another person.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Subject, example = json!({"name": "Rex", "notes": "afraid of dryers"}))]
pub(crate) struct SubjectBody {
    /// At most 120 characters.
    name: String,
    /// At most 2000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<String>,
}

impl From<IntakeBody> for IntakeField {
    fn from(body: IntakeBody) -> Self {
        let IntakeBody { key, label, kind, required, choices } = body;
        Self { key, label, kind, required, choices }
    }
}

impl From<&IntakeField> for IntakeBody {
    fn from(field: &IntakeField) -> Self {
        let IntakeField { key, label, kind, required, choices } = field.clone();
        Self { key, label, kind, required, choices }
    }
}

impl From<SubjectBody> for Subject {
    fn from(body: SubjectBody) -> Self {
        Self { name: body.name, notes: body.notes }
    }
}

impl From<projections::agenda::Subject> for SubjectBody {
    fn from(subject: projections::agenda::Subject) -> Self {
        Self { name: subject.name, notes: subject.notes }
    }
}

pub(super) fn asked(fields: Vec<IntakeBody>) -> IntakeFields {
    fields.into_iter().map(IntakeField::from).collect::<Vec<_>>().into()
}

pub(super) fn shown(fields: &IntakeFields) -> Vec<IntakeBody> {
    fields.iter().map(IntakeBody::from).collect()
}
