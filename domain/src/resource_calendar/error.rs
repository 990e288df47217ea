use super::Holder;

/// Why a resource was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceCalendarError {
    /// Less of it is free than is asked for.
    #[error("the resource is in use")]
    InUse {
        /// One of those who use it then; `None` when more is asked for than there is.
        by: Option<Holder>,
    },
}
