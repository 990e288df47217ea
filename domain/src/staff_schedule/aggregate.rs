use serde::{Deserialize, Serialize};

use super::{Hours, StaffScheduleCommand, StaffScheduleError, StaffScheduleEvent};
use crate::{Decide, pure::pure_aggregate};

/// The working hours of one staff member; nobody works before hours were set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaffSchedule {
    hours: Hours,
    version: u64,
}

pure_aggregate!(
    StaffSchedule,
    "staff_schedule",
    StaffScheduleCommand,
    StaffScheduleEvent,
    StaffScheduleError
);

impl StaffSchedule {
    /// The hours in force.
    #[must_use]
    pub const fn hours(&self) -> &Hours {
        &self.hours
    }

    /// How often the hours were set.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }
}

impl Decide for StaffSchedule {
    fn decide(
        &self,
        command: StaffScheduleCommand,
    ) -> Result<Vec<StaffScheduleEvent>, StaffScheduleError> {
        let StaffScheduleCommand::SetHours { hours, expected } = command;
        if expected.is_some_and(|version| version != self.version) {
            return Err(StaffScheduleError::Stale { current: self.version });
        }
        hours.validate().map_err(StaffScheduleError::Invalid)?;
        if self.version > 0 && hours == self.hours {
            return Ok(vec![]);
        }
        Ok(vec![StaffScheduleEvent::HoursSet { hours }])
    }

    fn evolve(&mut self, event: Self::Event) {
        self.version += 1;
        match event {
            StaffScheduleEvent::HoursSet { hours } => self.hours = hours,
        }
    }
}
