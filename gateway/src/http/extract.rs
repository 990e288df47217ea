//! What handlers ask for. The signature is the authorization.

use std::str::FromStr;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, MatchedPath, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use commands::{
    CommandError,
    identity::{Identity, Link},
};
use domain::{
    ApiKeyId, AppointmentId, BusinessId, LoginId, StaffId, UserId, team::Place, user::Role,
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;
use streams::Actor;

use super::{
    Api, Problem,
    browser::{self, Credential},
    context,
    permission::{self, Calling},
    shape::Object,
};

/// Somebody who may call this operation: a person who is signed in, or a program with a key. Who may call
/// what stands in the table of permissions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// In which business.
    pub(crate) business_id: BusinessId,
    who: Who,
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Person { user_id: UserId, session_id: LoginId, place: Place, by_cookie: bool },
    Program(ApiKeyId),
}

/// A person who is signed in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person {
    pub(crate) user_id: UserId,
    pub(crate) business_id: BusinessId,
    /// By this sign-in.
    pub(crate) session_id: LoginId,
    /// They sent a cookie, as browsers do.
    pub(crate) by_cookie: bool,
}

impl Member {
    /// Who did it, for the log.
    pub(crate) const fn actor(self) -> Actor {
        match self.who {
            Who::Person { user_id, .. } => Actor::User(user_id),
            Who::Program(key_id) => Actor::Key(key_id),
        }
    }

    /// The person; `None` for a program.
    pub(crate) const fn user_id(self) -> Option<UserId> {
        match self.who {
            Who::Person { user_id, .. } => Some(user_id),
            Who::Program(_) => None,
        }
    }

    /// Whose calendar they are kept to; `None` for whoever may see all. Somebody of the role `staff` who has
    /// none sees none.
    ///
    /// # Errors
    /// When they have no calendar.
    pub(crate) fn kept_to(self) -> Result<Option<StaffId>, Problem> {
        match self.who {
            Who::Person { place: Place { role: Role::Staff, staff_id }, .. } => {
                staff_id.map(Some).ok_or_else(Problem::not_yours)
            }
            Who::Person { .. } | Who::Program(_) => Ok(None),
        }
    }

    /// # Errors
    /// When it is not their own calendar, and they may use no other.
    pub(crate) fn check_calendar(self, staff_id: StaffId) -> Result<(), Problem> {
        match self.kept_to()? {
            Some(own) if own != staff_id => Err(Problem::not_yours()),
            Some(_) | None => Ok(()),
        }
    }
}

impl FromRequestParts<Api> for Member {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        // What nobody has said may be called by nobody.
        let access = permission::access(parts.method.as_str(), path);
        let credential = browser::credential(parts, api)?;
        let (member, allowed) = match &credential {
            Credential::Token(token) if Identity::is_api_key(token) => {
                if !api.identity.knows_key(token) {
                    api.gauges.guessing(&context::caller())?;
                }
                let found: Result<_, CommandError<std::convert::Infallible>> =
                    api.identity.key_holder(token).await;
                let holder = found.map_err(|error| Problem::of(error, |never| match never {}))?;
                let holder = holder.ok_or_else(|| {
                    Problem::unauthorized("the API key is not known, was revoked, or has expired")
                })?;
                let calling = Calling::Program(&holder.scopes);
                let allowed = access.is_some_and(|access| access.allows(calling));
                let who = Who::Program(holder.key_id);
                (Self { business_id: holder.business_id, who }, allowed)
            }
            Credential::Token(token) | Credential::Cookie(token) => {
                let claims = api.identity.bearer(token).map_err(|error| {
                    tracing::debug!(%error, "a token was refused");
                    Problem::unauthorized("the access token is not valid or has expired")
                })?;
                let allowed =
                    access.is_some_and(|access| access.allows(Calling::Role(claims.role)));
                let place = Place { role: claims.role, staff_id: claims.staff_id };
                let (user_id, session_id) = (claims.sub, claims.sid);
                let by_cookie = matches!(credential, Credential::Cookie(_));
                let who = Who::Person { user_id, session_id, place, by_cookie };
                (Self { business_id: claims.business_id, who }, allowed)
            }
        };
        api.gauges.signed_in(&member.actor().to_string(), member.business_id)?;
        if !allowed {
            return Err(Problem::forbidden());
        }
        Ok(member)
    }
}

impl FromRequestParts<Api> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let member = Member::from_request_parts(parts, api).await?;
        match member.who {
            Who::Person { user_id, session_id, by_cookie, .. } => {
                Ok(Self { user_id, business_id: member.business_id, session_id, by_cookie })
            }
            Who::Program(_) => Err(Problem::forbidden()),
        }
    }
}

impl Person {
    pub(crate) const fn actor(self) -> Actor {
        Actor::User(self.user_id)
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
        let appointment_id = link.map(|link| link.appointment_id);
        let business_id = business_behind(api, appointment_id).await?;
        Ok(Self { link: link.ok_or_else(Problem::not_found)?, business_id })
    }
}

/// Whose the appointment is that a link stands for; not found when it is no link of ours.
pub(super) async fn business_behind(
    api: &Api,
    appointment_id: Option<AppointmentId>,
) -> Result<BusinessId, Problem> {
    let Some(appointment_id) = appointment_id else {
        metrics::counter!("apptremind_links_refused_total").increment(1);
        return Err(Problem::not_found());
    };
    let found: Result<_, CommandError<std::convert::Infallible>> =
        api.commands.business_of(appointment_id).await;
    let found = found.map_err(|error| Problem::of(error, |never| match never {}))?;
    found.ok_or_else(Problem::not_found)
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
        let Object(value) = match serde_path_to_error::deserialize(&mut json) {
            Ok(value) => {
                json.end().map_err(|error| malformed(&error))?;
                value
            }
            Err(error) => match with_whole_numbers(&error, &bytes) {
                Some(value) => serde_path_to_error::deserialize(value).map_err(refused)?,
                None => return Err(refused(error)),
            },
        };
        Ok(Self(value))
    }
}

fn refused(error: serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let inner = error.into_inner();
    if !inner.is_data() {
        return malformed(&inner);
    }
    let (field, message) = named(&path, &inner.to_string());
    Problem::invalid_field(&field, message)
}

/// `2.0` is an integer to JSON Schema, and to many programs that write JSON: the same body, with such numbers
/// written as integers. Only what was refused for a number with a fraction pays for it.
fn with_whole_numbers(
    error: &serde_path_to_error::Error<serde_json::Error>,
    bytes: &[u8],
) -> Option<Value> {
    let number = error.inner().to_string().starts_with("invalid type: floating point");
    let mut value: Value = number.then(|| serde_json::from_slice(bytes).ok()).flatten()?;
    make_whole(&mut value);
    Some(value)
}

/// Beyond this not every integer is a float.
const WHOLE: f64 = 9_007_199_254_740_992.0;

#[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
fn make_whole(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            if let Some(whole) = float.filter(|f| f.fract() == 0.0 && f.abs() < WHOLE) {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Object(members) => members.values_mut().for_each(make_whole),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
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

/// For fields that may be `null` but must be there: without this, serde takes absent ones for `null`.
pub(crate) fn required_nullable<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer)
}
