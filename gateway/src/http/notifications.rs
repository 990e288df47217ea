use axum::{Json, extract::State};
use domain::{AppointmentId, NotificationId, notification::NotificationEvent};
use jiff::Timestamp;
use projections::notifications::{AttemptRow, Evidence, NotificationFilter, NotificationRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use streams::{Cursor, log::Recorded};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Problem,
    answer::{Freshness, Items, page_size},
    appointments::ReminderAnswer,
    extract::{self, Id, Member},
    shape::Instant,
};

/// Which messages.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NotificationsQuery {
    /// Due from this instant on.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Instant>,
    /// Due before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Instant>,
    /// Where they stand, such as `failed` or `uncertain`.
    #[param(value_type = Option<String>)]
    status: Option<Status>,
    /// `email` or `sms`.
    #[param(value_type = Option<String>)]
    channel: Option<domain::notification::Channel>,
    /// What they are for, such as `reminder`.
    #[param(value_type = Option<String>)]
    kind: Option<Kind>,
    /// Messages at most, 1 to 200; 50 when absent.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Wait for this position of an earlier write, two seconds at most.
    #[param(value_type = Option<String>)]
    min_position: Option<Cursor>,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Pending,
    Offered,
    Sending,
    Sent,
    Delivered,
    Failed,
    Cancelled,
    Expired,
    Skipped,
    Uncertain,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Offered => "offered",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Skipped => "skipped",
            Self::Uncertain => "uncertain",
        }
    }
}

/// What a message is for: about a visit, an account, or a week.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Kind {
    Visit(domain::notification::Kind),
    Account(AccountKind),
}

/// Of forgotten passwords businesses learn nothing: the same person may work elsewhere.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AccountKind {
    Invitation,
    WeeklySummary,
}

impl Kind {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Visit(kind) => kind.as_str(),
            Self::Account(AccountKind::Invitation) => "invitation",
            Self::Account(AccountKind::WeeklySummary) => "weekly_summary",
        }
    }
}

/// A message and what became of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Notification)]
pub(crate) struct NotificationAnswer {
    /// The visit that it is about; null when that is an account, or a week.
    #[schema(value_type = Option<String>)]
    appointment_id: Option<AppointmentId>,
    #[serde(flatten)]
    message: ReminderAnswer,
}

impl From<NotificationRow> for NotificationAnswer {
    fn from(row: NotificationRow) -> Self {
        Self { appointment_id: row.appointment_id, message: row.into() }
    }
}

/// One try.
#[derive(Serialize, ToSchema)]
#[schema(as = NotificationAttempt)]
pub(crate) struct AttemptAnswer {
    /// From 1.
    attempt: i32,
    /// When a sender took it.
    #[schema(value_type = String, format = DateTime)]
    taken_at: Timestamp,
    /// When it left this system; null when nothing did.
    #[schema(value_type = Option<String>, format = DateTime)]
    handed_over_at: Option<Timestamp>,
    /// When it was known what came of it; null while it is under way.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// `sent`, `deferred` (another try follows), `failed`, `uncertain`, `cancelled`, or `lost`: its sender fell
    /// silent before anything was handed over.
    outcome: Option<String>,
    /// Why, as a code.
    reason: Option<String>,
    /// Who took it.
    provider: Option<String>,
    /// What they call it.
    provider_id: Option<String>,
    /// What the provider said, in its words.
    answer: Option<String>,
}

impl From<AttemptRow> for AttemptAnswer {
    fn from(row: AttemptRow) -> Self {
        let AttemptRow { attempt, taken_at, handed_over_at, ended_at, outcome, .. } = row;
        let AttemptRow { reason, provider, provider_id, answer, .. } = row;
        Self {
            attempt,
            taken_at,
            handed_over_at,
            ended_at,
            outcome,
            reason,
            provider,
            provider_id,
            answer,
        }
    }
}

/// One event of a message.
#[derive(Serialize, ToSchema)]
#[schema(as = NotificationStep)]
pub(crate) struct StepAnswer {
    /// Its place in the log.
    position: String,
    /// Such as `notification.sent.v1`.
    #[serde(rename = "type")]
    #[schema(rename = "type")]
    kind: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The part of the system that wrote it.
    actor: String,
    /// The event.
    #[schema(value_type = Object)]
    data: Value,
}

impl StepAnswer {
    fn of(event: Recorded) -> Result<Self, Problem> {
        let decoded = event.decode::<domain::notification::Notification>();
        let decoded: NotificationEvent = decoded.map_err(|error| {
            tracing::error!(%error, "an event of a message cannot be read");
            Problem::store_unavailable()
        })?;
        Ok(Self {
            position: event.cursor.to_string(),
            kind: domain::DomainEvent::event_type(&decoded),
            at: event.occurred_at,
            actor: event.actor,
            data: serde_json::to_value(&decoded).unwrap_or_default(),
        })
    }
}

/// All that is known of one message: what was planned, each try with the provider's answer, and what came of it.
#[derive(Serialize, ToSchema)]
#[schema(as = NotificationEvidence)]
pub(crate) struct EvidenceAnswer {
    #[serde(flatten)]
    message: NotificationAnswer,
    /// Each try, from the first.
    tries: Vec<AttemptAnswer>,
    /// Its events, from the log.
    steps: Vec<StepAnswer>,
}

impl EvidenceAnswer {
    pub(super) fn of(Evidence { message, attempts, steps }: Evidence) -> Result<Self, Problem> {
        Ok(Self {
            message: message.into(),
            tries: attempts.into_iter().map(Into::into).collect(),
            steps: steps.into_iter().map(StepAnswer::of).collect::<Result<_, _>>()?,
        })
    }
}

/// Messages and what became of them, those that are due last first.
#[utoipa::path(get, path = "/api/v1/notifications", tag = "operations",
    operation_id = "list_notifications",
    params(NotificationsQuery), responses((status = 200, body = Items<NotificationAnswer>)))]
pub(crate) async fn list(
    member: Member,
    State(api): State<Api>,
    extract::Query(query): extract::Query<NotificationsQuery>,
) -> Result<Json<Items<NotificationAnswer>>, Problem> {
    let limit = page_size(query.limit)?;
    let after = query.cursor.map(|text| text.parse()).transpose();
    let after = after
        .map_err(|()| Problem::invalid_field("cursor", "must be `next` of the page before"))?;
    api.wait(super::NOTIFICATIONS, query.min_position).await?;
    let filter = NotificationFilter {
        from: query.from.map(|from| from.0),
        to: query.to.map(|to| to.0),
        status: query.status.map(|status| status.as_str().to_owned()),
        channel: query.channel.map(|channel| channel.as_str().to_owned()),
        kind: query.kind.map(|kind| kind.as_str().to_owned()),
        after,
        limit,
    };
    let (rows, next) = api.notifications.list(member.business_id, &filter).await?;
    let items = rows.into_iter().map(Into::into).collect();
    Ok(Json(Items { items, next: next.map(|next| next.to_string()) }))
}

/// One message, with all that is known of it.
#[utoipa::path(get, path = "/api/v1/notifications/{id}", tag = "operations",
    operation_id = "get_notification",
    params(("id" = String, Path), Freshness), responses((status = 200, body = EvidenceAnswer)))]
pub(crate) async fn get(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<NotificationId>,
    extract::Query(fresh): extract::Query<Freshness>,
) -> Result<Json<EvidenceAnswer>, Problem> {
    api.wait(super::NOTIFICATIONS, fresh.min_position).await?;
    let found = api.notifications.evidence(member.business_id, id).await?;
    EvidenceAnswer::of(found.ok_or_else(Problem::not_found)?).map(Json)
}
