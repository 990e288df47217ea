//! What is to change, so that the reminders of a visit are those that are wanted.

use std::collections::{HashMap, HashSet};

use domain::{
    BusinessId, Decide,
    notification::{Channel, Kind, Notification, NotificationCommand, Plan},
};
use jiff::Timestamp;
use streams::{Origin, consumer::Failure};

use crate::{
    scheduler::{CalledOff, Planned, can_stop},
    work::Work,
};

/// Why one is not sent that is wanted now.
const LATE: &str = "due_before_policy";

/// Plans to be made, each with whether it comes too late, and messages to be called off.
#[derive(Debug, Default)]
pub(super) struct Difference<'a> {
    pub(super) plan: Vec<(Plan, bool)>,
    pub(super) call_off: Vec<CalledOff<'a>>,
}

/// `there` are the messages of the visit; those of another `version` belong to another agreement. `reason` is why
/// what is not wanted is called off.
pub(super) fn between<'a>(
    wanted: Vec<Plan>,
    there: impl Iterator<Item = &'a Work>,
    version: u32,
    (now, reason): (Timestamp, &'static str),
) -> Difference<'a> {
    // The last round of each is what counts.
    let mut last: HashMap<(u32, Option<Channel>), &Work> = HashMap::new();
    let reminder = Kind::Reminder.as_str();
    for work in there.filter(|work| work.kind == reminder && work.version == version) {
        let key = (work.offset_minutes, Channel::named(&work.channel));
        let held = last.entry(key).or_insert(work);
        if held.round < work.round {
            *held = work;
        }
    }
    let mut difference = Difference::default();
    let channels: HashSet<Channel> = wanted.iter().map(|plan| plan.channel).collect();
    // Whether the guest is reminded at all, or was.
    let mut reminded = false;
    for plan in wanted {
        let Some(work) = last.remove(&(plan.offset_minutes, Some(plan.channel))) else {
            let late = plan.due_at <= now;
            reminded |= !late;
            difference.plan.push((plan, late));
            continue;
        };
        let again = Plan { round: work.round + 1, ..plan };
        let late = again.due_at <= now;
        reminded |= match work.state.as_str() {
            // Its time is another, since hours are quiet now, or are no more.
            "pending" if work.attempts == 0 && work.due_at != again.due_at && work.due_at > now => {
                difference.call_off.push(CalledOff { work, reason: Some(reason) });
                difference.plan.push((again, late));
                !late
            }
            "cancelled" | "skipped" if !late => {
                difference.plan.push((again, false));
                true
            }
            _ => reminds(work),
        };
    }
    // What is overdue was owed by the policy of before, and goes out.
    let (mut surplus, stays): (Vec<&Work>, Vec<&Work>) =
        last.into_values().partition(|work| can_stop(work) && work.due_at > now);
    // What is wanted would all come too late: the visit keeps what it has, or nobody would be reminded of it.
    if !reminded && !stays.into_iter().any(reminds) {
        let wanted =
            |work: &Work| Channel::named(&work.channel).is_some_and(|c| channels.contains(&c));
        surplus.retain(|work| !wanted(work));
    }
    let surplus = surplus.into_iter().map(|work| CalledOff { work, reason: Some(reason) });
    difference.call_off.extend(surplus);
    difference
}

/// Whether it goes out, or has.
fn reminds(work: &Work) -> bool {
    !matches!(work.state.as_str(), "cancelled" | "skipped" | "failed" | "expired")
}

/// The first event of a message: that it is planned, or that it is wanted too late.
pub(super) fn planned(
    business_id: BusinessId,
    origin: &Origin,
    plan: Plan,
    late: bool,
) -> Result<Planned, Failure> {
    let command = if late {
        NotificationCommand::Skip { plan: plan.clone(), reason: LATE.to_owned() }
    } else {
        NotificationCommand::Request { plan: plan.clone(), now: Timestamp::MIN }
    };
    let events = Notification::default().decide(command);
    let events = events.map_err(|error| Failure::Poison(error.into()))?;
    Ok(Planned { business_id, origin: origin.clone(), plan, events, there: None })
}

#[cfg(test)]
mod tests {
    use domain::{AppointmentId, NotificationId};
    use uuid::Uuid;

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    fn plan(offset_minutes: u32, due: i64) -> Plan {
        Plan {
            appointment_id: AppointmentId::new(Uuid::from_u128(1)),
            kind: Kind::Reminder,
            channel: Channel::Email,
            offset_minutes,
            version: 1,
            round: 0,
            due_at: at(due),
            moved_from: None,
            expires_at: at(10_000),
        }
    }

    fn work(offset_minutes: u32, due: i64, state: &str, round: u32) -> Work {
        Work {
            notification_id: NotificationId::new(Uuid::from_u128(u128::from(offset_minutes))),
            business_id: BusinessId::new(Uuid::nil()),
            appointment_id: AppointmentId::new(Uuid::from_u128(1)),
            kind: "reminder".to_owned(),
            channel: "email".to_owned(),
            offset_minutes,
            version: 1,
            round,
            state: state.to_owned(),
            due_at: at(due),
            expires_at: at(10_000),
            attempts: 0,
            offers: 0,
            handed_over: false,
            lease_token: None,
            sequence: 1,
            origin: Origin::of_our_own(),
        }
    }

    /// Offset, round and whether it is late of what is planned; offsets of what is called off.
    fn between_them(wanted: &[Plan], there: &[Work]) -> (Vec<(u32, u32, bool)>, Vec<u32>) {
        let found = between(wanted.to_vec(), there.iter(), 1, (at(1_000), "other_policy"));
        let planned = found.plan.iter().map(|(p, late)| (p.offset_minutes, p.round, *late));
        let off = found.call_off.iter().map(|off| off.work.offset_minutes);
        let (mut planned, mut off): (Vec<_>, Vec<_>) = (planned.collect(), off.collect());
        planned.sort_unstable();
        off.sort_unstable();
        (planned, off)
    }

    #[test]
    fn what_is_wanted_and_there_stays() {
        let wanted = [plan(60, 5_000), plan(120, 4_000)];
        for state in ["pending", "offered", "sending", "sent", "failed", "uncertain", "expired"] {
            let there = [work(60, 5_000, state, 0), work(120, 4_000, state, 0)];
            assert_eq!(between_them(&wanted, &there), (vec![], vec![]), "{state}");
        }
    }

    #[test]
    fn what_is_new_is_planned_and_what_is_wanted_no_more_is_called_off() {
        let wanted = [plan(60, 5_000), plan(30, 5_500)];
        let there = [work(60, 5_000, "pending", 0), work(120, 4_000, "pending", 0)];
        assert_eq!(between_them(&wanted, &there), (vec![(30, 0, false)], vec![120]));
        // What has gone out cannot be called off.
        let there = [work(60, 5_000, "sent", 0), work(120, 900, "sent", 0)];
        assert_eq!(between_them(&wanted, &there), (vec![(30, 0, false)], vec![]));
    }

    #[test]
    fn what_was_called_off_and_is_wanted_again_is_planned_for_another_round() {
        let there = [work(60, 5_000, "cancelled", 0), work(60, 5_000, "cancelled", 1)];
        let again = (vec![(60, 2, false)], vec![]);
        assert_eq!(between_them(&[plan(60, 5_000)], &there), again);
        // It is too late for it, and that is recorded already.
        let there = [work(60, 900, "cancelled", 0)];
        assert_eq!(between_them(&[plan(60, 900)], &there), (vec![], vec![]));
    }

    #[test]
    fn another_time_is_another_plan() {
        let there = [work(60, 5_000, "pending", 0)];
        assert_eq!(between_them(&[plan(60, 4_500)], &there), (vec![(60, 1, false)], vec![60]));
        // One that waits for its second try is on its way.
        let tried = [Work { attempts: 1, ..work(60, 5_000, "pending", 0) }];
        assert_eq!(between_them(&[plan(60, 4_500)], &tried), (vec![], vec![]));
    }

    #[test]
    fn what_is_wanted_too_late_is_recorded_as_skipped() {
        assert_eq!(between_them(&[plan(5_000, 900)], &[]), (vec![(5_000, 0, true)], vec![]));
    }

    #[test]
    fn a_visit_that_is_too_near_for_the_new_policy_keeps_the_reminder_that_it_has() {
        let (early, near) = (plan(5_000, 900), work(60, 5_000, "pending", 0));
        let skipped = vec![(5_000, 0, true)];
        let kept = between_them(std::slice::from_ref(&early), std::slice::from_ref(&near));
        assert_eq!(kept, (skipped.clone(), vec![]));
        // Whoever was reminded already, or will be, need not be reminded twice.
        for state in ["sent", "uncertain", "sending"] {
            let there = [near.clone(), work(4_000, 950, state, 0)];
            assert_eq!(
                between_them(std::slice::from_ref(&early), &there),
                (skipped.clone(), vec![60])
            );
        }
        let (wanted, there) = ([early, plan(30, 5_500)], [near.clone()]);
        assert_eq!(
            between_them(&wanted, &there),
            (vec![(30, 0, false), (5_000, 0, true)], vec![60])
        );
        // Nobody is to be reminded, or not by this channel.
        assert_eq!(between_them(&[], &there), (vec![], vec![60]));
        let by_text = Plan { channel: Channel::Sms, ..plan(5_000, 900) };
        assert_eq!(between_them(&[by_text], &there), (skipped, vec![60]));
    }
}
