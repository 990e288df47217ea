use serde::{Deserialize, Serialize};

use super::Hours;
use crate::pure::event_types;

/// Stored for ever: add, never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StaffScheduleEvent {
    /// The hours from now on.
    HoursSet {
        /// The new hours, whole.
        hours: Hours,
    },
}

event_types!(StaffScheduleEvent { HoursSet => "staff.schedule.hours_set.v1" });
