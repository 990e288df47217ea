use axum::{extract::State, http::HeaderMap, response::Response};
use domain::{
    ServiceId, StaffId, Zone,
    availability::{Asked, MOST_FURTHER},
};
use jiff::{Timestamp, civil::Date};
use projections::availability::{OfferedSlot, Place, SlotQuery, SlotSpan, SlotsError};
use serde::{Deserialize, Serialize};
use streams::{Cursor, clock};
use utoipa::{IntoParams, ToSchema};

use super::{Api, Problem, extract, shape};

/// The longest range of one answer, in local dates.
const MAX_DAYS: i32 = 62;
/// No class has more.
const MOST_SEATS: u32 = 1_000;

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
    /// In place of a service, beside `staff_id`: any stretch of so many minutes, 5 to 1440.
    duration_minutes: Option<u32>,
    /// Services that follow the first, in order: at most four ids, with commas between. One that somebody
    /// in particular is to do is followed by `@` and their id.
    #[param(example = "svc_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f")]
    also: Option<String>,
    /// How many come: durations add up, and of a class as many seats are wanted. 1 when absent.
    subjects: Option<u32>,
    /// Wait for this position of an earlier write, two seconds at most.
    #[param(value_type = Option<String>)]
    min_position: Option<Cursor>,
}

/// Services that follow the first, as a query names them.
pub(super) fn also(text: Option<&str>) -> Result<Vec<Asked>, Problem> {
    let bad = |message: String| Problem::invalid_field("also", message);
    let one = |text: &str| {
        let (service, staff) = text.split_once('@').map_or((text, None), |(a, b)| (a, Some(b)));
        let staff_id = staff.map(str::parse).transpose();
        let staff_id = staff_id.map_err(|error: domain::IdError| bad(error.to_string()))?;
        let service_id =
            service.parse().map_err(|error: domain::IdError| bad(error.to_string()))?;
        Ok(Asked { service_id, staff_id })
    };
    let all: Vec<&str> = text.into_iter().flat_map(|text| text.split(',')).collect();
    if all.len() > MOST_FURTHER {
        return Err(bad(format!("must have at most {MOST_FURTHER} services")));
    }
    all.into_iter().map(one).collect()
}

/// How many come.
pub(super) fn subjects(asked: Option<u32>) -> Result<u32, Problem> {
    let subjects = asked.unwrap_or(1);
    if (1..=MOST_SEATS).contains(&subjects) {
        return Ok(subjects);
    }
    Err(Problem::invalid_field("subjects", format!("must be 1 to {MOST_SEATS}")))
}

/// Starts that can be booked now. `slots_body` writes it.
#[derive(Serialize, ToSchema)]
pub(crate) struct SlotsAnswer {
    /// What `local_start` is in.
    #[schema(value_type = String)]
    pub(super) timezone: Zone,
    /// By start.
    pub(super) slots: Vec<SlotAnswer>,
    /// How far the calendar behind this answer had come.
    pub(super) position: String,
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
    /// Of several services, who does the first.
    #[schema(value_type = String)]
    staff_id: StaffId,
    /// Seats that are left, when it is a class.
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining: Option<u32>,
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
            remaining: offered.remaining,
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

impl SlotsQuery {
    fn asked(&self) -> Result<SlotQuery, Problem> {
        let staff_id = self.staff()?;
        let (first, last) = self.dates()?;
        let place = match (&self.business, self.service_id, staff_id) {
            (Some(name), _, _) => {
                name.parse().map_or_else(|_| Place::Handle(name.clone()), Place::Business)
            }
            (None, Some(service_id), _) => Place::Service(service_id),
            (None, None, Some(staff_id)) => Place::Staff(staff_id),
            (None, None, None) => {
                return Err(Problem::invalid_field("service_id", "is needed, or staff_id"));
            }
        };
        let span = SlotSpan::Dates { first, last, zone: self.tz.clone() };
        if let Some(minutes) = self.duration_minutes {
            if !(5..=1440).contains(&minutes) {
                return Err(Problem::invalid_field(
                    "duration_minutes",
                    "must be 5 to 1440 minutes",
                ));
            }
            if staff_id.is_none() || self.service_id.is_some() || self.also.is_some() {
                let message = "stands beside staff_id alone, in place of services";
                return Err(Problem::invalid_field("duration_minutes", message));
            }
        }
        Ok(SlotQuery {
            minutes: self.duration_minutes,
            also: also(self.also.as_deref())?,
            subjects: subjects(self.subjects)?,
            ..SlotQuery::plain(place, self.service_id, staff_id, span)
        })
    }
}

impl From<SlotsError> for Problem {
    fn from(error: SlotsError) -> Self {
        match error {
            SlotsError::NotFound => Self::not_found(),
            SlotsError::ServiceNeeded => {
                Self::invalid_field("service_id", "is needed: there is more than one service")
            }
            SlotsError::Invalid(errors) => Self::invalid(errors),
            SlotsError::NoService => Self::invalid_field("staff_id", "offers no service"),
            SlotsError::TooMany => {
                let message = "must be nearer to from: there are too many slots for one answer";
                Self::invalid_field("to", message)
            }
            SlotsError::Read(error) => error.into(),
        }
    }
}

/// Starts that can be booked now.
///
/// The `ETag` is a weak one over the slots and their time zone: while it matches, the same can be
/// booked.
#[utoipa::path(get, path = "/api/v1/public/slots", tag = "public",
    operation_id = "list_slots",
    params(SlotsQuery,
           ("If-None-Match" = Option<String>, Header, description = "an `ETag` of an earlier answer")),
    responses((status = 200, body = SlotsAnswer, headers(("ETag", description = "names the slots"))),
              (status = 304, description = "the slots are those of the `ETag`"),
              (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn slots(
    State(api): State<Api>,
    headers: HeaderMap,
    extract::Query(mut query): extract::Query<SlotsQuery>,
) -> Result<Response, Problem> {
    // Under the name of one business nothing of another is found.
    query.business = query.business.or_else(|| api.handle_of_host(&headers));
    let asked = query.asked()?;
    let answer = api.slots.answer(&asked, query.min_position, clock::now()).await?;
    Ok(answer.body.respond(&headers).await)
}
