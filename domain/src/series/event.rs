use serde::{Deserialize, Serialize};

use crate::{AppointmentId, pure::event_types};

/// Stored for ever: add, never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SeriesEvent {
    /// All of its visits are agreed; each goes its own way from then on.
    Booked {
        /// By which rule (RFC 5545).
        rule: String,
        /// Its visits, in the order of their starts.
        appointments: Vec<AppointmentId>,
    },
}

event_types!(SeriesEvent { Booked => "booking.series.booked.v1" });
