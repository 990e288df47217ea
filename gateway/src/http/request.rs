//! What the business says to a visit that was asked for.

use axum::extract::State;
use commands::appointment::{AnswerRequest, RequestAnswer};
use domain::AppointmentId;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::Written,
    appointments::{self, AppointmentAnswer},
    context,
    extract::{Id, Json, Owner},
};

/// Why it is declined.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "We do not treat parrots."}))]
pub(crate) struct DeclineRequest {
    /// The guest reads it in the mail that tells them.
    reason: Option<String>,
}

impl Api {
    async fn answer(
        &self,
        owner: Owner,
        appointment_id: AppointmentId,
        answer: RequestAnswer,
    ) -> Result<Written<AppointmentAnswer>, Problem> {
        let context = context::command(owner.0.business_id, owner.0.actor());
        let request = AnswerRequest { appointment_id, answer };
        let done = self.commands.answer_request(&request, &context).await;
        let done = done.map_err(appointments::refused)?;
        self.changed(owner.0, appointment_id, done.position).await
    }
}

/// Agree to an appointment that was asked for. The guest is told, and reminders are planned.
///
/// `wrong_state` when it is not asked for any more, with the `state` that it is in.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/confirm", tag = "appointments",
    operation_id = "confirm_appointment",
    security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 200, body = AppointmentAnswer), (status = 403, body = Problem),
              (status = 409, body = Problem)))]
pub(crate) async fn confirm(
    owner: Owner,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
) -> Result<Written<AppointmentAnswer>, Problem> {
    api.answer(owner, id, RequestAnswer::Confirm).await
}

/// Decline an appointment that was asked for. Its time is free again, and the guest is told.
///
/// `wrong_state` when it is not asked for any more, with the `state` that it is in.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/decline", tag = "appointments",
    operation_id = "decline_appointment",
    security(("bearer" = [])), params(("id" = String, Path)), request_body = DeclineRequest,
    responses((status = 200, body = AppointmentAnswer), (status = 403, body = Problem),
              (status = 409, body = Problem)))]
pub(crate) async fn decline(
    owner: Owner,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
    Json(request): Json<DeclineRequest>,
) -> Result<Written<AppointmentAnswer>, Problem> {
    api.answer(owner, id, RequestAnswer::Decline { reason: request.reason }).await
}
