use axum::{Json, extract::State, http::StatusCode};
use domain::{
    ResourceId,
    business::{BusinessCommand, BusinessState, Resource, ResourceChange},
};
use serde::{Deserialize, Serialize};
use streams::clock;
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::{Freshness, Items, Tagged, Written},
    extract::{self, Id, IfMatch, Member},
};

/// A room, a table, a van: what visits need besides people.
#[derive(Serialize, ToSchema)]
#[schema(as = Resource, example = json!({
    "id": "res_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f", "name": "Room 1", "kind": "room", "capacity": 1,
}))]
pub(crate) struct ResourceAnswer {
    #[schema(value_type = String)]
    id: ResourceId,
    name: String,
    /// What it is. A service asks for a kind.
    kind: String,
    /// How much of it can be used at once.
    capacity: u32,
}

impl ResourceAnswer {
    fn of(id: ResourceId, resource: &Resource) -> Self {
        let Resource { name, kind, capacity } = resource.clone();
        Self { id, name, kind, capacity }
    }
}

/// A new resource.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Room 1", "kind": "room", "capacity": 1}))]
pub(crate) struct ResourceRequest {
    name: String,
    /// In the business's own words, at most 60 characters. Capital and small letters are the same.
    kind: String,
    /// 1 to 1000; 1 when absent.
    capacity: Option<u32>,
}

/// What is to change; absent fields stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"capacity": 2}))]
pub(crate) struct ResourcePatch {
    name: Option<String>,
    kind: Option<String>,
    capacity: Option<u32>,
}

fn one(state: &BusinessState, id: ResourceId) -> Result<(u64, ResourceAnswer), Problem> {
    let resource = state.resources.get(&id).ok_or_else(Problem::not_found)?;
    Ok((resource.version, ResourceAnswer::of(id, &resource.value)))
}

/// The resources of the business.
#[utoipa::path(get, path = "/api/v1/business/resources", tag = "business",
    operation_id = "list_resources",
    params(Freshness),
    responses((status = 200, body = Items<ResourceAnswer>)))]
pub(crate) async fn list(
    member: Member,
    State(api): State<Api>,
    extract::Query(fresh): extract::Query<Freshness>,
) -> Result<Json<Items<ResourceAnswer>>, Problem> {
    let (state, _) = api.business_of(member.business_id, fresh.min_position).await?;
    let all = state.resources.iter().map(|(id, r)| ResourceAnswer::of(*id, &r.value));
    Ok(Json(Items::all(all.collect())))
}

/// Have a new resource.
///
/// Services that ask for its kind can be booked while enough of it is free.
#[utoipa::path(post, path = "/api/v1/business/resources", tag = "business",
    operation_id = "create_resource",
    request_body = ResourceRequest,
    responses((status = 201, body = ResourceAnswer)))]
pub(crate) async fn create(
    member: Member,
    State(api): State<Api>,
    extract::Json(request): extract::Json<ResourceRequest>,
) -> Result<Written<ResourceAnswer>, Problem> {
    let resource_id = ResourceId::new(clock::new_id());
    let ResourceRequest { name, kind, capacity } = request;
    let resource = Resource { name, kind, capacity: capacity.unwrap_or(1) };
    let command = BusinessCommand::AddResource { resource_id, resource };
    let (state, position) = api.change(member, command.into()).await?;
    let (version, answer) = one(&state, resource_id)?;
    let location = format!("/api/v1/business/resources/{resource_id}");
    Ok(Written::new(StatusCode::CREATED, position, answer).etag(version).at(location))
}

/// One resource.
#[utoipa::path(get, path = "/api/v1/business/resources/{id}", tag = "business",
    operation_id = "get_resource",
    params(("id" = String, Path), Freshness),
    responses((status = 200, body = ResourceAnswer)))]
pub(crate) async fn get(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<ResourceId>,
    extract::Query(fresh): extract::Query<Freshness>,
) -> Result<Tagged<ResourceAnswer>, Problem> {
    let (state, _) = api.business_of(member.business_id, fresh.min_position).await?;
    let (version, answer) = one(&state, id)?;
    Ok(Tagged(version, answer))
}

/// Change a resource. What is booked keeps what it uses.
#[utoipa::path(patch, path = "/api/v1/business/resources/{id}", tag = "business",
    operation_id = "change_resource",

    params(("id" = String, Path), ("If-Match" = String, Header, description = "its ETag, or *")),
    request_body = ResourcePatch,
    responses((status = 200, body = ResourceAnswer)))]
pub(crate) async fn patch(
    member: Member,
    State(api): State<Api>,
    Id(resource_id): Id<ResourceId>,
    IfMatch(expected): IfMatch,
    extract::Json(patch): extract::Json<ResourcePatch>,
) -> Result<Written<ResourceAnswer>, Problem> {
    let ResourcePatch { name, kind, capacity } = patch;
    let change = ResourceChange { name, kind, capacity };
    let command = BusinessCommand::ChangeResource { resource_id, change, expected };
    let (state, position) = api.change(member, command.into()).await?;
    let (version, answer) = one(&state, resource_id)?;
    Ok(Written::new(StatusCode::OK, position, answer).etag(version))
}

/// Have it no longer. What is booked stays booked.
#[utoipa::path(delete, path = "/api/v1/business/resources/{id}", tag = "business",
    operation_id = "remove_resource",
    params(("id" = String, Path)),
    responses((status = 204)))]
pub(crate) async fn remove(
    member: Member,
    State(api): State<Api>,
    Id(resource_id): Id<ResourceId>,
) -> Result<Written<()>, Problem> {
    let command = BusinessCommand::RemoveResource { resource_id };
    let (_, position) = api.change(member, command.into()).await?;
    Ok(Written::empty(position))
}
