use axum::{Json, extract::State, http::StatusCode};
use domain::{
    ServiceId, StaffId,
    business::{
        BusinessCommand, BusinessState, ResourceNeed, Service, ServiceChange, ServiceReminders,
    },
    notification::Channel,
};
use serde::{Deserialize, Serialize};
use streams::clock;
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::{Freshness, Items, Price, Tagged, Written},
    extract::{self, Id, IfMatch, Member, present},
    intake::{self, IntakeBody},
    shape::{maybe_object, maybe_objects, object, objects, present_object},
};

/// A service.
#[derive(Serialize, ToSchema)]
#[schema(as = Service)]
pub(crate) struct ServiceAnswer {
    #[schema(value_type = String)]
    pub(super) id: ServiceId,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) duration_minutes: u32,
    pub(super) price: Price,
    pub(super) buffer_before_minutes: u32,
    pub(super) buffer_after_minutes: u32,
    /// Who offers it; null means everybody.
    #[schema(value_type = Option<Vec<String>>)]
    pub(super) staff_ids: Option<Vec<StaffId>>,
    /// What whoever does it must be able to do: all of it.
    pub(super) skills: Vec<String>,
    /// How long before its start a visit must be booked; null means as the policy says.
    pub(super) min_notice_minutes: Option<u32>,
    /// How many local days ahead can be booked; null means as the policy says.
    pub(super) window_days: Option<u32>,
    /// Whether the business wants to agree to each visit that guests ask for.
    pub(super) requires_approval: bool,
    /// So many visits may begin in one local day; null means no limit.
    pub(super) max_per_day: Option<u32>,
    /// So many visits may begin in one local week, from Monday to Sunday; null means no limit.
    pub(super) max_per_week: Option<u32>,
    /// So many guests share one visit: a class, when there is more than one seat.
    pub(super) capacity: u32,
    /// What a visit needs besides people.
    pub(super) resources: Vec<NeedShape>,
    /// What guests are asked when they book it, in the order in which it is shown.
    pub(super) intake_fields: Vec<IntakeBody>,
    /// When its guests are reminded; null means as the business says.
    pub(super) reminders: Option<RemindersShape>,
}

/// What a service says of reminders in place of the business.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"offsets_minutes": [2880, 120], "channels": ["sms"]}))]
pub(crate) struct RemindersShape {
    /// How long before the start, in elapsed minutes; null means as the business says.
    pub(super) offsets_minutes: Option<Vec<u32>>,
    /// `email`, `sms`; null means as the business says.
    #[schema(value_type = Option<Vec<String>>)]
    pub(super) channels: Option<Vec<Channel>>,
}

impl From<ServiceReminders> for RemindersShape {
    fn from(ServiceReminders { offsets_minutes, channels }: ServiceReminders) -> Self {
        Self { offsets_minutes, channels }
    }
}

impl From<RemindersShape> for ServiceReminders {
    fn from(RemindersShape { offsets_minutes, channels }: RemindersShape) -> Self {
        Self { offsets_minutes, channels }
    }
}

/// So much of a kind of resource.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"kind": "room", "quantity": 1}))]
pub(crate) struct NeedShape {
    /// The kind of a resource of the business.
    pub(super) kind: String,
    /// 1 to 1000; 1 when absent.
    #[serde(default = "one_of_it")]
    pub(super) quantity: u32,
}

const fn one_of_it() -> u32 {
    1
}

impl From<NeedShape> for ResourceNeed {
    fn from(NeedShape { kind, quantity }: NeedShape) -> Self {
        Self { kind, quantity }
    }
}

fn needs(shapes: Vec<NeedShape>) -> Vec<ResourceNeed> {
    shapes.into_iter().map(Into::into).collect()
}

impl ServiceAnswer {
    pub(super) fn of(id: ServiceId, service: &Service) -> Self {
        Self {
            id,
            name: service.name.clone(),
            description: service.description.clone(),
            duration_minutes: service.duration_minutes,
            price: service.price.into(),
            buffer_before_minutes: service.buffer_before_minutes,
            buffer_after_minutes: service.buffer_after_minutes,
            staff_ids: service.staff_ids.clone(),
            skills: service.skills.clone().into(),
            min_notice_minutes: service.min_notice_minutes,
            window_days: service.window_days,
            requires_approval: service.requires_approval,
            max_per_day: service.max_per_day,
            max_per_week: service.max_per_week,
            capacity: service.capacity,
            resources: service
                .resources
                .iter()
                .map(|ResourceNeed { kind, quantity }| NeedShape {
                    kind: kind.clone(),
                    quantity: *quantity,
                })
                .collect(),
            intake_fields: intake::shown(&service.intake_fields),
            reminders: service.reminders.clone().map(Into::into),
        }
    }
}

/// A new service.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "Haircut", "duration_minutes": 45, "price": {"amount": 4500, "currency": "USD"},
    "buffer_after_minutes": 10, "skills": ["cutting"], "min_notice_minutes": 120,
    "resources": [{"kind": "chair", "quantity": 1}],
    "intake_fields": [{"key": "allergies", "label": "Any allergies?", "kind": "text", "required": true}],
}))]
pub(crate) struct ServiceRequest {
    name: String,
    description: Option<String>,
    /// 5 to 1440.
    duration_minutes: u32,
    #[serde(deserialize_with = "object")]
    price: Price,
    #[serde(default)]
    buffer_before_minutes: u32,
    #[serde(default)]
    buffer_after_minutes: u32,
    #[schema(value_type = Option<Vec<String>>)]
    staff_ids: Option<Vec<StaffId>>,
    /// What whoever does it must be able to do: at most 50. Capital and small letters are the same.
    #[serde(default)]
    skills: Vec<String>,
    /// In place of the policy's, at most a year.
    min_notice_minutes: Option<u32>,
    /// In place of the policy's, 1 to 730.
    window_days: Option<u32>,
    /// What guests book is only asked for then, until the business confirms it.
    #[serde(default)]
    requires_approval: bool,
    /// So many visits may begin in one local day.
    max_per_day: Option<u32>,
    /// So many visits may begin in one local week, from Monday to Sunday.
    max_per_week: Option<u32>,
    /// So many guests share one visit, 1 to 1000; 1 when absent.
    capacity: Option<u32>,
    /// What a visit needs besides people, from its start to its end with buffers: at most 10 kinds.
    #[serde(default, deserialize_with = "objects")]
    resources: Vec<NeedShape>,
    /// What guests are asked when they book it: at most 20.
    #[serde(default, deserialize_with = "objects")]
    intake_fields: Vec<IntakeBody>,
    /// When its guests are reminded, in place of what the business says.
    #[serde(default, deserialize_with = "maybe_object")]
    reminders: Option<RemindersShape>,
}

/// What is to change; absent fields stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"duration_minutes": 60, "requires_approval": true}))]
pub(crate) struct ServicePatch {
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    duration_minutes: Option<u32>,
    #[serde(default, deserialize_with = "maybe_object")]
    price: Option<Price>,
    buffer_before_minutes: Option<u32>,
    buffer_after_minutes: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    staff_ids: Option<Option<Vec<StaffId>>>,
    skills: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    min_notice_minutes: Option<Option<u32>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    window_days: Option<Option<u32>>,
    /// What is booked or asked for already stays so.
    requires_approval: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    max_per_day: Option<Option<u32>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    max_per_week: Option<Option<u32>>,
    capacity: Option<u32>,
    #[serde(default, deserialize_with = "maybe_objects")]
    resources: Option<Vec<NeedShape>>,
    /// All of them, in place of those there were.
    #[serde(default, deserialize_with = "maybe_objects")]
    intake_fields: Option<Vec<IntakeBody>>,
    /// All of it, in place of what there was; null means as the business says.
    #[serde(default, deserialize_with = "present_object")]
    #[schema(value_type = Option<RemindersShape>)]
    reminders: Option<Option<RemindersShape>>,
}

fn one(state: &BusinessState, id: ServiceId) -> Result<(u64, ServiceAnswer), Problem> {
    let service = state.services.get(&id).ok_or_else(Problem::not_found)?;
    Ok((service.version, ServiceAnswer::of(id, &service.value)))
}

pub(super) fn all(state: &BusinessState) -> Vec<ServiceAnswer> {
    state.services.iter().map(|(id, service)| ServiceAnswer::of(*id, &service.value)).collect()
}

/// The services on offer.
#[utoipa::path(get, path = "/api/v1/business/services", tag = "business",
    operation_id = "list_services",
    params(Freshness),
    responses((status = 200, body = Items<ServiceAnswer>)))]
pub(crate) async fn list(
    member: Member,
    State(api): State<Api>,
    extract::Query(fresh): extract::Query<Freshness>,
) -> Result<Json<Items<ServiceAnswer>>, Problem> {
    let (state, _) = api.business_of(member.business_id, fresh.min_position).await?;
    Ok(Json(Items::all(all(&state))))
}

/// Offer a service.
#[utoipa::path(post, path = "/api/v1/business/services", tag = "business",
    operation_id = "create_service",
    request_body = ServiceRequest,
    responses((status = 201, body = ServiceAnswer)))]
pub(crate) async fn create(
    member: Member,
    State(api): State<Api>,
    extract::Json(request): extract::Json<ServiceRequest>,
) -> Result<Written<ServiceAnswer>, Problem> {
    let service_id = ServiceId::new(clock::new_id());
    let service = Service {
        name: request.name,
        description: request.description,
        duration_minutes: request.duration_minutes,
        price: request.price.into(),
        buffer_before_minutes: request.buffer_before_minutes,
        buffer_after_minutes: request.buffer_after_minutes,
        staff_ids: request.staff_ids,
        skills: request.skills.into(),
        min_notice_minutes: request.min_notice_minutes,
        window_days: request.window_days,
        requires_approval: request.requires_approval,
        max_per_day: request.max_per_day,
        max_per_week: request.max_per_week,
        capacity: request.capacity.unwrap_or(1),
        resources: needs(request.resources),
        intake_fields: intake::asked(request.intake_fields),
        reminders: request.reminders.map(Into::into),
    };
    let command = BusinessCommand::AddService { service_id, service };
    let (state, position) = api.change(member, command.into()).await?;
    let (version, answer) = one(&state, service_id)?;
    let location = format!("/api/v1/business/services/{service_id}");
    Ok(Written::new(StatusCode::CREATED, position, answer).etag(version).at(location))
}

/// One service.
#[utoipa::path(get, path = "/api/v1/business/services/{id}", tag = "business",
    operation_id = "get_service",
    params(("id" = String, Path), Freshness),
    responses((status = 200, body = ServiceAnswer)))]
pub(crate) async fn get(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<ServiceId>,
    extract::Query(fresh): extract::Query<Freshness>,
) -> Result<Tagged<ServiceAnswer>, Problem> {
    let (state, _) = api.business_of(member.business_id, fresh.min_position).await?;
    let (version, answer) = one(&state, id)?;
    Ok(Tagged(version, answer))
}

/// Change a service. What is booked keeps what it was booked with.
#[utoipa::path(patch, path = "/api/v1/business/services/{id}", tag = "business",
    operation_id = "change_service",

    params(("id" = String, Path), ("If-Match" = String, Header, description = "its ETag, or *")),
    request_body = ServicePatch,
    responses((status = 200, body = ServiceAnswer)))]
pub(crate) async fn patch(
    member: Member,
    State(api): State<Api>,
    Id(service_id): Id<ServiceId>,
    IfMatch(expected): IfMatch,
    extract::Json(patch): extract::Json<ServicePatch>,
) -> Result<Written<ServiceAnswer>, Problem> {
    let change = ServiceChange {
        name: patch.name,
        description: patch.description,
        duration_minutes: patch.duration_minutes,
        price: patch.price.map(Into::into),
        buffer_before_minutes: patch.buffer_before_minutes,
        buffer_after_minutes: patch.buffer_after_minutes,
        staff_ids: patch.staff_ids,
        skills: patch.skills.map(Into::into),
        min_notice_minutes: patch.min_notice_minutes,
        window_days: patch.window_days,
        requires_approval: patch.requires_approval,
        max_per_day: patch.max_per_day,
        max_per_week: patch.max_per_week,
        capacity: patch.capacity,
        resources: patch.resources.map(needs),
        intake_fields: patch.intake_fields.map(intake::asked),
        reminders: patch.reminders.map(|reminders| reminders.map(Into::into)),
    };
    let command = BusinessCommand::ChangeService { service_id, change, expected };
    let (state, position) = api.change(member, command.into()).await?;
    let (version, answer) = one(&state, service_id)?;
    Ok(Written::new(StatusCode::OK, position, answer).etag(version))
}

/// Stop offering a service. What is booked stays booked.
#[utoipa::path(delete, path = "/api/v1/business/services/{id}", tag = "business",
    operation_id = "archive_service",
    params(("id" = String, Path)),
    responses((status = 204)))]
pub(crate) async fn archive(
    member: Member,
    State(api): State<Api>,
    Id(service_id): Id<ServiceId>,
) -> Result<Written<()>, Problem> {
    let command = BusinessCommand::ArchiveService { service_id };
    let (_, position) = api.change(member, command.into()).await?;
    Ok(Written::empty(position))
}
