use std::{collections::HashMap, fmt};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{Rules, local_date};
use crate::{ServiceId, StaffId, Zone, business::Limits};

/// Whose visits a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// All of the business.
    Business,
    /// Those of one service.
    Service(ServiceId),
    /// Those of one staff member.
    Staff(StaffId),
}

/// For how long a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A local date of the business.
    Day,
    /// A local week of the business, from Monday to Sunday (ISO 8601).
    Week,
}

/// At most so many visits may begin in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Whose.
    pub subject: Subject,
    /// In what.
    pub period: Period,
    /// How many.
    pub most: u32,
}

impl Subject {
    /// As requests and answers name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Business => "business",
            Self::Service(_) => "service",
            Self::Staff(_) => "staff",
        }
    }
}

impl Period {
    /// As tables and answers name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    /// The date that the period of a date begins with.
    #[must_use]
    pub fn first(self, date: Date) -> Date {
        match self {
            Self::Day => date,
            // Before the first Monday that can be computed with there is nothing to count.
            Self::Week => date.iso_week_date().first_of_week().map_or(date, |monday| monday.date()),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, period, most } = self;
        let whose = match subject {
            Subject::Business => "the business",
            Subject::Service(_) => "this service",
            Subject::Staff(_) => "this staff member",
        };
        write!(f, "{whose} takes at most {most} visits a {}", period.as_str())
    }
}

/// How many visits of a business begin in each day and week of its zone. A meeting of a class is one,
/// however many come; of a visit of several services each counts for its service and its staff member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(HashMap<(Subject, Period, Date), u32>);

impl Counts {
    /// Counts a service of a visit; with the first of them the business counts the visit. Of a visit
    /// that older builds booked the service may be unknown.
    pub fn add(
        &mut self,
        zone: &Zone,
        start: Timestamp,
        first: bool,
        staff_id: StaffId,
        service_id: Option<ServiceId>,
    ) {
        let date = local_date(zone, start);
        let subjects = [first.then_some(Subject::Business), Some(Subject::Staff(staff_id))];
        let service = service_id.map(Subject::Service);
        for subject in subjects.into_iter().chain([service]).flatten() {
            for period in [Period::Day, Period::Week] {
                *self.0.entry((subject, period, period.first(date))).or_default() += 1;
            }
        }
    }

    /// How many counts are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// So many begin in the period of that date.
    #[must_use]
    pub fn of(&self, subject: Subject, period: Period, date: Date) -> u32 {
        self.0.get(&(subject, period, period.first(date))).copied().unwrap_or_default()
    }
}

impl Rules<'_> {
    /// The limits in force, in the order in which they are named when they are reached.
    pub fn limits(&self) -> impl Iterator<Item = Limit> {
        let each = |subject, Limits { max_per_day, max_per_week }: Limits| {
            let limit = move |period, most: Option<u32>| most.map(|most| (subject, period, most));
            [limit(Period::Day, max_per_day), limit(Period::Week, max_per_week)]
        };
        let staff = each(Subject::Staff(self.staff_id), self.member.limits());
        let service = each(Subject::Service(self.service_id), self.service.limits());
        let business = each(Subject::Business, self.policy.limits());
        let all = staff.into_iter().chain(service).chain(business).flatten();
        all.map(|(subject, period, most)| Limit { subject, period, most })
    }

    /// The first limit that lets no further visit begin on a local date.
    pub(super) fn reached(&self, date: Date) -> Option<Limit> {
        self.limits().find(|limit| self.counts.of(limit.subject, limit.period, date) >= limit.most)
    }
}
