use std::collections::BTreeMap;

use axum::{extract::State, http::StatusCode};
use commands::HoursRefused;
use domain::{
    FieldError, StaffId,
    staff_schedule::{DayWindow, Hours, StaffScheduleError, WallMinute, Window},
};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::{Freshness, Tagged, Written},
    context,
    extract::{self, Id, IfMatch, Member},
    shape::objects,
};

/// When somebody works: the wall clock of the business.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "weekly": [{"day": 0, "start": "09:00", "end": "12:00"}, {"day": 0, "start": "13:00", "end": "17:00"}],
    "overrides": [{"date": "2026-12-24", "windows": []}],
}))]
pub(crate) struct WorkingHours {
    /// Windows of every week. Those of a day that touch or overlap count as one.
    #[serde(deserialize_with = "objects")]
    weekly: Vec<Weekly>,
    /// Windows of single dates, in place of the weekly ones; none means closed.
    #[serde(default, deserialize_with = "objects")]
    overrides: Vec<Override>,
}

/// A window that recurs every week.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Weekly {
    /// 0 = Monday to 6 = Sunday.
    day: u8,
    #[schema(value_type = String, example = "09:00")]
    start: WallMinute,
    /// `24:00` is the end of the day.
    #[schema(value_type = String, example = "17:00")]
    end: WallMinute,
}

/// The windows of one date.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Override {
    #[schema(value_type = String, format = Date)]
    date: Date,
    #[serde(deserialize_with = "objects")]
    windows: Vec<DateWindow>,
}

/// A window of one date.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DateWindow {
    #[schema(value_type = String, example = "09:00")]
    start: WallMinute,
    #[schema(value_type = String, example = "12:00")]
    end: WallMinute,
}

impl TryFrom<WorkingHours> for Hours {
    type Error = Problem;

    fn try_from(hours: WorkingHours) -> Result<Self, Problem> {
        let mut overrides = BTreeMap::new();
        for (i, single) in hours.overrides.into_iter().enumerate() {
            let window = |w: DateWindow| Window { start: w.start, end: w.end };
            let windows = single.windows.into_iter().map(window).collect();
            if overrides.insert(single.date, windows).is_some() {
                let field = format!("overrides[{i}].date");
                return Err(Problem::invalid_field(&field, "must not repeat another date"));
            }
        }
        let day =
            |w: Weekly| DayWindow { day: w.day, window: Window { start: w.start, end: w.end } };
        Ok(Self { weekly: hours.weekly.into_iter().map(day).collect(), overrides })
    }
}

/// The rules count dates in the order of time; the request may have them in another one.
fn in_the_order_of(dates: &[Date], errors: Vec<FieldError>) -> Vec<FieldError> {
    let mut places: Vec<usize> = (0..dates.len()).collect();
    places.sort_by_key(|place| dates.get(*place));
    let renamed = |mut error: FieldError| {
        let place = error.field.strip_prefix("overrides[").and_then(|rest| rest.split_once(']'));
        let named = place.and_then(|(n, rest)| Some((places.get(n.parse::<usize>().ok()?)?, rest)));
        if let Some((place, rest)) = named {
            error.field = format!("overrides[{place}]{rest}");
        }
        error
    };
    errors.into_iter().map(renamed).collect()
}

impl From<&Hours> for WorkingHours {
    fn from(hours: &Hours) -> Self {
        let weekly =
            |w: &DayWindow| Weekly { day: w.day, start: w.window.start, end: w.window.end };
        let window = |w: &Window| DateWindow { start: w.start, end: w.end };
        let single = |(date, windows): (&Date, &Vec<Window>)| Override {
            date: *date,
            windows: windows.iter().map(window).collect(),
        };
        Self {
            weekly: hours.weekly.iter().map(weekly).collect(),
            overrides: hours.overrides.iter().map(single).collect(),
        }
    }
}

/// When a staff member works.
#[utoipa::path(get, path = "/api/v1/business/staff/{id}/working-hours", tag = "business",
    operation_id = "get_working_hours",
    params(("id" = String, Path), Freshness),
    responses((status = 200, body = WorkingHours)))]
pub(crate) async fn get(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<StaffId>,
    extract::Query(fresh): extract::Query<Freshness>,
) -> Result<Tagged<WorkingHours>, Problem> {
    member.check_calendar(id)?;
    let (state, _) = api.business_of(member.business_id, fresh.min_position).await?;
    if !state.staff.contains_key(&id) {
        return Err(Problem::not_found());
    }
    let mut found = api.availability.hours(member.business_id, &[id]).await?;
    let hours = found.remove(&id).ok_or_else(Problem::not_found)?;
    Ok(Tagged(hours.version, (&hours.hours).into()))
}

/// Set when a staff member works. Guests see it in the next answer.
#[utoipa::path(put, path = "/api/v1/business/staff/{id}/working-hours", tag = "business",
    operation_id = "set_working_hours",

    params(("id" = String, Path), ("If-Match" = String, Header, description = "the ETag of the hours, or *")),
    request_body = WorkingHours,
    responses((status = 200, body = WorkingHours)))]
pub(crate) async fn put(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<StaffId>,
    IfMatch(expected): IfMatch,
    extract::Json(request): extract::Json<WorkingHours>,
) -> Result<Written<WorkingHours>, Problem> {
    let dates: Vec<Date> = request.overrides.iter().map(|single| single.date).collect();
    let hours = Hours::try_from(request)?;
    let context = context::command(member.business_id, member.actor());
    let done = api.commands.set_hours(id, &hours, expected, &context).await.map_err(|error| {
        Problem::of(error, |refused| {
            let detail = refused.to_string();
            match refused {
                HoursRefused::NotFound => Problem::not_found(),
                HoursRefused::Schedule(StaffScheduleError::Invalid(errors)) => {
                    Problem::invalid(in_the_order_of(&dates, errors))
                }
                HoursRefused::Schedule(StaffScheduleError::Stale { .. }) => {
                    Problem::new(StatusCode::PRECONDITION_FAILED, "stale", detail)
                }
            }
        })
    })?;
    api.edited(done.position).await;
    let body = WorkingHours::from(&done.value.hours);
    Ok(Written::new(StatusCode::OK, done.position, body).etag(done.value.version))
}
