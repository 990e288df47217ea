use axum::{Json, extract::State, http::header, response::IntoResponse};
use commands::directory::Named;
use domain::{BusinessId, StaffId, appointment::Status};
use jiff::{SignedDuration, Timestamp};
use projections::agenda::{AgendaFilter, AgendaRow};
use serde::Serialize;
use streams::clock;
use utoipa::ToSchema;

use super::{
    Api, Problem,
    extract::{Id, Member},
};

/// How far back a feed goes.
const PAST: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Visits of one feed at most, the earliest first: years of full days. Read in pages.
const MOST: usize = 10_000;
const PAGE: u32 = 1_000;

/// Where a calendar can subscribe to the visits of a staff member.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "url": "https://book.example/api/v1/public/feeds/AbQ2cnQBmMWitwfzw9jk9aa3yNng8AAQ.ics",
}))]
pub(crate) struct FeedAddress {
    /// Whoever has it sees who comes and when: keep it as a password.
    #[schema(format = "uri")]
    url: String,
}

/// What stands in a calendar.
const STANDING: [Status; 4] =
    [Status::Requested, Status::Booked, Status::Completed, Status::NoShow];

impl Api {
    /// What a staff member has had of late and has to come, without what was called off.
    async fn visits(
        &self,
        business_id: BusinessId,
        staff_id: StaffId,
        now: Timestamp,
    ) -> Result<Vec<AgendaRow>, Problem> {
        let mut filter = AgendaFilter {
            from: now.checked_sub(PAST).ok(),
            staff_id: Some(staff_id),
            status: STANDING.to_vec(),
            limit: PAGE,
            ..AgendaFilter::default()
        };
        let mut visits = vec![];
        loop {
            let page = self.agenda.list(business_id, &filter).await?;
            visits.extend(page.items);
            filter.after = page.next;
            if filter.after.is_none() || visits.len() >= MOST {
                return Ok(visits);
            }
        }
    }
}

/// The address of a staff member's calendar feed: a secret, for the calendar that subscribes to it.
#[utoipa::path(get, path = "/api/v1/business/staff/{id}/calendar-feed", tag = "business",
    operation_id = "get_calendar_feed_address",
    params(("id" = String, Path)),
    responses((status = 200, body = FeedAddress)))]
pub(crate) async fn address(
    member: Member,
    State(api): State<Api>,
    Id(staff_id): Id<StaffId>,
) -> Result<Json<FeedAddress>, Problem> {
    member.check_calendar(staff_id)?;
    let (state, _) = api.business_of(member.business_id, None).await?;
    if !state.staff.contains_key(&staff_id) {
        return Err(Problem::not_found());
    }
    Ok(Json(FeedAddress { url: api.manage_urls.feed_url(staff_id) }))
}

/// The visits of a staff member as a calendar to subscribe to (iCalendar): the last 30 days and all to
/// come, with the names of guests.
///
/// It ends when the staff member is taken off the roster.
#[utoipa::path(get, path = "/api/v1/public/feeds/{file}", tag = "public",
    operation_id = "get_calendar_feed",
    params(("file" = String, Path, description = "the last part of a feed's address: a secret, and .ics")),
    responses((status = 200, body = String, content_type = "text/calendar")))]
pub(crate) async fn feed(
    State(api): State<Api>,
    Id(file): Id<String>,
) -> Result<impl IntoResponse, Problem> {
    let token = file.strip_suffix(".ics");
    let Some(staff_id) = token.and_then(|token| api.manage_urls.links().fed(token)) else {
        metrics::counter!("apptremind_links_refused_total").increment(1);
        return Err(Problem::not_found());
    };
    let business_id = api.named(Named::Staff(staff_id)).await?;
    let (state, _) = api.business_of(business_id, None).await?;
    let member = state.staff.get(&staff_id).ok_or_else(Problem::not_found)?;
    let now = clock::now();
    let visits = api.visits(business_id, staff_id, now).await?;
    let calendar = reactors::staff_calendar(&member.value.name, &state, &visits, now);
    Ok(([(header::CONTENT_TYPE, "text/calendar; charset=utf-8")], calendar))
}
