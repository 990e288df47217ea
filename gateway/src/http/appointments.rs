use axum::{Json, extract::State, http::StatusCode};
use commands::{
    CommandError,
    appointment::{EndAppointment, Ending, EndingRefused},
};
use domain::{
    AppointmentId, CustomerId, NotificationId, ServiceId, StaffId,
    appointment::{AppointmentError, Status},
};
use jiff::Timestamp;
use projections::{
    agenda::{AgendaFilter, AgendaRow, AppointmentDetail, HistoryEntry},
    notifications::NotificationRow,
};
use serde::{Deserialize, Serialize};
use streams::Cursor;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Problem,
    answer::{Freshness, Items, Price, Tagged, Written},
    context,
    extract::{self, Id, Member, Owner},
    shape::Instant,
};

const MOST: u32 = 200;

/// Which appointments. Every parameter narrows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Starting at or after this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Instant>,
    /// Starting before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Instant>,
    #[param(value_type = Option<String>)]
    staff_id: Option<StaffId>,
    #[param(value_type = Option<String>)]
    service_id: Option<ServiceId>,
    #[param(value_type = Option<String>)]
    customer_id: Option<CustomerId>,
    /// `requested`, `booked`, `cancelled`, `declined`, `expired`, `completed` or `no_show`.
    #[param(value_type = Option<String>)]
    status: Option<Status>,
    /// 1 to 200; 50 when absent.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Wait for this position of an earlier write, two seconds at most.
    #[param(value_type = Option<String>)]
    min_position: Option<Cursor>,
}

/// An appointment in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListedAppointment {
    #[schema(value_type = String)]
    id: AppointmentId,
    status: String,
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
    #[schema(value_type = String)]
    staff_id: StaffId,
    #[schema(value_type = String)]
    service_id: ServiceId,
    #[schema(value_type = String)]
    customer_id: CustomerId,
    /// As given with the appointment; null once erased.
    customer_name: Option<String>,
    price: Price,
}

impl From<AgendaRow> for ListedAppointment {
    fn from(row: AgendaRow) -> Self {
        Self {
            id: row.appointment_id,
            status: row.status,
            start: row.start,
            end: row.end,
            staff_id: row.staff_id,
            service_id: row.service_id,
            customer_id: row.customer_id,
            customer_name: row.customer_name,
            price: row.price.into(),
        }
    }
}

/// An appointment with all that is known of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppointmentAnswer {
    #[schema(value_type = String)]
    id: AppointmentId,
    status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
    #[schema(value_type = String)]
    staff_id: StaffId,
    #[schema(value_type = String)]
    service_id: ServiceId,
    price: Price,
    /// Until when a request can be answered; null for any other.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    customer: CustomerAnswer,
    notes: Option<String>,
    /// Why it was called off or declined.
    cancel_reason: Option<String>,
    /// Every message about it and what became of it.
    reminders: Vec<ReminderAnswer>,
}

/// Who comes, as given with the appointment; nulls once erased.
#[derive(Serialize, ToSchema)]
pub(crate) struct CustomerAnswer {
    #[schema(value_type = String)]
    id: CustomerId,
    name: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    timezone: Option<String>,
}

/// A message and what became of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReminderAnswer {
    #[schema(value_type = String)]
    id: NotificationId,
    /// `confirmation`, `reminder`, `rescheduled`, `requested`, `offered`, `declined` or `expired`.
    kind: String,
    channel: String,
    /// Elapsed minutes before the start.
    offset_minutes: i32,
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
    /// `pending`, `offered`, `sending`, `sent`, `failed`, `cancelled`, `expired`, `skipped` or
    /// `uncertain` (nobody knows whether the provider took it; it is not sent again).
    status: String,
    attempts: i32,
    /// Why it was not sent, as a code.
    reason: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    sent_at: Option<Timestamp>,
}

impl From<NotificationRow> for ReminderAnswer {
    fn from(row: NotificationRow) -> Self {
        Self {
            id: row.notification_id,
            kind: row.kind,
            channel: row.channel,
            offset_minutes: row.offset_minutes,
            due_at: row.due_at,
            status: row.status,
            attempts: row.attempts,
            reason: row.reason,
            sent_at: row.sent_at,
        }
    }
}

/// One event of an appointment.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryAnswer {
    position: String,
    #[serde(rename = "type")]
    kind: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    actor: String,
    data: serde_json::Value,
}

impl From<HistoryEntry> for HistoryAnswer {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            position: entry.position.to_string(),
            kind: entry.kind,
            at: entry.at,
            actor: entry.actor,
            data: entry.data,
        }
    }
}

/// Why it is called off.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "the guest is ill"}))]
pub(crate) struct CancelRequest {
    reason: Option<String>,
}

impl Api {
    async fn appointment(
        &self,
        member: Member,
        id: AppointmentId,
    ) -> Result<(u64, AppointmentAnswer), Problem> {
        let found = self.agenda.get(member.business_id, id).await?;
        let AppointmentDetail { visit, status, version, expires_at, contact } =
            found.ok_or_else(Problem::not_found)?;
        let reminders = self.notifications.of_appointment(member.business_id, id).await?;
        let contact = contact.as_ref();
        let answer = AppointmentAnswer {
            id,
            status: status.as_str(),
            start: visit.slot.start(),
            end: visit.slot.end(),
            staff_id: visit.staff_id,
            service_id: visit.service_id,
            price: visit.price.into(),
            expires_at,
            customer: CustomerAnswer {
                id: visit.customer_id,
                name: contact.map(|c| c.name.clone()),
                email: contact.and_then(|c| c.email.clone()),
                phone: contact.and_then(|c| c.phone.clone()),
                timezone: contact.and_then(|c| c.timezone.clone()),
            },
            notes: contact.and_then(|c| c.notes.clone()),
            cancel_reason: contact.and_then(|c| c.cancel_reason.clone()),
            reminders: reminders.into_iter().map(Into::into).collect(),
        };
        Ok((version, answer))
    }

    async fn end(
        &self,
        member: Member,
        appointment_id: AppointmentId,
        ending: Ending,
    ) -> Result<Cursor, Problem> {
        let context = context::command(member.business_id, member.actor());
        let end = EndAppointment { appointment_id, ending };
        let done = self.commands.end_appointment(&end, &context).await.map_err(refused)?;
        Ok(done.position)
    }

    async fn ended(
        &self,
        owner: Owner,
        id: AppointmentId,
        ending: Ending,
    ) -> Result<Written<AppointmentAnswer>, Problem> {
        let position = self.end(owner.0, id, ending).await?;
        self.changed(owner.0, id, position).await
    }

    /// The appointment as a change left it.
    pub(super) async fn changed(
        &self,
        member: Member,
        id: AppointmentId,
        position: Cursor,
    ) -> Result<Written<AppointmentAnswer>, Problem> {
        let (version, answer) = self.appointment(member, id).await?;
        Ok(Written::new(StatusCode::OK, position, answer).etag(version))
    }
}

pub(super) fn refused(error: CommandError<EndingRefused>) -> Problem {
    Problem::of(error, |refused| match refused {
        EndingRefused::Invalid(errors) => Problem::invalid(errors),
        EndingRefused::Appointment(error) => refusal(&error),
    })
}

/// The appointment's own rules, whoever asked.
pub(super) fn refusal(error: &AppointmentError) -> Problem {
    let detail = error.to_string();
    let conflict = |detail| Problem::new(StatusCode::CONFLICT, "wrong_state", detail);
    let rule = |code, detail| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
    match *error {
        AppointmentError::NotFound => Problem::not_found(),
        AppointmentError::WrongState { status } => conflict(detail).with("state", status),
        AppointmentError::AlreadyBooked => conflict(detail),
        AppointmentError::AwaitsGuest => Problem::new(StatusCode::CONFLICT, "awaits_guest", detail),
        AppointmentError::NotAnOffer => Problem::new(StatusCode::CONFLICT, "not_an_offer", detail),
        AppointmentError::TooLateToCancel { deadline, notice_minutes } => {
            rule("too_late_to_cancel", detail)
                .with("rule", "cancel_notice_minutes")
                .with("notice_minutes", notice_minutes)
                .with("deadline", deadline)
        }
        AppointmentError::TooLateToMove { deadline, notice_minutes } => {
            rule("too_late_to_reschedule", detail)
                .with("rule", "cancel_notice_minutes")
                .with("notice_minutes", notice_minutes)
                .with("deadline", deadline)
        }
        AppointmentError::NotBegun { start } => rule("not_begun", detail).with("start", start),
        AppointmentError::Begun { start } => rule("begun", detail).with("start", start),
        AppointmentError::RescheduleLimit { limit } => {
            rule("reschedule_limit_reached", detail).with("limit", limit)
        }
    }
}

/// Appointments by start.
#[utoipa::path(get, path = "/api/v1/appointments", tag = "appointments",
    operation_id = "list_appointments", security(("bearer" = [])),
    params(ListQuery),
    responses((status = 200, body = Items<ListedAppointment>), (status = 503, body = Problem)))]
pub(crate) async fn list(
    member: Member,
    State(api): State<Api>,
    extract::Query(query): extract::Query<ListQuery>,
) -> Result<Json<Items<ListedAppointment>>, Problem> {
    let limit = query.limit.unwrap_or(50);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::invalid_field("limit", format!("must be 1 to {MOST}")));
    }
    let after = query
        .cursor
        .map(|text| text.parse().map_err(|_odd| "must be `next` of the page before"))
        .transpose()
        .map_err(|message| Problem::invalid_field("cursor", message))?;
    api.wait(super::AGENDA, query.min_position).await?;
    let filter = AgendaFilter {
        from: query.from.map(|from| from.0),
        to: query.to.map(|to| to.0),
        staff_id: query.staff_id,
        service_id: query.service_id,
        customer_id: query.customer_id,
        status: query.status.into_iter().collect(),
        after,
        limit,
    };
    let page = api.agenda.list(member.business_id, &filter).await?;
    let items = page.items.into_iter().map(Into::into).collect();
    Ok(Json(Items { items, next: page.next.map(|next| next.to_string()) }))
}

/// One appointment, with its guest and every message about it.
#[utoipa::path(get, path = "/api/v1/appointments/{id}", tag = "appointments",
    operation_id = "get_appointment",
    security(("bearer" = [])), params(("id" = String, Path), Freshness),
    responses((status = 200, body = AppointmentAnswer)))]
pub(crate) async fn get(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
    extract::Query(fresh): extract::Query<Freshness>,
) -> Result<Tagged<AppointmentAnswer>, Problem> {
    api.wait(super::AGENDA, fresh.min_position).await?;
    let (version, answer) = api.appointment(member, id).await?;
    Ok(Tagged(version, answer))
}

/// Every event of an appointment.
#[utoipa::path(get, path = "/api/v1/appointments/{id}/history", tag = "appointments",
    operation_id = "get_appointment_history",
    security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 200, body = Items<HistoryAnswer>)))]
pub(crate) async fn history(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
) -> Result<Json<Items<HistoryAnswer>>, Problem> {
    let found = api.agenda.history(member.business_id, id).await?;
    let entries = found.ok_or_else(Problem::not_found)?;
    Ok(Json(Items::all(entries.into_iter().map(Into::into).collect())))
}

/// Call an appointment off. Its pending reminders end.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/cancel", tag = "appointments",
    operation_id = "cancel_appointment",
    security(("bearer" = [])), params(("id" = String, Path)), request_body = CancelRequest,
    responses((status = 200, body = AppointmentAnswer),
              (status = 403, body = Problem),
              (status = 409, body = Problem)))]
pub(crate) async fn cancel(
    owner: Owner,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
    extract::Json(request): extract::Json<CancelRequest>,
) -> Result<Written<AppointmentAnswer>, Problem> {
    api.ended(owner, id, Ending::Cancel { reason: request.reason }).await
}

/// Call an appointment off; also when it is called off already.
#[utoipa::path(delete, path = "/api/v1/appointments/{id}", tag = "appointments",
    operation_id = "delete_appointment",
    security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn delete(
    owner: Owner,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
) -> Result<Written<()>, Problem> {
    let position = api.end(owner.0, id, Ending::Cancel { reason: None }).await?;
    Ok(Written::empty(position))
}

/// The guest came and was served.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/complete", tag = "appointments",
    operation_id = "complete_appointment",
    security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 200, body = AppointmentAnswer),
              (status = 403, body = Problem),
              (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn complete(
    owner: Owner,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
) -> Result<Written<AppointmentAnswer>, Problem> {
    api.ended(owner, id, Ending::Complete).await
}

/// The guest did not come.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/no-show", tag = "appointments",
    operation_id = "mark_no_show",
    security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 200, body = AppointmentAnswer),
              (status = 403, body = Problem),
              (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn no_show(
    owner: Owner,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
) -> Result<Written<AppointmentAnswer>, Problem> {
    api.ended(owner, id, Ending::NoShow).await
}
