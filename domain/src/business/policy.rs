use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Limits;
use crate::Fields;

/// Where the starts that are offered lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotGrid {
    /// From the start of each open window every step, and again from the end of each busy block.
    #[default]
    Packed,
    /// At multiples of the step since local midnight.
    Aligned,
}

/// How much time lies between neighbours that both ask for some.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BufferRule {
    /// After of the first plus before of the second.
    #[default]
    Add,
    /// The larger of the two.
    Max,
}

impl BufferRule {
    /// Minutes between a visit that wants `after` and the next, which wants `before`.
    #[must_use]
    pub const fn between(self, after: u32, before: u32) -> u32 {
        match self {
            Self::Add => after + before,
            Self::Max => {
                if after > before {
                    after
                } else {
                    before
                }
            }
        }
    }
}

/// What guests may book, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BookingPolicy {
    /// The grid of starts.
    #[serde(default)]
    pub slot_grid: SlotGrid,
    /// Minutes between starts; absent means the service's duration (packed) or 15 (aligned).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_step_minutes: Option<u32>,
    /// How long before its start a visit must be booked, in minutes.
    #[serde(default)]
    pub min_notice_minutes: u32,
    /// How many local days ahead can be booked.
    #[serde(default = "default_window")]
    pub window_days: u32,
    /// How the buffers of neighbours combine.
    #[serde(default)]
    pub buffers: BufferRule,
    /// How long before the start a guest may still cancel, in minutes.
    #[serde(default)]
    pub cancel_notice_minutes: u32,
    /// How often a guest may move a visit; absent means as often as they like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reschedule_limit: Option<u32>,
    /// How long the business may take to answer a request, in minutes. It expires when the visit
    /// begins at the latest.
    #[serde(default = "default_request_expiry", skip_serializing_if = "is_default_request_expiry")]
    pub request_expires_minutes: u32,
    /// How long a guest of the waitlist may take to accept an offer, in minutes. It expires when the
    /// visit begins at the latest.
    #[serde(default = "default_offer_expiry", skip_serializing_if = "is_default_offer_expiry")]
    pub waitlist_offer_minutes: u32,
    /// So many visits may begin in one local day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_day: Option<u32>,
    /// So many visits may begin in one local week, from Monday on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_week: Option<u32>,
}

/// A year.
pub(super) const MAX_NOTICE: i64 = 366 * 24 * 60;
/// Two years, in days.
pub(super) const MAX_WINDOW: i64 = 730;

fn until(now: Timestamp, minutes: u32, start: Timestamp) -> Timestamp {
    let patience = SignedDuration::from_mins(minutes.into());
    now.checked_add(patience).map_or(start, |until| until.min(start))
}

/// Thirty days.
const MAX_REQUEST_EXPIRY: i64 = 30 * 24 * 60;

/// A week: somebody else may want the time.
const MAX_OFFER_EXPIRY: i64 = 7 * 24 * 60;

const fn default_window() -> u32 {
    90
}

/// A day.
const fn default_request_expiry() -> u32 {
    24 * 60
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_default_request_expiry(minutes: &u32) -> bool {
    *minutes == default_request_expiry()
}

/// Two hours.
const fn default_offer_expiry() -> u32 {
    2 * 60
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_default_offer_expiry(minutes: &u32) -> bool {
    *minutes == default_offer_expiry()
}

impl Default for BookingPolicy {
    fn default() -> Self {
        Self {
            slot_grid: SlotGrid::Packed,
            slot_step_minutes: None,
            min_notice_minutes: 0,
            window_days: default_window(),
            buffers: BufferRule::Add,
            cancel_notice_minutes: 0,
            reschedule_limit: None,
            request_expires_minutes: default_request_expiry(),
            waitlist_offer_minutes: default_offer_expiry(),
            max_per_day: None,
            max_per_week: None,
        }
    }
}

/// The fields of a [`BookingPolicy`] to change; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is that of `BookingPolicy`")]
pub struct PolicyChange {
    pub slot_grid: Option<SlotGrid>,
    pub slot_step_minutes: Option<Option<u32>>,
    pub min_notice_minutes: Option<u32>,
    pub window_days: Option<u32>,
    pub buffers: Option<BufferRule>,
    pub cancel_notice_minutes: Option<u32>,
    pub reschedule_limit: Option<Option<u32>>,
    pub request_expires_minutes: Option<u32>,
    pub waitlist_offer_minutes: Option<u32>,
    pub max_per_day: Option<Option<u32>>,
    pub max_per_week: Option<Option<u32>>,
}

impl BookingPolicy {
    pub(super) fn with(&self, change: PolicyChange) -> Self {
        Self {
            slot_grid: change.slot_grid.unwrap_or(self.slot_grid),
            slot_step_minutes: change.slot_step_minutes.unwrap_or(self.slot_step_minutes),
            min_notice_minutes: change.min_notice_minutes.unwrap_or(self.min_notice_minutes),
            window_days: change.window_days.unwrap_or(self.window_days),
            buffers: change.buffers.unwrap_or(self.buffers),
            cancel_notice_minutes: change
                .cancel_notice_minutes
                .unwrap_or(self.cancel_notice_minutes),
            reschedule_limit: change.reschedule_limit.unwrap_or(self.reschedule_limit),
            request_expires_minutes: change
                .request_expires_minutes
                .unwrap_or(self.request_expires_minutes),
            waitlist_offer_minutes: change
                .waitlist_offer_minutes
                .unwrap_or(self.waitlist_offer_minutes),
            max_per_day: change.max_per_day.unwrap_or(self.max_per_day),
            max_per_week: change.max_per_week.unwrap_or(self.max_per_week),
        }
    }

    /// Minutes between the starts of a service that lasts `duration` minutes.
    #[must_use]
    pub fn step_minutes(&self, duration: u32) -> u32 {
        self.slot_step_minutes.unwrap_or(match self.slot_grid {
            SlotGrid::Packed => duration,
            SlotGrid::Aligned => 15,
        })
    }

    /// Until when a request that is made `now` may be answered: it never outlives the start of its
    /// visit.
    #[must_use]
    pub fn request_expires_at(&self, now: Timestamp, start: Timestamp) -> Timestamp {
        until(now, self.request_expires_minutes, start)
    }

    /// Until when an offer to a guest of the waitlist that is made `now` may be accepted.
    #[must_use]
    pub fn offer_expires_at(&self, now: Timestamp, start: Timestamp) -> Timestamp {
        until(now, self.waitlist_offer_minutes, start)
    }

    /// How many visits the business takes in a day and in a week.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits { max_per_day: self.max_per_day, max_per_week: self.max_per_week }
    }

    pub(super) fn validate(&self, fields: &mut Fields) {
        if let Some(step) = self.slot_step_minutes {
            fields.range("booking_policy.slot_step_minutes", step.into(), 5, 1440, "minutes");
        }
        if let Some(limit) = self.reschedule_limit {
            fields.range("booking_policy.reschedule_limit", limit.into(), 0, 100, "times");
        }
        fields.range(
            "booking_policy.min_notice_minutes",
            self.min_notice_minutes.into(),
            0,
            MAX_NOTICE,
            "minutes",
        );
        fields.range("booking_policy.window_days", self.window_days.into(), 1, MAX_WINDOW, "days");
        fields.range(
            "booking_policy.cancel_notice_minutes",
            self.cancel_notice_minutes.into(),
            0,
            MAX_NOTICE,
            "minutes",
        );
        fields.range(
            "booking_policy.request_expires_minutes",
            self.request_expires_minutes.into(),
            5,
            MAX_REQUEST_EXPIRY,
            "minutes",
        );
        fields.range(
            "booking_policy.waitlist_offer_minutes",
            self.waitlist_offer_minutes.into(),
            5,
            MAX_OFFER_EXPIRY,
            "minutes",
        );
        self.limits().validate(fields, "booking_policy.");
    }
}
