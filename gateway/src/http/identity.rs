use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use commands::{
    CommandError,
    identity::{LoginRefused, Register, RegisterRefused, Session},
};
use domain::{BusinessId, LoginId, StaffId, UserId, Zone, user::Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::Written,
    browser, context,
    extract::{self, Person},
};

/// A new owner and their business.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "email": "dana@example.com", "password": "correct horse battery",
    "business_name": "Salon Dana", "timezone": "America/New_York",
}))]
pub(crate) struct RegisterRequest {
    /// How they sign in.
    email: String,
    /// 8 to 200 characters.
    password: String,
    /// Shown to guests.
    business_name: String,
    /// IANA name; UTC when absent.
    #[schema(value_type = Option<String>)]
    timezone: Option<Zone>,
    /// The name in the public address; made from the name when absent.
    handle: Option<String>,
}

/// What was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisterAnswer {
    user: UserAnswer,
    #[schema(value_type = String)]
    business_id: BusinessId,
    handle: String,
    access_token: String,
    refresh_token: String,
    /// Seconds that the access token is good for.
    expires_in: i64,
    position: String,
}

/// A user.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserAnswer {
    #[schema(value_type = String)]
    pub(super) id: UserId,
    pub(super) email: String,
    #[schema(value_type = String)]
    pub(super) role: Role,
}

/// Register an owner and their business.
#[utoipa::path(post, path = "/api/v1/auth/register", tag = "identity", request_body = RegisterRequest,
    responses((status = 201, body = RegisterAnswer), (status = 409, body = Problem),
              (status = 429, body = Problem)))]
pub(crate) async fn register(
    State(api): State<Api>,
    extract::Json(request): extract::Json<RegisterRequest>,
) -> Result<Written<RegisterAnswer>, Problem> {
    let register = Register {
        email: request.email,
        password: request.password,
        business_name: request.business_name,
        timezone: request.timezone,
        handle: request.handle,
    };
    let (caller, origin) = (context::caller(), context::origin());
    let done = api.identity.register(&register, &caller, &origin).await.map_err(|error| {
        Problem::of(error, |refused| {
            let detail = refused.to_string();
            match refused {
                RegisterRefused::Invalid(errors) => Problem::invalid(errors),
                RegisterRefused::TooMany(used_up) => Problem::used_up(used_up),
                RegisterRefused::EmailTaken => {
                    Problem::new(StatusCode::CONFLICT, "email_taken", detail)
                }
                RegisterRefused::HandleTaken => {
                    Problem::new(StatusCode::CONFLICT, "handle_taken", detail)
                }
            }
        })
    })?;
    api.edited(done.position).await;
    let new = done.value;
    let body = RegisterAnswer {
        user: UserAnswer { id: new.user_id, email: new.email, role: Role::Owner },
        business_id: new.business_id,
        handle: new.handle,
        access_token: new.session.access_token,
        refresh_token: new.session.refresh_token,
        expires_in: new.session.expires_in,
        position: done.position.to_string(),
    };
    Ok(Written::new(StatusCode::CREATED, done.position, body))
}

/// Who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"email": "dana@example.com", "password": "correct horse battery"}))]
pub(crate) struct LoginRequest {
    email: String,
    password: String,
    /// For pages in browsers: the tokens come as cookies that scripts cannot read, and not in the answer.
    #[serde(default)]
    cookies: bool,
}

/// What a client holds after signing in.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionAnswer {
    /// Absent when it is in a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    /// Good once, for a new pair. Absent when it is in a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// Seconds that the access token is good for.
    expires_in: i64,
    /// Always `Bearer`.
    token_type: &'static str,
}

impl SessionAnswer {
    fn new(session: Session, in_cookies: bool) -> Self {
        let told = |token: String| (!in_cookies).then_some(token);
        Self {
            access_token: told(session.access_token),
            refresh_token: told(session.refresh_token),
            expires_in: session.expires_in,
            token_type: "Bearer",
        }
    }
}

impl Api {
    /// The tokens, in the answer or in cookies.
    pub(super) fn signed_in(&self, session: Session, in_cookies: bool) -> Response {
        let cookies = browser::cookies(&session, self.session_seconds);
        let mut response = Json(SessionAnswer::new(session, in_cookies)).into_response();
        if in_cookies {
            for cookie in cookies.into_iter().flatten() {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
        }
        response
    }
}

pub(super) fn refused(error: CommandError<LoginRefused>) -> Problem {
    Problem::of(error, |refused| {
        let (status, code) = match refused {
            LoginRefused::InvalidCredentials => (StatusCode::UNAUTHORIZED, "invalid_credentials"),
            LoginRefused::InvalidRefreshToken => {
                (StatusCode::UNAUTHORIZED, "invalid_refresh_token")
            }
            LoginRefused::NoBusiness => (StatusCode::FORBIDDEN, "no_business"),
            LoginRefused::TooMany(used_up) => return Problem::used_up(used_up),
        };
        Problem::new(status, code, refused.to_string())
    })
}

/// Sign in, to the business where the account was last.
///
/// Who tries too often is 429 with `Retry-After`, whether there is such an account or not.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "identity", request_body = LoginRequest,
    responses((status = 200, body = SessionAnswer), (status = 401, body = Problem),
              (status = 403, body = Problem), (status = 429, body = Problem)))]
pub(crate) async fn login(
    State(api): State<Api>,
    extract::Json(request): extract::Json<LoginRequest>,
) -> Result<Response, Problem> {
    // Postgres has no text with NUL, so nobody has such an address; the answer takes as long.
    let email = request.email.replace('\0', "\u{fffd}");
    let (caller, origin) = (context::caller(), context::origin());
    let session = api.identity.login(&email, request.password, &caller, &origin).await;
    Ok(api.signed_in(session.map_err(refused)?, request.cookies))
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshRequest {
    /// May be left out when it is in a cookie.
    refresh_token: Option<String>,
}

/// Spend a refresh token for a new pair. Spending one twice ends the session.
///
/// A client whose connection broke before it read the answer may ask again within ten seconds: it gets the
/// same pair.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "identity", request_body = RefreshRequest,
    responses((status = 200, body = SessionAnswer), (status = 401, body = Problem),
              (status = 403, body = Problem)))]
pub(crate) async fn refresh(
    State(api): State<Api>,
    headers: HeaderMap,
    extract::Json(request): extract::Json<RefreshRequest>,
) -> Result<Response, Problem> {
    let (token, in_cookie) = browser::refresh_token(request.refresh_token, &headers, &api)?;
    let session = api.identity.refresh(&token, &context::caller()).await.map_err(refused)?;
    Ok(api.signed_in(session, in_cookie))
}

/// End the session that a refresh token belongs to.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "identity", request_body = RefreshRequest,
    responses((status = 204), (status = 403, body = Problem)))]
pub(crate) async fn logout(
    State(api): State<Api>,
    headers: HeaderMap,
    extract::Json(request): extract::Json<RefreshRequest>,
) -> Result<Response, Problem> {
    let (token, in_cookie) = browser::refresh_token(request.refresh_token, &headers, &api)?;
    api.identity.logout(&token, &context::origin()).await.map_err(refused)?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if in_cookie {
        for cookie in browser::no_cookies().into_iter().flatten() {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    Ok(response)
}

/// The user that a token stands for.
#[derive(Serialize, ToSchema)]
pub(crate) struct MeAnswer {
    #[schema(value_type = String)]
    id: UserId,
    email: String,
    #[schema(value_type = String)]
    role: Role,
    /// Whose calendar is theirs.
    #[schema(value_type = Option<String>)]
    staff_id: Option<StaffId>,
    #[schema(value_type = String)]
    business_id: BusinessId,
    /// The sign-in that the token belongs to.
    #[schema(value_type = String)]
    session_id: LoginId,
}

/// Who is signed in.
#[utoipa::path(get, path = "/api/v1/auth/me", tag = "identity",
    responses((status = 200, body = MeAnswer)))]
pub(crate) async fn me(person: Person, State(api): State<Api>) -> Result<Json<MeAnswer>, Problem> {
    let account = api.identity.account(person.user_id, person.business_id).await;
    let gone = || Problem::unauthorized("the account is not there any more");
    let account = account.map_err(refused)?.ok_or_else(gone)?;
    Ok(Json(MeAnswer {
        id: person.user_id,
        email: account.email,
        role: account.place.role,
        staff_id: account.place.staff_id,
        business_id: person.business_id,
        session_id: person.session_id,
    }))
}

/// The public keys that tokens can be checked with (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "identity",
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn jwks(State(api): State<Api>) -> Json<serde_json::Value> {
    Json(api.identity.tokens().jwks())
}
