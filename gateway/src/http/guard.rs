//! What surrounds every answer: headers for browsers, who may read it from another site, and how much is
//! answered at once.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tower_http::cors::{AllowOrigin, CorsLayer};

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

/// What a browser may do with an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    policy: &'static str,
    /// Whether it is somebody's own, which nobody on the way keeps unless the handler says otherwise.
    private: bool,
}

impl Page {
    pub(super) fn of(path: &str) -> Self {
        let policy = match path {
            _ if path == "/docs" || path.starts_with("/docs/") => DOCS,
            _ if super::pages::is_page(path) => PAGES,
            _ => NO_PAGE,
        };
        Self { policy, private: path.starts_with("/api/") }
    }
}

/// Tells browsers what not to do with an answer; `https` when that is how we are reached.
pub(super) fn mark(headers: &mut HeaderMap, page: Page, https: bool) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, page.policy),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if page.private {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    if https {
        let value = HeaderValue::from_static("max-age=31536000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
}

/// How many requests are answered at once.
#[derive(Debug)]
pub(super) struct AtOnce(Semaphore);

impl AtOnce {
    pub(super) const fn most(requests: usize) -> Self {
        Self(Semaphore::const_new(requests))
    }

    /// A place for one more. Whoever comes when too much is under way is told to come back, at once: those
    /// who wait in a queue time out all the same, and have cost as much.
    pub(super) fn place(&self, path: &str) -> Result<Option<SemaphorePermit<'_>>, TryAcquireError> {
        // Whoever watches over us must see us.
        if matches!(path, "/healthz" | "/readyz") {
            return Ok(None);
        }
        let place = self.0.try_acquire();
        if place.is_err() {
            metrics::counter!("apptremind_requests_shed_total").increment(1);
        }
        place.map(Some)
    }
}
