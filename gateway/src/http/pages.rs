//! The two pages that mailed links about accounts lead to. The secret stands behind the `#`, which browsers
//! send to nobody; the page's script sends it in the body of the one call that needs it.

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

/// Where a forgotten password is replaced.
pub(crate) const RESET: &str = "/reset-password";
/// Where an invitation is accepted.
pub(crate) const INVITATION: &str = "/accept-invitation";

const FILES: [(&str, &str, &str); 4] = [
    (RESET, "text/html; charset=utf-8", include_str!("pages/reset-password.html")),
    (INVITATION, "text/html; charset=utf-8", include_str!("pages/accept-invitation.html")),
    ("/pages/account.js", "text/javascript; charset=utf-8", include_str!("pages/account.js")),
    ("/pages/account.css", "text/css; charset=utf-8", include_str!("pages/account.css")),
];

pub(super) fn is_page(path: &str) -> bool {
    FILES.iter().any(|(own, _, _)| *own == path)
}

pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, content)| {
        let answer = move || async move { file(kind, content) };
        router.route(path, get(answer))
    })
}

fn file(kind: &'static str, content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], content).into_response()
}
