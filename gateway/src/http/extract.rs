//! What handlers ask for. The signature is the authorization.

use std::str::FromStr;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use commands::{CommandError, identity::Link};
use domain::{BusinessId, UserId, user::Role};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use streams::Actor;

use super::{Api, Problem, shape::Object};

/// Somebody who is signed in, as whatever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) user_id: UserId,
    pub(crate) business_id: BusinessId,
    pub(crate) role: Role,
}

impl Member {
    pub(crate) const fn actor(self) -> Actor {
        Actor::User(self.user_id)
    }
}

/// Somebody who is signed in as the owner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner(pub(crate) Member);

impl FromRequestParts<Api> for Member {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let value = parts.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let token = value
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| Problem::unauthorized("sign in and send the access token"))?;
        let claims = api.identity.tokens().verify(token).map_err(|error| {
            tracing::debug!(%error, "a token was refused");
            Problem::unauthorized("the access token is not valid or has expired")
        })?;
        Ok(Self { user_id: claims.sub, business_id: claims.business_id, role: claims.role })
    }
}

impl FromRequestParts<Api> for Owner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let member = Member::from_request_parts(parts, api).await?;
        match member.role {
            Role::Owner => Ok(Self(member)),
            Role::Staff => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "only the owner of the business may do this",
            )),
        }
    }
}

/// Somebody who holds the manage link of an appointment, which names one in its own path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest {
    pub(crate) link: Link,
    pub(crate) business_id: BusinessId,
}

impl FromRequestParts<Api> for Guest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, api).await;
        let link = path.ok().and_then(|path| api.manage_urls.links().managed(&path.0));
        let Some(link) = link else {
            metrics::counter!("apptremind_links_refused_total").increment(1);
            return Err(Problem::not_found());
        };
        let found: Result<_, CommandError<std::convert::Infallible>> =
            api.commands.business_of(link.appointment_id).await;
        let found = found.map_err(|error| Problem::of(error, |never| match never {}))?;
        let business_id = found.ok_or_else(Problem::not_found)?;
        Ok(Self { link, business_id })
    }
}

/// A JSON body; every failure is a problem document that names the field.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "send the body as application/json",
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|_unread| {
            let detail = "the body could not be read";
            Problem::new(StatusCode::BAD_REQUEST, "unreadable_body", detail)
        })?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let inner = error.into_inner();
            if inner.is_data() {
                let (field, message) = named(&path, &inner.to_string());
                Problem::invalid_field(&field, message)
            } else {
                malformed(&inner)
            }
        })?;
        json.end().map_err(|error| malformed(&error))?;
        let Object(value) = value;
        Ok(Self(value))
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    let detail = format!("the body is not JSON: {error}");
    Problem::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// serde names a missing, unknown or repeated field only in its words: put it in the path.
fn named(path: &str, words: &str) -> (String, String) {
    let message = words.split(" at line ").next().unwrap_or(words).to_owned();
    let inner = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split('`').next());
    let path = if path == "." { "" } else { path };
    let field = match (inner, path) {
        (Some(inner), "") => inner.to_owned(),
        // The path of an unknown field ends in its own name already.
        (Some(inner), path) if path == inner || path.ends_with(&format!(".{inner}")) => {
            path.to_owned()
        }
        (Some(inner), path) => format!("{path}.{inner}"),
        (None, "") => "body".to_owned(),
        (None, path) => path.to_owned(),
    };
    (field, message)
}

/// Query parameters; every failure names the parameter.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(pairs).map(Self).map_err(|error| {
            let path = error.path().to_string();
            let (field, message) = named(&path, &error.into_inner().to_string());
            Problem::invalid_field(&field, message)
        })
    }
}

/// An id or a name in the path. One that cannot be one is not found, like any unknown one.
pub(crate) struct Id<T>(pub(crate) T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        let id = path.ok().and_then(|path| path.0.parse().ok());
        id.map(Self).ok_or_else(Problem::not_found)
    }
}

/// Two ids in the path.
pub(crate) struct Ids<A, B>(pub(crate) A, pub(crate) B);

impl<A: FromStr, B: FromStr, S: Send + Sync> FromRequestParts<S> for Ids<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<(String, String)>::from_request_parts(parts, state).await;
        let ids = path.ok().and_then(|path| Some((path.0.0.parse().ok()?, path.0.1.parse().ok()?)));
        ids.map(|(a, b)| Self(a, b)).ok_or_else(Problem::not_found)
    }
}

/// The version that an edit expects; `None` for `*`.
pub(crate) struct IfMatch(pub(crate) Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else {
            return Err(Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "if_match_required",
                "send If-Match with the ETag of what you edit, or *",
            ));
        };
        let value = value.to_str().unwrap_or_default().trim();
        if value == "*" {
            return Ok(Self(None));
        }
        let version = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        version.and_then(|version| version.parse().ok()).map(|v| Self(Some(v))).ok_or_else(|| {
            Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "stale",
                "If-Match is not an ETag that this API gave out",
            )
        })
    }
}

/// For fields of a PATCH where absent and `null` differ.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}
