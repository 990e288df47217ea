use serde::{Deserialize, Serialize};

use super::{
    BookingPolicy, IntakeFields, Limits, ResourceNeed, ServiceReminders, Skills,
    aggregate::MAX_STAFF, policy, same,
};
use crate::{Currency, Fields, Money, StaffId};

/// Something that can be booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Shown to guests.
    pub name: String,
    /// Shown to guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How long a visit lasts.
    pub duration_minutes: u32,
    /// What a visit costs, in the currency of the business.
    pub price: Money,
    /// Minutes kept free in front of a visit.
    #[serde(default)]
    pub buffer_before_minutes: u32,
    /// Minutes kept free behind a visit.
    #[serde(default)]
    pub buffer_after_minutes: u32,
    /// Who offers it; absent means everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staff_ids: Option<Vec<StaffId>>,
    /// What whoever does it must be able to do: all of it.
    #[serde(default, skip_serializing_if = "Skills::is_empty")]
    pub skills: Skills,
    /// How long before its start a visit must be booked, in minutes, in place of what the policy of
    /// the business says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_notice_minutes: Option<u32>,
    /// How many local days ahead can be booked, in place of what the policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_days: Option<u32>,
    /// Whether the business wants to agree to each visit that guests ask for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requires_approval: bool,
    /// So many visits may begin in one local day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_day: Option<u32>,
    /// So many visits may begin in one local week, from Monday on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_week: Option<u32>,
    /// So many guests share one visit: a class, when there is more than one seat.
    #[serde(default = "alone", skip_serializing_if = "is_alone")]
    pub capacity: u32,
    /// What a visit needs besides people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceNeed>,
    /// What guests are asked when they book it.
    #[serde(default, skip_serializing_if = "IntakeFields::is_empty")]
    pub intake_fields: IntakeFields,
    /// When guests are reminded, in place of what the business says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reminders: Option<ServiceReminders>,
}

const fn alone() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
const fn is_alone(capacity: &u32) -> bool {
    *capacity == 1
}

/// The fields of a [`Service`] to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is that of `Service`")]
pub struct ServiceChange {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub duration_minutes: Option<u32>,
    pub price: Option<Money>,
    pub buffer_before_minutes: Option<u32>,
    pub buffer_after_minutes: Option<u32>,
    pub staff_ids: Option<Option<Vec<StaffId>>>,
    pub skills: Option<Skills>,
    pub min_notice_minutes: Option<Option<u32>>,
    pub window_days: Option<Option<u32>>,
    pub requires_approval: Option<bool>,
    pub max_per_day: Option<Option<u32>>,
    pub max_per_week: Option<Option<u32>>,
    pub capacity: Option<u32>,
    pub resources: Option<Vec<ResourceNeed>>,
    pub intake_fields: Option<IntakeFields>,
    pub reminders: Option<Option<ServiceReminders>>,
}

/// The longest visit, and the longest buffer: a day.
pub(crate) const MAX_MINUTES: u32 = 24 * 60;
/// The largest class.
const MAX_SEATS: i64 = 1_000;

impl Service {
    /// A service of which only the least is said.
    #[must_use]
    pub fn new(name: impl Into<String>, duration_minutes: u32, price: Money) -> Self {
        Self {
            name: name.into(),
            description: None,
            duration_minutes,
            price,
            buffer_before_minutes: 0,
            buffer_after_minutes: 0,
            staff_ids: None,
            skills: Skills::default(),
            min_notice_minutes: None,
            window_days: None,
            requires_approval: false,
            max_per_day: None,
            max_per_week: None,
            capacity: 1,
            resources: vec![],
            intake_fields: IntakeFields::default(),
            reminders: None,
        }
    }

    pub(super) fn with(mut self, change: ServiceChange) -> Self {
        fn put<T>(field: &mut T, new: Option<T>) {
            if let Some(new) = new {
                *field = new;
            }
        }
        put(&mut self.name, change.name);
        put(&mut self.description, change.description);
        put(&mut self.duration_minutes, change.duration_minutes);
        put(&mut self.price, change.price);
        put(&mut self.buffer_before_minutes, change.buffer_before_minutes);
        put(&mut self.buffer_after_minutes, change.buffer_after_minutes);
        put(&mut self.staff_ids, change.staff_ids);
        put(&mut self.skills, change.skills);
        put(&mut self.min_notice_minutes, change.min_notice_minutes);
        put(&mut self.window_days, change.window_days);
        put(&mut self.requires_approval, change.requires_approval);
        put(&mut self.max_per_day, change.max_per_day);
        put(&mut self.max_per_week, change.max_per_week);
        put(&mut self.capacity, change.capacity);
        put(&mut self.resources, change.resources);
        put(&mut self.intake_fields, change.intake_fields);
        put(&mut self.reminders, change.reminders);
        self
    }

    /// Whether guests share a visit.
    #[must_use]
    pub const fn is_class(&self) -> bool {
        self.capacity > 1
    }

    pub(super) fn needs(&self, kind: &str) -> bool {
        self.resources.iter().any(|need| same(&need.kind, kind))
    }

    /// How long before its start a visit must be booked, in minutes.
    #[must_use]
    pub fn min_notice(&self, policy: &BookingPolicy) -> u32 {
        self.min_notice_minutes.unwrap_or(policy.min_notice_minutes)
    }

    /// How many local days ahead a visit can be booked.
    #[must_use]
    pub fn window(&self, policy: &BookingPolicy) -> u32 {
        self.window_days.unwrap_or(policy.window_days)
    }

    /// How many visits the service takes in a day and in a week.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits { max_per_day: self.max_per_day, max_per_week: self.max_per_week }
    }

    pub(super) fn validate(&self, currency: Currency, known: impl Fn(StaffId) -> bool) -> Fields {
        let mut fields = Fields::default();
        fields.line("name", &self.name, 120);
        if let Some(description) = &self.description {
            fields.note("description", description, 2_000);
        }
        let day = i64::from(MAX_MINUTES);
        fields.range("duration_minutes", self.duration_minutes.into(), 5, day, "minutes");
        fields.range("buffer_before_minutes", self.buffer_before_minutes.into(), 0, day, "minutes");
        fields.range("buffer_after_minutes", self.buffer_after_minutes.into(), 0, day, "minutes");
        fields.range("price.amount", self.price.amount, 0, 100_000_000, "minor units");
        fields.check(
            self.price.currency == currency,
            "price.currency",
            format!("must be the currency of the business, {currency}"),
        );
        let named = self.staff_ids.as_ref().map_or(0, Vec::len);
        fields.check(
            named <= MAX_STAFF,
            "staff_ids",
            format!("must have at most {MAX_STAFF} items"),
        );
        for (i, staff_id) in self.staff_ids.iter().flatten().enumerate() {
            fields.check(
                known(*staff_id),
                format!("staff_ids[{i}]"),
                "must be a staff member of the business",
            );
        }
        self.skills.validate(&mut fields);
        if let Some(notice) = self.min_notice_minutes {
            fields.range("min_notice_minutes", notice.into(), 0, policy::MAX_NOTICE, "minutes");
        }
        if let Some(days) = self.window_days {
            fields.range("window_days", days.into(), 1, policy::MAX_WINDOW, "days");
        }
        self.limits().validate(&mut fields, "");
        fields.range("capacity", self.capacity.into(), 1, MAX_SEATS, "seats");
        self.intake_fields.validate(&mut fields);
        if let Some(reminders) = &self.reminders {
            reminders.validate(&mut fields);
        }
        fields
    }
}
