//! An example of every body, as a real run answered it; ids and tokens are made up.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::openapi::{Content, RefOr, path::Operation};

use super::PROBLEM_JSON;

const EXAMPLES: &str = include_str!("examples.json");

/// What is told of one operation.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    request: Option<Value>,
    /// By status. Of a problem only what is its own: `code`, `detail` and what goes with them.
    #[serde(default)]
    responses: BTreeMap<String, Value>,
}

/// Puts examples to the bodies, and remembers which.
pub(super) struct Examples {
    left: BTreeMap<String, Told>,
    idle: Vec<String>,
}

impl Examples {
    pub(super) fn read() -> Self {
        match serde_json::from_str(EXAMPLES) {
            Ok(left) => Self { left, idle: vec![] },
            // A document without them is better than none; a test looks.
            Err(error) => Self { left: BTreeMap::new(), idle: vec![format!("examples: {error}")] },
        }
    }

    pub(super) fn complete(&mut self, operation: &mut Operation) {
        let id = operation.operation_id.clone().unwrap_or_default();
        let mut told = self.left.remove(&id).unwrap_or_default();
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            for content in body.content.values_mut() {
                put(content, told.request.take());
            }
        }
        for (status, response) in &mut operation.responses.responses {
            let RefOr::T(response) = response else { continue };
            for (kind, content) in &mut response.content {
                let own = told.responses.remove(status);
                put(content, if kind == PROBLEM_JSON { problem(status, own) } else { own });
            }
        }
        if told.request.is_some() {
            self.idle.push(format!("example of {id}: request"));
        }
        let statuses = told.responses.into_keys();
        self.idle.extend(statuses.map(|status| format!("example of {id}: {status}")));
    }

    /// The examples that belong to nothing.
    pub(super) fn idle(self) -> Vec<String> {
        let unknown = self.left.into_keys().map(|id| format!("examples of {id}"));
        self.idle.into_iter().chain(unknown).collect()
    }
}

fn put(content: &mut RefOr<Content>, example: Option<Value>) {
    if let (RefOr::T(content), Some(example)) = (content, example) {
        content.example = Some(example);
    }
}

const REQUEST_ID: &str = "0198c5a2-b7f0-7c3d-8e4f-5a6b7c8d9e0f";

/// A problem as it is answered: what is told of it, or else what is usual for the status.
fn problem(status: &str, own: Option<Value>) -> Option<Value> {
    let status: StatusCode = status.parse().ok()?;
    let mut body: Map<String, Value> = match own {
        Some(Value::Object(own)) => own,
        Some(_) | None => usual(status)?,
    };
    let code = body.get("code").and_then(Value::as_str).unwrap_or_default();
    let kind = format!("urn:apptremind:problem:{code}");
    body.insert("type".to_owned(), kind.into());
    body.insert("title".to_owned(), status.canonical_reason().into());
    body.insert("status".to_owned(), status.as_u16().into());
    body.insert("request_id".to_owned(), REQUEST_ID.into());
    Some(Value::Object(body))
}

/// What every operation can answer, in the words of those who do.
fn usual(status: StatusCode) -> Option<Map<String, Value>> {
    let (code, detail) = match status.as_u16() {
        400 => (
            "malformed_json",
            "the body is not JSON: EOF while parsing an object at line 1 column 1",
        ),
        401 => ("unauthorized", "the access token is not valid or has expired"),
        403 => ("forbidden", "your role or key does not allow this"),
        404 => ("not_found", "there is no such thing here"),
        408 => ("request_timeout", "the body did not come in time"),
        412 => ("stale", "it was changed meanwhile: it is in version 3 now"),
        413 => ("body_too_large", "the body may have at most 131072 bytes"),
        415 => ("unsupported_media_type", "send the body as application/json"),
        428 => ("if_match_required", "send If-Match with the ETag of what you edit, or *"),
        429 => ("rate_limited", "too many requests; slow down"),
        503 => ("store_unavailable", "the store does not answer; try again"),
        _ => return None,
    };
    let body = json!({"code": code, "detail": detail});
    body.as_object().cloned()
}
