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
    extract::{Id, Json, Member},
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
        member: Member,
        appointment_id: AppointmentId,
        answer: RequestAnswer,
    ) -> Result<Written<AppointmentAnswer>, Problem> {
        self.check_own(member, appointment_id).await?;
        let context = context::command(member.business_id, member.actor());
        let request = AnswerRequest { appointment_id, answer };
        let done = self.commands.answer_request(&request, &context).await;
        let done = done.map_err(appointments::refused)?;
        self.changed(member, appointment_id, done.position).await
    }
}

/// Agree to an appointment that was asked for. The guest is told, and reminders are planned.
///
/// `wrong_state` when it is not asked for any more, with the `state` that it is in.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/confirm", tag = "appointments",
    operation_id = "confirm_appointment",
    params(("id" = String, Path)),
    responses((status = 200, body = AppointmentAnswer),
              (status = 409, body = Problem)))]
pub(crate) async fn confirm(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
) -> Result<Written<AppointmentAnswer>, Problem> {
    api.answer(member, id, RequestAnswer::Confirm).await
}

/// Decline an appointment that was asked for. Its time is free again, and the guest is told.
///
/// `wrong_state` when it is not asked for any more, with the `state` that it is in.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/decline", tag = "appointments",
    operation_id = "decline_appointment",
    params(("id" = String, Path)), request_body = DeclineRequest,
    responses((status = 200, body = AppointmentAnswer),
              (status = 409, body = Problem)))]
pub(crate) async fn decline(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
    Json(request): Json<DeclineRequest>,
) -> Result<Written<AppointmentAnswer>, Problem> {
    api.answer(member, id, RequestAnswer::Decline { reason: request.reason }).await
}
