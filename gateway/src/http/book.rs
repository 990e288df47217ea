use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use commands::{
    CommandError,
    appointment::{Also, BookAppointment, Booked, BookingRefused, Guest, Start},
    directory::Named,
    idempotency::IdempotencyKey,
};
use domain::{
    AppointmentId, BusinessId, LocalTimeError, ServiceId, StaffId, Zone,
    availability::{Asked, Refusal, Waived},
    business::Answers,
};
use jiff::{Timestamp, civil::DateTime};
use projections::availability::{OfferedSlot, Place, SlotQuery, SlotSpan};
use serde::{Deserialize, Serialize};
use streams::{Actor, CommandContext, Cursor, clock, log::GuestAddress};
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::{PartAnswer, Price, Written},
    context,
    extract::{Json, Member},
    intake::SubjectBody,
    reschedule::{Rule, waived},
    series::{Recurrence, SeriesAnswer},
    shape::{self, AtMost, Instant, maybe_object, object, objects},
    slots::SlotAnswer,
};

/// A wish to book.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "service_id": "svc_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f", "staff_id": "any",
    "start": "2026-03-02T14:00:00Z",
    "customer": {"name": "Ada Guest", "email": "ada@example.com"},
    "timezone": "Europe/London",
    "answers": {"allergies": "none"}, "subjects": [{"name": "Rex", "notes": "afraid of dryers"}],
}))]
pub(crate) struct BookRequest {
    #[schema(value_type = String)]
    service_id: ServiceId,
    /// A staff member; absent or `any` for anybody who is free.
    staff_id: Option<String>,
    /// An instant (RFC 3339), or local time of the business without offset.
    start: String,
    #[serde(deserialize_with = "object")]
    customer: Customer,
    /// The guest's own zone, for their mails.
    #[schema(value_type = Option<String>)]
    timezone: Option<Zone>,
    notes: Option<String>,
    /// What follows the first service, in order: at most four. Durations and prices add up.
    #[serde(default, deserialize_with = "objects", skip_serializing_if = "Vec::is_empty")]
    also: Vec<AlsoRequest>,
    /// To what the service asks (`intake_fields`), by key: text, numbers, `true` or `false`.
    #[serde(default, skip_serializing_if = "Answers::is_empty")]
    #[schema(value_type = HashMap<String, serde_json::Value>)]
    answers: Answers,
    /// Who or what it is for, when that is not the guest alone: at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "objects")]
    subjects: Vec<SubjectBody>,
    /// Repeats the visit: all of the series is booked, or none.
    #[serde(default, deserialize_with = "maybe_object", skip_serializing_if = "Option::is_none")]
    recurrence: Option<Recurrence>,
    /// In place of the header of that name.
    #[serde(skip_serializing)]
    idempotency_key: Option<String>,
}

/// A wish to book, by the business itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "service_id": "svc_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f", "staff_id": "any",
    "start": "2026-03-02T14:00:00Z",
    "customer": {"name": "Ada Guest", "phone": "+1 555 0100"},
    "override": ["min_notice"],
}))]
pub(crate) struct CreateRequest {
    #[schema(value_type = String)]
    service_id: ServiceId,
    /// A staff member; absent or `any` for anybody who is free.
    staff_id: Option<String>,
    /// An instant (RFC 3339), or local time of the business without offset.
    start: String,
    #[serde(deserialize_with = "object")]
    customer: Customer,
    /// The guest's own zone, for their mails.
    #[schema(value_type = Option<String>)]
    timezone: Option<Zone>,
    notes: Option<String>,
    /// What follows the first service, in order: at most four. Durations and prices add up.
    #[serde(default, deserialize_with = "objects", skip_serializing_if = "Vec::is_empty")]
    also: Vec<AlsoRequest>,
    /// To what the service asks (`intake_fields`), by key: text, numbers, `true` or `false`.
    #[serde(default)]
    #[schema(value_type = HashMap<String, serde_json::Value>)]
    answers: Answers,
    /// Who or what it is for, when that is not the guest alone: at most 10.
    #[serde(default, deserialize_with = "objects")]
    subjects: Vec<SubjectBody>,
    /// Repeats the visit: all of the series is booked, or none.
    #[serde(default, deserialize_with = "maybe_object")]
    recurrence: Option<Recurrence>,
    /// In place of the header of that name.
    idempotency_key: Option<String>,
    /// Rules to set aside, of `min_notice` and `outside_hours`. That the time is free never is.
    #[serde(default, rename = "override")]
    #[schema(value_type = Vec<Rule>)]
    waived: AtMost<Rule, 2>,
}

impl CreateRequest {
    fn parts(self) -> (BookRequest, Vec<Rule>) {
        let book = BookRequest {
            service_id: self.service_id,
            staff_id: self.staff_id,
            start: self.start,
            customer: self.customer,
            timezone: self.timezone,
            notes: self.notes,
            also: self.also,
            answers: self.answers,
            subjects: self.subjects,
            recurrence: self.recurrence,
            idempotency_key: self.idempotency_key,
        };
        (book, self.waived.0)
    }
}

/// A service that follows the first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"service_id": "svc_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f"}))]
pub(crate) struct AlsoRequest {
    #[schema(value_type = String)]
    service_id: ServiceId,
    /// A staff member; absent for whoever serves already, or anybody who is free.
    #[schema(value_type = Option<String>)]
    staff_id: Option<StaffId>,
}

/// Who comes.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Guest)]
pub(crate) struct Customer {
    pub(super) name: String,
    pub(super) email: Option<String>,
    pub(super) phone: Option<String>,
}

/// A booked visit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BookedAnswer {
    #[schema(value_type = String)]
    appointment_id: AppointmentId,
    /// `booked`, or `requested` when the business wants to agree first.
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
    /// Until when the business may answer a request; its time is kept until then. Null for any other.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Who does what when, when there are several services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartAnswer>,
    /// All visits of the series that was booked with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<SeriesAnswer>,
    /// Where the guest sees and changes the visit. Whoever has it may: keep it as a password.
    #[schema(format = "uri")]
    manage_url: String,
    position: String,
}

impl BookedAnswer {
    pub(super) fn with_series(self, series: SeriesAnswer) -> Self {
        Self { series: Some(series), ..self }
    }
}

impl BookRequest {
    fn command(&self) -> Result<BookAppointment, Problem> {
        let staff_id = match self.staff_id.as_deref() {
            None | Some("any") => None,
            Some(id) => Some(id.parse().map_err(|error: domain::IdError| {
                Problem::invalid_field("staff_id", format!("{error}, or any"))
            })?),
        };
        Ok(BookAppointment {
            appointment_id: AppointmentId::new(clock::new_id()),
            service_id: self.service_id,
            staff_id,
            start: start(&self.start)?,
            guest: Guest {
                name: self.customer.name.clone(),
                email: self.customer.email.clone(),
                phone: self.customer.phone.clone(),
            },
            timezone: self.timezone.clone(),
            notes: self.notes.clone(),
            waived: Waived::default(),
            also: self
                .also
                .iter()
                .map(|also| Also { service_id: also.service_id, staff_id: also.staff_id })
                .collect(),
            answers: self.answers.clone(),
            subjects: self.subjects.iter().cloned().map(Into::into).collect(),
            series: None,
            waitlist_id: None,
        })
    }

    /// The key from the header or the body; the same request is the same once parsed.
    fn key(
        &self,
        headers: &HeaderMap,
        owner: Option<&[Rule]>,
    ) -> Result<Option<IdempotencyKey>, Problem> {
        let header = headers.get("idempotency-key").map(|value| value.to_str().unwrap_or_default());
        let key = match (header, self.idempotency_key.as_deref()) {
            (None, None) => return Ok(None),
            (Some(a), Some(b)) if a != b => {
                let message = "differs from the Idempotency-Key header";
                return Err(Problem::invalid_field("idempotency_key", message));
            }
            (Some(key), _) | (None, Some(key)) => key,
        };
        checked_key(key)?;
        let path = owner.map_or("/api/v1/public/book", |_rules| "/api/v1/appointments");
        let mut request = format!("POST {path} ").into_bytes();
        request.extend(serde_json::to_vec(self).unwrap_or_default());
        if let Some(rules) = owner {
            request.extend(serde_json::to_vec(rules).unwrap_or_default());
        }
        Ok(Some(IdempotencyKey::new(key.to_owned(), &request)))
    }
}

pub(super) fn checked_key(key: &str) -> Result<(), Problem> {
    if (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    let message = "must be 1 to 255 visible ASCII characters";
    Err(Problem::invalid_field("idempotency_key", message))
}

pub(super) fn start(text: &str) -> Result<Start, Problem> {
    if let Ok(Instant(at)) = text.to_owned().try_into() {
        return Ok(Start::At(at));
    }
    let instant = text.parse::<Timestamp>().is_ok();
    let local = text.contains('T').then(|| text.parse::<DateTime>().ok()).flatten();
    local.filter(|local| !instant && shape::in_range(*local)).map(Start::Local).ok_or_else(|| {
        let message = "must be an instant (RFC 3339), or local time like 2026-03-02T09:00:00";
        Problem::invalid_field("start", message)
    })
}

impl Api {
    pub(super) async fn refused(
        &self,
        error: CommandError<BookingRefused>,
        business_id: BusinessId,
        book: &BookAppointment,
    ) -> Problem {
        let taken =
            if let CommandError::Refused(refused) = &error { taken_at(refused) } else { None };
        let problem = Problem::of(error, refusal);
        let Some(start) = taken else { return problem };
        let wanted = Wanted {
            business_id,
            service_id: book.service_id,
            staff_id: book.staff_id,
            timezone: book.timezone.as_ref(),
            also: book.also.iter().map(Into::into).collect(),
            subjects: u32::try_from(book.subjects.len()).unwrap_or(u32::MAX).max(1),
        };
        self.with_alternatives(problem, &wanted, start).await
    }

    /// Says what is taken, and what is free nearby.
    pub(super) async fn with_alternatives(
        &self,
        problem: Problem,
        wanted: &Wanted<'_>,
        start: Timestamp,
    ) -> Problem {
        let alternatives = self.nearest(wanted, start).await.unwrap_or_default();
        problem
            .with("conflict", Conflict { start, staff_id: wanted.staff_id })
            .with("alternatives", alternatives)
    }

    /// The free starts that are nearest to the one that is taken.
    pub(super) async fn nearest(
        &self,
        wanted: &Wanted<'_>,
        start: Timestamp,
    ) -> Result<Vec<SlotAnswer>, Problem> {
        // Whole days: all who are refused a time of one day ask for the same.
        let day = start.as_second().div_euclid(DAY);
        let from = Timestamp::from_second((day - NEAR_DAYS) * DAY).unwrap_or(start);
        let until = Timestamp::from_second((day + 1 + NEAR_DAYS) * DAY).unwrap_or(start);
        let (place, span) =
            (Place::Business(wanted.business_id), SlotSpan::Instants { from, until });
        let asked = SlotQuery {
            also: wanted.also.clone(),
            subjects: wanted.subjects,
            ..SlotQuery::plain(place, Some(wanted.service_id), wanted.staff_id, span)
        };
        let answer = self.near.answer(&asked, None, clock::now()).await?;
        let listed = &answer.body;
        let found = nearest(&listed.slots, start);
        let zone = wanted.timezone.unwrap_or(&listed.zone);
        Ok(found.iter().map(|offered| SlotAnswer::of(offered, zone)).collect())
    }
}

const ALTERNATIVES: usize = 3;
const NEAR_DAYS: i64 = 3;
const DAY: i64 = 24 * 3600;

/// The slots nearest to an instant, of those that are sorted by start; the earlier first.
fn nearest(slots: &[OfferedSlot], start: Timestamp) -> Vec<OfferedSlot> {
    let (before, after) = slots.split_at(slots.partition_point(|s| s.slot.start() < start));
    let beside = before.iter().rev().take(ALTERNATIVES).chain(after.iter().take(ALTERNATIVES));
    let mut found: Vec<OfferedSlot> = beside.copied().collect();
    found.sort_by_key(|offered| {
        (offered.slot.start().duration_since(start).abs(), offered.slot.start())
    });
    found.truncate(ALTERNATIVES);
    found
}

/// For whom something else is looked for.
pub(super) struct Wanted<'a> {
    pub(super) business_id: BusinessId,
    pub(super) service_id: ServiceId,
    pub(super) staff_id: Option<StaffId>,
    pub(super) timezone: Option<&'a Zone>,
    pub(super) also: Vec<Asked>,
    pub(super) subjects: u32,
}

/// The start, when it is refused because it is taken.
pub(super) const fn taken_at(refused: &BookingRefused) -> Option<Timestamp> {
    if let BookingRefused::Unavailable { start, refusal } = refused
        && refusal.is_taken()
    {
        return Some(*start);
    }
    None
}

/// What is taken.
#[derive(Serialize)]
struct Conflict {
    start: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    staff_id: Option<StaffId>,
}

pub(super) fn refusal(refused: BookingRefused) -> Problem {
    let detail = refused.to_string();
    let rule = |code| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.clone());
    let taken = |code| Problem::new(StatusCode::CONFLICT, code, detail.clone());
    match refused {
        BookingRefused::UnknownService | BookingRefused::UnknownStaff => Problem::not_found(),
        BookingRefused::NotOffered => rule("not_offered"),
        BookingRefused::Invalid(errors) => Problem::invalid(errors),
        BookingRefused::LocalTime(error) => match error {
            LocalTimeError::Nonexistent { .. } => rule("nonexistent_local_time"),
            LocalTimeError::Ambiguous { first, second, .. } => {
                rule("ambiguous_local_time").with("instants", [first, second])
            }
            LocalTimeError::OutOfRange { .. } => Problem::invalid_field("start", detail),
        },
        BookingRefused::Unavailable { refusal, .. } => {
            let name = refusal.rule();
            match refusal {
                Refusal::Taken { .. } | Refusal::InClass { .. } => taken(name),
                Refusal::ClassFull { left } => taken(name).with("remaining", left),
                Refusal::NoResource { kind, by: Some(_) } => taken(name).with("kind", kind),
                Refusal::NoResource { kind, by: None } => {
                    rule("outside_availability").with("rule", name).with("kind", kind)
                }
                Refusal::SlotInPast => rule("slot_in_past"),
                Refusal::TooSoon { earliest } => rule("too_soon").with("earliest", earliest),
                Refusal::TooFar { horizon } => rule("too_far").with("before", horizon),
                Refusal::LimitReached { limit, first } => rule("limit_reached")
                    .with("limit", format!("max_per_{}", limit.period.as_str()))
                    .with("scope", limit.subject.as_str())
                    .with("max", limit.most)
                    .with("date", first),
                Refusal::Closed { .. }
                | Refusal::OutsideHours
                | Refusal::Away { .. }
                | Refusal::OffGrid => rule("outside_availability").with("rule", name),
            }
        }
        BookingRefused::AppointmentCapReached => {
            Problem::new(StatusCode::PAYMENT_REQUIRED, "appointment_cap_reached", detail)
        }
    }
}

/// The address is made anew for each answer, also for one that is replayed: what is stored under the key
/// has no secret in it.
fn answer(booked: &Booked, manage_url: String, position: String) -> BookedAnswer {
    BookedAnswer {
        appointment_id: booked.appointment_id,
        status: booked.status.as_str(),
        start: booked.start,
        end: booked.end,
        staff_id: booked.staff_id,
        service_id: booked.service_id,
        price: booked.price.into(),
        parts: booked.parts.iter().map(Into::into).collect(),
        series: None,
        expires_at: booked.expires_at,
        manage_url,
        position,
    }
}

/// Book an appointment.
///
/// Safe to retry: the same `Idempotency-Key` books once.
///
/// Guests answer what the service asks (`intake_fields`). What does not fit is 422 `invalid_request`, with
/// `answers.<key>` as the field.
///
/// Where the service needs approval the visit is `requested`: its time is kept until the business
/// answers, and given back when it expires.
///
/// What the rules refuse is 422: `slot_in_past`, `too_soon`, `too_far`, `not_offered`,
/// `outside_availability` with a `rule` (`closed`, `outside_hours`, `time_off`, `off_grid`), or
/// `limit_reached` with `limit` (`max_per_day`, `max_per_week`), its `scope` (`business`, `service`,
/// `staff`), `max`, and the first `date` of the day or week that is full.
///
/// With `recurrence` all visits of a series are booked, or none: what cannot be had is 409 `series_clash`
/// with every one of the `clashes`, each with its `number`, `local_start`, `code` and `detail`.
///
/// What somebody else has is 409 with `alternatives`: `slot_taken`, `class_full` with the seats that are
/// `remaining`, `resource_taken` with the `kind` of which too little is free.
#[utoipa::path(post, path = "/api/v1/public/book", tag = "public", request_body = BookRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "the same key books once")),
    responses((status = 201, body = BookedAnswer), (status = 402, body = Problem),
              (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn book(
    State(api): State<Api>,
    headers: HeaderMap,
    Json(request): Json<BookRequest>,
) -> Result<Written<BookedAnswer>, Problem> {
    let key = request.key(&headers, None)?;
    let book = request.command()?;
    let business_id = api.named(Named::Service(book.service_id)).await?;
    let visits = request.recurrence.as_ref().map_or(1, Recurrence::visits);
    api.check_abuse(business_id, &book.guest, visits, key.as_ref()).await?;
    let context = context::command(business_id, Actor::Guest);
    match request.recurrence {
        Some(Recurrence { rule }) => api.series_booked(book, rule, key.as_ref(), context).await,
        None => api.booked(&book, key.as_ref(), context).await,
    }
}

/// Book an appointment for a guest, who called or stands at the desk.
///
/// It is booked at once, also where the service needs approval.
///
/// Safe to retry: the same `Idempotency-Key` books once.
#[utoipa::path(post, path = "/api/v1/appointments", tag = "appointments",
    operation_id = "create_appointment", request_body = CreateRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "the same key books once")),
    responses((status = 201, body = BookedAnswer), (status = 402, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn create(
    member: Member,
    State(api): State<Api>,
    headers: HeaderMap,
    Json(request): Json<CreateRequest>,
) -> Result<Written<BookedAnswer>, Problem> {
    let (request, rules) = request.parts();
    let key = request.key(&headers, Some(&rules))?;
    let book = BookAppointment { waived: waived(&rules), ..request.command()? };
    check_own(member, &book, &rules)?;
    let context = context::command(member.business_id, member.actor());
    match request.recurrence {
        Some(Recurrence { rule }) => api.series_booked(book, rule, key.as_ref(), context).await,
        None => api.booked(&book, key.as_ref(), context).await,
    }
}

impl Api {
    /// Nobody holds a whole day: bookings from one network are counted, and the visits that a guest has to
    /// come.
    async fn check_abuse(
        &self,
        business_id: BusinessId,
        guest: &Guest,
        visits: u32,
        key: Option<&IdempotencyKey>,
    ) -> Result<(), Problem> {
        let quota = self.limits.bookings_from_network;
        if let Some(key) = key.filter(|_| self.limits.on) {
            let repeat: Result<_, CommandError<std::convert::Infallible>> =
                self.commands.is_repeat(business_id, key).await;
            if repeat.map_err(|error| Problem::of(error, |never| match never {}))? {
                return Ok(());
            }
        }
        if quota.most > 0 {
            let counted = self.commands.count(quota, &context::caller()).await;
            counted.map_err(|error| Problem::of(error, Problem::used_up))?;
        }
        let most = self.limits.open_visits_of_guest;
        if most == 0 {
            return Ok(());
        }
        let email = guest.email.as_deref().map(GuestAddress::email);
        let address = email.or_else(|| guest.phone.as_deref().map(GuestAddress::phone));
        let open = match address {
            Some(address) => {
                self.agenda.open_visits(business_id, &address, clock::now(), most).await?
            }
            None => 0,
        };
        if open.saturating_add(visits) <= most {
            return Ok(());
        }
        metrics::counter!("apptremind_open_visits_reached_total").increment(1);
        let detail =
            format!("you have {most} visits to come: that is as many as you can book by yourself");
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Err(Problem::new(status, "too_many_open_visits", detail).with("max", most))
    }
}

/// Staff book for their own calendar, by the rules of the business.
fn check_own(member: Member, book: &BookAppointment, rules: &[Rule]) -> Result<(), Problem> {
    let Some(own) = member.kept_to()? else { return Ok(()) };
    let others = book.also.iter().any(|asked| asked.staff_id != Some(own));
    if book.staff_id == Some(own) && !others && rules.is_empty() {
        return Ok(());
    }
    Err(Problem::not_yours())
}

impl Api {
    pub(super) fn answer_of(&self, booked: &Booked, position: Cursor) -> BookedAnswer {
        answer(booked, self.manage_urls.url(booked.appointment_id), position.to_string())
    }

    async fn booked(
        &self,
        book: &BookAppointment,
        key: Option<&IdempotencyKey>,
        context: CommandContext,
    ) -> Result<Written<BookedAnswer>, Problem> {
        let done = match self.commands.book(book, key, &context).await {
            Ok(done) => done,
            Err(error) => return Err(self.refused(error, context.business_id, book).await),
        };
        let body = self.answer_of(&done.value, done.position);
        let location = format!("/api/v1/appointments/{}", body.appointment_id);
        let written = Written::new(StatusCode::CREATED, done.position, body).at(location);
        Ok(Written { replayed: done.replayed, ..written })
    }
}
