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
}

impl Kind {
    /// The name in tables and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmation => "confirmation",
            Self::Reminder => "reminder",
            Self::Rescheduled => "rescheduled",
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

/// Every message of a visit that was agreed at `at` and changed `revision` times before: one that
/// says so, and one reminder an offset. A reminder that was due before that is in the list too, to be
/// recorded as skipped. Of a series the first visit alone is confirmed: nobody wants a mail for each.
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
    let repeats = visit.series.is_some_and(|series| series.number > 1) && revision == 0;
    let notice = (!repeats).then(|| plan(notice, 0, at));
    let reminders = visit.reminder_offsets_minutes.iter().map(|&offset| {
        let ahead = SignedDuration::from_mins(offset.into());
        let due_at = expires_at.checked_sub(ahead).unwrap_or(Timestamp::MIN);
        plan(Kind::Reminder, offset, due_at)
    });
    notice.into_iter().chain(reminders).collect()
}
