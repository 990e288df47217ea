use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{ClosureId, Fields};

/// Local dates on which nobody of the business can be booked, whatever their own hours say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// The first closed date.
    pub date_from: Date,
    /// The last closed date.
    pub date_to: Date,
    /// A short public label, such as "Christmas". About the business, not about a person: so it
    /// stands in events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Longer than a year is not a holiday: whoever stops for good archives their services.
const MAX_DAYS: i64 = 366;

impl Closure {
    /// Whether it closes that date.
    #[must_use]
    pub fn holds(&self, date: Date) -> bool {
        self.date_from <= date && date <= self.date_to
    }

    pub(super) fn validate(&self) -> Fields {
        let mut fields = Fields::default();
        let days = self.date_to.duration_since(self.date_from).as_hours() / 24;
        fields.check(
            (0..MAX_DAYS).contains(&days),
            "date_to",
            format!("must be from date_from to {} days later", MAX_DAYS - 1),
        );
        if let Some(reason) = &self.reason {
            fields.line("reason", reason, 120);
        }
        fields
    }
}

/// When a business is closed. Closures may overlap: each is taken back on its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Closures(BTreeMap<ClosureId, Closure>);

impl FromIterator<(ClosureId, Closure)> for Closures {
    fn from_iter<I: IntoIterator<Item = (ClosureId, Closure)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl Closures {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: ClosureId) -> Option<&Closure> {
        self.0.get(&id)
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (ClosureId, &Closure)> {
        self.0.iter().map(|(id, closure)| (*id, closure))
    }

    /// Those that close one of the dates `first..=last`.
    pub fn touching(&self, first: Date, last: Date) -> impl Iterator<Item = (ClosureId, &Closure)> {
        let touches =
            move |closure: &Closure| closure.date_from <= last && first <= closure.date_to;
        self.0
            .iter()
            .filter(move |(_, closure)| touches(closure))
            .map(|(id, closure)| (*id, closure))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn insert(&mut self, id: ClosureId, closure: Closure) {
        self.0.insert(id, closure);
    }

    pub(super) fn remove(&mut self, id: ClosureId) {
        self.0.remove(&id);
    }
}
