use serde::{Deserialize, Serialize};

use super::{Closure, Profile, Resource, Service, StaffMember};
use crate::{ClosureId, ResourceId, ServiceId, StaffId, pure::event_types};

/// Stored for ever: add, never change. Each carries the resource whole, as it is from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the resources that the variant names")]
pub enum BusinessEvent {
    /// The business opened.
    Registered { profile: Profile },
    /// Profile or policy changed.
    ProfileChanged { profile: Profile },
    /// A service is offered.
    ServiceAdded { service_id: ServiceId, service: Service },
    /// A service changed. What is booked keeps what it was booked with.
    ServiceChanged { service_id: ServiceId, service: Service },
    /// A service is no longer offered.
    ServiceArchived { service_id: ServiceId },
    /// Somebody was taken on.
    StaffAdded { staff_id: StaffId, member: StaffMember },
    /// A staff member changed.
    StaffChanged { staff_id: StaffId, member: StaffMember },
    /// Somebody left the roster.
    StaffRemoved { staff_id: StaffId },
    /// The business is closed on some dates.
    ClosureAdded { closure_id: ClosureId, closure: Closure },
    /// It is open on those dates after all.
    ClosureRemoved { closure_id: ClosureId },
    /// There is a new resource.
    ResourceAdded { resource_id: ResourceId, resource: Resource },
    /// A resource changed. What is booked keeps what it uses.
    ResourceChanged { resource_id: ResourceId, resource: Resource },
    /// It is there no longer.
    ResourceRemoved { resource_id: ResourceId },
}

event_types!(BusinessEvent {
    Registered => "business.registered.v1",
    ProfileChanged => "business.updated.v1",
    ServiceAdded => "business.service.created.v1",
    ServiceChanged => "business.service.updated.v1",
    ServiceArchived => "business.service.archived.v1",
    StaffAdded => "business.staff.created.v1",
    StaffChanged => "business.staff.updated.v1",
    StaffRemoved => "business.staff.removed.v1",
    ClosureAdded => "business.closure.added.v1",
    ClosureRemoved => "business.closure.removed.v1",
    ResourceAdded => "business.resource.created.v1",
    ResourceChanged => "business.resource.updated.v1",
    ResourceRemoved => "business.resource.removed.v1",
});
