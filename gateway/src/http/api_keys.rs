//! Keys for programs that act for a business.

use std::collections::BTreeSet;

use axum::{Json, extract::State, http::StatusCode};
use commands::{
    CommandError,
    identity::{ApiKeyRefused, ApiKeyRow, CreateApiKey},
};
use domain::{ApiKeyId, UserId, api_key::Scope};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::{Items, Written},
    context,
    extract::{self, Id, Person},
    shape::Instant,
};

/// A key for a program.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "Till", "scopes": ["appointments:read", "appointments:write"],
    "expires_at": "2027-03-02T09:00:00Z",
}))]
pub(crate) struct ApiKeyRequest {
    /// What you call it.
    name: String,
    /// What may be done with it: each once.
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Scope>,
    /// Until when; for ever when absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Instant>,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKeyCreated {
    #[schema(value_type = String)]
    id: ApiKeyId,
    /// The key: told now and never again. Send it as a bearer token.
    key: String,
    position: String,
}

/// A key, without the key itself.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(crate) struct ApiKeyItem {
    #[schema(value_type = String)]
    id: ApiKeyId,
    name: String,
    #[schema(value_type = Vec<String>)]
    scopes: BTreeSet<Scope>,
    /// Who made it.
    #[schema(value_type = String)]
    created_by: UserId,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    used_at: Option<Timestamp>,
}

impl From<ApiKeyRow> for ApiKeyItem {
    fn from(row: ApiKeyRow) -> Self {
        Self {
            id: row.key_id,
            name: row.name,
            scopes: row.scopes,
            created_by: row.created_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
            used_at: row.used_at,
        }
    }
}

fn refused(error: CommandError<ApiKeyRefused>) -> Problem {
    Problem::of(error, |refused| {
        let detail = refused.to_string();
        match refused {
            ApiKeyRefused::NotFound => Problem::not_found(),
            ApiKeyRefused::Invalid(errors) => Problem::invalid(errors),
            ApiKeyRefused::NotAllowed => Problem::forbidden(),
            ApiKeyRefused::Full => Problem::new(StatusCode::CONFLICT, "too_many_keys", detail),
        }
    })
}

/// Make a key for a program. It is told once; only its hash is kept.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "team", operation_id = "create_api_key",
    request_body = ApiKeyRequest,
    responses((status = 201, body = ApiKeyCreated), (status = 409, body = Problem)))]
pub(crate) async fn create(
    person: Person,
    State(api): State<Api>,
    extract::Json(request): extract::Json<ApiKeyRequest>,
) -> Result<Written<ApiKeyCreated>, Problem> {
    let scopes: BTreeSet<Scope> = request.scopes.iter().copied().collect();
    if scopes.len() < request.scopes.len() {
        return Err(Problem::invalid_field("scopes", "must name each once"));
    }
    let context = context::command(person.business_id, person.actor());
    let create = CreateApiKey {
        name: request.name,
        scopes,
        expires_at: request.expires_at.map(|at| at.0),
        by: person.user_id,
    };
    let done = api.identity.create_api_key(&create, &context).await.map_err(refused)?;
    let position = done.position.to_string();
    let body = ApiKeyCreated { id: done.value.key_id, key: done.value.key, position };
    let location = format!("/api/v1/api-keys/{}", body.id);
    Ok(Written::new(StatusCode::CREATED, done.position, body).at(location))
}

/// The keys that are good, the newest first.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "team", operation_id = "list_api_keys",
    responses((status = 200, body = Items<ApiKeyItem>)))]
pub(crate) async fn list(
    person: Person,
    State(api): State<Api>,
) -> Result<Json<Items<ApiKeyItem>>, Problem> {
    let rows = api.identity.api_keys(person.business_id).await.map_err(refused)?;
    Ok(Json(Items::all(rows.into_iter().map(Into::into).collect())))
}

/// Let a key be good no more, on every server within two seconds.
#[utoipa::path(delete, path = "/api/v1/api-keys/{id}", tag = "team",
    operation_id = "revoke_api_key", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn revoke(
    person: Person,
    State(api): State<Api>,
    Id(id): Id<ApiKeyId>,
) -> Result<Written<()>, Problem> {
    let context = context::command(person.business_id, person.actor());
    let done = api.identity.revoke_api_key(id, &context).await.map_err(refused)?;
    Ok(Written::empty(done.position))
}
