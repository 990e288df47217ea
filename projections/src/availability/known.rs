use std::sync::Arc;

use domain::{
    BusinessId, StaffId,
    business::{Business, BusinessState},
    staff_schedule::Hours,
};
use quick_cache::{Weighter, sync::Cache};

use super::Place;
use crate::ReadError;

/// What was read before, so that Postgres sends and we parse only what has changed. Each comes with
/// the stamp of its row, which is another after every change.
#[derive(Debug)]
pub(super) struct Known {
    places: Cache<Place, BusinessId>,
    businesses: Cache<BusinessId, Parsed<BusinessState>, ByLength>,
    hours: Cache<StaffId, Parsed<Hours>, ByLength>,
}

/// A row that was parsed.
#[derive(Debug)]
pub(super) struct Parsed<T> {
    /// Table and transaction that the row comes from.
    pub(super) stamp: i64,
    pub(super) value: Arc<T>,
    length: usize,
}

impl<T> Clone for Parsed<T> {
    fn clone(&self) -> Self {
        Self { stamp: self.stamp, value: Arc::clone(&self.value), length: self.length }
    }
}

#[derive(Debug, Clone, Copy)]
struct ByLength;

impl<K, T> Weighter<K, Parsed<T>> for ByLength {
    fn weight(&self, _: &K, parsed: &Parsed<T>) -> u64 {
        // About what it takes once parsed.
        2 * parsed.length as u64 + 256
    }
}

const MOST_PLACES: usize = 20_000;
const MOST_BYTES: u64 = 8 * 1024 * 1024;
const LIKELY_BYTES: usize = 4 * 1024;

impl Known {
    pub(super) fn new() -> Self {
        let likely = usize::try_from(MOST_BYTES).unwrap_or(LIKELY_BYTES) / LIKELY_BYTES;
        Self {
            places: Cache::new(MOST_PLACES),
            businesses: Cache::with_weighter(likely, MOST_BYTES, ByLength),
            hours: Cache::with_weighter(likely, MOST_BYTES, ByLength),
        }
    }

    /// The business that was here last; the statement finds out whether it still is.
    pub(super) fn business(&self, place: &Place) -> Option<(BusinessId, Parsed<BusinessState>)> {
        let id = match place {
            Place::Business(id) => *id,
            Place::Handle(_) | Place::Service(_) | Place::Staff(_) => self.places.get(place)?,
        };
        Some((id, self.businesses.get(&id)?))
    }

    pub(super) fn hours(&self, staff_id: StaffId) -> Option<Parsed<Hours>> {
        self.hours.get(&staff_id)
    }

    pub(super) fn learn_place(&self, place: &Place, business_id: BusinessId) {
        if !matches!(place, Place::Business(_)) && self.places.get(place) != Some(business_id) {
            self.places.insert(place.clone(), business_id);
        }
    }

    /// `None` when nobody is registered.
    pub(super) fn learn_business(
        &self,
        business_id: BusinessId,
        stamp: i64,
        json: &str,
    ) -> Result<Option<Arc<BusinessState>>, ReadError> {
        let Business::Registered(state) = serde_json::from_str(json)? else { return Ok(None) };
        let value: Arc<BusinessState> = Arc::from(state);
        let parsed = Parsed { stamp, value: Arc::clone(&value), length: json.len() };
        self.businesses.insert(business_id, parsed);
        Ok(Some(value))
    }

    pub(super) fn learn_hours(
        &self,
        staff_id: StaffId,
        stamp: i64,
        json: &str,
    ) -> Result<Arc<Hours>, ReadError> {
        let value: Arc<Hours> = Arc::new(serde_json::from_str(json)?);
        let parsed = Parsed { stamp, value: Arc::clone(&value), length: json.len() };
        self.hours.insert(staff_id, parsed);
        Ok(value)
    }
}
