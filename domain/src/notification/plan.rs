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
    /// "Somebody comes."
    HostBooked,
    /// "They come at another time."
    HostRescheduled,
    /// "They do not come."
    HostCancelled,
}

/// Whom a message is for. Where they are reached is found out when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// Who comes.
    Guest,
    /// Who serves them; where that address is not known, the owners of the business.
    Host,
}

impl Recipient {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Host => "host",
        }
    }
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::Confirmation,
        Self::Reminder,
        Self::Rescheduled,
        Self::Cancellation,
        Self::HostBooked,
        Self::HostRescheduled,
        Self::HostCancelled,
    ];

    /// By its name in tables.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether it is for a visit that does not take place. All others are for one that does.
    #[must_use]
    pub const fn is_farewell(self) -> bool {
        match self {
            Self::Cancellation | Self::HostCancelled => true,
            Self::Confirmation
            | Self::Reminder
            | Self::Rescheduled
            | Self::HostBooked
            | Self::HostRescheduled => false,
        }
    }

    /// Whom it is for.
    #[must_use]
    pub const fn recipient(self) -> Recipient {
        match self {
            Self::Confirmation | Self::Reminder | Self::Rescheduled | Self::Cancellation => {
                Recipient::Guest
            }
            Self::HostBooked | Self::HostRescheduled | Self::HostCancelled => Recipient::Host,
        }
    }

    /// What the host is told when guests are told this.
    #[must_use]
    pub const fn for_host(self) -> Option<Self> {
        match self {
            Self::Confirmation => Some(Self::HostBooked),
            Self::Rescheduled => Some(Self::HostRescheduled),
            Self::Cancellation => Some(Self::HostCancelled),
            Self::Reminder | Self::HostBooked | Self::HostRescheduled | Self::HostCancelled => None,
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
            Self::HostBooked => "host_booked",
            Self::HostRescheduled => "host_rescheduled",
            Self::HostCancelled => "host_cancelled",
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

/// Every message to the guest of a visit that was agreed or called off at `at` and changed `revision`
/// times before: one that says so, and unless it was called off one reminder an offset. A reminder that
/// was due before that is in the list too, to be recorded as skipped.
///
/// Of a series the first visit alone is confirmed: nobody wants a mail for each.
#[must_use]
pub fn plans_for(
    appointment_id: AppointmentId,
    visit: &Visit,
    (at, notice): (Timestamp, Kind),
    revision: u32,
) -> Vec<Plan> {
    let at_once = plan_at_once(appointment_id, visit, (at, notice), revision);
    let offsets: &[u32] = if notice.is_farewell() { &[] } else { &visit.reminder_offsets_minutes };
    let reminders = offsets.iter().map(|&offset_minutes| {
        let ahead = SignedDuration::from_mins(offset_minutes.into());
        let due_at = at_once.expires_at.checked_sub(ahead).unwrap_or(Timestamp::MIN);
        Plan { kind: Kind::Reminder, offset_minutes, due_at, ..at_once.clone() }
    });
    let said = !is_said_with_another(visit, notice, revision);
    said.then(|| at_once.clone()).into_iter().chain(reminders).collect()
}

/// The visits of a series are booked together, and the first speaks for them.
fn is_said_with_another(visit: &Visit, notice: Kind, revision: u32) -> bool {
    let repeats = visit.series.is_some_and(|series| series.number > 1);
    repeats && revision == 0 && notice == Kind::Confirmation
}

/// What the host is told when the guest is told this; `None` when nothing.
#[must_use]
pub fn host_plan(
    appointment_id: AppointmentId,
    visit: &Visit,
    (at, notice): (Timestamp, Kind),
    revision: u32,
) -> Option<Plan> {
    let kind = notice.for_host()?;
    let said = !is_said_with_another(visit, notice, revision);
    said.then(|| plan_at_once(appointment_id, visit, (at, kind), revision))
}

fn plan_at_once(
    appointment_id: AppointmentId,
    visit: &Visit,
    (due_at, kind): (Timestamp, Kind),
    revision: u32,
) -> Plan {
    Plan {
        appointment_id,
        kind,
        channel: Channel::Email,
        offset_minutes: 0,
        version: revision + 1,
        due_at,
        expires_at: visit.slot.start(),
    }
}
