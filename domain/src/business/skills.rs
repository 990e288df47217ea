use serde::{Deserialize, Serialize};

use super::resource::same;
use crate::Fields;

/// What a staff member can do, or what a service asks for, in the business's own words. Capital and
/// small letters are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Skills(Vec<String>);

const MAX_SKILLS: usize = 50;

impl Skills {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether each of the `required` is among them.
    #[must_use]
    pub fn include(&self, required: &Self) -> bool {
        required.0.iter().all(|wanted| self.0.iter().any(|skill| same(skill, wanted)))
    }

    pub(super) fn validate(&self, fields: &mut Fields) {
        let message = format!("must have at most {MAX_SKILLS} skills");
        fields.check(self.0.len() <= MAX_SKILLS, "skills", message);
        for (i, skill) in self.0.iter().enumerate() {
            let field = format!("skills[{i}]");
            fields.line(&field, skill, 60);
            fields.check(
                skill.trim() == skill,
                field.as_str(),
                "must not begin or end with white space",
            );
            let earlier = self.0.iter().take(i).any(|other| same(other, skill));
            fields.check(!earlier, field, "must not repeat another skill");
        }
    }
}

impl From<Vec<String>> for Skills {
    fn from(skills: Vec<String>) -> Self {
        Self(skills)
    }
}

impl From<Skills> for Vec<String> {
    fn from(skills: Skills) -> Self {
        skills.0
    }
}
