//! How guests want to be reminded, as they say by links in their mails.

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{header, request::Parts},
    response::{IntoResponse, Response},
};
use commands::preferences::{Preferences, ReminderWish};
use domain::{AppointmentId, BusinessId, notification::Channel};
use serde::{Deserialize, Serialize};
use streams::Actor;
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::Written,
    context, customers,
    extract::{self, Guest, business_behind, required_nullable},
};

const ASK: &str = include_str!("pages/unsubscribe.html");
const DONE: &str = include_str!("pages/unsubscribed.html");

/// How a guest is reminded of their visits with the business.
#[derive(Serialize, ToSchema)]
#[schema(as = Preferences, example = json!({"reminder_channels": ["sms"], "offered": ["email", "sms"]}))]
pub(crate) struct PreferencesAnswer {
    /// By these alone, of those that are offered; by none when it is empty, by all that are offered when it
    /// is null.
    #[schema(value_type = Option<Vec<String>>)]
    reminder_channels: Option<Vec<Channel>>,
    /// By what the business reminds its guests of such visits: `email`, `sms`.
    #[schema(value_type = Vec<String>)]
    offered: Vec<Channel>,
}

impl From<Preferences> for PreferencesAnswer {
    fn from(Preferences { reminder_channels, offered, .. }: Preferences) -> Self {
        Self { reminder_channels, offered }
    }
}

/// How a guest wants to be reminded.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reminder_channels": ["sms"]}))]
pub(crate) struct PreferencesRequest {
    /// By these alone (`email`, `sms`), of those that the business uses; by none when it is empty, by whatever the
    /// business uses when it is null.
    #[serde(deserialize_with = "required_nullable")]
    #[schema(value_type = Option<Vec<String>>, required = true)]
    reminder_channels: Option<Vec<Channel>>,
}

/// Whoever holds the link of a mail by which its guest wants no more of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unsubscriber {
    appointment_id: AppointmentId,
    business_id: BusinessId,
}

impl FromRequestParts<Api> for Unsubscriber {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, api).await;
        let meant = path.ok().and_then(|path| api.manage_urls.links().unsubscribing(&path.0));
        let business_id = business_behind(api, meant).await?;
        Ok(Self { appointment_id: meant.ok_or_else(Problem::not_found)?, business_id })
    }
}

/// How the guest behind a manage link is reminded, of this visit and their others with the business.
#[utoipa::path(get, path = "/api/v1/public/appointments/{link}/preferences", tag = "public",
    operation_id = "get_preferences_as_guest",
    params(("link" = String, Path, description = "the last part of `manage_url`; a secret")),
    responses((status = 200, body = PreferencesAnswer), (status = 503, body = Problem)))]
pub(crate) async fn get(
    guest: Guest,
    State(api): State<Api>,
) -> Result<Json<PreferencesAnswer>, Problem> {
    let context = context::command(guest.business_id, Actor::Guest);
    let known = api.commands.preferences(guest.link.appointment_id, &context).await;
    Ok(Json(known.map_err(customers::refused)?.into()))
}

/// Remind the guest behind a manage link otherwise from now on, of this visit and their others with the business.
///
/// Reminders that are planned already are planned anew. Confirmations and other news of a visit come in any case.
#[utoipa::path(put, path = "/api/v1/public/appointments/{link}/preferences", tag = "public",
    operation_id = "set_preferences_as_guest",
    params(("link" = String, Path, description = "the last part of `manage_url`; a secret")),
    request_body = PreferencesRequest,
    responses((status = 200, body = PreferencesAnswer), (status = 503, body = Problem)))]
pub(crate) async fn put(
    guest: Guest,
    State(api): State<Api>,
    extract::Json(request): extract::Json<PreferencesRequest>,
) -> Result<Written<PreferencesAnswer>, Problem> {
    let context = context::command(guest.business_id, Actor::Guest);
    let wish = ReminderWish::By(request.reminder_channels);
    let done = api.commands.prefer(guest.link.appointment_id, &wish, &context).await;
    let done = done.map_err(customers::refused)?;
    Ok(Written::new(axum::http::StatusCode::OK, done.position, done.value.into()))
}

/// Asks whoever opened the link of a reminder whether they want no more reminders by mail. Looking never changes
/// anything.
#[utoipa::path(get, path = "/api/v1/public/unsubscribe/{link}", tag = "public",
    operation_id = "see_unsubscribe_page",
    params(("link" = String, Path, description = "of the header `List-Unsubscribe` of a reminder")),
    responses((status = 200, body = String, content_type = "text/html")))]
pub(crate) async fn ask(_: Unsubscriber) -> Response {
    page(ASK)
}

/// Remind the guest by mail no more (RFC 8058): what providers of mail call when they are told to unsubscribe. What
/// else is wanted stays as it is, and so do confirmations and other news of a visit. The body does not matter.
#[utoipa::path(post, path = "/api/v1/public/unsubscribe/{link}", tag = "public",
    operation_id = "unsubscribe",
    params(("link" = String, Path, description = "of the header `List-Unsubscribe` of a reminder")),
    responses((status = 200, body = String, content_type = "text/html"), (status = 503, body = Problem)))]
pub(crate) async fn unsubscribe(
    unsubscriber: Unsubscriber,
    State(api): State<Api>,
) -> Result<Response, Problem> {
    let context = context::command(unsubscriber.business_id, Actor::Guest);
    let wish = ReminderWish::NotBy(Channel::Email);
    let done = api.commands.prefer(unsubscriber.appointment_id, &wish, &context).await;
    done.map_err(customers::refused)?;
    Ok(page(DONE))
}

fn page(content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], content).into_response()
}
