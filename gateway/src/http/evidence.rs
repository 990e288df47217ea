//! What a guest was told of a visit, signed: for somebody who does not trust the business, or years later.

use axum::{Json, extract::State};
use domain::{AppointmentId, BusinessId};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use streams::{BoxError, clock};
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::Freshness,
    appointments::HistoryAnswer,
    extract::{self, Id, Member},
    notifications::EvidenceAnswer,
};

/// What is known of one visit and its messages.
#[derive(Serialize, ToSchema)]
#[schema(as = VisitEvidence)]
pub(crate) struct VisitEvidence {
    /// Who says so: the address of this system.
    issuer: String,
    /// When they said so.
    #[schema(value_type = String, format = DateTime)]
    exported_at: Timestamp,
    #[schema(value_type = String)]
    business_id: BusinessId,
    business_name: String,
    #[schema(value_type = String)]
    appointment_id: AppointmentId,
    /// Whom the messages were for; null once erased.
    guest: Option<GuestContact>,
    /// Each event of the visit.
    history: Vec<HistoryAnswer>,
    /// Each message about it, with each try and what the provider said.
    messages: Vec<EvidenceAnswer>,
}

/// How the guest was to be reached.
#[derive(Serialize, ToSchema)]
pub(crate) struct GuestContact {
    name: String,
    email: Option<String>,
    phone: Option<String>,
}

/// Evidence and its signature.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignedEvidence {
    #[schema(value_type = VisitEvidence)]
    evidence: Value,
    /// A detached JWS (RFC 7515, Appendix F; `EdDSA`) of `evidence` in its canonical form (RFC 8785). The key is
    /// among those of `/.well-known/evidence-jwks.json`.
    signature: String,
}

/// What the guest of an appointment was told, when, by whom, and what the providers said: signed, so that whoever is
/// shown it can check that nobody changed it since.
#[utoipa::path(get, path = "/api/v1/appointments/{id}/evidence", tag = "appointments",
    operation_id = "export_appointment_evidence",
    params(("id" = String, Path), Freshness),
    responses((status = 200, body = SignedEvidence), (status = 503, body = Problem)))]
pub(crate) async fn export(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
    extract::Query(fresh): extract::Query<Freshness>,
) -> Result<Json<SignedEvidence>, Problem> {
    api.wait(super::NOTIFICATIONS, fresh.min_position).await?;
    let business_id = member.business_id;
    let history = api.agenda.history(business_id, id).await?.ok_or_else(Problem::not_found)?;
    let (business, _) = api.business_of(business_id, None).await?;
    let contact = api.agenda.contact(business_id, id).await?;
    let mut messages = vec![];
    for message in api.notifications.of_appointment(business_id, id).await? {
        let found = api.notifications.evidence(business_id, message.notification_id).await?;
        messages.extend(found.map(EvidenceAnswer::of).transpose()?);
    }
    let evidence = VisitEvidence {
        issuer: api.origins.first().cloned().unwrap_or_default(),
        exported_at: clock::now(),
        business_id,
        business_name: business.profile.value.name.clone(),
        appointment_id: id,
        guest: contact.map(|contact| GuestContact {
            name: contact.name,
            email: contact.email,
            phone: contact.phone,
        }),
        history: history.into_iter().map(Into::into).collect(),
        messages,
    };
    signed(&api, &evidence).map(Json)
}

fn signed(api: &Api, evidence: &VisitEvidence) -> Result<SignedEvidence, Problem> {
    let unsigned = |error: BoxError| {
        tracing::error!(%error, "evidence could not be signed");
        Problem::store_unavailable()
    };
    let evidence = serde_json::to_value(evidence).map_err(|error| unsigned(error.into()))?;
    let signature = api.seals.seal(&evidence).map_err(|error| unsigned(error.into()))?;
    Ok(SignedEvidence { evidence, signature })
}

/// The public keys that evidence can be checked with (RFC 7517), the one in force first. They are not replaced by
/// themselves.
#[utoipa::path(get, path = "/.well-known/evidence-jwks.json", tag = "appointments",
    operation_id = "evidence_jwks",
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn keys(State(api): State<Api>) -> Json<Value> {
    Json(api.seals.jwks().clone())
}
