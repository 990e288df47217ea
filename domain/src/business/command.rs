use super::{
    Closure, Profile, ProfileChange, Resource, ResourceChange, Service, ServiceChange, StaffChange,
    StaffMember,
};
use crate::{ClosureId, ResourceId, ServiceId, StaffId};

/// What can be asked of a business. `expected` refuses when that resource is no longer in the
/// version named; `None` takes any.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the resources that the variant names")]
pub enum BusinessCommand {
    /// Open the business.
    Register { profile: Profile },
    /// Change some of the profile.
    ChangeProfile { change: ProfileChange, expected: Option<u64> },
    /// Offer a new service.
    AddService { service_id: ServiceId, service: Service },
    /// Change some of a service.
    ChangeService { service_id: ServiceId, change: ServiceChange, expected: Option<u64> },
    /// Stop offering a service. What is booked stays booked.
    ArchiveService { service_id: ServiceId },
    /// Take somebody on.
    AddStaff { staff_id: StaffId, member: StaffMember },
    /// Change some of a staff member.
    ChangeStaff { staff_id: StaffId, change: StaffChange, expected: Option<u64> },
    /// Take a staff member off the roster. What is booked stays booked.
    RemoveStaff { staff_id: StaffId },
    /// Close on some dates. What is booked on them stays booked.
    AddClosure { closure_id: ClosureId, closure: Closure },
    /// Open on those dates after all.
    RemoveClosure { closure_id: ClosureId },
    /// Have a new resource.
    AddResource { resource_id: ResourceId, resource: Resource },
    /// Change some of a resource. What is booked keeps what it uses.
    ChangeResource { resource_id: ResourceId, change: ResourceChange, expected: Option<u64> },
    /// Have it no longer. What is booked stays booked.
    RemoveResource { resource_id: ResourceId },
}
