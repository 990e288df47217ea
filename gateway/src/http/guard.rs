//! What surrounds every answer: headers for browsers, who may read it from another site, and how much is
//! answered at once.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::Problem;

/// How long a browser need not ask again what it may send.
const PREFLIGHT: Duration = Duration::from_secs(600);
/// The API is no page: nothing of it is to be run, framed or fetched by it.
const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";
/// The page of the API document has styles of its own in it, and pictures as data.
const DOCS: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// Pages of ours have their scripts and styles in files.
const PAGES: &str =
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Pages of exactly these origins may read answers, also with cookies.
pub(super) fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let header = HeaderName::from_static;
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header("idempotency-key"),
            header("x-request-id"),
            header("traceparent"),
        ])
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            header("idempotent-replayed"),
            header("ratelimit"),
            header("ratelimit-policy"),
            header("x-position"),
            header("x-request-id"),
        ])
        .max_age(PREFLIGHT)
}

/// Whether browsers are to come back by https alone: when that is how we are reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Https(pub(super) bool);

/// Headers that tell browsers what not to do with an answer.
pub(super) async fn headers(State(https): State<Https>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let policy = match path {
        _ if path == "/docs" || path.starts_with("/docs/") => DOCS,
        _ if super::pages::is_page(path) => PAGES,
        _ => NO_PAGE,
    };
    let private = path.starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    // What is somebody's own is kept by nobody on the way, unless the handler says otherwise.
    if private {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    if https.0 {
        let value = HeaderValue::from_static("max-age=31536000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    response
}

/// How many requests are answered at once.
#[derive(Debug, Clone)]
pub(super) struct AtOnce(Arc<Semaphore>);

impl AtOnce {
    pub(super) fn most(requests: usize) -> Self {
        Self(Arc::new(Semaphore::new(requests)))
    }
}

/// Tells whoever comes when too much is under way to come back, at once: those who wait in a queue time out
/// all the same, and have cost as much.
pub(super) async fn shed(State(at_once): State<AtOnce>, request: Request, next: Next) -> Response {
    // Whoever watches over us must see us.
    if matches!(request.uri().path(), "/healthz" | "/readyz") {
        return next.run(request).await;
    }
    match at_once.0.try_acquire() {
        Ok(_permit) => next.run(request).await,
        Err(_full) => {
            metrics::counter!("apptremind_requests_shed_total").increment(1);
            Problem::overloaded().into_response()
        }
    }
}
