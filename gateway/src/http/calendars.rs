use axum::{Json, extract::State};
use domain::{
    AppointmentId, ServiceId, SessionId, StaffId, TimeOffId, Zone,
    staff_calendar::{BusyKind, Class},
};
use jiff::{Timestamp, civil::Date};
use projections::calendars::{CalendarItem, CalendarQuery, Calendars};
use serde::{Deserialize, Serialize};
use streams::{Cursor, clock};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Problem,
    extract::{self, Id, Member},
    shape::{self, Instant},
};

/// The longest range of one answer, in local dates.
const MAX_DAYS: i32 = 62;
/// In place of the name of a guest who was erased.
const ERASED: &str = "[erased]";

/// Which stretch of the calendar, and as of when.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CalendarParameters {
    /// The first local date, in the zone of the business.
    #[param(value_type = String, format = Date)]
    from: Date,
    /// The last local date, at most 62 days; the first when absent.
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Date>,
    /// As the calendar was known at this instant; as it is known now when absent.
    #[param(value_type = Option<String>, format = DateTime)]
    as_of: Option<Instant>,
    /// An answer here is never older than any write, so nothing is waited for.
    #[param(value_type = Option<String>)]
    #[expect(
        dead_code,
        reason = "taken as by every read, so that clients need not tell them apart"
    )]
    min_position: Option<Cursor>,
}

/// A calendar as it was known at an instant.
#[derive(Serialize, ToSchema)]
pub(crate) struct CalendarAnswer {
    /// What dates are read in.
    #[schema(value_type = String)]
    timezone: Zone,
    #[schema(value_type = String, format = DateTime)]
    as_of: Timestamp,
    /// The last event behind this answer.
    position: String,
    /// By start.
    items: Vec<CalendarEntry>,
}

/// What occupies a stretch of a calendar.
#[derive(Serialize, ToSchema)]
pub(crate) struct CalendarEntry {
    kind: EntryKind,
    /// Of the appointment, the meeting of a class or the time off.
    id: String,
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
    buffer_before_minutes: u32,
    buffer_after_minutes: u32,
    /// As it is known today; `[erased]` once erased. Null for time off.
    customer_name: Option<String>,
    /// Null for time off.
    #[schema(value_type = Option<String>)]
    service_id: Option<ServiceId>,
    /// Null for time off and classes.
    status: Option<&'static str>,
    /// Of a class: so many seats are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    seats: Option<u32>,
    /// Of a class: of so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<u32>,
}

/// By what the calendar is occupied.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EntryKind {
    /// An appointment.
    Visit,
    /// A meeting of a class; its appointments are in the list of those.
    Class,
    /// An absence.
    TimeOff,
}

impl From<CalendarItem> for CalendarEntry {
    fn from(CalendarItem { busy, visit }: CalendarItem) -> Self {
        let (kind, id) = match busy.kind {
            BusyKind::Visit(id) => (EntryKind::Visit, AppointmentId::to_string(&id)),
            BusyKind::Class(class) => (EntryKind::Class, SessionId::to_string(&class.session_id)),
            BusyKind::TimeOff(id) => (EntryKind::TimeOff, TimeOffId::to_string(&id)),
        };
        let class = match busy.kind {
            BusyKind::Class(class) => Some(class),
            BusyKind::Visit(_) | BusyKind::TimeOff(_) => None,
        };
        Self {
            kind,
            id,
            start: busy.slot.start(),
            end: busy.slot.end(),
            buffer_before_minutes: busy.buffer_before_minutes,
            buffer_after_minutes: busy.buffer_after_minutes,
            service_id: visit
                .as_ref()
                .map(|visit| visit.service_id)
                .or_else(|| class.map(|class: Class| class.service_id)),
            seats: class.map(|class| class.seats),
            capacity: class.map(|class| class.capacity),
            status: visit.as_ref().map(|visit| visit.status.as_str()),
            customer_name: visit
                .map(|visit| visit.customer_name.unwrap_or_else(|| ERASED.to_owned())),
        }
    }
}

impl CalendarParameters {
    /// The first and last date that are asked for.
    fn dates(&self) -> Result<(Date, Date), Problem> {
        let (from, to) = (self.from, self.to.unwrap_or(self.from));
        if !shape::in_range(from.into()) {
            return Err(Problem::invalid_field("from", "is too far away"));
        }
        let days = from.until(to).map_or(i32::MAX, |span| span.get_days());
        if (0..MAX_DAYS).contains(&days) {
            return Ok((from, to));
        }
        let message = format!("must be from that date to {} days later", MAX_DAYS - 1);
        Err(Problem::invalid_field("to", message))
    }
}

/// The calendar of a staff member, as it was known at any instant.
///
/// Read from the log itself. Staff who have left the roster are found too.
#[utoipa::path(get, path = "/api/v1/calendars/{staff_id}", tag = "appointments",
    operation_id = "get_calendar",
    params(("staff_id" = String, Path), CalendarParameters),
    responses((status = 200, body = CalendarAnswer), (status = 503, body = Problem)))]
pub(crate) async fn get(
    member: Member,
    State(api): State<Api>,
    Id(staff_id): Id<StaffId>,
    extract::Query(asked): extract::Query<CalendarParameters>,
) -> Result<Json<CalendarAnswer>, Problem> {
    member.check_calendar(staff_id)?;
    let (first, last) = asked.dates()?;
    let now = clock::now();
    let as_of = asked.as_of.map(|as_of| as_of.0);
    if as_of.is_some_and(|as_of| as_of > now) {
        return Err(Problem::invalid_field("as_of", "must not lie in the future"));
    }
    let business_id = member.business_id;
    let query = CalendarQuery { business_id, staff_id, first, last, as_of };
    let found = Calendars::new(api.database.clone()).get(&query).await?;
    let calendar = found.ok_or_else(Problem::not_found)?;
    Ok(Json(CalendarAnswer {
        timezone: calendar.zone,
        as_of: as_of.unwrap_or(now),
        position: calendar.position.to_string(),
        items: calendar.items.into_iter().map(CalendarEntry::from).collect(),
    }))
}
