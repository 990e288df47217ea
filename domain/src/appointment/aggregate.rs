use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AppointmentCommand, AppointmentError, AppointmentEvent, Used, Visit};
use crate::{Decide, TimeSlot, WaitlistId, pure::pure_aggregate};

/// Where in its life a visit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Asked for: its time is kept until the business answers, or until it expires.
    Requested,
    /// Agreed, still to come or not yet marked.
    Booked,
    /// Called off.
    Cancelled,
    /// Asked for, and the business said no.
    Declined,
    /// Asked for, and nobody answered in time.
    Expired,
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
            Self::Requested => "requested",
            Self::Booked => "booked",
            Self::Cancelled => "cancelled",
            Self::Declined => "declined",
            Self::Expired => "expired",
            Self::Completed => "completed",
            Self::NoShow => "no_show",
        }
    }

    /// Whether the visit has its time in the calendar. What was kept or missed keeps it, too.
    #[must_use]
    pub const fn holds_time(self) -> bool {
        match self {
            Self::Requested | Self::Booked | Self::Completed | Self::NoShow => true,
            Self::Cancelled | Self::Declined | Self::Expired => false,
        }
    }

    /// Whether it is still to come about: it can be moved and called off.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Requested | Self::Booked)
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
    /// Booked or asked for, and perhaps ended since.
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
        /// Until when a request may be answered; its time is kept until an event says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
        /// Whom it was offered to, when it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offered_to: Option<WaitlistId>,
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

    /// Until when it may be answered, while it is asked for.
    #[must_use]
    pub const fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::Unbooked => None,
            Self::Known { expires_at, .. } => *expires_at,
        }
    }

    /// Whom it was offered to: while it is asked for that guest answers, and not the business.
    #[must_use]
    pub const fn offered_to(&self) -> Option<WaitlistId> {
        match self {
            Self::Unbooked => None,
            Self::Known { offered_to, .. } => *offered_to,
        }
    }

    /// Whether it waits for the answer of the guest to whom it was offered.
    #[must_use]
    pub const fn is_offered(&self) -> bool {
        self.offered_to().is_some() && self.expires_at().is_some()
    }

    fn reschedule(
        &self,
        visit: Visit,
        limit: Option<u32>,
    ) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        let Self::Known { visit: there, status, revision, moves, .. } = self else {
            return Err(AppointmentError::NotFound);
        };
        if !status.is_open() {
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

    /// What is only asked for can be moved without notice: nothing is agreed yet.
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

    fn reinstate(
        &self,
        resources: Vec<Used>,
        now: Timestamp,
    ) -> Result<Vec<AppointmentEvent>, AppointmentError> {
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
                let visit = Visit { resources, ..Visit::clone(visit) };
                let revision = revision + 1;
                Ok(vec![AppointmentEvent::Reinstated { visit, revision }])
            }
            Status::Requested
            | Status::Declined
            | Status::Expired
            | Status::Completed
            | Status::NoShow => Err(AppointmentError::WrongState { status: *status }),
        }
    }

    /// Unlike the owner's, a guest's cancellation of what is cancelled is refused: whoever asks holds an
    /// old view, and a change that changes nothing would not spend what it was authorised by. A request
    /// can be taken back at any time: nothing is agreed yet.
    fn cancel_by_guest(
        &self,
        notice_minutes: u32,
        now: Timestamp,
    ) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        let (visit, status) = self.known().ok_or(AppointmentError::NotFound)?;
        if !status.is_open() {
            return Err(AppointmentError::WrongState { status });
        }
        let deadline = visit.cancel_deadline(notice_minutes);
        if status == Status::Booked && now > deadline {
            return Err(AppointmentError::TooLateToCancel { deadline, notice_minutes });
        }
        Ok(vec![AppointmentEvent::Cancelled {}])
    }

    /// From one of these states into another; what is there already stays.
    fn step(
        &self,
        from: &[Status],
        to: Status,
        event: AppointmentEvent,
    ) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        let (_, status) = self.known().ok_or(AppointmentError::NotFound)?;
        if status == to {
            return Ok(vec![]);
        }
        if !from.contains(&status) {
            return Err(AppointmentError::WrongState { status });
        }
        Ok(vec![event])
    }

    /// Marks a booked visit that has begun.
    fn mark(
        &self,
        to: Status,
        now: Timestamp,
        event: AppointmentEvent,
    ) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        let events = self.step(&[Status::Booked], to, event)?;
        match self.known() {
            Some((visit, Status::Booked)) if now < visit.slot.start() => {
                Err(AppointmentError::NotBegun { start: visit.slot.start() })
            }
            _ => Ok(events),
        }
    }

    /// As with all that guests change by their link, what is already so is refused.
    fn accept(&self) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        let (_, status) = self.known().ok_or(AppointmentError::NotFound)?;
        match (status, self.offered_to()) {
            (Status::Requested, Some(_)) => Ok(vec![AppointmentEvent::Confirmed {}]),
            (Status::Requested, None) => Err(AppointmentError::NotAnOffer),
            _ => Err(AppointmentError::WrongState { status }),
        }
    }

    /// A request lapses when its time is over, not earlier.
    fn expire(&self, now: Timestamp) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        match (self.known(), self.expires_at()) {
            (Some((_, status)), Some(expires_at)) if now < expires_at => {
                Err(AppointmentError::WrongState { status })
            }
            _ => self.step(&[Status::Requested], Status::Expired, AppointmentEvent::Expired {}),
        }
    }

    /// Nothing is kept of an id before the first event.
    fn begin(
        &self,
        visit: &Visit,
        status: Status,
        event: AppointmentEvent,
    ) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        match self.known() {
            None => Ok(vec![event]),
            Some((there, now)) if now == status && there == visit => Ok(vec![]),
            Some(_) => Err(AppointmentError::AlreadyBooked),
        }
    }
}

impl Decide for Appointment {
    fn decide(
        &self,
        command: AppointmentCommand,
    ) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        match command {
            AppointmentCommand::Book { visit, choice } => self.begin(
                &visit.clone(),
                Status::Booked,
                AppointmentEvent::Booked { visit, choice },
            ),
            AppointmentCommand::Request { visit, choice, expires_at, waitlist_id } => self.begin(
                &visit.clone(),
                Status::Requested,
                AppointmentEvent::Requested { visit, choice, expires_at, waitlist_id },
            ),
            AppointmentCommand::Confirm if self.is_offered() => Err(AppointmentError::AwaitsGuest),
            AppointmentCommand::Confirm => {
                self.step(&[Status::Requested], Status::Booked, AppointmentEvent::Confirmed {})
            }
            AppointmentCommand::Accept => self.accept(),
            AppointmentCommand::Decline => {
                self.step(&[Status::Requested], Status::Declined, AppointmentEvent::Declined {})
            }
            AppointmentCommand::Expire { now } => self.expire(now),
            AppointmentCommand::Reschedule { visit, limit } => self.reschedule(visit, limit),
            AppointmentCommand::Reinstate { resources, now } => self.reinstate(resources, now),
            AppointmentCommand::Cancel => {
                let open = [Status::Requested, Status::Booked];
                self.step(&open, Status::Cancelled, AppointmentEvent::Cancelled {})
            }
            AppointmentCommand::RescheduleByGuest { visit, limit, notice_minutes, now } => {
                self.reschedule_by_guest(visit, limit, notice_minutes, now)
            }
            AppointmentCommand::CancelByGuest { notice_minutes, now } => {
                self.cancel_by_guest(notice_minutes, now)
            }
            AppointmentCommand::Complete { now } => {
                self.mark(Status::Completed, now, AppointmentEvent::Completed {})
            }
            AppointmentCommand::MarkNoShow { now } => {
                self.mark(Status::NoShow, now, AppointmentEvent::MissedByGuest {})
            }
        }
    }

    fn evolve(&mut self, event: Self::Event) {
        let begun = |visit, status, expires_at, offered_to| {
            let (visit, revision, moves, previous) = (Box::new(visit), 0, 0, None);
            Self::Known { visit, status, revision, moves, previous, expires_at, offered_to }
        };
        if let AppointmentEvent::Booked { visit, .. } = event {
            *self = begun(visit, Status::Booked, None, None);
            return;
        }
        if let AppointmentEvent::Requested { visit, expires_at, waitlist_id, .. } = event {
            *self = begun(visit, Status::Requested, Some(expires_at), waitlist_id);
            return;
        }
        let Self::Known { visit, status, revision, moves, previous, expires_at, .. } = self else {
            return;
        };
        match event {
            AppointmentEvent::Booked { .. } | AppointmentEvent::Requested { .. } => {}
            AppointmentEvent::Rescheduled { visit: now, previous: before, revision: new } => {
                // No request outlives the start of its visit.
                *expires_at = expires_at.map(|until| until.min(now.slot.start()));
                (**visit, *previous, *revision) = (now, Some(before), new);
                *moves += 1;
            }
            AppointmentEvent::Reinstated { visit: again, revision: new } => {
                (**visit, *status, *revision) = (again, Status::Booked, new);
            }
            AppointmentEvent::Confirmed {} => *status = Status::Booked,
            AppointmentEvent::Cancelled {} => *status = Status::Cancelled,
            AppointmentEvent::Declined {} => *status = Status::Declined,
            AppointmentEvent::Expired {} => *status = Status::Expired,
            AppointmentEvent::Completed {} => *status = Status::Completed,
            AppointmentEvent::MissedByGuest {} => *status = Status::NoShow,
        }
        if *status != Status::Requested {
            *expires_at = None;
        }
    }
}
