use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Channel, Kind};
use crate::{AppointmentId, NotificationId, Zone, appointment::Visit, business::ReminderPolicy};

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
    /// Counts how often the same was planned again after it had been called off without a change of the
    /// visit, as by another policy.
    #[serde(default, skip_serializing_if = "is_first")]
    pub round: u32,
    /// When it is to go out.
    pub due_at: Timestamp,
    /// When it would have been due, had that not been in a quiet hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<Timestamp>,
    /// From when on it is of no use: the start of the visit; a day later for what says that nothing
    /// comes of a request.
    pub expires_at: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_first(round: &u32) -> bool {
    *round == 0
}

const NAMESPACE: Uuid = Uuid::from_u128(0x6d0e_53d5_9c0f_4f0b_8d0e_0d5c_3c9a_7e11);

/// The id follows from what is sent, so that planning the same message twice plans it once.
#[must_use]
pub fn notification_id(plan: &Plan) -> NotificationId {
    let mut name = format!(
        "{}/{}/{}/{}/{}",
        plan.appointment_id, plan.kind, plan.channel, plan.offset_minutes, plan.version
    );
    if plan.round > 0 {
        name.push_str(&format!("/{}", plan.round));
    }
    NotificationId::new(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
}

/// How a guest is reached and what the business wants them to be told, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'a> {
    /// When they are reminded, and by what.
    pub policy: &'a ReminderPolicy,
    /// On whose clock hours are quiet: the guest's own, or else that of the business.
    pub zone: &'a Zone,
    /// Whether there is an address for mails.
    pub email: bool,
    /// Whether there is a number for text messages.
    pub phone: bool,
    /// By what the guest wants to be reminded, of what the business uses; `None` by whatever it uses.
    pub wished: Option<&'a [Channel]>,
}

impl Reach<'_> {
    fn reaches(self, channel: Channel) -> bool {
        match channel {
            Channel::Email => self.email,
            Channel::Sms => self.phone,
        }
    }

    /// Whether the guest wants none of what the business would remind them by.
    #[must_use]
    pub fn is_declined(self) -> bool {
        !self.policy.channels.iter().any(|channel| self.wishes(*channel))
    }

    fn wishes(self, channel: Channel) -> bool {
        self.wished.is_none_or(|wished| wished.contains(&channel))
    }

    /// By what reminders travel. Who cannot be reached at all has one that fails, as evidence, and who wants
    /// none has one that is to be skipped.
    fn reminders(self) -> Vec<Channel> {
        let all = self.policy.channels.iter().copied();
        let mut wished: Vec<Channel> = all.clone().filter(|c| self.wishes(*c)).collect();
        if wished.is_empty() {
            return all.take(1).collect();
        }
        if wished.iter().any(|channel| self.reaches(*channel)) {
            wished.retain(|channel| self.reaches(*channel));
        } else {
            wished.truncate(1);
        }
        wished
    }

    /// By what everything else travels: by mail, unless there is a number alone and the business pays for
    /// text messages.
    fn news(self) -> Channel {
        let by_phone = !self.email && self.phone && self.policy.channels.contains(&Channel::Sms);
        if by_phone { Channel::Sms } else { Channel::Email }
    }
}

/// Every message to the guest of a visit that was agreed or called off at `at` and changed `revision`
/// times before: one that says so, and when it is agreed one reminder for each offset and channel. A
/// reminder that was due before that is in the list too, to be recorded as skipped.
///
/// Of a series the first visit alone is confirmed: nobody wants a mail for each.
#[must_use]
pub fn plans_for(
    appointment_id: AppointmentId,
    visit: &Visit,
    (at, notice): (Timestamp, Kind),
    revision: u32,
    reach: Reach<'_>,
) -> Vec<Plan> {
    let mut at_once = plan_at_once(appointment_id, visit, (at, notice), revision);
    at_once.channel = reach.news();
    let reminders = if notice.is_agreed() {
        reminders_for(appointment_id, visit, revision, reach)
    } else {
        vec![]
    };
    let said = !is_said_with_another(visit, notice, revision);
    said.then_some(at_once).into_iter().chain(reminders).collect()
}

/// One reminder for each offset and channel.
#[must_use]
pub fn reminders_for(
    appointment_id: AppointmentId,
    visit: &Visit,
    revision: u32,
    reach: Reach<'_>,
) -> Vec<Plan> {
    let start = visit.slot.start();
    let of_one = |offset_minutes: &u32| {
        let ahead = SignedDuration::from_mins((*offset_minutes).into());
        let wanted = start.checked_sub(ahead).unwrap_or(Timestamp::MIN);
        let moved = reach.policy.quiet_hours.and_then(|quiet| quiet.moved(wanted, reach.zone));
        let plan = |channel| Plan {
            appointment_id,
            kind: Kind::Reminder,
            channel,
            offset_minutes: *offset_minutes,
            version: revision + 1,
            round: 0,
            due_at: moved.unwrap_or(wanted),
            moved_from: moved.map(|_| wanted),
            expires_at: start,
        };
        reach.reminders().into_iter().map(plan).collect::<Vec<_>>()
    };
    reach.policy.offsets_minutes.iter().flat_map(of_one).collect()
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
        round: 0,
        due_at,
        moved_from: None,
        expires_at: if kind.ends_request() {
            due_at.checked_add(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX)
        } else {
            visit.slot.start()
        },
    }
}
