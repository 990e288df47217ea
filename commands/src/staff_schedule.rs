use domain::{
    Aggregate, Decide, StaffId,
    business::Business,
    staff_schedule::{Hours, StaffSchedule, StaffScheduleCommand, StaffScheduleError},
};
use streams::{
    CommandContext,
    log::{Loaded, StreamKey, UnitOfWork},
};

use crate::{CommandError, Commands, Done, again::until_decided, error::Attempt};

/// The hours as they are after the change.
#[derive(Debug, Clone)]
pub struct HoursChanged {
    /// In force from now on.
    pub hours: Hours,
    /// Their version, which is their `ETag`.
    pub version: u64,
}

/// Why hours were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoursRefused {
    /// Not on this business's roster.
    #[error("no such staff member")]
    NotFound,
    /// The schedule's own rule.
    #[error(transparent)]
    Schedule(#[from] StaffScheduleError),
}

impl Commands {
    /// Puts new hours in place of the present ones.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(staff.id = %staff_id))]
    pub async fn set_hours(
        &self,
        staff_id: StaffId,
        hours: &Hours,
        expected: Option<u64>,
        context: &CommandContext,
    ) -> Result<Done<HoursChanged>, CommandError<HoursRefused>> {
        let _turn = self.turn(context.business_id).await?;
        let attempt = || self.try_set_hours(staff_id, hours, expected, context);
        until_decided("set_hours", attempt, |_| None).await
    }

    async fn try_set_hours(
        &self,
        staff_id: StaffId,
        hours: &Hours,
        expected: Option<u64>,
        context: &CommandContext,
    ) -> Result<Done<HoursChanged>, Attempt<HoursRefused>> {
        let business_key = StreamKey::of::<Business>(context.business_id);
        let key = StreamKey::of::<StaffSchedule>(staff_id);
        let keys = [business_key.clone(), key.clone()];
        let histories = self.log.load(context.business_id, &keys).await?;
        let business: Loaded<Business> = histories.fold(&business_key)?;
        let known = business.state.registered().is_some_and(|b| b.staff.contains_key(&staff_id));
        if !known {
            return Err(Attempt::Refused(HoursRefused::NotFound));
        }
        let mut schedule: Loaded<StaffSchedule> = histories.fold(&key)?;
        let command = StaffScheduleCommand::SetHours { hours: hours.clone(), expected };
        let events =
            schedule.state.decide(command).map_err(|error| Attempt::Refused(error.into()))?;
        let mut unit = UnitOfWork::new(context.clone());
        unit.append(&schedule, events.clone())?;
        unit.guard(&business);
        let position = if unit.is_empty() {
            self.last_position(&histories, &key).await?
        } else {
            self.log.commit(&unit).await?
        };
        for event in events {
            schedule.state.apply(event);
        }
        let (hours, version) = (schedule.state.hours().clone(), schedule.state.version());
        Ok(Done::new(HoursChanged { hours, version }, position))
    }
}
