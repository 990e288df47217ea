use domain::{
    appointment::Visit,
    business::{BusinessState, IntakeField},
};
use projections::agenda::Contact;
use serde_json::Value;

/// What the guest answered, each below its question, as the service asks it today.
pub(super) fn answers(
    state: &BusinessState,
    visit: &Visit,
    contact: &Contact,
) -> Vec<(String, String)> {
    let Some(service) = state.services.get(&visit.service_id) else { return vec![] };
    let answer = |field: &IntakeField| {
        let answer = match contact.answers.get(&field.key)? {
            Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        Some((field.label.clone(), answer))
    };
    service.value.intake_fields.iter().filter_map(answer).collect()
}

/// Who or what comes along.
pub(super) fn subjects(contact: &Contact) -> String {
    contact.subjects.iter().map(|subject| subject.name.as_str()).collect::<Vec<_>>().join(", ")
}
