use crate::AppointmentId;

/// What can be asked of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeriesCommand {
    /// Book all of it. That each time is free is the calendar's rule.
    Book {
        /// By which rule (RFC 5545).
        rule: String,
        /// Its visits, in the order of their starts.
        appointments: Vec<AppointmentId>,
    },
}
