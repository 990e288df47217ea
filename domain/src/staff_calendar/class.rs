use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Busy, BusyKind};
use crate::{AppointmentId, ServiceId, SessionId, StaffId};

/// Seats of one meeting of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Class {
    /// Which meeting.
    pub session_id: SessionId,
    /// Of which service: only its guests share the time.
    pub service_id: ServiceId,
    /// So many of them.
    pub seats: u32,
    /// Of so many in all.
    pub capacity: u32,
}

const NAMESPACE: Uuid = Uuid::from_u128(0x2b8f_1c64_7a05_4d4e_9f53_8e0a_41d7_60b2);

impl Class {
    /// The id of the meeting that follows from what, with whom and when, so that all who come to it
    /// mean the same.
    #[must_use]
    pub fn session(staff_id: StaffId, service_id: ServiceId, start: Timestamp) -> SessionId {
        let name = format!("{staff_id}/{service_id}/{start}");
        SessionId::new(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }
}

/// A meeting that somebody has a seat in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) busy: Busy,
    pub(super) seats: BTreeMap<AppointmentId, u32>,
}

impl Session {
    /// Nobody has a seat yet.
    pub(super) const fn at(busy: Busy) -> Self {
        Self { busy, seats: BTreeMap::new() }
    }

    /// As the neighbours see it: one stretch, however many come.
    pub(super) fn busy(&self) -> Busy {
        let seats = self.taken();
        match self.busy.kind {
            BusyKind::Class(class) => {
                Busy { kind: BusyKind::Class(Class { seats, ..class }), ..self.busy }
            }
            BusyKind::Visit(_) | BusyKind::TimeOff(_) => self.busy,
        }
    }

    pub(super) fn taken(&self) -> u32 {
        self.seats.values().sum()
    }
}
