use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    CustomerId, Money, ResourceId, SeriesId, ServiceId, StaffId, TimeSlot,
    resource_calendar::{Holder, Use},
    staff_calendar::Class,
};

/// All that is agreed about one visit; later changes of service or policy do not touch it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Who serves the guest; of several services, the first.
    pub staff_id: StaffId,
    /// What is done; of several services, the first.
    pub service_id: ServiceId,
    /// For whom.
    pub customer_id: CustomerId,
    /// When, without buffers, from the start of the first service to the end of the last.
    pub slot: TimeSlot,
    /// Minutes the calendar keeps free in front.
    pub buffer_before_minutes: u32,
    /// Minutes the calendar keeps free behind; of several services, behind the last.
    pub buffer_after_minutes: u32,
    /// For how much, all in all.
    pub price: Money,
    /// How long before the start reminders were to go out when it was booked, in elapsed minutes.
    pub reminder_offsets_minutes: Vec<u32>,
    /// How far the clocks of the business were to be ahead of UTC at the start, in seconds, by the rules
    /// known when the time was agreed: the local time that was told. Absent in visits of earlier builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_seconds: Option<i32>,
    /// Who does what when, one after the other; empty for one service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// What is used besides people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Used>,
    /// The seats, when it is a class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// How many come: durations and prices are for all of them.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub subjects: u32,
    /// Which one it was of those that were booked together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<InSeries>,
}

/// A visit's place in its series, as it was booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InSeries {
    /// Of which series.
    pub series_id: SeriesId,
    /// Counted from one.
    pub number: u32,
    /// Of so many.
    pub of: u32,
}

/// One service of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Who does it.
    pub staff_id: StaffId,
    /// What.
    pub service_id: ServiceId,
    /// When, without buffers.
    pub slot: TimeSlot,
    /// Minutes kept free in front.
    pub buffer_before_minutes: u32,
    /// Minutes kept free behind.
    pub buffer_after_minutes: u32,
    /// For how much.
    pub price: Money,
}

/// A resource that a visit uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Which.
    pub resource_id: ResourceId,
    /// Of which kind it was.
    pub kind: String,
    /// How much of it.
    pub quantity: u32,
    /// When, with buffers.
    pub slot: TimeSlot,
}

/// What a visit keeps of the calendar of one staff member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Whose.
    pub staff_id: StaffId,
    /// From the start of the first service that they do to the end of the last.
    pub slot: TimeSlot,
    /// Minutes kept free in front.
    pub buffer_before_minutes: u32,
    /// Minutes kept free behind.
    pub buffer_after_minutes: u32,
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
const fn is_one(subjects: &u32) -> bool {
    *subjects == 1
}

impl Visit {
    /// Until when its guest may call it off, where the business asks for that much notice.
    #[must_use]
    pub fn cancel_deadline(&self, notice_minutes: u32) -> Timestamp {
        let notice = SignedDuration::from_mins(notice_minutes.into());
        self.slot.start().checked_sub(notice).unwrap_or(Timestamp::MIN)
    }

    /// Who does what when, also when it is one service.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        if !self.parts.is_empty() {
            return self.parts.clone();
        }
        vec![Part {
            staff_id: self.staff_id,
            service_id: self.service_id,
            slot: self.slot,
            buffer_before_minutes: self.buffer_before_minutes,
            buffer_after_minutes: self.buffer_after_minutes,
            price: self.price,
        }]
    }

    /// What it keeps of calendars, once for each staff member: whoever serves twice is kept for the
    /// time between.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        let mut all: Vec<Held> = Vec::with_capacity(1);
        for part in self.parts() {
            match all.iter_mut().find(|held| held.staff_id == part.staff_id) {
                Some(held) => *held = held.until(&part),
                None => all.push(Held::of(&part)),
            }
        }
        all
    }

    /// For what it uses resources: a class shares them.
    #[must_use]
    pub fn holder(&self, appointment_id: crate::AppointmentId) -> Holder {
        self.class.map_or(Holder::Visit(appointment_id), |class| Holder::Session(class.session_id))
    }
}

impl Used {
    /// As the resource's calendar keeps it.
    #[must_use]
    pub const fn usage(&self) -> Use {
        Use { slot: self.slot, quantity: self.quantity }
    }
}

impl Held {
    /// For one service.
    #[must_use]
    pub const fn of(part: &Part) -> Self {
        Self {
            staff_id: part.staff_id,
            slot: part.slot,
            buffer_before_minutes: part.buffer_before_minutes,
            buffer_after_minutes: part.buffer_after_minutes,
        }
    }

    /// And on to the end of a later one.
    #[must_use]
    pub fn until(self, part: &Part) -> Self {
        let slot = TimeSlot::try_new(self.slot.start(), part.slot.end()).unwrap_or(self.slot);
        Self { slot, buffer_after_minutes: part.buffer_after_minutes, ..self }
    }

    /// With its buffers.
    #[must_use]
    pub fn padded(&self) -> TimeSlot {
        self.slot.padded(self.buffer_before_minutes, self.buffer_after_minutes)
    }
}
