use crate::Fields;

/// How many visits may begin in one local day, and in one local week from Monday to Sunday. `None` is
/// as many as there is time for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// In a day.
    pub max_per_day: Option<u32>,
    /// In a week.
    pub max_per_week: Option<u32>,
}

const MOST: i64 = 10_000;

impl Limits {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.max_per_day.is_none() && self.max_per_week.is_none()
    }

    /// `at` is what stands in front of the names of the fields.
    pub(super) fn validate(self, fields: &mut Fields, at: &str) {
        for (name, most) in [("max_per_day", self.max_per_day), ("max_per_week", self.max_per_week)]
        {
            if let Some(most) = most {
                fields.range(&format!("{at}{name}"), most.into(), 1, MOST, "visits");
            }
        }
    }
}
