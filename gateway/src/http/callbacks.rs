use std::collections::BTreeMap;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use domain::NotificationId;
use reactors::{Sms, Twilio};
use utoipa::ToSchema;

use super::{Api, Problem};

/// What Twilio tells of a message.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "its shape is documented; all that is sent is read, since all of it is signed"
)]
pub(crate) struct TwilioCallback {
    /// What Twilio calls the message.
    #[schema(rename = "MessageSid")]
    message_sid: String,
    /// Such as `delivered` or `undelivered`.
    #[schema(rename = "MessageStatus")]
    message_status: String,
    /// Why it was not delivered.
    #[schema(rename = "ErrorCode")]
    error_code: Option<String>,
}

/// Whether a text message arrived.
///
/// For Twilio alone: signed with the token of the account.
#[utoipa::path(post, path = "/api/v1/callbacks/twilio/{id}", tag = "operations",
    operation_id = "twilio_callback",
    params(("id" = String, Path),
        ("X-Twilio-Signature" = Option<String>, Header, description = "Twilio's signature of address and form")),
    request_body(content = TwilioCallback, content_type = "application/x-www-form-urlencoded"),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn twilio(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Result<StatusCode, Problem> {
    let Sms::Twilio(account) = &*api.sms else { return Err(Problem::not_found()) };
    let form: BTreeMap<String, String> =
        url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let signature = headers.get("x-twilio-signature").and_then(|value| value.to_str().ok());
    let signed = |signature| account.has_signed(&account.callback(&id), &form, signature);
    if !signature.is_some_and(signed) {
        let detail = "the signature is missing or does not fit";
        return Err(Problem::new(StatusCode::FORBIDDEN, "bad_signature", detail));
    }
    let tried = tried(&id).ok_or_else(Problem::not_found)?;
    if !form.contains_key("MessageStatus") {
        return Err(Problem::invalid_field("MessageStatus", "is needed"));
    }
    // What a later Twilio says and nobody knows here changes nothing.
    let Some(status) = Twilio::status(&form) else { return Ok(StatusCode::NO_CONTENT) };
    let known = reactors::record_delivery(api.commands.log(), tried, &status).await;
    match known {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(Problem::not_found()),
        Err(error) => {
            tracing::warn!(%error, "what became of a text message could not be recorded");
            Err(Problem::store_unavailable())
        }
    }
}

/// The id of a message, its version and its try, as they were sent.
fn tried(path: &str) -> Option<(NotificationId, u32)> {
    let mut parts = path.split('.');
    let id = parts.next()?.parse().ok()?;
    let _version: u32 = parts.next()?.parse().ok()?;
    let attempt = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some((id, attempt))
}
