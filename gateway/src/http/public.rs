use axum::{Json, extract::State};
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
