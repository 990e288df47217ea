use axum::{Json, extract::State, http::StatusCode};
use commands::business::ChangeBusiness;
use domain::{
    ServiceId, StaffId,
    business::{BusinessCommand, BusinessState, StaffChange, StaffMember},
};
use serde::{Deserialize, Serialize};
use streams::clock;
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::{Freshness, Items, Tagged, Written},
    extract::{self, Id, IfMatch, Member, present},
};

/// Somebody who takes appointments.
#[derive(Serialize, ToSchema)]
#[schema(as = Staff)]
pub(crate) struct StaffAnswer {
    #[schema(value_type = String)]
    id: StaffId,
    name: String,
    email: Option<String>,
    active: bool,
    kind: Option<String>,
    /// What they offer; null means every service.
    #[schema(value_type = Option<Vec<String>>)]
    service_ids: Option<Vec<ServiceId>>,
    /// What they can do. Only who has every skill that a service asks for can be booked for it.
    skills: Vec<String>,
    /// So many visits may begin in one local day; null means no limit.
    max_per_day: Option<u32>,
    /// So many visits may begin in one local week, from Monday to Sunday; null means no limit.
    max_per_week: Option<u32>,
}

/// Somebody new.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Dana", "email": "dana@example.com", "kind": "stylist",
    "skills": ["cutting", "colour"]}))]
pub(crate) struct StaffRequest {
    name: String,
    email: Option<String>,
    /// True when absent.
    active: Option<bool>,
    kind: Option<String>,
    #[schema(value_type = Option<Vec<String>>)]
    service_ids: Option<Vec<ServiceId>>,
    /// At most 50. Capital and small letters are the same.
    #[serde(default)]
    skills: Vec<String>,
    /// So many visits may begin in one local day.
    max_per_day: Option<u32>,
    /// So many visits may begin in one local week, from Monday to Sunday.
    max_per_week: Option<u32>,
}

/// What is to change; absent fields stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"active": false}))]
pub(crate) struct StaffPatch {
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    email: Option<Option<String>>,
    active: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    kind: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    service_ids: Option<Option<Vec<ServiceId>>>,
    skills: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    max_per_day: Option<Option<u32>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    max_per_week: Option<Option<u32>>,
}

impl Api {
    async fn staff(
        &self,
        member: Member,
        state: &BusinessState,
        id: StaffId,
    ) -> Result<(u64, StaffAnswer), Problem> {
        let found = state.staff.get(&id).ok_or_else(Problem::not_found)?;
        let mut emails = self.availability.staff_emails(member.business_id).await?;
        Ok((found.version, answer(id, &found.value, emails.remove(&id))))
    }
}

fn answer(id: StaffId, member: &StaffMember, email: Option<String>) -> StaffAnswer {
    StaffAnswer {
        id,
        name: member.name.clone(),
        email,
        active: member.active,
        kind: member.kind.clone(),
        service_ids: member.service_ids.clone(),
        skills: member.skills.clone().into(),
        max_per_day: member.max_per_day,
        max_per_week: member.max_per_week,
    }
}

/// The roster.
#[utoipa::path(get, path = "/api/v1/business/staff", tag = "business",
    operation_id = "list_staff",
    params(Freshness),
    responses((status = 200, body = Items<StaffAnswer>)))]
pub(crate) async fn list(
    member: Member,
    State(api): State<Api>,
    extract::Query(fresh): extract::Query<Freshness>,
) -> Result<Json<Items<StaffAnswer>>, Problem> {
    let (state, _) = api.business_of(member.business_id, fresh.min_position).await?;
    let mut emails = api.availability.staff_emails(member.business_id).await?;
    let one = |(id, found): (&StaffId, &domain::business::Versioned<StaffMember>)| {
        answer(*id, &found.value, emails.remove(id))
    };
    Ok(Json(Items::all(state.staff.iter().map(one).collect())))
}

/// Take somebody on. They work Monday to Friday, 9 to 5, until their hours are set.
#[utoipa::path(post, path = "/api/v1/business/staff", tag = "business",
    operation_id = "create_staff",
    request_body = StaffRequest,
    responses((status = 201, body = StaffAnswer)))]
pub(crate) async fn create(
    member: Member,
    State(api): State<Api>,
    extract::Json(request): extract::Json<StaffRequest>,
) -> Result<Written<StaffAnswer>, Problem> {
    let staff_id = StaffId::new(clock::new_id());
    let new = StaffMember {
        name: request.name,
        active: request.active.unwrap_or(true),
        kind: request.kind,
        service_ids: request.service_ids,
        skills: request.skills.into(),
        max_per_day: request.max_per_day,
        max_per_week: request.max_per_week,
    };
    let change = ChangeBusiness {
        command: BusinessCommand::AddStaff { staff_id, member: new },
        staff_email: request.email.map(Some),
    };
    let (state, position) = api.change(member, change).await?;
    let (version, answer) = api.staff(member, &state, staff_id).await?;
    let location = format!("/api/v1/business/staff/{staff_id}");
    Ok(Written::new(StatusCode::CREATED, position, answer).etag(version).at(location))
}

/// One staff member.
#[utoipa::path(get, path = "/api/v1/business/staff/{id}", tag = "business",
    operation_id = "get_staff",
    params(("id" = String, Path), Freshness),
    responses((status = 200, body = StaffAnswer)))]
pub(crate) async fn get(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<StaffId>,
    extract::Query(fresh): extract::Query<Freshness>,
) -> Result<Tagged<StaffAnswer>, Problem> {
    let (state, _) = api.business_of(member.business_id, fresh.min_position).await?;
    let (version, answer) = api.staff(member, &state, id).await?;
    Ok(Tagged(version, answer))
}

/// Change a staff member.
#[utoipa::path(patch, path = "/api/v1/business/staff/{id}", tag = "business",
    operation_id = "change_staff",

    params(("id" = String, Path), ("If-Match" = String, Header, description = "its ETag, or *")),
    request_body = StaffPatch,
    responses((status = 200, body = StaffAnswer)))]
pub(crate) async fn patch(
    member: Member,
    State(api): State<Api>,
    Id(staff_id): Id<StaffId>,
    IfMatch(expected): IfMatch,
    extract::Json(patch): extract::Json<StaffPatch>,
) -> Result<Written<StaffAnswer>, Problem> {
    let change = StaffChange {
        name: patch.name,
        active: patch.active,
        kind: patch.kind,
        service_ids: patch.service_ids,
        skills: patch.skills.map(Into::into),
        max_per_day: patch.max_per_day,
        max_per_week: patch.max_per_week,
    };
    let change = ChangeBusiness {
        command: BusinessCommand::ChangeStaff { staff_id, change, expected },
        staff_email: patch.email,
    };
    let (state, position) = api.change(member, change).await?;
    let (version, answer) = api.staff(member, &state, staff_id).await?;
    Ok(Written::new(StatusCode::OK, position, answer).etag(version))
}

/// Take somebody off the roster. What is booked stays booked.
#[utoipa::path(delete, path = "/api/v1/business/staff/{id}", tag = "business",
    operation_id = "remove_staff",
    params(("id" = String, Path)),
    responses((status = 204)))]
pub(crate) async fn remove(
    member: Member,
    State(api): State<Api>,
    Id(staff_id): Id<StaffId>,
) -> Result<Written<()>, Problem> {
    let (_, position) =
        api.change(member, BusinessCommand::RemoveStaff { staff_id }.into()).await?;
    Ok(Written::empty(position))
}
