use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Kind;
use crate::{AppointmentId, NotificationId, appointment::Visit};

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
    /// From when on it is of no use: the start of the visit; a day later for what says that nothing
    /// comes of a request.
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
/// times before: one that says so, and one reminder an offset when it is agreed. A reminder that
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
    let offsets: &[u32] = if notice.is_agreed() { &visit.reminder_offsets_minutes } else { &[] };
    let reminders = offsets.iter().map(|&offset_minutes| {
        let ahead = SignedDuration::from_mins(offset_minutes.into());
        let due_at = visit.slot.start().checked_sub(ahead).unwrap_or(Timestamp::MIN);
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
        expires_at: if kind.ends_request() {
            due_at.checked_add(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX)
        } else {
            visit.slot.start()
        },
    }
}
