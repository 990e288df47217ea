//! Why a start can be booked, or why not.

use axum::{Json, extract::State};
use commands::directory::Named;
use domain::{BusinessId, ServiceId, StaffId};
use jiff::Timestamp;
use projections::explain::{ExplainQuery, Explanation, Explanations, Reason};
use serde::{Deserialize, Serialize};
use streams::{Cursor, clock};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Problem,
    book::Wanted,
    extract::{self, Id, Member},
    shape::Instant,
    slots::{self, SlotAnswer},
};

/// Which start.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExplainParameters {
    #[param(value_type = String)]
    service_id: ServiceId,
    #[param(value_type = String)]
    staff_id: StaffId,
    /// An instant (RFC 3339).
    #[param(value_type = String, format = DateTime, example = "2026-03-02T14:00:00Z")]
    start: Instant,
    /// Services that follow, as in the list of slots.
    also: Option<String>,
    /// How many come; 1 when absent.
    subjects: Option<u32>,
    /// An answer here is never older than any write, so nothing is waited for.
    #[param(value_type = Option<String>)]
    #[expect(
        dead_code,
        reason = "taken as by every read, so that clients need not tell them apart"
    )]
    min_position: Option<Cursor>,
}

/// Which start, and as of when.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AsOfParameters {
    #[param(value_type = String)]
    service_id: ServiceId,
    /// An instant (RFC 3339).
    #[param(value_type = String, format = DateTime, example = "2026-03-02T14:00:00Z")]
    start: Instant,
    /// What spoke against it at this instant; now when absent.
    #[param(value_type = Option<String>, format = DateTime)]
    as_of: Option<Instant>,
    /// Services that follow, as in the list of slots.
    also: Option<String>,
    /// How many come; 1 when absent.
    subjects: Option<u32>,
    /// An answer here is never older than any write, so nothing is waited for.
    #[param(value_type = Option<String>)]
    #[expect(
        dead_code,
        reason = "taken as by every read, so that clients need not tell them apart"
    )]
    min_position: Option<Cursor>,
}

/// All that speaks against a start.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "bookable": false,
    "reasons": [{
        "rule": "slot_taken", "detail": "the time is taken",
        "event_id": "0198c5a2-b7f0-7c3d-8e4f-5a6b7c8d9e0f", "since": "2026-02-20T10:12:30Z",
    }],
    "nearest": [],
    "position": "5a2-f0",
}))]
pub(crate) struct ExplainAnswer {
    /// Nothing speaks against it.
    bookable: bool,
    /// Every rule that refuses, in the order in which a person would think of them.
    reasons: Vec<ReasonAnswer>,
    /// Free starts nearby, when it cannot be booked now.
    nearest: Vec<SlotAnswer>,
    /// The last event behind this answer.
    position: String,
}

/// A rule that refuses.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReasonAnswer {
    /// `slot_in_past`, `too_soon`, `too_far`, `outside_hours`, `closed`, `limit_reached`, `slot_taken`, `time_off`, `off_grid`,
    /// `class_full`, `resource_taken`, `not_offered`, or `invalid` for what is no visit at any time.
    rule: &'static str,
    detail: String,
    /// The event that made it so; null for what follows from the clock.
    event_id: Option<String>,
    /// When that was.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

impl From<Reason> for ReasonAnswer {
    fn from(Reason { rule, detail, event }: Reason) -> Self {
        let (event_id, since) =
            event.map(|because| (because.event_id.to_string(), because.at)).unzip();
        Self { rule, detail, event_id, since }
    }
}

impl Api {
    async fn explained(&self, query: &ExplainQuery) -> Result<Json<ExplainAnswer>, Problem> {
        let found = Explanations::new(self.database.clone()).explain(query).await?;
        let Explanation { reasons, position } = found.ok_or_else(Problem::not_found)?;
        let nearest = if reasons.is_empty() || query.as_of.is_some() {
            vec![]
        } else {
            let wanted = Wanted {
                business_id: query.business_id,
                service_id: query.service_id,
                staff_id: Some(query.staff_id),
                timezone: None,
                also: query.also.clone(),
                subjects: query.subjects,
            };
            // Nobody who does not offer the service has any.
            self.nearest(&wanted, query.start).await.unwrap_or_default()
        };
        Ok(Json(ExplainAnswer {
            bookable: reasons.is_empty(),
            reasons: reasons.into_iter().map(Into::into).collect(),
            nearest,
            position: position.to_string(),
        }))
    }
}

fn query(business_id: BusinessId, service_id: ServiceId, staff_id: StaffId) -> ExplainQuery {
    let now = clock::now();
    ExplainQuery {
        business_id,
        service_id,
        staff_id,
        also: vec![],
        subjects: 1,
        start: now,
        now,
        as_of: None,
    }
}

/// Why a start can be booked, or why not: every rule that refuses it now, and the nearest free ones.
///
/// Listing, booking and explaining follow the same rules: what is listed has no reasons here.
#[utoipa::path(get, path = "/api/v1/public/slots/explain", tag = "public",
    operation_id = "explain_slot", params(ExplainParameters),
    responses((status = 200, body = ExplainAnswer), (status = 404, body = Problem),
              (status = 503, body = Problem)))]
pub(crate) async fn explain(
    State(api): State<Api>,
    extract::Query(asked): extract::Query<ExplainParameters>,
) -> Result<Json<ExplainAnswer>, Problem> {
    let business_id = api.named(Named::Service(asked.service_id)).await?;
    let query = query(business_id, asked.service_id, asked.staff_id);
    let (also, subjects) = (slots::also(asked.also.as_deref())?, slots::subjects(asked.subjects)?);
    api.explained(&ExplainQuery { start: asked.start.0, also, subjects, ..query }).await
}

/// Why a start of a staff member could be booked at an instant, or why not. Read from the log itself.
#[utoipa::path(get, path = "/api/v1/calendars/{staff_id}/explain", tag = "appointments",
    operation_id = "explain_slot_as_of",
    params(("staff_id" = String, Path), AsOfParameters),
    responses((status = 200, body = ExplainAnswer), (status = 503, body = Problem)))]
pub(crate) async fn explain_as_of(
    member: Member,
    State(api): State<Api>,
    Id(staff_id): Id<StaffId>,
    extract::Query(asked): extract::Query<AsOfParameters>,
) -> Result<Json<ExplainAnswer>, Problem> {
    member.check_calendar(staff_id)?;
    let query = query(member.business_id, asked.service_id, staff_id);
    let as_of = asked.as_of.map(|instant| instant.0);
    if as_of.is_some_and(|as_of| as_of > query.now) {
        return Err(Problem::invalid_field("as_of", "must not lie in the future"));
    }
    let (start, now) = (asked.start.0, as_of.unwrap_or(query.now));
    let (also, subjects) = (slots::also(asked.also.as_deref())?, slots::subjects(asked.subjects)?);
    api.explained(&ExplainQuery { start, now, as_of, also, subjects, ..query }).await
}
