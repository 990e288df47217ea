use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{AppointmentId, NotificationId, appointment::Visit};

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
    /// "You are not expected any more."
    Cancellation,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 4] =
        [Self::Confirmation, Self::Reminder, Self::Rescheduled, Self::Cancellation];

    /// By its name in tables.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether it is for a visit that does not take place. All others are for one that does.
    #[must_use]
    pub const fn is_farewell(self) -> bool {
        match self {
            Self::Cancellation => true,
            Self::Confirmation | Self::Reminder | Self::Rescheduled => false,
        }
    }

    /// The name in tables and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmation => "confirmation",
            Self::Reminder => "reminder",
            Self::Rescheduled => "rescheduled",
            Self::Cancellation => "cancellation",
        }
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

/// Every message of a visit that was agreed or called off at `at` and changed `revision` times before:
/// one that says so, and unless it was called off one reminder an offset. A reminder that was due
/// before that is in the list too, to be recorded as skipped.
#[must_use]
pub fn plans_for(
    appointment_id: AppointmentId,
    visit: &Visit,
    (at, notice): (Timestamp, Kind),
    revision: u32,
) -> Vec<Plan> {
    let expires_at = visit.slot.start();
    let plan = |kind, offset_minutes, due_at| Plan {
        appointment_id,
        kind,
        channel: Channel::Email,
        offset_minutes,
        version: revision + 1,
        due_at,
        expires_at,
    };
    let offsets: &[u32] = if notice.is_farewell() { &[] } else { &visit.reminder_offsets_minutes };
    let notice = plan(notice, 0, at);
    let reminders = offsets.iter().map(|&offset| {
        let ahead = SignedDuration::from_mins(offset.into());
        let due_at = expires_at.checked_sub(ahead).unwrap_or(Timestamp::MIN);
        plan(Kind::Reminder, offset, due_at)
    });
    std::iter::once(notice).chain(reminders).collect()
}
