use serde::{Deserialize, Serialize};

use super::{Offer, Wish};
use crate::pure::event_types;

/// Stored for ever: add, never change. Who waits is personal and kept outside the events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WaitlistEvent {
    /// A guest waits.
    Joined {
        /// What for.
        wish: Wish,
    },
    /// A time has become free and is kept for the guest.
    Offered {
        /// Which.
        offer: Offer,
    },
    /// The guest took it.
    Accepted {},
    /// The guest, or the business, gave it up.
    Declined {},
    /// It was not taken in time.
    Lapsed {},
    /// The guest waits no longer.
    Left {},
    /// Nothing became free in time.
    Expired {},
}

event_types!(WaitlistEvent {
    Joined => "booking.waitlist.joined.v1",
    Offered => "booking.waitlist.offered.v1",
    Accepted => "booking.waitlist.accepted.v1",
    Declined => "booking.waitlist.declined.v1",
    Lapsed => "booking.waitlist.lapsed.v1",
    Left => "booking.waitlist.left.v1",
    Expired => "booking.waitlist.expired.v1",
});
