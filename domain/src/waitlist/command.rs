use jiff::Timestamp;

use super::{Offer, Wish};

/// What can be asked of an entry of the waitlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitlistCommand {
    /// Wait for a time to become free.
    Join {
        /// What for.
        wish: Wish,
        /// The present.
        now: Timestamp,
    },
    /// A time has become free and is kept for the guest.
    Offer(Offer),
    /// The guest took what was offered.
    Accept,
    /// The guest, or the business, gave up what was offered.
    Decline,
    /// What was offered was not taken in time.
    Lapse,
    /// Wait no longer.
    Leave,
    /// Nothing became free in time.
    Expire {
        /// The present.
        now: Timestamp,
    },
}
