use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::StaffId;

/// How somebody was found for a guest who took anybody: the free one with the fewest booked minutes in
/// that local week, and of those the first by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaffChoice {
    /// When the local week of the visit begins.
    pub week: Timestamp,
    /// Who was looked at, in that order. The last was free and is the one; the others were not.
    pub considered: Vec<Candidate>,
}

/// Somebody who offers the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Candidate {
    /// Of visits that begin in that local week, without buffers.
    pub booked_minutes: i64,
    /// Who.
    pub staff_id: StaffId,
}
