//! The edge: the only place that reads the clock and makes ids.

use jiff::Timestamp;
use uuid::Uuid;

/// The present, in whole microseconds, which is what Postgres keeps.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// A new id, larger than those before it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}
