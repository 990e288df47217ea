//! What each request passes on its way to a handler, and each answer on its way back.
//!
//! It is one layer of axum rather than one for each concern: a layer costs some allocations and a copy of
//! everything inside of it, with every request. For the same reason what is seldom needed is boxed, and the
//! request is handed on before anything is awaited: a future has room for all that it may hold, and is moved.

use std::{convert::Infallible, future::ready, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{self, HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::{FutureExt, future::Either};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::cors::CorsLayer;

use super::{
    Api, Outside, Problem, context,
    guard::{self, AtOnce, Page},
    limit, rates,
};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Which headers of a request an answer may depend on, as [`CorsLayer`] has it.
const VARY: HeaderValue = HeaderValue::from_static(
    "origin, access-control-request-method, access-control-request-headers",
);

/// What surrounds all handlers.
pub(super) struct Edge {
    api: Api,
    cors: CorsLayer,
    at_once: AtOnce,
    outside: Outside,
}

impl Edge {
    pub(super) fn new(api: Api, outside: Outside) -> Self {
        let cors = guard::cors(api.origins.get(1..).unwrap_or_default());
        Self { api, cors, at_once: AtOnce::most(outside.http.requests), outside }
    }

    /// For browsers: who may read the answer, and what not to do with it.
    fn shown(&self, request: Request, next: Next) -> impl Future<Output = Response> {
        let page = Page::of(request.uri().path());
        let cors = self.cors(request.method(), request.headers());
        // A preflight asks for nothing else.
        let answered = if request.method() == Method::OPTIONS {
            Either::Left(ready(Body::empty().into_response()))
        } else {
            Either::Right(self.answered(request, next))
        };
        answered.map(move |mut response| {
            let headers = response.headers_mut();
            // For all that is added here and in `context`, so that the map grows once.
            headers.reserve(8);
            // Behind what the handler says itself, as that an answer varies with how it may be encoded.
            match cors {
                Some(cors) => cors.iter().for_each(|(name, value)| {
                    headers.append(name, value.clone());
                }),
                None => drop(headers.append(header::VARY, VARY)),
            }
            guard::mark(headers, page, self.outside.https);
            response
        })
    }

    /// What whoever asks from a page of another origin is told about it; `None` for all others.
    fn cors(&self, method: &Method, headers: &HeaderMap) -> Option<HeaderMap> {
        if !headers.contains_key(header::ORIGIN) && method != Method::OPTIONS {
            return None;
        }
        let mut head = http::Request::new(());
        head.method_mut().clone_from(method);
        head.headers_mut().clone_from(headers);
        let nothing = service_fn(|_head| ready(Ok::<_, Infallible>(http::Response::new(()))));
        // There is nothing to wait for: neither the list of origins nor the answer.
        let said = self.cors.layer(nothing).oneshot(head).now_or_never()?;
        said.map(|said| said.into_parts().0.headers).ok()
    }

    /// Always, in time, and as a problem when it cannot be done.
    fn answered(&self, request: Request, next: Next) -> impl Future<Output = Response> {
        let work = AssertUnwindSafe(self.admitted(request, next)).catch_unwind();
        let in_time = tokio::time::timeout(TIMEOUT, work);
        in_time.map(|answered| match answered {
            Ok(Ok(response)) => response,
            Ok(Err(_panic)) => {
                tracing::error!("a handler panicked");
                let detail = "something went wrong on our side; it has been noted";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
            }
            Err(_elapsed) => {
                let detail = "the request took too long";
                Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail).into_response()
            }
        })
    }

    /// Unless they ask too often, send too much, or too many ask at once.
    async fn admitted(&self, mut request: Request, mut next: Next) -> Response {
        if let Err(problem) = rates::arrived(&self.api.gauges, &request) {
            return problem.into_response();
        }
        if !request.body().is_end_stream() {
            match Box::pin(limit::whole(request, self.outside.http.body_timeout)).await {
                Ok(whole) => request = whole,
                Err(refused) => return refused,
            }
        }
        // After the reading of bodies: whoever sends slowly takes nobody's place.
        let Ok(_place) = self.at_once.place(request.uri().path()) else {
            return Problem::overloaded().into_response();
        };
        // Nobody waits for a Postgres that does not answer. What was begun may still be done: a retry
        // with the same key learns of it.
        match self.api.database.unless_silent(next.call(request)).await {
            Some(Ok(response)) => response,
            None => Problem::store_unavailable().into_response(),
        }
    }
}

/// Around every handler.
pub(super) async fn layer(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    context::within(&edge.outside.proxies, request, |request| edge.shown(request, next)).await
}
