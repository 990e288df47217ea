//! Every refusal as a problem document (RFC 9457).

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use commands::{CommandError, UsedUp};
use domain::FieldError;
use projections::ReadError;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::context;

/// What went wrong, for programs (`code`) and for people (`detail`).
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "urn:apptremind:problem:slot_taken", "title": "Conflict", "status": 409,
    "detail": "the time is taken", "code": "slot_taken",
    "request_id": "0198c5a2-b7f0-7c3d-8e4f-5a6b7c8d9e0f",
}))]
pub(crate) struct Problem {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    #[serde(serialize_with = "code_of")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// What happened, for people.
    detail: String,
    /// What happened, for programs.
    code: &'static str,
    /// Names the request, for asking about it.
    request_id: String,
    /// Each field that breaks a rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<FieldProblem>)]
    errors: Vec<FieldError>,
    #[serde(flatten)]
    #[schema(ignore)]
    more: Map<String, Value>,
    /// For the header of that name.
    #[serde(skip)]
    retry_after: Option<Duration>,
}

/// One field that breaks a rule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FieldProblem {
    /// As the request names it.
    field: String,
    /// The rule.
    message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn code_of<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:apptremind:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status,
            detail: detail.into(),
            code,
            request_id: context::request_id(),
            errors: vec![],
            more: Map::new(),
            retry_after: (status == StatusCode::SERVICE_UNAVAILABLE)
                .then_some(Duration::from_secs(1)),
        }
    }

    /// The name of the rule, stable for programs.
    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such thing here")
    }

    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        let mut names = errors.iter().map(|e| format!("{} {}", e.field, e.message));
        let detail = names.next().unwrap_or_else(|| "the request is not valid".to_owned());
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", detail);
        Self { errors, ..problem }
    }

    pub(crate) fn invalid_field(field: &str, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { field: field.to_owned(), message: message.into() }])
    }

    pub(crate) fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    pub(crate) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "your role or key does not allow this")
    }

    /// Somebody of the role `staff` and what is on another's calendar.
    pub(crate) fn not_yours() -> Self {
        let detail = "staff see and change their own calendar only";
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// Somebody does something too often.
    pub(crate) fn too_many(detail: &str, retry_after: Duration) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
        // Whole seconds, and never none.
        let seconds = retry_after.as_secs_f64().ceil().max(1.0);
        Self { retry_after: Some(Duration::from_secs_f64(seconds)), ..problem }
    }

    /// A quota that all processes share is used up.
    pub(crate) fn used_up(used_up: UsedUp) -> Self {
        let detail = "too often; wait before you try again";
        Self::too_many(detail, used_up.retry_after).with("quota", used_up.quota.scope)
    }

    /// So much is under way that this process takes no more.
    pub(crate) fn overloaded() -> Self {
        Self::unavailable("overloaded", "too much is under way here; try again")
    }

    /// Adds a member of its own to the document.
    pub(crate) fn with(mut self, name: &str, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.more.insert(name.to_owned(), value);
        }
        self
    }

    /// Postgres is away.
    pub(crate) fn store_unavailable() -> Self {
        Self::unavailable("store_unavailable", "the store does not answer; try again")
    }

    fn unavailable(code: &'static str, detail: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    /// Our own fault: for the log, not for the caller.
    fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a request failed");
        let detail = "something went wrong on our side; it has been noted";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// What every command can answer, and its own refusals.
    pub(crate) fn of<E>(error: CommandError<E>, refusal: impl FnOnce(E) -> Self) -> Self {
        match error {
            CommandError::Refused(refused) => refusal(refused),
            CommandError::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "the idempotency key was used for another request",
            ),
            CommandError::InProgress => Self::new(
                StatusCode::CONFLICT,
                "idempotency_in_progress",
                "the request with this idempotency key is still running",
            ),
            CommandError::Conflict => {
                Self::unavailable("busy", "too many others change this right now; try again")
            }
            CommandError::Unavailable(error) => {
                tracing::warn!(%error, "the store is unavailable");
                Self::store_unavailable()
            }
            CommandError::Store(error) => Self::internal(error.as_ref()),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Lagging => Self::unavailable(
                "projection_lagging",
                "the read model has not caught up with min_position yet",
            ),
            ReadError::Unavailable(error) => {
                tracing::warn!(%error, "the store is unavailable");
                Self::store_unavailable()
            }
            ReadError::Store(error) => Self::internal(error.as_ref()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
