use axum::{Json, extract::State, http::StatusCode};
use commands::{
    CommandError,
    appointment::{CancelTogether, EndAppointment, Ending, EndingRefused},
};
use domain::{
    AppointmentId, CustomerId, NotificationId, ResourceId, SeriesId, ServiceId, StaffId,
    appointment::{AppointmentError, Part, Status, Used},
    notification::Kind,
};
use jiff::Timestamp;
use projections::{
    agenda::{AgendaFilter, AgendaRow, AppointmentDetail, HistoryEntry},
    notifications::NotificationRow,
};
use serde::{Deserialize, Serialize};
use streams::{Cursor, clock};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Problem,
    answer::{Items, PartAnswer, Price, Tagged, Written, page_size},
    context,
    extract::{self, Id, Member},
    intake::SubjectBody,
    series::{self, ScopeBody, SeriesPlace},
    shape::Instant,
};

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
    #[param(value_type = Option<String>)]
    series_id: Option<SeriesId>,
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

/// How fresh, or as of when.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OneQuery {
    /// Wait for this position of an earlier write, two seconds at most.
    #[param(value_type = Option<String>)]
    min_position: Option<Cursor>,
    /// As the appointment was known at this instant; as it is known now when absent. Who comes, what they
    /// said and the messages are answered as they are now.
    #[param(value_type = Option<String>, format = DateTime)]
    as_of: Option<Instant>,
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
    /// With which others it was booked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    series_id: Option<SeriesId>,
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
            series_id: row.series_id,
        }
    }
}

/// An appointment with all that is known of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Appointment)]
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
    /// All in all.
    price: Price,
    /// Until when a request can be answered; null for any other.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Who does what when, when there are several services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartAnswer>,
    /// What is used besides people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<UsedAnswer>,
    /// Of a class: the seats that are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    seats: Option<u32>,
    /// Its place among those that it was booked with.
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<SeriesPlace>,
    customer: CustomerAnswer,
    notes: Option<String>,
    /// To what the service asked, by key.
    #[schema(value_type = HashMap<String, serde_json::Value>)]
    answers: serde_json::Map<String, serde_json::Value>,
    /// Who or what it is for, when that is not the guest alone.
    subjects: Vec<SubjectBody>,
    /// Why it was called off or declined.
    cancel_reason: Option<String>,
    /// Every message about it and what became of it.
    reminders: Vec<ReminderAnswer>,
}

/// A resource that is used.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsedAnswer {
    #[schema(value_type = String)]
    resource_id: ResourceId,
    kind: String,
    quantity: u32,
}

impl From<&Used> for UsedAnswer {
    fn from(used: &Used) -> Self {
        let Used { resource_id, quantity, .. } = *used;
        Self { resource_id, kind: used.kind.clone(), quantity }
    }
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
    /// For the guest `confirmation`, `reminder`, `rescheduled`, `cancellation`, and of a request
    /// `requested`, `offered`, `declined` or `expired`; for the host `host_booked`, `host_requested`,
    /// `host_rescheduled` or `host_cancelled`; for members `invitation` or `weekly_summary`.
    kind: String,
    /// `guest`, `host`, or `member` for who is invited and for the owners.
    recipient: &'static str,
    channel: String,
    /// Elapsed minutes before the start.
    offset_minutes: i32,
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
    /// `pending`, `offered`, `sending`, `sent`, `delivered`, `failed`, `cancelled`, `expired`, `skipped` or
    /// `uncertain` (nobody knows whether the provider took it; it is not sent again).
    status: String,
    attempts: i32,
    /// Why it was not sent, as a code.
    reason: Option<String>,
    /// When it would have been due, had that not been in a quiet hour.
    #[schema(value_type = Option<String>, format = DateTime)]
    moved_from: Option<Timestamp>,
    /// When a provider took it.
    #[schema(value_type = Option<String>, format = DateTime)]
    sent_at: Option<Timestamp>,
    /// When it arrived, where the provider says so.
    #[schema(value_type = Option<String>, format = DateTime)]
    delivered_at: Option<Timestamp>,
    /// Who took it, such as `smtp` or `twilio`.
    provider: Option<String>,
    /// What they call it.
    provider_id: Option<String>,
}

impl From<NotificationRow> for ReminderAnswer {
    fn from(row: NotificationRow) -> Self {
        Self {
            id: row.notification_id,
            recipient: Kind::named(&row.kind).map_or("member", |kind| kind.recipient().as_str()),
            kind: row.kind,
            channel: row.channel,
            offset_minutes: row.offset_minutes,
            due_at: row.due_at,
            status: row.status,
            attempts: row.attempts,
            reason: row.reason,
            moved_from: row.moved_from,
            sent_at: row.sent_at,
            delivered_at: row.delivered_at,
            provider: row.provider,
            provider_id: row.provider_id,
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
    /// A user's id, `guest`, or `system:` and a role of ours.
    actor: String,
    /// What they are to the business today: `guest`, `owner`, `staff` or `system`. Null for a user who has
    /// left.
    #[schema(value_type = Option<String>)]
    actor_role: Option<&'static str>,
    /// What happened, in one sentence, on the clock of the business.
    #[schema(
        example = "Moved by the guest from Mon 2 Mar 2026 14:00 to Tue 3 Mar 2026 09:30 (Europe/London)"
    )]
    summary: String,
    data: serde_json::Value,
}

impl From<HistoryEntry> for HistoryAnswer {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            position: entry.position.to_string(),
            kind: entry.kind,
            at: entry.at,
            actor: entry.actor,
            actor_role: entry.doer.role(),
            summary: entry.summary,
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
    /// Of a series, also others: all that are meant and still to come, or none.
    #[serde(default)]
    scope: ScopeBody,
}

impl Api {
    async fn appointment(
        &self,
        member: Member,
        id: AppointmentId,
        as_of: Option<Timestamp>,
    ) -> Result<(u64, AppointmentAnswer), Problem> {
        let found = self.agenda.get_as_of(member.business_id, id, as_of).await?;
        let AppointmentDetail { visit, status, version, expires_at, customer_id, contact } =
            found.ok_or_else(Problem::not_found)?;
        let reminders = self.notifications.of_appointment(member.business_id, id).await?;
        let contact = contact.as_ref();
        let subjects = contact.map(|c| c.subjects.clone()).unwrap_or_default();
        let answer = AppointmentAnswer {
            id,
            status: status.as_str(),
            start: visit.slot.start(),
            end: visit.slot.end(),
            staff_id: visit.staff_id,
            service_id: visit.service_id,
            price: visit.price.into(),
            parts: visit.parts.iter().map(Into::into).collect(),
            resources: visit.resources.iter().map(Into::into).collect(),
            seats: visit.class.map(|class| class.seats),
            series: visit.series.map(Into::into),
            expires_at,
            customer: CustomerAnswer {
                id: customer_id,
                name: contact.map(|c| c.name.clone()),
                email: contact.and_then(|c| c.email.clone()),
                phone: contact.and_then(|c| c.phone.clone()),
                timezone: contact.and_then(|c| c.timezone.clone()),
            },
            notes: contact.and_then(|c| c.notes.clone()),
            answers: contact.map(|c| c.answers.clone()).unwrap_or_default(),
            subjects: subjects.into_iter().map(Into::into).collect(),
            cancel_reason: contact.and_then(|c| c.cancel_reason.clone()),
            reminders: reminders.into_iter().map(Into::into).collect(),
        };
        Ok((version, answer))
    }

    /// That they may see the appointment: some of it is on a calendar that they may use.
    async fn check_visible(&self, member: Member, id: AppointmentId) -> Result<(), Problem> {
        let Some(own) = member.kept_to()? else { return Ok(()) };
        let parts = self.parts(member, id).await?;
        let some = parts.iter().any(|part| part.staff_id == own);
        some.then_some(()).ok_or_else(Problem::not_yours)
    }

    /// That they may change the appointment: all of it is on a calendar that they may use.
    pub(super) async fn check_own(&self, member: Member, id: AppointmentId) -> Result<(), Problem> {
        let Some(own) = member.kept_to()? else { return Ok(()) };
        let parts = self.parts(member, id).await?;
        let all = parts.iter().all(|part| part.staff_id == own);
        all.then_some(()).ok_or_else(Problem::not_yours)
    }

    /// The same of a change that may be for others, too: those may be on anybody's calendar.
    pub(super) async fn check_change(
        &self,
        member: Member,
        id: AppointmentId,
        is_one: bool,
    ) -> Result<(), Problem> {
        self.check_own(member, id).await?;
        if is_one || member.kept_to()?.is_none() { Ok(()) } else { Err(Problem::not_yours()) }
    }

    async fn parts(&self, member: Member, id: AppointmentId) -> Result<Vec<Part>, Problem> {
        let found = self.agenda.get(member.business_id, id).await?;
        Ok(found.ok_or_else(Problem::not_found)?.visit.parts())
    }

    async fn end(
        &self,
        member: Member,
        appointment_id: AppointmentId,
        ending: Ending,
    ) -> Result<Cursor, Problem> {
        self.check_own(member, appointment_id).await?;
        let context = context::command(member.business_id, member.actor());
        let end = EndAppointment { appointment_id, ending };
        let done = self.commands.end_appointment(&end, &context).await.map_err(refused)?;
        Ok(done.position)
    }

    async fn ended(
        &self,
        member: Member,
        id: AppointmentId,
        ending: Ending,
    ) -> Result<Written<AppointmentAnswer>, Problem> {
        let position = self.end(member, id, ending).await?;
        self.changed(member, id, position).await
    }

    /// The appointment as a change left it.
    pub(super) async fn changed(
        &self,
        member: Member,
        id: AppointmentId,
        position: Cursor,
    ) -> Result<Written<AppointmentAnswer>, Problem> {
        let (version, answer) = self.appointment(member, id, None).await?;
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
    operation_id = "list_appointments",
    params(ListQuery),
    responses((status = 200, body = Items<ListedAppointment>), (status = 503, body = Problem)))]
pub(crate) async fn list(
    member: Member,
    State(api): State<Api>,
    extract::Query(query): extract::Query<ListQuery>,
) -> Result<Json<Items<ListedAppointment>>, Problem> {
    let limit = page_size(query.limit)?;
    let own = member.kept_to()?;
    if let (Some(own), Some(asked)) = (own, query.staff_id)
        && own != asked
    {
        return Err(Problem::not_yours());
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
        staff_id: own.or(query.staff_id),
        service_id: query.service_id,
        customer_id: query.customer_id,
        series_id: query.series_id,
        status: query.status.into_iter().collect(),
        after,
        limit,
    };
    let page = api.agenda.list(member.business_id, &filter).await?;
    let items = page.items.into_iter().map(Into::into).collect();
    Ok(Json(Items { items, next: page.next.map(|next| next.to_string()) }))
}

/// One appointment, with its guest and every message about it; also as it was known at an instant.
#[utoipa::path(get, path = "/api/v1/appointments/{id}", tag = "appointments",
    operation_id = "get_appointment",
    params(("id" = String, Path), OneQuery),
    responses((status = 200, body = AppointmentAnswer), (status = 503, body = Problem)))]
pub(crate) async fn get(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
    extract::Query(asked): extract::Query<OneQuery>,
) -> Result<Tagged<AppointmentAnswer>, Problem> {
    let as_of = asked.as_of.map(|as_of| as_of.0);
    if as_of.is_some_and(|as_of| as_of > clock::now()) {
        return Err(Problem::invalid_field("as_of", "must not lie in the future"));
    }
    api.wait(super::AGENDA, asked.min_position).await?;
    api.check_visible(member, id).await?;
    let (version, answer) = api.appointment(member, id, as_of).await?;
    Ok(Tagged(version, answer))
}

/// Every event of an appointment.
#[utoipa::path(get, path = "/api/v1/appointments/{id}/history", tag = "appointments",
    operation_id = "get_appointment_history",
    params(("id" = String, Path)),
    responses((status = 200, body = Items<HistoryAnswer>)))]
pub(crate) async fn history(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
) -> Result<Json<Items<HistoryAnswer>>, Problem> {
    api.check_visible(member, id).await?;
    let found = api.agenda.history(member.business_id, id).await?;
    let entries = found.ok_or_else(Problem::not_found)?;
    Ok(Json(Items::all(entries.into_iter().map(Into::into).collect())))
}

/// Call an appointment off. Its pending reminders end.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/cancel", tag = "appointments",
    operation_id = "cancel_appointment",
    params(("id" = String, Path)), request_body = CancelRequest,
    responses((status = 200, body = AppointmentAnswer),
              (status = 409, body = Problem)))]
pub(crate) async fn cancel(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
    extract::Json(request): extract::Json<CancelRequest>,
) -> Result<Written<AppointmentAnswer>, Problem> {
    api.check_change(member, id, request.scope.is_one()).await?;
    if request.scope.is_one() {
        return api.ended(member, id, Ending::Cancel { reason: request.reason }).await;
    }
    let context = context::command(member.business_id, member.actor());
    let (scope, reason) = (request.scope.into(), request.reason);
    let cancel = CancelTogether { appointment_id: id, scope, reason, seen: None };
    let done = api.commands.cancel_together(&cancel, &context).await;
    let done = done.map_err(|error| series::not_together(error, Problem::not_found))?;
    api.changed(member, id, done.position).await
}

/// Call an appointment off; also when it is called off already.
#[utoipa::path(delete, path = "/api/v1/appointments/{id}", tag = "appointments",
    operation_id = "delete_appointment",
    params(("id" = String, Path)),
    responses((status = 204), (status = 409, body = Problem)))]
pub(crate) async fn delete(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
) -> Result<Written<()>, Problem> {
    let position = api.end(member, id, Ending::Cancel { reason: None }).await?;
    Ok(Written::empty(position))
}

/// The guest came and was served.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/complete", tag = "appointments",
    operation_id = "complete_appointment",
    params(("id" = String, Path)),
    responses((status = 200, body = AppointmentAnswer),
              (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn complete(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
) -> Result<Written<AppointmentAnswer>, Problem> {
    api.ended(member, id, Ending::Complete).await
}

/// The guest did not come.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/no-show", tag = "appointments",
    operation_id = "mark_no_show",
    params(("id" = String, Path)),
    responses((status = 200, body = AppointmentAnswer),
              (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn no_show(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<AppointmentId>,
) -> Result<Written<AppointmentAnswer>, Problem> {
    api.ended(member, id, Ending::NoShow).await
}
