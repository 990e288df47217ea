use axum::{Json, extract::State};
use commands::directory::Named;
use domain::{
    BusinessId, ServiceId, StaffId, Zone, availability::start_of_day, business::BusinessState,
};
use jiff::{Timestamp, ToSpan, civil::Date};
use projections::availability::{OfferedSlot, SlotQuery};
use serde::{Deserialize, Serialize};
use streams::{Cursor, clock};
use utoipa::{IntoParams, ToSchema};

use super::{Api, Problem, extract, shape};

/// The longest range of one answer, in local dates.
const MAX_DAYS: i32 = 62;

/// Which slots.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SlotsQuery {
    /// Handle or id of the business; may be left out when a service or staff member is named.
    business: Option<String>,
    /// May be left out when the staff member offers just one service.
    #[param(value_type = Option<String>)]
    service_id: Option<ServiceId>,
    /// A staff member; absent or `any` for everybody who offers the service.
    staff_id: Option<String>,
    /// One local date.
    #[param(value_type = Option<String>, format = Date)]
    date: Option<Date>,
    /// The first local date of a range.
    #[param(value_type = Option<String>, format = Date)]
    from: Option<Date>,
    /// The last local date of a range, at most 62 days.
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Date>,
    /// The guest's zone: dates are read and local times shown in it. The business's when absent.
    #[param(value_type = Option<String>)]
    tz: Option<Zone>,
    /// Wait for this position of an earlier write, two seconds at most.
    #[param(value_type = Option<String>)]
    min_position: Option<Cursor>,
}

/// Starts that can be booked now.
#[derive(Serialize, ToSchema)]
pub(crate) struct SlotsAnswer {
    /// What `local_start` is in.
    #[schema(value_type = String)]
    timezone: Zone,
    /// By start.
    slots: Vec<SlotAnswer>,
    /// How far the calendar behind this answer had come.
    position: String,
}

/// A start that can be booked.
#[derive(Serialize, ToSchema)]
pub(crate) struct SlotAnswer {
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
    /// The start on the guest's clock, with its offset.
    #[schema(example = "2026-03-02T09:00:00-05:00")]
    local_start: String,
    #[schema(value_type = String)]
    staff_id: StaffId,
}

impl SlotAnswer {
    pub(super) fn of(offered: &OfferedSlot, zone: &Zone) -> Self {
        let start = offered.slot.start();
        let offset = zone.tz().to_offset(start);
        Self {
            start,
            end: offered.slot.end(),
            local_start: start.display_with_offset(offset).to_string(),
            staff_id: offered.staff_id,
        }
    }
}

impl SlotsQuery {
    fn staff(&self) -> Result<Option<StaffId>, Problem> {
        match self.staff_id.as_deref() {
            None | Some("any") => Ok(None),
            Some(id) => id.parse().map(Some).map_err(|error: domain::IdError| {
                Problem::invalid_field("staff_id", format!("{error}, or any"))
            }),
        }
    }

    /// The first and last date that are asked for.
    fn dates(&self) -> Result<(Date, Date), Problem> {
        let (from, to) = match (self.date, self.from, self.to) {
            (Some(date), None, None) => (date, date),
            (None, Some(from), Some(to)) => (from, to),
            (None, Some(from), None) => (from, from),
            (Some(_), _, _) => {
                let message = "cannot stand beside from and to";
                return Err(Problem::invalid_field("date", message));
            }
            (None, None, _) => {
                return Err(Problem::invalid_field("date", "is needed, or from and to"));
            }
        };
        if !shape::in_range(from.into()) {
            let name = if self.date.is_some() { "date" } else { "from" };
            return Err(Problem::invalid_field(name, "is too far away"));
        }
        let days = from.until(to).map_or(i32::MAX, |span| span.get_days());
        if (0..MAX_DAYS).contains(&days) {
            return Ok((from, to));
        }
        let message = format!("must be from that date to {} days later", MAX_DAYS - 1);
        Err(Problem::invalid_field("to", message))
    }
}

impl Api {
    async fn business_asked(
        &self,
        query: &SlotsQuery,
        staff_id: Option<StaffId>,
    ) -> Result<BusinessId, Problem> {
        match (&query.business, query.service_id, staff_id) {
            (Some(name), _, _) => match name.parse::<BusinessId>() {
                Ok(id) => Ok(id),
                Err(_) => self.named(Named::Handle(name)).await,
            },
            (None, Some(service_id), _) => self.named(Named::Service(service_id)).await,
            (None, None, Some(staff_id)) => self.named(Named::Staff(staff_id)).await,
            (None, None, None) => {
                Err(Problem::invalid_field("service_id", "is needed, or staff_id"))
            }
        }
    }
}

/// The service that is asked for, or the only one that the staff member offers.
fn service(
    state: &BusinessState,
    asked: Option<ServiceId>,
    staff_id: Option<StaffId>,
) -> Result<ServiceId, Problem> {
    if staff_id.is_some_and(|id| !state.staff.contains_key(&id)) {
        return Err(Problem::not_found());
    }
    if let Some(id) = asked {
        return state.services.contains_key(&id).then_some(id).ok_or_else(Problem::not_found);
    }
    let needed =
        || Problem::invalid_field("service_id", "is needed: there is more than one service");
    let Some(staff_id) = staff_id else { return Err(needed()) };
    let mut offered = state.services_of(staff_id);
    match (offered.next(), offered.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(needed()),
        (None, _) => Err(Problem::invalid_field("staff_id", "offers no service")),
    }
}

/// Starts that can be booked now.
#[utoipa::path(get, path = "/api/v1/public/slots", tag = "public",
    operation_id = "list_slots", params(SlotsQuery),
    responses((status = 200, body = SlotsAnswer), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn slots(
    State(api): State<Api>,
    extract::Query(query): extract::Query<SlotsQuery>,
) -> Result<Json<SlotsAnswer>, Problem> {
    let staff_id = query.staff()?;
    let (first, last) = query.dates()?;
    let business_id = api.business_asked(&query, staff_id).await?;
    let (state, position) = api.business_of(business_id, query.min_position).await?;
    let service_id = service(&state, query.service_id, staff_id)?;
    let zone = query.tz.clone().unwrap_or_else(|| state.profile.value.timezone.clone());
    let after = last.checked_add(1.day()).unwrap_or(last);
    let asked = SlotQuery {
        business_id,
        service_id,
        staff_id,
        from: start_of_day(&zone, first),
        until: start_of_day(&zone, after),
        now: clock::now(),
    };
    let found = api.availability.slots(&state, position, &asked).await?;
    if !found.complete {
        let message = "must be nearer to from: there are too many slots for one answer";
        return Err(Problem::invalid_field("to", message));
    }
    Ok(Json(SlotsAnswer {
        slots: found.slots.iter().map(|slot| SlotAnswer::of(slot, &zone)).collect(),
        position: found.position.to_string(),
        timezone: zone,
    }))
}
