use serde::{Deserialize, Serialize};

use crate::Fields;

/// Who or what a visit is for when it is not the guest alone: a pet, a child, another person.
/// Personal: it never stands in events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// How to call them.
    pub name: String,
    /// In the guest's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

const MAX_SUBJECTS: usize = 10;

impl Subject {
    /// The rules for all that come to one visit.
    pub fn validate(all: &[Self], fields: &mut Fields) {
        let message = format!("must be at most {MAX_SUBJECTS}");
        fields.check(all.len() <= MAX_SUBJECTS, "subjects", message);
        for (i, subject) in all.iter().take(MAX_SUBJECTS).enumerate() {
            fields.line(&format!("subjects[{i}].name"), &subject.name, 120);
            if let Some(notes) = &subject.notes {
                fields.note(&format!("subjects[{i}].notes"), notes, 2_000);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_that_breaks_a_rule_is_named() {
        let subject = |name: &str, notes: Option<&str>| Subject {
            name: name.into(),
            notes: notes.map(Into::into),
        };
        let wrong = |all: &[Subject]| -> Vec<String> {
            let mut fields = Fields::default();
            Subject::validate(all, &mut fields);
            let errors = fields.done().err().unwrap_or_default();
            errors.into_iter().map(|error| error.field).collect()
        };
        assert_eq!(
            wrong(&[subject("Rex", Some("bites\nfriendly")), subject("Rex", None)]),
            [""; 0]
        );
        assert_eq!(wrong(&[subject("Rex", None), subject(" ", None)]), ["subjects[1].name"]);
        let long = "x".repeat(2_001);
        assert_eq!(wrong(&[subject("Rex", Some(&long))]), ["subjects[0].notes"]);
        assert_eq!(wrong(&vec![subject("Rex", None); 11]), ["subjects"]);
    }
}
