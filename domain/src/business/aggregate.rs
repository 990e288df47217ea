use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    BusinessCommand, BusinessError, BusinessEvent, Closure, Closures, Limits, Profile,
    ProfileChange, ReminderPolicy, Resources, Service, StaffMember,
};
use crate::{ClosureId, Decide, Fields, ServiceId, StaffId, pure::pure_aggregate};

pub(super) const MAX_SERVICES: usize = 500;
pub(super) const MAX_STAFF: usize = 500;
const MAX_CLOSURES: usize = 366;
const MAX_RESOURCES: usize = 500;

/// A resource and the sequence of its own last event, which is its `ETag`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// Sequence of the last event about this resource.
    pub version: u64,
    /// The resource.
    #[serde(flatten)]
    pub value: T,
}

/// The tenant: what it offers and who works there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Business {
    /// Nobody registered under this id.
    #[default]
    Unregistered,
    /// Open.
    Registered(Box<BusinessState>),
}

/// What a registered business consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusinessState {
    /// Name, zone, policies.
    pub profile: Versioned<Profile>,
    /// What is offered now.
    pub services: BTreeMap<ServiceId, Versioned<Service>>,
    /// Who is on the roster now.
    pub staff: BTreeMap<StaffId, Versioned<StaffMember>>,
    /// When it is closed. Left out when never, as it was before there were closures: a rebuilt
    /// business is then the one that was kept.
    #[serde(default, skip_serializing_if = "Closures::is_empty")]
    pub closures: Closures,
    /// What visits need besides people. Left out when there is nothing, for the same reason.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    sequence: u64,
}

impl BusinessState {
    /// How guests of the service are reminded: as it says itself, else as the business does.
    #[must_use]
    pub fn reminders(&self, service_id: ServiceId) -> ReminderPolicy {
        let profile = &self.profile.value;
        let service = self.services.get(&service_id);
        let own = service.and_then(|service| service.value.reminders.clone()).unwrap_or_default();
        let of_all = || profile.reminder_offsets_minutes.clone();
        ReminderPolicy {
            offsets_minutes: own.offsets_minutes.unwrap_or_else(of_all),
            channels: own.channels.unwrap_or_else(|| profile.reminder_channels.clone()),
            quiet_hours: profile.quiet_hours,
        }
    }

    /// Everybody who can be booked for the service now, in the order of their ids: whoever works,
    /// is named by the service, names it themselves and has every skill that it asks for. A list
    /// that is absent names everybody.
    pub fn staff_for(&self, service_id: ServiceId) -> impl Iterator<Item = StaffId> + '_ {
        let service = self.services.get(&service_id).map(|service| &service.value);
        self.staff.iter().filter_map(move |(staff_id, Versioned { value: member, .. })| {
            let Service { staff_ids, skills, .. } = service?;
            let named = staff_ids.as_ref().is_none_or(|ids| ids.contains(staff_id));
            let offers = member.service_ids.as_ref().is_none_or(|ids| ids.contains(&service_id));
            let able = member.active && named && offers && member.skills.include(skills);
            able.then_some(*staff_id)
        })
    }

    /// The services that a staff member can be booked for now.
    pub fn services_of(&self, staff_id: StaffId) -> impl Iterator<Item = ServiceId> + '_ {
        self.services.keys().copied().filter(move |id| self.staff_for(*id).any(|s| s == staff_id))
    }

    /// Whether any limit is in force for the service with one of these staff members.
    #[must_use]
    pub fn is_limited(
        &self,
        service_id: ServiceId,
        staff_ids: impl IntoIterator<Item = StaffId>,
    ) -> bool {
        let service = self.services.get(&service_id).map(|service| service.value.limits());
        let mut staff = staff_ids.into_iter().filter_map(|id| self.staff.get(&id));
        let limited = |limits: Limits| !limits.is_empty();
        limited(self.profile.value.booking_policy.limits())
            || service.is_some_and(limited)
            || staff.any(|member| limited(member.value.limits()))
    }

    fn apply(&mut self, event: BusinessEvent) {
        self.sequence += 1;
        let version = self.sequence;
        match event {
            BusinessEvent::Registered { profile } | BusinessEvent::ProfileChanged { profile } => {
                self.profile = Versioned { version, value: profile };
            }
            BusinessEvent::ServiceAdded { service_id, service }
            | BusinessEvent::ServiceChanged { service_id, service } => {
                self.services.insert(service_id, Versioned { version, value: service });
            }
            BusinessEvent::ServiceArchived { service_id } => {
                self.services.remove(&service_id);
            }
            BusinessEvent::StaffAdded { staff_id, member }
            | BusinessEvent::StaffChanged { staff_id, member } => {
                self.staff.insert(staff_id, Versioned { version, value: member });
            }
            BusinessEvent::StaffRemoved { staff_id } => {
                self.staff.remove(&staff_id);
            }
            BusinessEvent::ClosureAdded { closure_id, closure } => {
                self.closures.insert(closure_id, closure);
            }
            BusinessEvent::ClosureRemoved { closure_id } => self.closures.remove(closure_id),
            BusinessEvent::ResourceAdded { resource_id, resource }
            | BusinessEvent::ResourceChanged { resource_id, resource } => {
                self.resources.insert(resource_id, Versioned { version, value: resource });
            }
            BusinessEvent::ResourceRemoved { resource_id } => {
                self.resources.remove(&resource_id);
            }
        }
    }

    fn decide(&self, command: BusinessCommand) -> Result<Vec<BusinessEvent>, BusinessError> {
        match command {
            BusinessCommand::Register { .. } => Err(BusinessError::AlreadyRegistered),
            BusinessCommand::ChangeProfile { change, expected } => {
                self.change_profile(change, expected)
            }
            BusinessCommand::AddService { service_id, service } => {
                full(self.services.len(), "services", MAX_SERVICES)?;
                self.check_service(&service, None)?;
                Ok(vec![BusinessEvent::ServiceAdded { service_id, service }])
            }
            BusinessCommand::ChangeService { service_id, change, expected } => {
                let old = self.services.get(&service_id).ok_or(BusinessError::NotFound)?;
                let service = edited(old, expected, |old| old.with(change))?;
                self.check_service(&service, Some(&old.value))?;
                let event = BusinessEvent::ServiceChanged { service_id, service };
                Ok(vec![event])
            }
            BusinessCommand::ArchiveService { service_id } => {
                self.services.get(&service_id).ok_or(BusinessError::NotFound)?;
                Ok(vec![BusinessEvent::ServiceArchived { service_id }])
            }
            BusinessCommand::AddStaff { staff_id, member } => {
                full(self.staff.len(), "staff members", MAX_STAFF)?;
                self.check_staff(&member, None)?;
                Ok(vec![BusinessEvent::StaffAdded { staff_id, member }])
            }
            BusinessCommand::ChangeStaff { staff_id, change, expected } => {
                let old = self.staff.get(&staff_id).ok_or(BusinessError::NotFound)?;
                let member = edited(old, expected, |old| old.with(change))?;
                self.check_staff(&member, Some(&old.value))?;
                Ok(vec![BusinessEvent::StaffChanged { staff_id, member }])
            }
            BusinessCommand::RemoveStaff { staff_id } => {
                self.staff.get(&staff_id).ok_or(BusinessError::NotFound)?;
                Ok(vec![BusinessEvent::StaffRemoved { staff_id }])
            }
            BusinessCommand::AddClosure { closure_id, closure } => {
                self.add_closure(closure_id, closure)
            }
            BusinessCommand::RemoveClosure { closure_id } => {
                self.closures.get(closure_id).ok_or(BusinessError::NotFound)?;
                Ok(vec![BusinessEvent::ClosureRemoved { closure_id }])
            }
            BusinessCommand::AddResource { resource_id, resource } => {
                full(self.resources.len(), "resources", MAX_RESOURCES)?;
                resource.validate().done().map_err(BusinessError::Invalid)?;
                Ok(vec![BusinessEvent::ResourceAdded { resource_id, resource }])
            }
            BusinessCommand::ChangeResource { resource_id, change, expected } => {
                let old = self.resources.get(&resource_id).ok_or(BusinessError::NotFound)?;
                let resource = edited(old, expected, |old| old.with(change))?;
                resource.validate().done().map_err(BusinessError::Invalid)?;
                Ok(vec![BusinessEvent::ResourceChanged { resource_id, resource }])
            }
            BusinessCommand::RemoveResource { resource_id } => {
                self.resources.get(&resource_id).ok_or(BusinessError::NotFound)?;
                Ok(vec![BusinessEvent::ResourceRemoved { resource_id }])
            }
        }
    }

    fn change_profile(
        &self,
        change: ProfileChange,
        expected: Option<u64>,
    ) -> Result<Vec<BusinessEvent>, BusinessError> {
        let profile = edited(&self.profile, expected, |old| old.with(change))?;
        let mut fields = Fields::default();
        profile.validate(&mut fields);
        fields.check(
            self.services.is_empty() || profile.currency == self.profile.value.currency,
            "currency",
            "cannot change while services have prices",
        );
        fields.done().map_err(BusinessError::Invalid)?;
        let changed = profile != self.profile.value;
        Ok(changed.then_some(BusinessEvent::ProfileChanged { profile }).into_iter().collect())
    }

    fn add_closure(
        &self,
        closure_id: ClosureId,
        closure: Closure,
    ) -> Result<Vec<BusinessEvent>, BusinessError> {
        if self.closures.get(closure_id) == Some(&closure) {
            return Ok(vec![]);
        }
        full(self.closures.len(), "closures", MAX_CLOSURES)?;
        closure.validate().done().map_err(BusinessError::Invalid)?;
        Ok(vec![BusinessEvent::ClosureAdded { closure_id, closure }])
    }

    /// What was listed before may stay listed, so that a departure does not block other edits.
    fn check_service(&self, service: &Service, old: Option<&Service>) -> Result<(), BusinessError> {
        let listed = old.and_then(|old| old.staff_ids.as_ref());
        let known =
            |id| self.staff.contains_key(&id) || listed.is_some_and(|listed| listed.contains(&id));
        let needed = |kind: &str| old.is_some_and(|old| old.needs(kind));
        let kept = |kind: &str| {
            self.resources.values().any(|resource| resource.value.is_a(kind)) || needed(kind)
        };
        let mut fields = service.validate(self.profile.value.currency, known);
        super::resource::validate_needs(&service.resources, &mut fields, kept);
        fields.done().map_err(BusinessError::Invalid)
    }

    /// What was listed before may stay listed, so that an archived service does not block edits.
    fn check_staff(
        &self,
        member: &StaffMember,
        old: Option<&StaffMember>,
    ) -> Result<(), BusinessError> {
        let listed = old.and_then(|old| old.service_ids.as_ref());
        let known = |id| {
            self.services.contains_key(&id) || listed.is_some_and(|listed| listed.contains(&id))
        };
        member.validate(known).done().map_err(BusinessError::Invalid)
    }
}

fn edited<T: Clone>(
    old: &Versioned<T>,
    expected: Option<u64>,
    change: impl FnOnce(T) -> T,
) -> Result<T, BusinessError> {
    if expected.is_some_and(|version| version != old.version) {
        return Err(BusinessError::Stale { current: old.version });
    }
    Ok(change(old.value.clone()))
}

fn full(len: usize, what: &'static str, limit: usize) -> Result<(), BusinessError> {
    if len < limit { Ok(()) } else { Err(BusinessError::Full { what, limit }) }
}

pure_aggregate!(Business, "business", BusinessCommand, BusinessEvent, BusinessError);

impl Business {
    /// What the business consists of, once registered.
    #[must_use]
    pub fn registered(&self) -> Option<&BusinessState> {
        match self {
            Self::Unregistered => None,
            Self::Registered(state) => Some(state),
        }
    }
}

impl Decide for Business {
    fn decide(&self, command: BusinessCommand) -> Result<Vec<BusinessEvent>, BusinessError> {
        match (self, command) {
            (Self::Registered(state), command) => state.decide(command),
            (Self::Unregistered, BusinessCommand::Register { profile }) => {
                let mut fields = Fields::default();
                profile.validate(&mut fields);
                fields.done().map_err(BusinessError::Invalid)?;
                Ok(vec![BusinessEvent::Registered { profile }])
            }
            (
                Self::Unregistered,
                BusinessCommand::ChangeProfile { .. }
                | BusinessCommand::AddService { .. }
                | BusinessCommand::ChangeService { .. }
                | BusinessCommand::ArchiveService { .. }
                | BusinessCommand::AddStaff { .. }
                | BusinessCommand::ChangeStaff { .. }
                | BusinessCommand::RemoveStaff { .. }
                | BusinessCommand::AddClosure { .. }
                | BusinessCommand::RemoveClosure { .. }
                | BusinessCommand::AddResource { .. }
                | BusinessCommand::ChangeResource { .. }
                | BusinessCommand::RemoveResource { .. },
            ) => Err(BusinessError::NotFound),
        }
    }

    fn evolve(&mut self, event: Self::Event) {
        match (&mut *self, event) {
            (Self::Registered(state), event) => state.apply(event),
            (Self::Unregistered, BusinessEvent::Registered { profile }) => {
                *self = Self::Registered(Box::new(BusinessState {
                    profile: Versioned { version: 1, value: profile },
                    services: BTreeMap::new(),
                    staff: BTreeMap::new(),
                    closures: Closures::default(),
                    resources: Resources::new(),
                    sequence: 1,
                }));
            }
            // Cannot be decided before registration, so a stored stream never holds it.
            (
                Self::Unregistered,
                BusinessEvent::ProfileChanged { .. }
                | BusinessEvent::ServiceAdded { .. }
                | BusinessEvent::ServiceChanged { .. }
                | BusinessEvent::ServiceArchived { .. }
                | BusinessEvent::StaffAdded { .. }
                | BusinessEvent::StaffChanged { .. }
                | BusinessEvent::StaffRemoved { .. }
                | BusinessEvent::ClosureAdded { .. }
                | BusinessEvent::ClosureRemoved { .. }
                | BusinessEvent::ResourceAdded { .. }
                | BusinessEvent::ResourceChanged { .. }
                | BusinessEvent::ResourceRemoved { .. },
            ) => {}
        }
    }
}
