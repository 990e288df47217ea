use domain::{BusinessId, ServiceId, StaffId};

/// How a guest names a business.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// By its id.
    Business(BusinessId),
    /// By its handle, in any case.
    Handle(String),
    /// By something that it offers.
    Service(ServiceId),
    /// By somebody who works there.
    Staff(StaffId),
}

impl Place {
    /// Its key in the directory; an id needs none.
    pub(super) fn key(&self) -> Option<String> {
        match self {
            Self::Business(_) => None,
            Self::Handle(handle) => Some(format!("handle:{}", handle.to_ascii_lowercase())),
            Self::Service(id) => Some(id.to_string()),
            Self::Staff(id) => Some(id.to_string()),
        }
    }

    pub(super) const fn id(&self) -> Option<BusinessId> {
        match self {
            Self::Business(id) => Some(*id),
            Self::Handle(_) | Self::Service(_) | Self::Staff(_) => None,
        }
    }

    /// Postgres has no text with NUL, so no business has such a handle.
    pub(super) fn can_be(&self) -> bool {
        !matches!(self, Self::Handle(handle) if handle.contains('\0'))
    }
}
