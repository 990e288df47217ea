use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Versioned;
use crate::{Fields, ResourceId};

/// What visits need besides people: a room, a table, a van.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Told apart by.
    pub name: String,
    /// What it is, in the business's own words. A service asks for a kind. Capital and small letters
    /// are the same.
    pub kind: String,
    /// How much of it can be used at once: 1 for a room, 6 for a van with as many places.
    pub capacity: u32,
}

/// The fields of a [`Resource`] to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is that of `Resource`")]
pub struct ResourceChange {
    pub name: Option<String>,
    pub kind: Option<String>,
    pub capacity: Option<u32>,
}

/// How much of what kind a visit needs, from its start to its end with buffers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceNeed {
    /// Of which kind.
    pub kind: String,
    /// How much.
    pub quantity: u32,
}

/// What a business has now, by id.
pub type Resources = BTreeMap<ResourceId, Versioned<Resource>>;

const MAX_CAPACITY: i64 = 1_000;
const MAX_NEEDS: usize = 10;

impl Resource {
    /// Whether it is of that kind.
    #[must_use]
    pub fn is_a(&self, kind: &str) -> bool {
        same(&self.kind, kind)
    }

    pub(super) fn with(self, change: ResourceChange) -> Self {
        Self {
            name: change.name.unwrap_or(self.name),
            kind: change.kind.unwrap_or(self.kind),
            capacity: change.capacity.unwrap_or(self.capacity),
        }
    }

    pub(super) fn validate(&self) -> Fields {
        let mut fields = Fields::default();
        fields.line("name", &self.name, 120);
        kind(&mut fields, "kind", &self.kind);
        fields.range("capacity", self.capacity.into(), 1, MAX_CAPACITY, "");
        fields
    }
}

/// `known` says whether the business has anything of a kind.
pub(super) fn validate_needs(
    needs: &[ResourceNeed],
    fields: &mut Fields,
    known: impl Fn(&str) -> bool,
) {
    let message = format!("must have at most {MAX_NEEDS} kinds");
    fields.check(needs.len() <= MAX_NEEDS, "resources", message);
    for (i, need) in needs.iter().enumerate() {
        let field = format!("resources[{i}].kind");
        kind(fields, &field, &need.kind);
        let message = "must be the kind of a resource of the business";
        fields.check(known(&need.kind), field.as_str(), message);
        let earlier = needs.iter().take(i).any(|other| same(&other.kind, &need.kind));
        fields.check(!earlier, field, "must not repeat another kind");
        let field = format!("resources[{i}].quantity");
        fields.range(&field, need.quantity.into(), 1, MAX_CAPACITY, "");
    }
}

fn kind(fields: &mut Fields, field: &str, kind: &str) {
    fields.line(field, kind, 60);
    fields.check(kind.trim() == kind, field, "must not begin or end with white space");
}

/// Capital and small letters are the same.
#[must_use]
pub(crate) fn same(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}
