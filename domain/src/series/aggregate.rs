use serde::{Deserialize, Serialize};

use super::{SeriesCommand, SeriesError, SeriesEvent};
use crate::{AppointmentId, Decide, pure::pure_aggregate};

/// The visits of the longest series: a year of weeks.
pub const MOST: usize = 52;

/// Which visits of a series a change is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The one alone.
    #[default]
    One,
    /// The one and all behind it.
    Following,
    /// All that are still to come.
    All,
}

/// Visits that were booked together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    appointments: Vec<AppointmentId>,
}

pure_aggregate!(Series, "series", SeriesCommand, SeriesEvent, SeriesError);

impl Series {
    /// The visits that a change of one of them is for, that one first.
    #[must_use]
    pub fn meant(&self, id: AppointmentId, scope: Scope) -> Vec<AppointmentId> {
        let place = self.appointments.iter().position(|own| *own == id);
        let from = match (scope, place) {
            (Scope::One, _) | (_, None) => return vec![id],
            (Scope::Following, Some(place)) => place,
            (Scope::All, Some(_)) => 0,
        };
        let others = self.appointments.iter().skip(from).copied().filter(|other| *other != id);
        std::iter::once(id).chain(others).collect()
    }
}

impl Decide for Series {
    fn decide(&self, command: SeriesCommand) -> Result<Vec<SeriesEvent>, SeriesError> {
        let SeriesCommand::Book { rule, appointments } = command;
        if !(2..=MOST).contains(&appointments.len()) {
            return Err(SeriesError::Length);
        }
        match self.appointments.as_slice() {
            [] => Ok(vec![SeriesEvent::Booked { rule, appointments }]),
            there if there == appointments => Ok(vec![]),
            _ => Err(SeriesError::AlreadyBooked),
        }
    }

    fn evolve(&mut self, event: Self::Event) {
        let SeriesEvent::Booked { appointments, .. } = event;
        self.appointments = appointments;
    }
}
