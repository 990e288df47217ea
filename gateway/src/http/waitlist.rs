//! Guests who wait for a time to become free.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use commands::{
    CommandError, appointment,
    directory::Named,
    idempotency::IdempotencyKey,
    waitlist::{EndWaiting, JoinWaitlist, WaitRange, WaitingEnd, WaitlistRefused},
};
use domain::{
    AppointmentId, BusinessId, ServiceId, StaffId, WaitlistId, Zone,
    waitlist::{EntryStatus, WaitlistError},
};
use jiff::{Timestamp, civil::Date};
use projections::waitlist::{WaitlistFilter, WaitlistRow};
use serde::{Deserialize, Serialize};
use streams::{Actor, Cursor, clock};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Problem,
    answer::{Items, Written, page_size},
    book::{self, Customer},
    context,
    extract::{self, Id, Member},
    shape::{self, Instant, object},
};

/// A wish to wait.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "service_id": "svc_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f", "from": "2026-03-02", "to": "2026-03-06",
    "customer": {"name": "Ada Guest", "email": "ada@example.com"}, "timezone": "Europe/London",
}))]
pub(crate) struct JoinRequest {
    #[schema(value_type = String)]
    service_id: ServiceId,
    /// Absent for anybody who offers it.
    #[schema(value_type = Option<String>)]
    staff_id: Option<StaffId>,
    /// A local date of the business, or an instant (RFC 3339).
    from: String,
    /// As `from`: a date is included, an instant is not. At most 62 days later.
    to: String,
    /// The e-mail address is needed: what becomes free is offered by mail.
    #[serde(deserialize_with = "object")]
    customer: Customer,
    /// The guest's own zone, for their mails.
    #[schema(value_type = Option<String>)]
    timezone: Option<Zone>,
    notes: Option<String>,
}

/// An entry, as the guest is told when it is made.
#[derive(Serialize, ToSchema)]
pub(crate) struct JoinedAnswer {
    #[schema(value_type = String)]
    waitlist_id: WaitlistId,
    /// `waiting`.
    #[schema(value_type = String)]
    status: EntryStatus,
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// Where the guest sees the entry and leaves. Whoever has it may: keep it as a password.
    #[schema(format = "uri")]
    manage_url: String,
    position: String,
}

/// An entry, as its guest sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct GuestEntry {
    #[schema(value_type = String)]
    waitlist_id: WaitlistId,
    /// `waiting`, `offered`, `accepted`, `declined`, `lapsed`, `left` or `expired`.
    #[schema(value_type = String)]
    status: EntryStatus,
    #[schema(value_type = String)]
    service_id: ServiceId,
    #[schema(value_type = Option<String>)]
    staff_id: Option<StaffId>,
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// Where what was offered is seen and accepted.
    #[schema(format = "uri")]
    offer_url: Option<String>,
}

/// An entry, as the business sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = WaitlistEntry)]
pub(crate) struct EntryAnswer {
    #[schema(value_type = String)]
    id: WaitlistId,
    /// `waiting`, `offered`, `accepted`, `declined`, `lapsed`, `left` or `expired`.
    #[schema(value_type = String)]
    status: EntryStatus,
    #[schema(value_type = String)]
    service_id: ServiceId,
    #[schema(value_type = Option<String>)]
    staff_id: Option<StaffId>,
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    joined_at: Timestamp,
    /// What is or was offered.
    #[schema(value_type = Option<String>)]
    appointment_id: Option<AppointmentId>,
    /// Null once erased.
    customer: Option<WaitingCustomer>,
    notes: Option<String>,
}

/// Who waits.
#[derive(Serialize, ToSchema)]
pub(crate) struct WaitingCustomer {
    name: String,
    email: String,
    phone: Option<String>,
    timezone: Option<String>,
}

impl From<WaitlistRow> for EntryAnswer {
    fn from(row: WaitlistRow) -> Self {
        let notes = row.guest.as_ref().and_then(|guest| guest.notes.clone());
        Self {
            id: row.waitlist_id,
            status: row.status,
            service_id: row.wish.service_id,
            staff_id: row.wish.staff_id,
            from: row.wish.range.start(),
            to: row.wish.range.end(),
            joined_at: row.joined_at,
            appointment_id: row.appointment_id,
            customer: row.guest.map(|guest| WaitingCustomer {
                name: guest.name,
                email: guest.email,
                phone: guest.phone,
                timezone: guest.timezone,
            }),
            notes,
        }
    }
}

/// Which entries. Every parameter narrows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EntriesQuery {
    #[param(value_type = Option<String>)]
    service_id: Option<ServiceId>,
    /// `waiting`, `offered`, `accepted`, `declined`, `lapsed`, `left` or `expired`.
    #[param(value_type = Option<String>)]
    status: Option<EntryStatus>,
    /// 1 to 200; 50 when absent.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// An answer here is never older than any write, so nothing is waited for.
    #[param(value_type = Option<String>)]
    #[expect(
        dead_code,
        reason = "taken as by every read, so that clients need not tell them apart"
    )]
    min_position: Option<Cursor>,
}

impl JoinRequest {
    fn range(&self) -> Result<WaitRange, Problem> {
        let date = |text: &str| {
            text.parse::<Date>()
                .ok()
                .filter(|date| shape::in_range((*date).into()) && text.len() == "2026-03-02".len())
        };
        let instant = |text: &str| Instant::try_from(text.to_owned()).ok().map(|at| at.0);
        if let (Some(first), Some(last)) = (date(&self.from), date(&self.to)) {
            return Ok(WaitRange::Dates { first, last });
        }
        if let (Some(from), Some(to)) = (instant(&self.from), instant(&self.to)) {
            return Ok(WaitRange::Instants { from, to });
        }
        let known = date(&self.from).is_some() || instant(&self.from).is_some();
        let field = if known { "to" } else { "from" };
        let message =
            "must be a local date such as 2026-03-02, or an instant (RFC 3339); both alike";
        Err(Problem::invalid_field(field, message))
    }

    fn key(&self, headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
        let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
        let key = key.to_str().unwrap_or_default();
        book::checked_key(key)?;
        let mut request = b"POST /api/v1/public/waitlist ".to_vec();
        request.extend(serde_json::to_vec(self).unwrap_or_default());
        Ok(Some(IdempotencyKey::new(key.to_owned(), &request)))
    }
}

fn refused(error: CommandError<WaitlistRefused>) -> Problem {
    Problem::of(error, |refused| {
        let detail = refused.to_string();
        let rule = |code| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.clone());
        match refused {
            WaitlistRefused::Invalid(errors) => Problem::invalid(errors),
            WaitlistRefused::UnknownService | WaitlistRefused::UnknownStaff => Problem::not_found(),
            WaitlistRefused::NotOffered => rule("not_offered"),
            WaitlistRefused::NeedsApproval => rule("needs_approval"),
            WaitlistRefused::Full { most } => rule("waitlist_full").with("max", most),
            WaitlistRefused::WaitsTooOften { most } => rule("waits_too_often").with("max", most),
            WaitlistRefused::Entry(error) => match error {
                WaitlistError::NotFound => Problem::not_found(),
                WaitlistError::RangeOver => Problem::invalid_field("to", "is over"),
                WaitlistError::WrongState { status } => {
                    Problem::new(StatusCode::CONFLICT, "wrong_state", detail).with("state", status)
                }
                WaitlistError::AlreadyJoined | WaitlistError::Unwanted => {
                    Problem::new(StatusCode::CONFLICT, "wrong_state", detail)
                }
            },
        }
    })
}

/// Who holds the link of an entry.
struct Waiting {
    waitlist_id: WaitlistId,
    business_id: BusinessId,
}

impl Api {
    async fn waiting(&self, link: &str) -> Result<Waiting, Problem> {
        let Some(waitlist_id) = self.manage_urls.links().waiting(link) else {
            metrics::counter!("apptremind_links_refused_total").increment(1);
            return Err(Problem::not_found());
        };
        let found: Result<_, CommandError<std::convert::Infallible>> =
            self.commands.business_of_entry(waitlist_id).await;
        let found = found.map_err(|error| Problem::of(error, |never| match never {}))?;
        let business_id = found.ok_or_else(Problem::not_found)?;
        Ok(Waiting { waitlist_id, business_id })
    }

    async fn guest_entry(&self, waiting: &Waiting) -> Result<GuestEntry, Problem> {
        let found = self.waitlist.get(waiting.business_id, waiting.waitlist_id).await?;
        let row = found.ok_or_else(Problem::not_found)?;
        Ok(GuestEntry {
            waitlist_id: row.waitlist_id,
            status: row.status,
            service_id: row.wish.service_id,
            staff_id: row.wish.staff_id,
            from: row.wish.range.start(),
            to: row.wish.range.end(),
            offer_url: row.appointment_id.map(|id| self.manage_urls.url(id)),
        })
    }
}

/// Wait for a time to become free.
///
/// What becomes free is offered to those who wait in the order in which they joined, by mail, and kept
/// for a while. Whoever does not accept makes way for the next. Safe to retry: the same
/// `Idempotency-Key` joins once.
#[utoipa::path(post, path = "/api/v1/public/waitlist", tag = "public",
    operation_id = "join_waitlist", request_body = JoinRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "the same key joins once")),
    responses((status = 201, body = JoinedAnswer), (status = 404, body = Problem),
        (status = 422, body = Problem, description = "`not_offered`; `needs_approval`: the business wants to \
            agree to each visit of the service; `waitlist_full`, `waits_too_often`, with `max`; \
            `invalid_request`"),
        (status = 503, body = Problem)))]
pub(crate) async fn join(
    State(api): State<Api>,
    headers: HeaderMap,
    extract::Json(request): extract::Json<JoinRequest>,
) -> Result<Written<JoinedAnswer>, Problem> {
    let (key, range) = (request.key(&headers)?, request.range()?);
    let business_id = api.named(Named::Service(request.service_id)).await?;
    let join = JoinWaitlist {
        waitlist_id: WaitlistId::new(clock::new_id()),
        service_id: request.service_id,
        staff_id: request.staff_id,
        range,
        guest: appointment::Guest {
            name: request.customer.name,
            email: request.customer.email,
            phone: request.customer.phone,
        },
        timezone: request.timezone,
        notes: request.notes,
    };
    let context = context::command(business_id, Actor::Guest);
    let done = api.commands.join_waitlist(&join, key.as_ref(), &context).await.map_err(refused)?;
    let joined = &done.value;
    let body = JoinedAnswer {
        waitlist_id: joined.waitlist_id,
        status: joined.status,
        from: joined.wish.range.start(),
        to: joined.wish.range.end(),
        manage_url: api.manage_urls.waitlist_url(joined.waitlist_id),
        position: done.position.to_string(),
    };
    let written = Written::new(StatusCode::CREATED, done.position, body);
    Ok(Written { replayed: done.replayed, ..written })
}

/// The entry behind a link. Looking never changes anything.
#[utoipa::path(get, path = "/api/v1/public/waitlist/{link}", tag = "public",
    operation_id = "get_waitlist_entry_as_guest",
    params(("link" = String, Path, description = "the last part of `manage_url`; a secret")),
    responses((status = 200, body = GuestEntry)))]
pub(crate) async fn see(
    State(api): State<Api>,
    Id(link): Id<String>,
) -> Result<Json<GuestEntry>, Problem> {
    let waiting = api.waiting(&link).await?;
    Ok(Json(api.guest_entry(&waiting).await?))
}

/// Wait no longer; also when that is so already. What is offered is declined by its own link instead.
#[utoipa::path(post, path = "/api/v1/public/waitlist/{link}/leave", tag = "public",
    operation_id = "leave_waitlist",
    params(("link" = String, Path, description = "the last part of `manage_url`; a secret")),
    responses((status = 200, body = GuestEntry),
        (status = 409, body = Problem, description = "`wrong_state`, with the `state`"),
        (status = 503, body = Problem)))]
pub(crate) async fn leave(
    State(api): State<Api>,
    Id(link): Id<String>,
) -> Result<Written<GuestEntry>, Problem> {
    let waiting = api.waiting(&link).await?;
    let context = context::command(waiting.business_id, Actor::Guest);
    let wish = EndWaiting { waitlist_id: waiting.waitlist_id, end: WaitingEnd::Leave };
    let done = api.commands.end_waiting(&wish, &context).await.map_err(refused)?;
    Ok(Written::new(StatusCode::OK, done.position, api.guest_entry(&waiting).await?))
}

/// Who waits, in the order of joining.
#[utoipa::path(get, path = "/api/v1/waitlist", tag = "appointments",
    operation_id = "list_waitlist",
    params(EntriesQuery),
    responses((status = 200, body = Items<EntryAnswer>), (status = 503, body = Problem)))]
pub(crate) async fn list(
    member: Member,
    State(api): State<Api>,
    extract::Query(query): extract::Query<EntriesQuery>,
) -> Result<Json<Items<EntryAnswer>>, Problem> {
    let limit = page_size(query.limit)?;
    let after = query.cursor.map(|text| text.parse()).transpose();
    let after = after.map_err(|message: &str| Problem::invalid_field("cursor", message))?;
    let filter =
        WaitlistFilter { service_id: query.service_id, status: query.status, after, limit };
    let (items, next) = api.waitlist.list(member.business_id, &filter).await?;
    let items = items.into_iter().map(Into::into).collect();
    Ok(Json(Items { items, next: next.map(|next| next.to_string()) }))
}

/// Take a guest off the waitlist; also when they are off it already. What is offered is declined as
/// the appointment that it is.
#[utoipa::path(delete, path = "/api/v1/waitlist/{id}", tag = "appointments",
    operation_id = "remove_from_waitlist",
    params(("id" = String, Path)),
    responses((status = 204),
        (status = 409, body = Problem, description = "`wrong_state`, with the `state`")))]
pub(crate) async fn remove(
    member: Member,
    State(api): State<Api>,
    Id(waitlist_id): Id<WaitlistId>,
) -> Result<Written<()>, Problem> {
    let context = context::command(member.business_id, member.actor());
    let wish = EndWaiting { waitlist_id, end: WaitingEnd::Leave };
    let done = api.commands.end_waiting(&wish, &context).await.map_err(refused)?;
    Ok(Written::empty(done.position))
}
