//! A visit at another time, or again.

use axum::{extract::State, http::StatusCode};
use commands::{
    CommandError,
    appointment::{MoveRefused, RescheduleAppointment},
};
use domain::{
    AppointmentId, BusinessId, StaffId,
    appointment::Part,
    availability::{Asked, Waived},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::Written,
    appointments::{self, AppointmentAnswer},
    book::{self, Wanted},
    context,
    extract::{Id, Json, Member},
    series::{self, ScopeBody},
    shape::AtMost,
};

/// To when, and to whom.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"start": "2026-03-02T15:00:00Z"}))]
pub(crate) struct RescheduleRequest {
    /// An instant (RFC 3339), or local time of the business without offset.
    start: String,
    /// Absent leaves it with whoever has it.
    #[schema(value_type = Option<String>)]
    staff_id: Option<StaffId>,
    /// Rules to set aside, of `min_notice` and `outside_hours`. That the time is free never is.
    #[serde(default, rename = "override")]
    #[schema(value_type = Vec<Rule>)]
    waived: AtMost<Rule, 2>,
    /// Of a series, also others: they move by as many days, to the same time of day; all that are
    /// meant and still to come, or none.
    #[serde(default)]
    scope: ScopeBody,
}

/// A rule that an owner may set aside for one visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    MinNotice,
    OutsideHours,
}

pub(super) fn waived(rules: &[Rule]) -> Waived {
    Waived {
        min_notice: rules.contains(&Rule::MinNotice),
        outside_hours: rules.contains(&Rule::OutsideHours),
    }
}

impl Api {
    pub(super) async fn not_moved(
        &self,
        error: CommandError<MoveRefused>,
        business_id: BusinessId,
        id: AppointmentId,
        staff_id: Option<StaffId>,
    ) -> Problem {
        let taken = if let CommandError::Refused(MoveRefused::Booking(refused)) = &error {
            book::taken_at(refused)
        } else {
            None
        };
        let problem = refused(error);
        let visit = match taken {
            Some(_) => self.agenda.get(business_id, id).await.ok().flatten(),
            None => None,
        };
        let (Some(start), Some(found)) = (taken, visit) else { return problem };
        let wanted = Wanted {
            business_id,
            service_id: found.visit.service_id,
            staff_id: Some(staff_id.unwrap_or(found.visit.staff_id)),
            timezone: None,
            also: found.visit.parts().iter().skip(1).map(asked).collect(),
            subjects: found.visit.subjects,
        };
        self.with_alternatives(problem, &wanted, start).await
    }
}

const fn asked(part: &Part) -> Asked {
    Asked { service_id: part.service_id, staff_id: Some(part.staff_id) }
}

fn refused(error: CommandError<MoveRefused>) -> Problem {
    Problem::of(error, |refused| match refused {
        MoveRefused::Spent => {
            Problem::new(StatusCode::GONE, "nonce_spent", "the appointment has changed; look again")
        }
        MoveRefused::Booking(refused) => book::refusal(refused),
        MoveRefused::Appointment(error) => appointments::refusal(&error),
    })
}

/// Move an appointment to another time, or to another staff member.
///
/// The old time is given back in the same moment. Reminders are planned anew, and the guest is told.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/reschedule", tag = "appointments",
    operation_id = "reschedule_appointment",
    params(("id" = String, Path)), request_body = RescheduleRequest,
    responses((status = 200, body = AppointmentAnswer),
              (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn reschedule(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
    Json(request): Json<RescheduleRequest>,
) -> Result<Written<AppointmentAnswer>, Problem> {
    let wish = RescheduleAppointment {
        appointment_id: id,
        start: book::start(&request.start)?,
        staff_id: request.staff_id,
        waived: waived(&request.waived.0),
        seen: None,
    };
    api.check_change(member, id, request.scope.is_one()).await?;
    if let Some(staff_id) = request.staff_id {
        member.check_calendar(staff_id)?;
    }
    if !request.waived.0.is_empty() && member.kept_to()?.is_some() {
        return Err(Problem::not_yours());
    }
    let context = context::command(member.business_id, member.actor());
    if !request.scope.is_one() {
        let done = api.commands.move_together(&wish, request.scope.into(), &context).await;
        let done = done.map_err(|error| series::not_together(error, Problem::not_found))?;
        return api.changed(member, id, done.position).await;
    }
    match api.commands.reschedule_appointment(&wish, &context).await {
        Ok(done) => api.changed(member, id, done.position).await,
        Err(error) => Err(api.not_moved(error, member.business_id, id, request.staff_id).await),
    }
}

/// Book an appointment again that was called off, if its time is still free.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/reinstate", tag = "appointments",
    operation_id = "reinstate_appointment",
    params(("id" = String, Path)),
    responses((status = 200, body = AppointmentAnswer),
              (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn reinstate(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
) -> Result<Written<AppointmentAnswer>, Problem> {
    api.check_own(member, id).await?;
    let context = context::command(member.business_id, member.actor());
    match api.commands.reinstate_appointment(id, &context).await {
        Ok(done) => api.changed(member, id, done.position).await,
        Err(error) => Err(api.not_moved(error, member.business_id, id, None).await),
    }
}
