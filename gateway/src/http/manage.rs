//! What guests see and do by the link in their mails.

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use commands::{
    CommandError,
    appointment::{
        AcceptByGuest, CancelByGuest, CancelTogether, GuestRefused, MoveRefused,
        RescheduleAppointment,
    },
    identity::NonceRefused,
};
use domain::{
    AppointmentId, ServiceId, StaffId, Zone,
    appointment::{Part, Status},
    availability::Waived,
};
use jiff::{SignedDuration, Timestamp};
use projections::agenda::GuestView;
use reactors::GuestCalendar;
use serde::{Deserialize, Serialize};
use streams::{Actor, Cursor, clock};
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::{Price, Written},
    appointments, book, context,
    extract::{self, Guest},
    intake::SubjectBody,
    series::{self, ScopeBody, SeriesPlace},
};

/// How long a view can be acted on. Long enough to think it over; a new view gives another nonce.
const NONCE_LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// An appointment as its guest sees it.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "appointment_id": "appt_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f", "status": "booked", "expires_at": null, "offered": false,
    "start": "2026-03-02T14:00:00Z", "end": "2026-03-02T14:30:00Z",
    "timezone": "America/New_York",
    "local_start": "2026-03-02T09:00:00-05:00", "local_end": "2026-03-02T09:30:00-05:00",
    "guest_time": {"timezone": "Europe/London",
        "local_start": "2026-03-02T14:00:00+00:00", "local_end": "2026-03-02T14:30:00+00:00"},
    "service": {"id": "svc_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f", "name": "Haircut"},
    "staff": {"id": "staff_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f", "name": "Dana"},
    "price": {"amount": 4500, "currency": "USD"},
    "answers": {"allergies": "none"}, "subjects": [{"name": "Rex"}],
    "business": {"name": "Salon Dana", "handle": "salon-dana", "address": "1 Main St", "contact": null},
    "cancellation": {"allowed": true, "until": "2026-03-01T14:00:00Z", "notice_minutes": 1440},
    "rescheduling": {"allowed": true, "until": "2026-03-01T14:00:00Z", "left": null},
    "nonce": "AAAAAAAAAAEAAAAAaaWqADdPbDG6kGd9xqXN30yY7CM",
    "nonce_expires_at": "2026-02-27T10:00:00Z",
}))]
pub(crate) struct GuestAppointment {
    #[schema(value_type = String)]
    appointment_id: AppointmentId,
    /// `requested`, `booked`, `cancelled`, `declined`, `expired`, `completed` or `no_show`.
    status: &'static str,
    /// Until when a request may be answered; null for any other.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Whether the guest may accept it: a time that became free is kept for them.
    offered: bool,
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
    /// On the clock of the business.
    #[serde(flatten)]
    business_time: LocalTime,
    /// On the guest's own clock, when that shows another time.
    guest_time: Option<LocalTime>,
    /// Of several, the first.
    service: GuestService,
    /// Of several, who does the first service.
    staff: GuestStaff,
    /// All in all.
    price: Price,
    /// Who does what when, when there are several services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<GuestPart>,
    /// Its place among those that it was booked with.
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<SeriesPlace>,
    /// What was answered to the service's questions, by key.
    #[schema(value_type = HashMap<String, serde_json::Value>)]
    answers: serde_json::Map<String, serde_json::Value>,
    /// Who or what it is for, when that is not the guest alone.
    subjects: Vec<SubjectBody>,
    business: GuestBusiness,
    cancellation: Cancellation,
    rescheduling: Rescheduling,
    /// Authorises one change: whichever is made spends it, and so does anybody else's.
    nonce: String,
    #[schema(value_type = String, format = DateTime)]
    nonce_expires_at: Timestamp,
}

/// Start and end with the offset of a zone.
#[derive(PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct LocalTime {
    #[schema(value_type = String)]
    timezone: Zone,
    #[schema(example = "2026-03-02T09:00:00-05:00")]
    local_start: String,
    #[schema(example = "2026-03-02T09:30:00-05:00")]
    local_end: String,
}

impl LocalTime {
    fn of(view: &GuestView, zone: &Zone) -> Self {
        let local = |at: Timestamp| at.display_with_offset(zone.tz().to_offset(at)).to_string();
        let (local_start, local_end) =
            (local(view.visit.slot.start()), local(view.visit.slot.end()));
        Self { timezone: zone.clone(), local_start, local_end }
    }

    fn shows_the_same(&self, other: &Self) -> bool {
        self.local_start == other.local_start && self.local_end == other.local_end
    }
}

/// What is done.
#[derive(Serialize, ToSchema)]
pub(crate) struct GuestService {
    #[schema(value_type = String)]
    id: ServiceId,
    /// Null when it is not offered any more.
    name: Option<String>,
}

/// Who serves.
#[derive(Serialize, ToSchema)]
pub(crate) struct GuestStaff {
    #[schema(value_type = String)]
    id: StaffId,
    /// Null when they do not work there any more.
    name: Option<String>,
}

/// One of several services.
#[derive(Serialize, ToSchema)]
pub(crate) struct GuestPart {
    service: GuestService,
    staff: GuestStaff,
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
}

impl GuestService {
    fn of(view: &GuestView, id: ServiceId) -> Self {
        let service = view.business.services.get(&id);
        Self { id, name: service.map(|service| service.value.name.clone()) }
    }
}

impl GuestStaff {
    fn of(view: &GuestView, id: StaffId) -> Self {
        let member = view.business.staff.get(&id);
        Self { id, name: member.map(|member| member.value.name.clone()) }
    }
}

impl GuestPart {
    fn of(view: &GuestView, part: &Part) -> Self {
        Self {
            service: GuestService::of(view, part.service_id),
            staff: GuestStaff::of(view, part.staff_id),
            start: part.slot.start(),
            end: part.slot.end(),
        }
    }
}

/// Where it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct GuestBusiness {
    name: String,
    handle: String,
    address: Option<String>,
    contact: Option<String>,
}

/// Whether it can be called off, and until when.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cancellation {
    allowed: bool,
    /// The last instant at which a booked visit can be called off.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// How long before the start that is.
    notice_minutes: u32,
}

/// Whether it can be moved, until when and how often.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rescheduling {
    allowed: bool,
    /// The last instant at which a booked visit can be moved.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// How often yet; null means as often as they like.
    left: Option<u32>,
}

/// To when, to whom, and by which view.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "start": "2026-03-03T14:00:00Z", "nonce": "AAAAAAAAAAEAAAAAaaWqADdPbDG6kGd9xqXN30yY7CM",
}))]
pub(crate) struct GuestRescheduleRequest {
    /// An instant (RFC 3339), or local time of the business without offset.
    start: String,
    /// Absent leaves it with whoever has it.
    #[schema(value_type = Option<String>)]
    staff_id: Option<StaffId>,
    /// Of a series, also others: they move by as many days, to the same time of day; all that are
    /// meant and still to come, or none.
    #[serde(default)]
    scope: ScopeBody,
    /// From the view of this link. Good for one change.
    nonce: String,
}

/// Why it is called off, and by which view.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "reason": "I am ill", "nonce": "AAAAAAAAAAEAAAAAaaWqADdPbDG6kGd9xqXN30yY7CM",
}))]
pub(crate) struct GuestCancelRequest {
    /// For the business to read.
    reason: Option<String>,
    /// Of a series, also others: all that are meant and still to come, or none.
    #[serde(default)]
    scope: ScopeBody,
    /// From the view of this link. Good for one change.
    nonce: String,
}

impl Api {
    async fn guest_view(&self, guest: Guest) -> Result<(u64, GuestAppointment), Problem> {
        let id = guest.link.appointment_id;
        let found = self.agenda.seen_by_guest(guest.business_id, id).await?;
        let view = found.ok_or_else(Problem::not_found)?;
        let now = clock::now();
        let nonce_expires_at = now + NONCE_LIFETIME;
        let nonce = self.manage_urls.links().nonce(guest.link, view.version, nonce_expires_at);
        Ok((view.version, GuestAppointment::of(id, &view, now, nonce, nonce_expires_at)))
    }

    /// The appointment as its guest's change left it.
    async fn changed_by_guest(
        &self,
        guest: Guest,
        position: Cursor,
    ) -> Result<Written<GuestAppointment>, Problem> {
        note_nonce(guest, "accepted");
        let (version, body) = self.guest_view(guest).await?;
        Ok(Written::new(StatusCode::OK, position, body).etag(version))
    }

    /// The version that the guest acts on.
    fn seen_version(&self, guest: Guest, nonce: &str, now: Timestamp) -> Result<u64, Problem> {
        self.manage_urls.links().version(guest.link, nonce, now).map_err(|refused| match refused {
            NonceRefused::Forged => {
                note_nonce(guest, "forged");
                Problem::invalid_field("nonce", refused.to_string())
            }
            NonceRefused::Expired => {
                note_nonce(guest, "expired");
                gone("nonce_expired", "the nonce has expired; look again for a new one")
            }
        })
    }
}

impl GuestAppointment {
    fn of(
        appointment_id: AppointmentId,
        view: &GuestView,
        now: Timestamp,
        nonce: String,
        nonce_expires_at: Timestamp,
    ) -> Self {
        let profile = &view.business.profile.value;
        let business_time = LocalTime::of(view, &profile.timezone);
        let guest_time = view.timezone.as_ref().map(|zone| LocalTime::of(view, zone));
        let guest_time = guest_time.filter(|there| !there.shows_the_same(&business_time));
        let notice_minutes = profile.booking_policy.cancel_notice_minutes;
        let until = view.visit.cancel_deadline(notice_minutes);
        // Nothing is agreed before it is confirmed: a request is taken back or moved at any time.
        let asked = view.status == Status::Requested;
        let allowed = asked || view.status == Status::Booked && now <= until;
        let limit = profile.booking_policy.reschedule_limit;
        let left = limit.map(|limit| limit.saturating_sub(view.moves));
        Self {
            appointment_id,
            status: view.status.as_str(),
            expires_at: view.expires_at,
            offered: view.offered,
            start: view.visit.slot.start(),
            end: view.visit.slot.end(),
            business_time,
            guest_time,
            service: GuestService::of(view, view.visit.service_id),
            staff: GuestStaff::of(view, view.visit.staff_id),
            price: view.visit.price.into(),
            parts: view.visit.parts.iter().map(|part| GuestPart::of(view, part)).collect(),
            series: view.visit.series.map(Into::into),
            answers: view.answers.clone(),
            subjects: view.subjects.iter().cloned().map(Into::into).collect(),
            business: GuestBusiness {
                name: profile.name.clone(),
                handle: profile.handle.clone(),
                address: profile.address.clone(),
                contact: profile.contact.clone(),
            },
            cancellation: Cancellation { allowed, until, notice_minutes },
            rescheduling: Rescheduling { allowed: allowed && left != Some(0), until, left },
            nonce,
            nonce_expires_at,
        }
    }
}

/// Puts on record what became of a nonce: one that is spent was sent again, or comes from an old view.
fn note_nonce(guest: Guest, outcome: &'static str) {
    metrics::counter!("apptremind_nonces_total", "outcome" => outcome).increment(1);
    if outcome != "accepted" {
        let appointment = guest.link.appointment_id;
        tracing::info!(%appointment, outcome, "a change by link was refused for its nonce");
    }
}

fn gone(code: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::GONE, code, detail)
}

fn spent(guest: Guest) -> Problem {
    note_nonce(guest, "spent");
    gone("nonce_spent", "the nonce is spent: the appointment has changed; look again")
}

fn refused(error: CommandError<GuestRefused>, guest: Guest) -> Problem {
    Problem::of(error, |refused| match refused {
        GuestRefused::Invalid(errors) => Problem::invalid(errors),
        GuestRefused::Spent => spent(guest),
        GuestRefused::Appointment(error) => appointments::refusal(&error),
    })
}

/// Whoever has the link may act: no answer is kept anywhere, nor is the address passed on or listed.
pub(super) async fn keep_secret(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The appointment behind a manage link. Looking never changes anything.
///
/// A link that is not ours, or not any more, is not found.
#[utoipa::path(get, path = "/api/v1/public/appointments/{link}", tag = "public",
    operation_id = "get_appointment_as_guest",
    params(("link" = String, Path, description = "the last part of `manage_url`; a secret")),
    responses((status = 200, body = GuestAppointment)))]
pub(crate) async fn get(
    guest: Guest,
    State(api): State<Api>,
) -> Result<Json<GuestAppointment>, Problem> {
    Ok(Json(api.guest_view(guest).await?.1))
}

/// The appointment behind a manage link as a calendar file (iCalendar), which also takes it out again.
#[utoipa::path(get, path = "/api/v1/public/appointments/{link}/calendar.ics", tag = "public",
    operation_id = "get_calendar_file_as_guest",
    params(("link" = String, Path, description = "the last part of `manage_url`; a secret")),
    responses((status = 200, body = String, content_type = "text/calendar")))]
pub(crate) async fn calendar(
    guest: Guest,
    State(api): State<Api>,
) -> Result<impl IntoResponse, Problem> {
    let appointment_id = guest.link.appointment_id;
    let view = api.agenda.seen_by_guest(guest.business_id, appointment_id).await?;
    let view = view.ok_or_else(Problem::not_found)?;
    let calendar = GuestCalendar {
        appointment_id,
        version: view.version,
        visit: &view.visit,
        status: view.status,
        business: &view.business,
        organizer: &api.organizer,
        now: clock::now(),
    };
    let headers = [
        (header::CONTENT_TYPE, "text/calendar; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "inline; filename=\"appointment.ics\""),
    ];
    Ok((headers, calendar.published()))
}

/// Call the appointment behind a manage link off, once. Its pending reminders end.
#[utoipa::path(post, path = "/api/v1/public/appointments/{link}/cancel", tag = "public",
    operation_id = "cancel_appointment_as_guest",
    params(("link" = String, Path, description = "the last part of `manage_url`; a secret")),
    request_body = GuestCancelRequest,
    responses(
        (status = 200, body = GuestAppointment),
        (status = 409, body = Problem, description = "`wrong_state`: it has ended"),
        (status = 410, body = Problem, description = "`nonce_spent`: the appointment has changed since the \
            nonce was given out, perhaps by this very request; `nonce_expired`"),
        (status = 422, body = Problem, description = "`too_late_to_cancel`, with `rule`, \
            `notice_minutes` and `deadline`; `invalid_request`, also for a nonce of another link"),
        (status = 503, body = Problem)))]
pub(crate) async fn cancel(
    guest: Guest,
    State(api): State<Api>,
    extract::Json(request): extract::Json<GuestCancelRequest>,
) -> Result<Written<GuestAppointment>, Problem> {
    let context = context::command(guest.business_id, Actor::Guest);
    let version = api.seen_version(guest, &request.nonce, context.now)?;
    let appointment_id = guest.link.appointment_id;
    let reason = request.reason;
    let position = if request.scope.is_one() {
        let cancel = CancelByGuest { appointment_id, version, reason };
        let done = api.commands.cancel_by_guest(&cancel, &context).await;
        done.map_err(|error| refused(error, guest))?.position
    } else {
        let (scope, seen) = (request.scope.into(), Some(version));
        let cancel = CancelTogether { appointment_id, scope, reason, seen };
        let done = api.commands.cancel_together(&cancel, &context).await;
        done.map_err(|error| series::not_together(error, || spent(guest)))?.position
    };
    api.changed_by_guest(guest, position).await
}

/// By which view an offer is accepted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"nonce": "AAAAAAAAAAEAAAAAaaWqADdPbDG6kGd9xqXN30yY7CM"}))]
pub(crate) struct GuestAcceptRequest {
    /// From the view of this link. Good for one change.
    nonce: String,
}

/// Accept what is offered behind a manage link, once. It is booked then, and reminders are planned.
#[utoipa::path(post, path = "/api/v1/public/appointments/{link}/accept", tag = "public",
    operation_id = "accept_appointment_as_guest",
    params(("link" = String, Path, description = "the last part of `manage_url`; a secret")),
    request_body = GuestAcceptRequest,
    responses(
        (status = 200, body = GuestAppointment),
        (status = 409, body = Problem, description = "`wrong_state`: it is over; `not_an_offer`: the business \
            has to confirm it"),
        (status = 410, body = Problem, description = "`nonce_spent`: the appointment has changed since the \
            nonce was given out, perhaps by this very request; `nonce_expired`"),
        (status = 503, body = Problem)))]
pub(crate) async fn accept(
    guest: Guest,
    State(api): State<Api>,
    extract::Json(request): extract::Json<GuestAcceptRequest>,
) -> Result<Written<GuestAppointment>, Problem> {
    let context = context::command(guest.business_id, Actor::Guest);
    let version = api.seen_version(guest, &request.nonce, context.now)?;
    let accept = AcceptByGuest { appointment_id: guest.link.appointment_id, version };
    let done = api.commands.accept_by_guest(&accept, &context).await;
    let done = done.map_err(|error| refused(error, guest))?;
    note_nonce(guest, "accepted");
    let (version, body) = api.guest_view(guest).await?;
    Ok(Written::new(StatusCode::OK, done.position, body).etag(version))
}

/// Move the appointment behind a manage link, once. Reminders are planned anew.
#[utoipa::path(post, path = "/api/v1/public/appointments/{link}/reschedule", tag = "public",
    operation_id = "reschedule_appointment_as_guest",
    params(("link" = String, Path, description = "the last part of `manage_url`; a secret")),
    request_body = GuestRescheduleRequest,
    responses(
        (status = 200, body = GuestAppointment),
        (status = 409, body = Problem, description = "`slot_taken`, with the nearest free starts; `wrong_state`"),
        (status = 410, body = Problem, description = "`nonce_spent`: the appointment has changed since the \
            nonce was given out, perhaps by this very request; `nonce_expired`"),
        (status = 422, body = Problem, description = "`too_late_to_reschedule`, `reschedule_limit_reached`, \
            or the rule that refuses the new time"),
        (status = 503, body = Problem)))]
pub(crate) async fn reschedule(
    guest: Guest,
    State(api): State<Api>,
    extract::Json(request): extract::Json<GuestRescheduleRequest>,
) -> Result<Written<GuestAppointment>, Problem> {
    let context = context::command(guest.business_id, Actor::Guest);
    let version = api.seen_version(guest, &request.nonce, context.now)?;
    let appointment_id = guest.link.appointment_id;
    let wish = RescheduleAppointment {
        appointment_id,
        start: book::start(&request.start)?,
        staff_id: request.staff_id,
        waived: Waived::default(),
        seen: Some(version),
    };
    if !request.scope.is_one() {
        let done = api.commands.move_together(&wish, request.scope.into(), &context).await;
        let done = done.map_err(|error| series::not_together(error, || spent(guest)))?;
        return api.changed_by_guest(guest, done.position).await;
    }
    match api.commands.reschedule_appointment(&wish, &context).await {
        Ok(done) => api.changed_by_guest(guest, done.position).await,
        Err(error) => {
            if matches!(error, CommandError::Refused(MoveRefused::Spent)) {
                note_nonce(guest, "spent");
            }
            let business_id = guest.business_id;
            Err(api.not_moved(error, business_id, appointment_id, request.staff_id).await)
        }
    }
}
