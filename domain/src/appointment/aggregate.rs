use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{AppointmentCommand, AppointmentError, AppointmentEvent};
use crate::{CustomerId, Decide, Money, ServiceId, StaffId, TimeSlot, pure::pure_aggregate};

/// All that is agreed about one visit; later changes of service or policy do not touch it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Who serves the guest.
    pub staff_id: StaffId,
    /// What is done.
    pub service_id: ServiceId,
    /// For whom.
    pub customer_id: CustomerId,
    /// When, without buffers.
    pub slot: TimeSlot,
    /// Minutes the calendar keeps free in front.
    pub buffer_before_minutes: u32,
    /// Minutes the calendar keeps free behind.
    pub buffer_after_minutes: u32,
    /// For how much.
    pub price: Money,
    /// How long before the start reminders were to go out when it was booked, in elapsed minutes.
    pub reminder_offsets_minutes: Vec<u32>,
    /// How far the clocks of the business were to be ahead of UTC at the start, in seconds, by the rules
    /// known when the time was agreed: the local time that was told. Absent in visits of earlier builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_seconds: Option<i32>,
}

impl Visit {
    /// When, with its buffers: what it keeps of a calendar.
    #[must_use]
    pub fn padded(&self) -> TimeSlot {
        self.slot.padded(self.buffer_before_minutes, self.buffer_after_minutes)
    }

    /// Until when its guest may call it off, where the business asks for that much notice.
    #[must_use]
    pub fn cancel_deadline(&self, notice_minutes: u32) -> Timestamp {
        let notice = SignedDuration::from_mins(notice_minutes.into());
        self.slot.start().checked_sub(notice).unwrap_or(Timestamp::MIN)
    }
}

/// Where in its life a visit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Agreed, still to come or not yet marked.
    Booked,
    /// Called off.
    Cancelled,
    /// Kept.
    Completed,
    /// Missed by the guest.
    NoShow,
}

impl Status {
    /// The name in the API and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Booked => "booked",
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
            Self::NoShow => "no_show",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One visit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Appointment {
    /// Nothing was booked under this id.
    #[default]
    Unbooked,
    /// Booked, and perhaps ended since.
    Known {
        /// All that is agreed.
        visit: Box<Visit>,
        /// Where in its life it is.
        status: Status,
        /// How often it was moved or booked again.
        revision: u32,
        /// How often it was moved.
        moves: u32,
        /// When it was to be before it was moved last.
        previous: Option<TimeSlot>,
    },
}

pure_aggregate!(Appointment, "appointment", AppointmentCommand, AppointmentEvent, AppointmentError);

impl Appointment {
    /// What was agreed and where it stands, once booked.
    #[must_use]
    pub fn known(&self) -> Option<(&Visit, Status)> {
        match self {
            Self::Unbooked => None,
            Self::Known { visit, status, .. } => Some((visit, *status)),
        }
    }

    /// How often it was moved or booked again: what was planned for an earlier revision is off.
    #[must_use]
    pub const fn revision(&self) -> u32 {
        match self {
            Self::Unbooked => 0,
            Self::Known { revision, .. } => *revision,
        }
    }

    /// How often it was moved.
    #[must_use]
    pub const fn moves(&self) -> u32 {
        match self {
            Self::Unbooked => 0,
            Self::Known { moves, .. } => *moves,
        }
    }

    /// When it was to be before it was moved last.
    #[must_use]
    pub const fn previous(&self) -> Option<TimeSlot> {
        match self {
            Self::Unbooked => None,
            Self::Known { previous, .. } => *previous,
        }
    }

    fn reschedule(
        &self,
        visit: Visit,
        limit: Option<u32>,
    ) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        let Self::Known { visit: there, status, revision, moves, .. } = self else {
            return Err(AppointmentError::NotFound);
        };
        if *status != Status::Booked {
            return Err(AppointmentError::WrongState { status: *status });
        }
        if **there == visit {
            return Ok(vec![]);
        }
        if let Some(limit) = limit.filter(|limit| moves >= limit) {
            return Err(AppointmentError::RescheduleLimit { limit });
        }
        let (previous, revision) = (there.slot, revision + 1);
        Ok(vec![AppointmentEvent::Rescheduled { visit, previous, revision }])
    }

    fn reschedule_by_guest(
        &self,
        visit: Visit,
        limit: Option<u32>,
        notice_minutes: u32,
        now: Timestamp,
    ) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        if let Some((there, Status::Booked)) = self.known() {
            let deadline = there.cancel_deadline(notice_minutes);
            if now > deadline {
                return Err(AppointmentError::TooLateToMove { deadline, notice_minutes });
            }
        }
        self.reschedule(visit, limit)
    }

    fn reinstate(&self, now: Timestamp) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        let Self::Known { visit, status, revision, .. } = self else {
            return Err(AppointmentError::NotFound);
        };
        match status {
            Status::Booked => Ok(vec![]),
            Status::Cancelled => {
                let start = visit.slot.start();
                if start <= now {
                    return Err(AppointmentError::Begun { start });
                }
                let (visit, revision) = (Visit::clone(visit), revision + 1);
                Ok(vec![AppointmentEvent::Reinstated { visit, revision }])
            }
            Status::Completed | Status::NoShow => {
                Err(AppointmentError::WrongState { status: *status })
            }
        }
    }

    /// Unlike the owner's, a guest's cancellation of what is cancelled is refused: whoever asks holds an
    /// old view, and a change that changes nothing would not spend what it was authorised by.
    fn cancel_by_guest(
        &self,
        notice_minutes: u32,
        now: Timestamp,
    ) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        let (visit, status) = self.known().ok_or(AppointmentError::NotFound)?;
        if status != Status::Booked {
            return Err(AppointmentError::WrongState { status });
        }
        let deadline = visit.cancel_deadline(notice_minutes);
        if now > deadline {
            return Err(AppointmentError::TooLateToCancel { deadline, notice_minutes });
        }
        Ok(vec![AppointmentEvent::Cancelled {}])
    }

    /// Ends a booked visit; ending it the same way again is already so.
    fn end(
        &self,
        wanted: Status,
        begun_by: Option<Timestamp>,
        event: AppointmentEvent,
    ) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        let (visit, status) = self.known().ok_or(AppointmentError::NotFound)?;
        if status == wanted {
            return Ok(vec![]);
        }
        if status != Status::Booked {
            return Err(AppointmentError::WrongState { status });
        }
        let start = visit.slot.start();
        if begun_by.is_some_and(|now| now < start) {
            return Err(AppointmentError::NotBegun { start });
        }
        Ok(vec![event])
    }
}

impl Decide for Appointment {
    fn decide(
        &self,
        command: AppointmentCommand,
    ) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        match command {
            AppointmentCommand::Book { visit, choice } => match self.known() {
                None => Ok(vec![AppointmentEvent::Booked { visit, choice }]),
                Some((there, Status::Booked)) if *there == visit => Ok(vec![]),
                Some(_) => Err(AppointmentError::AlreadyBooked),
            },
            AppointmentCommand::Reschedule { visit, limit } => self.reschedule(visit, limit),
            AppointmentCommand::Reinstate { now } => self.reinstate(now),
            AppointmentCommand::Cancel => {
                self.end(Status::Cancelled, None, AppointmentEvent::Cancelled {})
            }
            AppointmentCommand::RescheduleByGuest { visit, limit, notice_minutes, now } => {
                self.reschedule_by_guest(visit, limit, notice_minutes, now)
            }
            AppointmentCommand::CancelByGuest { notice_minutes, now } => {
                self.cancel_by_guest(notice_minutes, now)
            }
            AppointmentCommand::Complete { now } => {
                self.end(Status::Completed, Some(now), AppointmentEvent::Completed {})
            }
            AppointmentCommand::MarkNoShow { now } => {
                self.end(Status::NoShow, Some(now), AppointmentEvent::MissedByGuest {})
            }
        }
    }

    fn evolve(&mut self, event: Self::Event) {
        if let AppointmentEvent::Booked { visit, .. } = event {
            let visit = Box::new(visit);
            let (status, revision, moves, previous) = (Status::Booked, 0, 0, None);
            *self = Self::Known { visit, status, revision, moves, previous };
            return;
        }
        let Self::Known { visit, status, revision, moves, previous } = self else { return };
        match event {
            AppointmentEvent::Booked { .. } => {}
            AppointmentEvent::Rescheduled { visit: now, previous: before, revision: new } => {
                (**visit, *previous, *revision) = (now, Some(before), new);
                *moves += 1;
            }
            AppointmentEvent::Reinstated { visit: again, revision: new } => {
                (**visit, *status, *revision) = (again, Status::Booked, new);
            }
            AppointmentEvent::Cancelled {} => *status = Status::Cancelled,
            AppointmentEvent::Completed {} => *status = Status::Completed,
            AppointmentEvent::MissedByGuest {} => *status = Status::NoShow,
        }
    }
}
