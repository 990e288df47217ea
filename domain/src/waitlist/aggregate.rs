use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{WaitlistCommand, WaitlistError, WaitlistEvent};
use crate::{AppointmentId, Decide, ServiceId, StaffId, TimeSlot, pure::pure_aggregate};

/// What a guest waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// What is to be done.
    pub service_id: ServiceId,
    /// By whom; absent for anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staff_id: Option<StaffId>,
    /// In which stretch the visit is to begin.
    pub range: TimeSlot,
}

/// A time that is kept for a guest who waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The request that keeps it.
    pub appointment_id: AppointmentId,
    /// With whom.
    pub staff_id: StaffId,
    /// When, without buffers.
    pub slot: TimeSlot,
    /// Until when it can be taken.
    pub expires_at: Timestamp,
}

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryStatus {
    /// Nothing was free yet.
    Waiting,
    /// A time is kept for the guest.
    Offered,
    /// The guest took it.
    Accepted,
    /// The guest, or the business, gave it up.
    Declined,
    /// It was not taken in time.
    Lapsed,
    /// The guest waits no longer.
    Left,
    /// Nothing became free in time.
    Expired,
}

impl EntryStatus {
    /// The name in the API and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Offered => "offered",
            Self::Accepted => "accepted",
            Self::Declined => "declined",
            Self::Lapsed => "lapsed",
            Self::Left => "left",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for EntryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One guest who waits for one service. Each gets one offer at most: whoever does not take it makes
/// way for the next, and may wait again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WaitlistEntry {
    /// Nobody waits under this id.
    #[default]
    Unknown,
    /// Joined, and perhaps ended since.
    Known {
        /// What for.
        wish: Wish,
        /// Where it is.
        status: EntryStatus,
        /// What is or was offered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offer: Option<Offer>,
    },
}

pure_aggregate!(WaitlistEntry, "waitlist_entry", WaitlistCommand, WaitlistEvent, WaitlistError);

impl WaitlistEntry {
    /// What for and where it is, once joined.
    #[must_use]
    pub const fn known(&self) -> Option<(&Wish, EntryStatus)> {
        match self {
            Self::Unknown => None,
            Self::Known { wish, status, .. } => Some((wish, *status)),
        }
    }

    /// What is or was offered.
    #[must_use]
    pub const fn offer(&self) -> Option<&Offer> {
        match self {
            Self::Unknown => None,
            Self::Known { offer, .. } => offer.as_ref(),
        }
    }

    /// From one state into another; what is there already stays.
    fn step(
        &self,
        from: EntryStatus,
        to: EntryStatus,
        event: WaitlistEvent,
    ) -> Result<Vec<WaitlistEvent>, WaitlistError> {
        match self.known() {
            None => Err(WaitlistError::NotFound),
            Some((_, status)) if status == to => Ok(vec![]),
            Some((_, status)) if status == from => Ok(vec![event]),
            Some((_, status)) => Err(WaitlistError::WrongState { status }),
        }
    }

    fn join(&self, wish: Wish, now: Timestamp) -> Result<Vec<WaitlistEvent>, WaitlistError> {
        match self.known() {
            Some((there, EntryStatus::Waiting)) if *there == wish => Ok(vec![]),
            Some(_) => Err(WaitlistError::AlreadyJoined),
            None if wish.range.end() <= now => Err(WaitlistError::RangeOver),
            None => Ok(vec![WaitlistEvent::Joined { wish }]),
        }
    }

    fn offered(&self, offer: Offer) -> Result<Vec<WaitlistEvent>, WaitlistError> {
        let (wish, status) = self.known().ok_or(WaitlistError::NotFound)?;
        if status != EntryStatus::Waiting {
            return Err(WaitlistError::WrongState { status });
        }
        let start = offer.slot.start();
        let in_range = wish.range.start() <= start && start < wish.range.end();
        if !in_range || wish.staff_id.is_some_and(|wanted| wanted != offer.staff_id) {
            return Err(WaitlistError::Unwanted);
        }
        Ok(vec![WaitlistEvent::Offered { offer }])
    }

    fn expire(&self, now: Timestamp) -> Result<Vec<WaitlistEvent>, WaitlistError> {
        match self.known() {
            Some((wish, status)) if now < wish.range.end() => {
                Err(WaitlistError::WrongState { status })
            }
            _ => self.step(EntryStatus::Waiting, EntryStatus::Expired, WaitlistEvent::Expired {}),
        }
    }
}

impl Decide for WaitlistEntry {
    fn decide(&self, command: WaitlistCommand) -> Result<Vec<WaitlistEvent>, WaitlistError> {
        use EntryStatus::{Accepted, Declined, Lapsed, Left, Offered, Waiting};
        match command {
            WaitlistCommand::Join { wish, now } => self.join(wish, now),
            WaitlistCommand::Offer(offer) => self.offered(offer),
            WaitlistCommand::Accept => self.step(Offered, Accepted, WaitlistEvent::Accepted {}),
            WaitlistCommand::Decline => self.step(Offered, Declined, WaitlistEvent::Declined {}),
            WaitlistCommand::Lapse => self.step(Offered, Lapsed, WaitlistEvent::Lapsed {}),
            WaitlistCommand::Leave => self.step(Waiting, Left, WaitlistEvent::Left {}),
            WaitlistCommand::Expire { now } => self.expire(now),
        }
    }

    fn evolve(&mut self, event: Self::Event) {
        if let WaitlistEvent::Joined { wish } = event {
            *self = Self::Known { wish, status: EntryStatus::Waiting, offer: None };
            return;
        }
        let Self::Known { status, offer, .. } = self else { return };
        *status = match event {
            WaitlistEvent::Joined { .. } => EntryStatus::Waiting,
            WaitlistEvent::Offered { offer: new } => {
                *offer = Some(new);
                EntryStatus::Offered
            }
            WaitlistEvent::Accepted {} => EntryStatus::Accepted,
            WaitlistEvent::Declined {} => EntryStatus::Declined,
            WaitlistEvent::Lapsed {} => EntryStatus::Lapsed,
            WaitlistEvent::Left {} => EntryStatus::Left,
            WaitlistEvent::Expired {} => EntryStatus::Expired,
        };
    }
}
