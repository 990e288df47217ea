use serde::{Deserialize, Serialize};

use super::{Limits, Skills, aggregate::MAX_SERVICES};
use crate::{Fields, ServiceId};

/// Somebody who takes appointments. Their e-mail address is kept outside the events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaffMember {
    /// Shown to guests.
    pub name: String,
    /// Whether guests can book them now.
    pub active: bool,
    /// What they do, in the business's own words: groomer, trainer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What they offer; absent means every service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ids: Option<Vec<ServiceId>>,
    /// What they can do.
    #[serde(default, skip_serializing_if = "Skills::is_empty")]
    pub skills: Skills,
    /// So many visits may begin in one local day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_day: Option<u32>,
    /// So many visits may begin in one local week, from Monday on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_week: Option<u32>,
}

/// The fields of a [`StaffMember`] to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is that of `StaffMember`")]
pub struct StaffChange {
    pub name: Option<String>,
    pub active: Option<bool>,
    pub kind: Option<Option<String>>,
    pub service_ids: Option<Option<Vec<ServiceId>>>,
    pub skills: Option<Skills>,
    pub max_per_day: Option<Option<u32>>,
    pub max_per_week: Option<Option<u32>>,
}

impl StaffMember {
    /// Somebody who offers every service that asks for no skill.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            active: true,
            kind: None,
            service_ids: None,
            skills: Skills::default(),
            max_per_day: None,
            max_per_week: None,
        }
    }

    pub(super) fn with(mut self, change: StaffChange) -> Self {
        self.name = change.name.unwrap_or(self.name);
        self.active = change.active.unwrap_or(self.active);
        self.kind = change.kind.unwrap_or(self.kind);
        self.service_ids = change.service_ids.unwrap_or(self.service_ids);
        self.skills = change.skills.unwrap_or(self.skills);
        self.max_per_day = change.max_per_day.unwrap_or(self.max_per_day);
        self.max_per_week = change.max_per_week.unwrap_or(self.max_per_week);
        self
    }

    /// How many visits the staff member takes in a day and in a week.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits { max_per_day: self.max_per_day, max_per_week: self.max_per_week }
    }

    pub(super) fn validate(&self, known: impl Fn(ServiceId) -> bool) -> Fields {
        let mut fields = Fields::default();
        fields.line("name", &self.name, 120);
        if let Some(kind) = &self.kind {
            fields.line("kind", kind, 60);
        }
        let named = self.service_ids.as_ref().map_or(0, Vec::len);
        fields.check(
            named <= MAX_SERVICES,
            "service_ids",
            format!("must have at most {MAX_SERVICES} items"),
        );
        for (i, service_id) in self.service_ids.iter().flatten().enumerate() {
            fields.check(
                known(*service_id),
                format!("service_ids[{i}]"),
                "must be a service of the business",
            );
        }
        self.skills.validate(&mut fields);
        self.limits().validate(&mut fields, "");
        fields
    }
}
