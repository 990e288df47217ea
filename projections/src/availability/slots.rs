use domain::{
    BusinessId, ServiceId, StaffId, TimeSlot,
    availability::{self, Rules},
    business::BusinessState,
    staff_schedule::Hours,
};
use jiff::Timestamp;
use streams::Cursor;

use super::Availability;
use crate::ReadError;

/// Which slots are asked for.
#[derive(Debug, Clone)]
pub struct SlotQuery {
    /// Where.
    pub business_id: BusinessId,
    /// For what.
    pub service_id: ServiceId,
    /// With whom; `None` for everybody who offers it.
    pub staff_id: Option<StaffId>,
    /// The first instant of the range.
    pub from: Timestamp,
    /// The first instant after the range.
    pub until: Timestamp,
    /// The present.
    pub now: Timestamp,
}

/// A start that can be booked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfferedSlot {
    /// When.
    pub slot: TimeSlot,
    /// With whom.
    pub staff_id: StaffId,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct SlotList {
    /// By start, then by staff member.
    pub slots: Vec<OfferedSlot>,
    /// How far the model had come.
    pub position: Cursor,
    /// False when there are more than an answer can hold: ask for less.
    pub complete: bool,
}

/// The most slots of one answer.
const MOST: usize = 20_000;

impl Availability {
    /// The bookable slots of a business that the caller has read already.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn slots(
        &self,
        state: &BusinessState,
        position: Cursor,
        query: &SlotQuery,
    ) -> Result<SlotList, ReadError> {
        let Some(service) = state.services.get(&query.service_id) else {
            return Ok(SlotList { slots: vec![], position, complete: true });
        };
        let asked = |id: &StaffId| query.staff_id.is_none_or(|wanted| wanted == *id);
        let staff: Vec<StaffId> = state.staff_for(query.service_id).filter(asked).collect();
        let closed = Hours::default();
        let profile = &state.profile.value;
        let rules = |hours| Rules {
            zone: &profile.timezone,
            policy: &profile.booking_policy,
            service: &service.value,
            hours,
        };
        let span = availability::deciding_range(&rules(&closed), query.from, query.until);
        let hours = self.hours(query.business_id, &staff).await?;
        let busy = self.busy(query.business_id, &staff, &span).await?;
        let mut slots = Vec::new();
        for staff_id in staff {
            let Some(hours) = hours.get(&staff_id) else { continue };
            let occupied = busy.get(&staff_id).map_or(&[][..], Vec::as_slice);
            let found = availability::slots(
                &rules(&hours.hours),
                occupied,
                query.from,
                query.until,
                query.now,
            );
            slots.extend(found.into_iter().map(|slot| OfferedSlot { slot, staff_id }));
            if slots.len() > MOST {
                return Ok(SlotList { slots: vec![], position, complete: false });
            }
        }
        slots.sort_unstable();
        Ok(SlotList { slots, position, complete: true })
    }
}
