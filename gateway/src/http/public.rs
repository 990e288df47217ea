use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
};
use commands::{CommandError, directory::Named};
use domain::{BusinessId, Currency, StaffId, Zone};
use projections::availability::Place;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api, Problem,
    business::BrandingAnswer,
    extract::Id,
    services::{self, ServiceAnswer},
};

/// A business as guests see it.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublicBusiness {
    #[schema(value_type = String)]
    id: BusinessId,
    name: String,
    handle: String,
    #[schema(value_type = String)]
    timezone: Zone,
    address: Option<String>,
    contact: Option<String>,
    locale: String,
    #[schema(value_type = String)]
    currency: Currency,
    branding: BrandingAnswer,
    services: Vec<ServiceAnswer>,
    staff: Vec<PublicStaff>,
}

/// Somebody whom guests can book.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublicStaff {
    #[schema(value_type = String)]
    id: StaffId,
    name: String,
    kind: Option<String>,
}

impl Api {
    /// The business behind a public name.
    pub(super) async fn named(&self, named: Named<'_>) -> Result<BusinessId, Problem> {
        // Postgres has no text with NUL, so no business has such a handle.
        if matches!(named, Named::Handle(handle) if handle.contains('\0')) {
            return Err(Problem::not_found());
        }
        let found: Result<_, CommandError<std::convert::Infallible>> =
            self.commands.find_business(named).await;
        let found = found.map_err(|error| Problem::of(error, |never| match never {}))?;
        found.ok_or_else(Problem::not_found)
    }
}

impl Api {
    /// The handle that the name of the host begins with, where businesses have such names.
    pub(super) fn handle_of_host(&self, headers: &HeaderMap) -> Option<String> {
        let base = self.base_domain.as_deref()?;
        let host = headers.get(header::HOST)?.to_str().ok()?.to_ascii_lowercase();
        let name = host.split_once(':').map_or(host.as_str(), |(name, _port)| name);
        let handle = name.strip_suffix(base)?.strip_suffix('.')?;
        (!handle.is_empty() && !handle.contains('.')).then(|| handle.to_owned())
    }
}

/// The business that the name of the host stands for (`{handle}.book.example`), and what it offers.
#[utoipa::path(get, path = "/api/v1/public/business", tag = "public",
    operation_id = "get_business_of_host",
    responses((status = 200, body = PublicBusiness), (status = 404, body = Problem)))]
pub(crate) async fn business_of_host(
    State(api): State<Api>,
    headers: HeaderMap,
) -> Result<Json<PublicBusiness>, Problem> {
    let handle = api.handle_of_host(&headers).ok_or_else(Problem::not_found)?;
    business(State(api), Id(handle)).await
}

/// A business and what it offers.
#[utoipa::path(get, path = "/api/v1/public/businesses/{handle}", tag = "public",
    operation_id = "get_public_business",
    params(("handle" = String, Path)),
    responses((status = 200, body = PublicBusiness)))]
pub(crate) async fn business(
    State(api): State<Api>,
    Id(handle): Id<String>,
) -> Result<Json<PublicBusiness>, Problem> {
    let (id, state) = api.availability.published(&Place::Handle(handle)).await?;
    let profile = &state.profile.value;
    let staff = state
        .staff
        .iter()
        .filter(|(_, member)| member.value.active)
        .map(|(id, member)| PublicStaff {
            id: *id,
            name: member.value.name.clone(),
            kind: member.value.kind.clone(),
        })
        .collect();
    Ok(Json(PublicBusiness {
        id,
        name: profile.name.clone(),
        handle: profile.handle.clone(),
        timezone: profile.timezone.clone(),
        address: profile.address.clone(),
        contact: profile.contact.clone(),
        locale: profile.locale.clone(),
        currency: profile.currency,
        branding: (&profile.branding).into(),
        services: services::all(&state),
        staff,
    }))
}
