//! What browsers need: cookies that scripts cannot read, and that no other site can use.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use commands::identity::Session;
use cookie::{Cookie, SameSite, time::Duration};

use super::{Api, Problem};

/// The prefix makes browsers insist on `Secure`, `Path=/` and no `Domain`, so that no other host can set it.
const ACCESS: &str = "__Host-apptremind-access";
const REFRESH: &str = "__Host-apptremind-refresh";

/// Characters of a refresh token at most. Ours are shorter, and so is an access token that is sent by mistake.
const LONGEST: usize = 4_096;

/// By what somebody says who they are.
#[derive(Debug)]
pub(super) enum Credential {
    /// A bearer token, or an API key.
    Token(String),
    /// An access token in a cookie.
    Cookie(String),
}

/// What the request brings; a token in the header counts before a cookie.
///
/// # Errors
/// When there is none, or a page of another site sent the cookie.
pub(super) fn credential(parts: &Parts, api: &Api) -> Result<Credential, Problem> {
    let header = parts.headers.get(header::AUTHORIZATION);
    let token = header.and_then(|value| value.to_str().ok()?.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    if let Some((_, token)) = token {
        return Ok(Credential::Token(token.trim().to_owned()));
    }
    // With another scheme in the header, such as that of a proxy in front, a browser is still known by this.
    let Some(token) = cookie(&parts.headers, ACCESS) else {
        return Err(Problem::unauthorized(if header.is_some() {
            "send the access token as a bearer token"
        } else {
            "sign in and send the access token"
        }));
    };
    check_origin(&parts.method, &parts.headers, api)?;
    Ok(Credential::Cookie(token))
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(Cookie::split_parse)
        .filter_map(Result::ok)
        .find(|cookie| cookie.name() == name)
        .map(|cookie| cookie.value().to_owned())
}

/// A browser sends cookies for any page, but says which: only ours and those of the settings may change
/// anything.
fn check_origin(method: &Method, headers: &HeaderMap, api: &Api) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    let known = origin.is_some_and(|origin| api.origins.iter().any(|own| own == origin));
    known.then_some(()).ok_or_else(|| {
        let detail = "a change by cookie must come from a page of this site (Origin)";
        Problem::new(StatusCode::FORBIDDEN, "origin_refused", detail)
    })
}

/// The refresh token that a request brings, in the body or in the cookie; whether it was the cookie.
///
/// # Errors
/// When there is none, or a page of another site sent the cookie.
pub(super) fn refresh_token(
    body: Option<String>,
    headers: &HeaderMap,
    api: &Api,
) -> Result<(String, bool), Problem> {
    if let Some(token) = body {
        if token.chars().count() > LONGEST {
            let rule = format!("must be at most {LONGEST} characters");
            return Err(Problem::invalid_field("refresh_token", rule));
        }
        return Ok((token, false));
    }
    let missing = || Problem::invalid_field("refresh_token", "missing field `refresh_token`");
    let token = cookie(headers, REFRESH).ok_or_else(missing)?;
    check_origin(&Method::POST, headers, api)?;
    Ok((token, true))
}

fn set(name: &'static str, value: String, seconds: i64) -> Option<HeaderValue> {
    let cookie = Cookie::build((name, value))
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(SameSite::Strict)
        .max_age(Duration::seconds(seconds));
    HeaderValue::from_str(&cookie.build().to_string()).ok()
}

/// The cookies of a session. `lasting` is for how many seconds it can be refreshed at most.
pub(super) fn cookies(session: &Session, lasting: i64) -> [Option<HeaderValue>; 2] {
    [
        set(ACCESS, session.access_token.clone(), session.expires_in),
        set(REFRESH, session.refresh_token.clone(), lasting),
    ]
}

/// Cookies that take those of a session away.
pub(super) fn no_cookies() -> [Option<HeaderValue>; 2] {
    [set(ACCESS, String::new(), 0), set(REFRESH, String::new(), 0)]
}
