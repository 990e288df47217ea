use axum::{Json, extract::State, http::StatusCode};
use domain::{
    AppointmentId, BusinessId, ClosureId,
    appointment::Status,
    availability::start_of_day,
    business::{BusinessCommand, BusinessState, Closure},
};
use jiff::{SignedDuration, civil::Date};
use projections::agenda::AgendaFilter;
use serde::{Deserialize, Serialize};
use streams::{Cursor, clock};
use utoipa::ToSchema;

use super::{
    AGENDA, Api, Problem,
    answer::{Freshness, Items, Written},
    extract::{self, Id, Member},
    shape,
};

/// So many affected appointments are named.
const MOST_AFFECTED: u32 = 1_000;

/// Local dates on which the whole business is closed.
#[derive(Serialize, ToSchema)]
#[schema(as = Closure)]
pub(crate) struct ClosureAnswer {
    #[schema(value_type = String)]
    id: ClosureId,
    #[schema(value_type = String, format = Date)]
    date_from: Date,
    /// Closed as well.
    #[schema(value_type = String, format = Date)]
    date_to: Date,
    reason: Option<String>,
}

/// A closure that was entered.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClosureCreated {
    #[serde(flatten)]
    closure: ClosureAnswer,
    /// Appointments booked on those dates, the first thousand by start. They stay booked. Null when
    /// the list was not ready in time: look in the appointments of those dates.
    #[schema(value_type = Option<Vec<String>>)]
    affected: Option<Vec<AppointmentId>>,
    position: String,
}

/// Dates to close on, in the business's own zone.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"date_from": "2026-12-24", "date_to": "2026-12-26", "reason": "Christmas"}))]
pub(crate) struct ClosureRequest {
    /// The first closed date.
    #[schema(value_type = String, format = Date)]
    date_from: Date,
    /// The last closed date, at most 365 days later.
    #[schema(value_type = String, format = Date)]
    date_to: Date,
    /// A short public label. It is kept for ever: no place for what is personal.
    reason: Option<String>,
}

impl ClosureAnswer {
    fn of(id: ClosureId, closure: &Closure) -> Self {
        let Closure { date_from, date_to, reason } = closure.clone();
        Self { id, date_from, date_to, reason }
    }
}

impl Api {
    /// The appointments that are booked or asked for on the dates of a closure.
    async fn affected(
        &self,
        business_id: BusinessId,
        state: &BusinessState,
        closure: &Closure,
        position: Cursor,
    ) -> Result<Vec<AppointmentId>, Problem> {
        self.wait(AGENDA, Some(position)).await?;
        let zone = &state.profile.value.timezone;
        let from = start_of_day(zone, closure.date_from);
        let filter = AgendaFilter {
            // A visit lasts a day at most: from then on it may reach in.
            from: from.checked_sub(SignedDuration::from_hours(24)).ok(),
            to: closure.date_to.tomorrow().ok().map(|after| start_of_day(zone, after)),
            status: vec![Status::Requested, Status::Booked],
            limit: MOST_AFFECTED,
            ..AgendaFilter::default()
        };
        let page = self.agenda.list(business_id, &filter).await?;
        let touching = page.items.into_iter().filter(|row| row.end > from);
        Ok(touching.map(|row| row.appointment_id).collect())
    }
}

/// When the whole business is closed.
#[utoipa::path(get, path = "/api/v1/business/closures", tag = "business",
    operation_id = "list_closures",
    params(Freshness),
    responses((status = 200, body = Items<ClosureAnswer>)))]
pub(crate) async fn list(
    member: Member,
    State(api): State<Api>,
    extract::Query(fresh): extract::Query<Freshness>,
) -> Result<Json<Items<ClosureAnswer>>, Problem> {
    let (state, _) = api.business_of(member.business_id, fresh.min_position).await?;
    let mut items: Vec<ClosureAnswer> =
        state.closures.iter().map(|(id, closure)| ClosureAnswer::of(id, closure)).collect();
    items.sort_by_key(|closure| (closure.date_from, closure.date_to, closure.id));
    Ok(Json(Items::all(items)))
}

/// Close on some dates.
///
/// Nobody can be booked on them, whatever their own hours or overrides say. Appointments that are
/// booked already stay booked and are named.
#[utoipa::path(post, path = "/api/v1/business/closures", tag = "business",
    operation_id = "create_closure",
    request_body = ClosureRequest,
    responses((status = 201, body = ClosureCreated)))]
pub(crate) async fn create(
    member: Member,
    State(api): State<Api>,
    extract::Json(request): extract::Json<ClosureRequest>,
) -> Result<Written<ClosureCreated>, Problem> {
    let ClosureRequest { date_from, date_to, reason } = request;
    for (field, date) in [("date_from", date_from), ("date_to", date_to)] {
        if !shape::in_range(date.into()) {
            return Err(Problem::invalid_field(field, "is too far away"));
        }
    }
    let closure_id = ClosureId::new(clock::new_id());
    let closure = Closure { date_from, date_to, reason };
    let business_id = member.business_id;
    let command = BusinessCommand::AddClosure { closure_id, closure: closure.clone() };
    let (state, position) = api.change(member, command.into()).await?;
    let affected = api.affected(business_id, &state, &closure, position).await;
    let body = ClosureCreated {
        closure: ClosureAnswer::of(closure_id, &closure),
        // The closure stands, whether or not it can be said whom it meets.
        affected: affected.ok(),
        position: position.to_string(),
    };
    let location = format!("/api/v1/business/closures/{closure_id}");
    Ok(Written::new(StatusCode::CREATED, position, body).at(location))
}

/// Open on those dates after all.
#[utoipa::path(delete, path = "/api/v1/business/closures/{id}", tag = "business",
    operation_id = "remove_closure",
    params(("id" = String, Path)),
    responses((status = 204)))]
pub(crate) async fn remove(
    member: Member,
    State(api): State<Api>,
    Id(closure_id): Id<ClosureId>,
) -> Result<Written<()>, Problem> {
    let command = BusinessCommand::RemoveClosure { closure_id };
    let (_, position) = api.change(member, command.into()).await?;
    Ok(Written::empty(position))
}
