use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    AppointmentId, NotificationId,
    appointment::{Status, Visit},
};

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// "You are booked."
    Confirmation,
    /// "You are expected soon."
    Reminder,
    /// "You are expected at another time."
    Rescheduled,
    /// "We have your request."
    Requested,
    /// "A time has become free."
    Offered,
    /// "We cannot take your request."
    Declined,
    /// "Your request was not answered in time."
    Expired,
}

impl Kind {
    /// The name in tables and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmation => "confirmation",
            Self::Reminder => "reminder",
            Self::Rescheduled => "rescheduled",
            Self::Requested => "requested",
            Self::Offered => "offered",
            Self::Declined => "declined",
            Self::Expired => "expired",
        }
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }

    /// In which state of its visit it says what is true.
    #[must_use]
    pub const fn fits(self, status: Status) -> bool {
        match self {
            Self::Confirmation | Self::Reminder | Self::Rescheduled => {
                matches!(status, Status::Booked)
            }
            Self::Requested | Self::Offered => matches!(status, Status::Requested),
            Self::Declined => matches!(status, Status::Declined),
            Self::Expired => matches!(status, Status::Expired),
        }
    }

    /// Whether it is about a visit that is agreed.
    #[must_use]
    pub const fn is_agreed(self) -> bool {
        self.fits(Status::Booked)
    }

    const fn ends_request(self) -> bool {
        matches!(self, Self::Declined | Self::Expired)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// By what a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Mail by SMTP.
    Email,
}

impl Channel {
    /// The name in tables, subjects and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to be sent, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The visit it is about.
    pub appointment_id: AppointmentId,
    /// What for.
    pub kind: Kind,
    /// By what.
    pub channel: Channel,
    /// Elapsed minutes before the start of the visit; zero when it is due at once.
    pub offset_minutes: u32,
    /// Counts the plans of the same message, so that a moved visit makes new ones.
    pub version: u32,
    /// When it is to go out.
    pub due_at: Timestamp,
    /// From when on it is of no use: the start of the visit.
    pub expires_at: Timestamp,
}

const NAMESPACE: Uuid = Uuid::from_u128(0x6d0e_53d5_9c0f_4f0b_8d0e_0d5c_3c9a_7e11);

/// The id follows from what is sent, so that planning the same message twice plans it once.
#[must_use]
pub fn notification_id(plan: &Plan) -> NotificationId {
    let name = format!(
        "{}/{}/{}/{}/{}",
        plan.appointment_id, plan.kind, plan.channel, plan.offset_minutes, plan.version
    );
    NotificationId::new(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
}

/// Every message of a visit that was agreed at `at` and changed `revision` times before: one that
/// says so, and one reminder an offset. A reminder that was due before that is in the list too, to be
/// recorded as skipped. Nobody is reminded of what is not agreed.
#[must_use]
pub fn plans_for(
    appointment_id: AppointmentId,
    visit: &Visit,
    (at, notice): (Timestamp, Kind),
    revision: u32,
) -> Vec<Plan> {
    let start = visit.slot.start();
    // That nothing comes of a request is worth knowing also when the visit would have begun.
    let expires_at = if notice.ends_request() {
        at.checked_add(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX)
    } else {
        start
    };
    let plan = |kind, offset_minutes, due_at| Plan {
        appointment_id,
        kind,
        channel: Channel::Email,
        offset_minutes,
        version: revision + 1,
        due_at,
        expires_at,
    };
    let offsets: &[u32] = if notice.is_agreed() { &visit.reminder_offsets_minutes } else { &[] };
    let reminders = offsets.iter().map(|&offset| {
        let ahead = SignedDuration::from_mins(offset.into());
        let due_at = start.checked_sub(ahead).unwrap_or(Timestamp::MIN);
        plan(Kind::Reminder, offset, due_at)
    });
    std::iter::once(plan(notice, 0, at)).chain(reminders).collect()
}
