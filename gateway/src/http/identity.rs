use axum::{Json, extract::State, http::StatusCode};
use commands::{
    CommandError,
    identity::{LoginRefused, Register, RegisterRefused, Session},
};
use domain::{BusinessId, UserId, Zone, user::Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::Written,
    context,
    extract::{self, Member},
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
    id: UserId,
    email: String,
    #[schema(value_type = String)]
    role: Role,
}

/// Register an owner and their business.
#[utoipa::path(post, path = "/api/v1/auth/register", tag = "identity", request_body = RegisterRequest,
    responses((status = 201, body = RegisterAnswer), (status = 409, body = Problem)))]
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
    let done = api.identity.register(&register, &context::origin()).await.map_err(|error| {
        Problem::of(error, |refused| {
            let detail = refused.to_string();
            match refused {
                RegisterRefused::Invalid(errors) => Problem::invalid(errors),
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
}

/// What a client holds after signing in.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionAnswer {
    access_token: String,
    /// Good once, for a new pair.
    refresh_token: String,
    /// Seconds that the access token is good for.
    expires_in: i64,
    /// Always `Bearer`.
    token_type: &'static str,
}

impl From<Session> for SessionAnswer {
    fn from(session: Session) -> Self {
        Self {
            access_token: session.access_token,
            refresh_token: session.refresh_token,
            expires_in: session.expires_in,
            token_type: "Bearer",
        }
    }
}

fn refused(error: CommandError<LoginRefused>) -> Problem {
    Problem::of(error, |refused| {
        let code = match refused {
            LoginRefused::InvalidCredentials => "invalid_credentials",
            LoginRefused::InvalidRefreshToken => "invalid_refresh_token",
        };
        Problem::new(StatusCode::UNAUTHORIZED, code, refused.to_string())
    })
}

/// Sign in.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "identity", request_body = LoginRequest,
    responses((status = 200, body = SessionAnswer), (status = 401, body = Problem)))]
pub(crate) async fn login(
    State(api): State<Api>,
    extract::Json(request): extract::Json<LoginRequest>,
) -> Result<Json<SessionAnswer>, Problem> {
    // Postgres has no text with NUL, so nobody has such an address; the answer takes as long.
    let email = request.email.replace('\0', "\u{fffd}");
    let session = api.identity.login(&email, request.password).await.map_err(refused)?;
    Ok(Json(session.into()))
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshRequest {
    refresh_token: String,
}

/// Spend a refresh token for a new pair. Spending one twice ends the session.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "identity", request_body = RefreshRequest,
    responses((status = 200, body = SessionAnswer), (status = 401, body = Problem)))]
pub(crate) async fn refresh(
    State(api): State<Api>,
    extract::Json(request): extract::Json<RefreshRequest>,
) -> Result<Json<SessionAnswer>, Problem> {
    let session = api.identity.refresh(&request.refresh_token).await.map_err(refused)?;
    Ok(Json(session.into()))
}

/// End the session that a refresh token belongs to.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "identity", request_body = RefreshRequest,
    responses((status = 204)))]
pub(crate) async fn logout(
    State(api): State<Api>,
    extract::Json(request): extract::Json<RefreshRequest>,
) -> Result<StatusCode, Problem> {
    api.identity.logout(&request.refresh_token).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The user that a token stands for.
#[derive(Serialize, ToSchema)]
pub(crate) struct MeAnswer {
    #[schema(value_type = String)]
    id: UserId,
    email: String,
    #[schema(value_type = String)]
    role: Role,
    #[schema(value_type = String)]
    business_id: BusinessId,
}

/// Who is signed in.
#[utoipa::path(get, path = "/api/v1/auth/me", tag = "identity", security(("bearer" = [])),
    responses((status = 200, body = MeAnswer)))]
pub(crate) async fn me(member: Member, State(api): State<Api>) -> Result<Json<MeAnswer>, Problem> {
    let account = api.identity.account(member.user_id, member.business_id).await;
    let gone = || Problem::unauthorized("the account is not there any more");
    let (email, role) = account.map_err(refused)?.ok_or_else(gone)?;
    Ok(Json(MeAnswer { id: member.user_id, email, role, business_id: member.business_id }))
}

/// The public keys that tokens can be checked with (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "identity",
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn jwks(State(api): State<Api>) -> Json<serde_json::Value> {
    Json(api.identity.tokens().jwks())
}
