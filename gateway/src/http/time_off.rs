use axum::{Json, extract::State, http::StatusCode};
use commands::{AddTimeOff, CommandError, TimeOffRefused};
use domain::{AppointmentId, StaffId, TimeOffId, TimeSlot, staff_calendar::StaffCalendarError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use streams::{Cursor, clock};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Problem,
    answer::{Items, Written, page_size},
    context,
    extract::{self, Id, Ids, Member},
    shape::Instant,
};

/// An absence.
#[derive(Serialize, ToSchema)]
#[schema(as = TimeOff)]
pub(crate) struct TimeOffAnswer {
    #[schema(value_type = String)]
    id: TimeOffId,
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
    reason: Option<String>,
}

/// An absence that was entered.
#[derive(Serialize, ToSchema)]
pub(crate) struct TimeOffCreated {
    #[serde(flatten)]
    time_off: TimeOffAnswer,
    /// Appointments booked in that time. They stay booked.
    #[schema(value_type = Vec<String>)]
    affected: Vec<AppointmentId>,
    position: String,
}

/// An absence to enter.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"start": "2026-12-21T00:00:00Z", "end": "2026-12-28T00:00:00Z", "reason": "holiday"}))]
pub(crate) struct TimeOffRequest {
    #[schema(value_type = String, format = DateTime)]
    start: Instant,
    #[schema(value_type = String, format = DateTime)]
    end: Instant,
    reason: Option<String>,
}

/// Which absences.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TimeOffQuery {
    /// Only those that end after; now when absent.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Instant>,
    /// 1 to 200; 50 when absent.
    limit: Option<u32>,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Instant>,
    /// Wait for this position of an earlier write, two seconds at most.
    #[param(value_type = Option<String>)]
    min_position: Option<Cursor>,
}

fn refused(error: CommandError<TimeOffRefused>) -> Problem {
    Problem::of(error, |refused| {
        let detail = refused.to_string();
        match refused {
            TimeOffRefused::NotFound => Problem::not_found(),
            TimeOffRefused::Invalid(errors) => Problem::invalid(errors),
            TimeOffRefused::Calendar(StaffCalendarError::TimeOffOverlaps { with }) => {
                Problem::new(StatusCode::CONFLICT, "time_off_overlaps", detail)
                    .with("time_off_id", with)
            }
            TimeOffRefused::Calendar(
                StaffCalendarError::Taken { .. }
                | StaffCalendarError::InClass { .. }
                | StaffCalendarError::Full { .. }
                | StaffCalendarError::Away { .. },
            ) => Problem::new(StatusCode::CONFLICT, "conflict", detail),
        }
    })
}

/// When a staff member is away.
#[utoipa::path(get, path = "/api/v1/business/staff/{id}/time-off", tag = "business",
    operation_id = "list_time_off",
    params(("id" = String, Path), TimeOffQuery),
    responses((status = 200, body = Items<TimeOffAnswer>)))]
pub(crate) async fn list(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<StaffId>,
    extract::Query(query): extract::Query<TimeOffQuery>,
) -> Result<Json<Items<TimeOffAnswer>>, Problem> {
    member.check_calendar(id)?;
    let (state, _) = api.business_of(member.business_id, query.min_position).await?;
    if !state.staff.contains_key(&id) {
        return Err(Problem::not_found());
    }
    let from = query.from.map_or_else(clock::now, |from| from.0);
    let limit = page_size(query.limit)?;
    // Where the page before ended: no two absences begin at once.
    let after = query.cursor.map(|start| start.0);
    // One more than is shown tells whether there is a next page.
    let most = i64::from(limit) + 1;
    let mut rows = api.availability.time_off(member.business_id, id, from, after, most).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more).map(|row| row.slot.start().to_string());
    let answer = |row: projections::availability::TimeOffRow| TimeOffAnswer {
        id: row.time_off_id,
        start: row.slot.start(),
        end: row.slot.end(),
        reason: row.reason,
    };
    Ok(Json(Items { items: rows.into_iter().map(answer).collect(), next }))
}

/// Enter an absence. Appointments booked in that time stay booked and are named.
#[utoipa::path(post, path = "/api/v1/business/staff/{id}/time-off", tag = "business",
    operation_id = "create_time_off",
    params(("id" = String, Path)), request_body = TimeOffRequest,
    responses((status = 201, body = TimeOffCreated),
              (status = 409, body = Problem)))]
pub(crate) async fn create(
    member: Member,
    State(api): State<Api>,
    Id(staff_id): Id<StaffId>,
    extract::Json(request): extract::Json<TimeOffRequest>,
) -> Result<Written<TimeOffCreated>, Problem> {
    member.check_calendar(staff_id)?;
    let slot = TimeSlot::try_new(request.start.0, request.end.0)
        .map_err(|_empty| Problem::invalid_field("end", "must come after start"))?;
    let time_off_id = TimeOffId::new(clock::new_id());
    let add = AddTimeOff { staff_id, time_off_id, slot, reason: request.reason };
    let context = context::command(member.business_id, member.actor());
    let done = api.commands.add_time_off(&add, &context).await.map_err(refused)?;
    api.edited(done.position).await;
    let location = format!("/api/v1/business/staff/{staff_id}/time-off/{time_off_id}");
    let body = TimeOffCreated {
        time_off: TimeOffAnswer {
            id: time_off_id,
            start: slot.start(),
            end: slot.end(),
            reason: add.reason,
        },
        affected: done.value.affected,
        position: done.position.to_string(),
    };
    Ok(Written::new(StatusCode::CREATED, done.position, body).at(location))
}

/// Take an absence back.
#[utoipa::path(delete, path = "/api/v1/business/staff/{id}/time-off/{time_off_id}",
    tag = "business",
    operation_id = "remove_time_off",
    params(("id" = String, Path), ("time_off_id" = String, Path)),
    responses((status = 204)))]
pub(crate) async fn remove(
    member: Member,
    State(api): State<Api>,
    Ids(staff_id, time_off_id): Ids<StaffId, TimeOffId>,
) -> Result<Written<()>, Problem> {
    member.check_calendar(staff_id)?;
    let context = context::command(member.business_id, member.actor());
    let done =
        api.commands.remove_time_off(staff_id, time_off_id, &context).await.map_err(refused)?;
    api.edited(done.position).await;
    Ok(Written::empty(done.position))
}
