//! `apptremind doctor --time-zones`: what it says to people.

use std::fmt::Write as _;

use projections::time_zones::Impact;

/// A table of the visits that move, and the counts.
pub(crate) fn in_words(impact: &Impact) -> String {
    let mut words = String::new();
    // Writing to a string cannot fail.
    if !impact.appointments.is_empty() {
        let _ = writeln!(
            words,
            "{:<37} {:<36} {:<22} {:<16} {:<16}",
            "APPOINTMENT", "BUSINESS", "ZONE", "AGREED", "NOW AT"
        );
    }
    for moved in &impact.appointments {
        let (agreed, now) =
            (moved.agreed.strftime("%Y-%m-%d %H:%M"), moved.now.strftime("%Y-%m-%d %H:%M"));
        let _ = writeln!(
            words,
            "{:<37} {:<36} {:<22} {:<16} {:<16}",
            moved.appointment_id,
            moved.business_id,
            moved.timezone,
            agreed.to_string(),
            now.to_string()
        );
    }
    let more = impact.moved.saturating_sub(impact.appointments.len() as u64);
    if more > 0 {
        let _ = writeln!(words, "and {more} more");
    }
    let _ = write!(
        words,
        "time-zone data {}: of {} visits to come {} move, {} were agreed by a build that kept no local time, \
         {} are in a zone that this build does not know",
        impact.tzdb.unwrap_or("of unknown version"),
        impact.visits,
        impact.moved,
        impact.unknown,
        impact.unknown_zone
    );
    words
}
