//! What each request carries: its id, its trace, its measure.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method},
    middleware::Next,
    response::Response,
};
use domain::BusinessId;
use streams::{Actor, CommandContext, Origin, clock};
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

#[derive(Clone)]
struct Current {
    request_id: String,
    traceparent: Option<String>,
}

tokio::task_local! {
    static CURRENT: Current;
}

/// The id of the request that is being answered; empty outside one.
pub(crate) fn request_id() -> String {
    CURRENT.try_with(|current| current.request_id.clone()).unwrap_or_default()
}

/// What the events of this request are stamped with.
pub(crate) fn command(business_id: BusinessId, actor: Actor) -> CommandContext {
    CommandContext { business_id, actor, now: clock::now(), origin: origin() }
}

/// What ties the events of this request together: its id, when that is a UUID.
pub(crate) fn origin() -> Origin {
    let current = CURRENT.try_with(Clone::clone).ok();
    let request_id = current.as_ref().and_then(|current| current.request_id.parse().ok());
    Origin {
        correlation_id: request_id.unwrap_or_else(clock::new_id),
        causation_id: None,
        traceparent: current.and_then(|current| current.traceparent),
    }
}

fn current(headers: &HeaderMap) -> Current {
    let header = |name: &HeaderName, most: usize| {
        let text = headers.get(name)?.to_str().ok()?;
        let clean = text.len() <= most && text.bytes().all(|b| b.is_ascii_graphic());
        (clean && !text.is_empty()).then(|| text.to_owned())
    };
    Current {
        request_id: header(&REQUEST_ID, 128).unwrap_or_else(|| clock::new_id().to_string()),
        traceparent: header(&TRACEPARENT, 64),
    }
}

/// A label with the caller's own words would make a series of each.
fn label(method: &Method) -> &'static str {
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// Gives each request an id, echoes the caller's, carries its W3C trace context, and measures it.
pub(crate) async fn layer(request: Request, next: Next) -> Response {
    let current = current(request.headers());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    let method = label(request.method());
    let id = current.request_id.clone();
    let span = tracing::info_span!(
        "request",
        method,
        route,
        request_id = id,
        traceparent = current.traceparent
    );
    let began = Instant::now();
    let mut response = CURRENT.scope(current, next.run(request)).instrument(span).await;
    let status = response.status().as_u16();
    let took = began.elapsed();
    tracing::debug!(method, route, status, ?took, request_id = id, "answered");
    metrics::histogram!("apptremind_http_request_seconds", "method" => method,
        "route" => route.to_owned(), "status" => status.to_string())
    .record(took.as_secs_f64());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
