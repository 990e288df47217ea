use serde::{Deserialize, Serialize};

use super::Holder;
use crate::{TimeSlot, pure::event_types};

/// Stored for ever: add, never change. A fact stands in every week that its span touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResourceCalendarEvent {
    /// It is used.
    Taken {
        /// For what.
        holder: Holder,
        /// When, with the buffers of the visit.
        slot: TimeSlot,
        /// How much of it.
        quantity: u32,
    },
    /// It is not used any more.
    GivenBack {
        /// For what it was used.
        holder: Holder,
    },
}

event_types!(ResourceCalendarEvent {
    Taken => "resource.calendar.taken.v1",
    GivenBack => "resource.calendar.given_back.v1",
});
