//! What somebody does about their own account: sessions, password, businesses.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use commands::{
    CommandError,
    identity::{MemberRefused, PasswordRefused, SessionRow},
};
use domain::{BusinessId, LoginId, StaffId, user::Role};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::{Items, Written},
    context,
    extract::{self, Id, Person},
    identity::SessionAnswer,
    members,
};

/// A sign-in that lasts.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionItem {
    #[schema(value_type = String)]
    id: LoginId,
    /// In which business.
    #[schema(value_type = String)]
    business_id: BusinessId,
    #[schema(value_type = String, format = DateTime)]
    opened_at: Timestamp,
    /// When its tokens were refreshed last.
    #[schema(value_type = String, format = DateTime)]
    used_at: Timestamp,
    /// Until when, whatever happens.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// The program, in its own words.
    user_agent: Option<String>,
    /// The address without its last part.
    network: Option<String>,
    /// Whether it is the one that asks.
    current: bool,
}

/// The sessions of whoever is signed in, in all their businesses, the newest first.
#[utoipa::path(get, path = "/api/v1/auth/sessions", tag = "identity",
    operation_id = "list_sessions", responses((status = 200, body = Items<SessionItem>)))]
pub(crate) async fn list(
    person: Person,
    State(api): State<Api>,
) -> Result<Json<Items<SessionItem>>, Problem> {
    let found: Result<_, CommandError<std::convert::Infallible>> =
        api.identity.sessions(person.user_id).await;
    let rows = found.map_err(|error| Problem::of(error, |never| match never {}))?;
    let item = |row: SessionRow| SessionItem {
        current: row.session_id == person.session_id,
        id: row.session_id,
        business_id: row.business_id,
        opened_at: row.opened_at,
        used_at: row.used_at,
        expires_at: row.expires_at,
        user_agent: row.user_agent,
        network: row.network,
    };
    Ok(Json(Items::all(rows.into_iter().map(item).collect())))
}

/// End a session, and those that were opened from it. Their access tokens are good no more, on every server
/// within two seconds.
#[utoipa::path(delete, path = "/api/v1/auth/sessions/{id}", tag = "identity",
    operation_id = "end_session", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn end(
    person: Person,
    State(api): State<Api>,
    Id(id): Id<LoginId>,
) -> Result<StatusCode, Problem> {
    let ended: Result<_, CommandError<std::convert::Infallible>> =
        api.identity.end_session(person.user_id, id, &context::origin()).await;
    let ended = ended.map_err(|error| Problem::of(error, |never| match never {}))?;
    if ended { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found()) }
}

/// End all sessions but the one that asks.
#[utoipa::path(delete, path = "/api/v1/auth/sessions", tag = "identity",
    operation_id = "end_other_sessions", responses((status = 204)))]
pub(crate) async fn end_others(
    person: Person,
    State(api): State<Api>,
) -> Result<StatusCode, Problem> {
    let (user, own) = (person.user_id, person.session_id);
    let ended: Result<_, CommandError<std::convert::Infallible>> =
        api.identity.end_other_sessions(user, own, &context::origin()).await;
    ended.map_err(|error| Problem::of(error, |never| match never {}))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Characters of an address at most (RFC 5321, 4.5.3.1.3).
const LONGEST_EMAIL: usize = 254;

/// Whose password is to be replaced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"email": "dana@example.com"}))]
pub(crate) struct ResetRequest {
    email: String,
}

/// Another password, by a mailed link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "token": "AfQwRHgBmPIoOJN8PY5PWmt8jZ4PAAGBaR8vAFpzyUqh-9bTPcRH", "password": "battery horse staple",
}))]
pub(crate) struct ConfirmRequest {
    /// What stands behind the `#` in the mailed link.
    token: String,
    /// 8 to 200 characters.
    password: String,
}

/// Another password, by whoever knows the old one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "current_password": "correct horse battery", "new_password": "battery horse staple",
}))]
pub(crate) struct PasswordRequest {
    current_password: String,
    /// 8 to 200 characters.
    new_password: String,
}

fn password_refused(error: CommandError<PasswordRefused>) -> Problem {
    Problem::of(error, |refused| {
        let detail = refused.to_string();
        match refused {
            PasswordRefused::Invalid(errors) => Problem::invalid(errors),
            PasswordRefused::Spent => Problem::new(StatusCode::GONE, "link_spent", detail),
            PasswordRefused::WrongPassword => {
                Problem::invalid_field("current_password", "is not the password")
            }
            PasswordRefused::TooMany(used_up) => Problem::used_up(used_up),
        }
    })
}

/// Say that a password is forgotten. Whoever has the account is mailed a link that works once, for an hour.
///
/// The answer is the same whether there is such an account or not.
#[utoipa::path(post, path = "/api/v1/auth/password-reset", tag = "identity",
    operation_id = "request_password_reset", request_body = ResetRequest,
    responses((status = 202), (status = 429, body = Problem)))]
pub(crate) async fn ask(
    State(api): State<Api>,
    extract::Json(request): extract::Json<ResetRequest>,
) -> Result<StatusCode, Problem> {
    if request.email.chars().count() > LONGEST_EMAIL {
        let rule = format!("must be at most {LONGEST_EMAIL} characters");
        return Err(Problem::invalid_field("email", rule));
    }
    // Nobody has an address like these; the answer is the same.
    let email = request.email.replace('\0', "\u{fffd}");
    let (caller, origin) = (context::caller(), context::origin());
    api.identity.ask_for_reset(&email, &caller, &origin).await.map_err(password_refused)?;
    Ok(StatusCode::ACCEPTED)
}

/// Choose another password by the mailed link. All sessions end.
///
/// A link that was used, is too old, or is none of ours is 410 `link_spent`.
#[utoipa::path(post, path = "/api/v1/auth/password-reset/confirm", tag = "identity",
    operation_id = "confirm_password_reset", request_body = ConfirmRequest,
    responses((status = 204), (status = 410, body = Problem)))]
pub(crate) async fn confirm(
    State(api): State<Api>,
    extract::Json(request): extract::Json<ConfirmRequest>,
) -> Result<Written<()>, Problem> {
    let origin = context::origin();
    let done = api.identity.reset_password(&request.token, request.password, &origin).await;
    Ok(Written::empty(done.map_err(password_refused)?.position))
}

/// Choose another password. All other sessions end.
#[utoipa::path(post, path = "/api/v1/auth/password", tag = "identity",
    operation_id = "change_password", request_body = PasswordRequest,
    responses((status = 204), (status = 429, body = Problem)))]
pub(crate) async fn change_password(
    person: Person,
    State(api): State<Api>,
    extract::Json(request): extract::Json<PasswordRequest>,
) -> Result<Written<()>, Problem> {
    let PasswordRequest { current_password, new_password } = request;
    let (own, origin) = ((person.user_id, person.session_id), context::origin());
    let done = api.identity.change_password(own, current_password, new_password, &origin).await;
    Ok(Written::empty(done.map_err(password_refused)?.position))
}

/// A business that somebody belongs to.
#[derive(Serialize, ToSchema)]
#[schema(as = Business)]
pub(crate) struct BusinessItem {
    #[schema(value_type = String)]
    id: BusinessId,
    name: String,
    handle: String,
    /// What they are there.
    #[schema(value_type = String)]
    role: Role,
    /// Whose calendar is theirs there.
    #[schema(value_type = Option<String>)]
    staff_id: Option<StaffId>,
    /// Whether it is the one that the token is for.
    current: bool,
}

/// The businesses of whoever is signed in.
#[utoipa::path(get, path = "/api/v1/auth/businesses", tag = "identity",
    operation_id = "list_my_businesses", responses((status = 200, body = Items<BusinessItem>)))]
pub(crate) async fn businesses(
    person: Person,
    State(api): State<Api>,
) -> Result<Json<Items<BusinessItem>>, Problem> {
    let found: Result<_, CommandError<std::convert::Infallible>> =
        api.identity.memberships(person.user_id).await;
    let all = found.map_err(|error| Problem::of(error, |never| match never {}))?;
    let item = |own: commands::identity::Membership| BusinessItem {
        current: own.business_id == person.business_id,
        id: own.business_id,
        name: own.name,
        handle: own.handle,
        role: own.place.role,
        staff_id: own.place.staff_id,
    };
    Ok(Json(Items::all(all.into_iter().map(item).collect())))
}

/// To which business.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"business_id": "biz_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f"}))]
pub(crate) struct SwitchRequest {
    #[schema(value_type = String)]
    business_id: BusinessId,
    /// As in signing in; always for a browser that says who it is by its cookies.
    #[serde(default)]
    cookies: bool,
}

/// Sign in to another of one's businesses, without the password.
///
/// The session that asks goes on. The new one ends with it, and takes the place of an earlier one in that
/// business that came from the same sign-in.
#[utoipa::path(post, path = "/api/v1/auth/switch", tag = "identity",
    operation_id = "switch_business", request_body = SwitchRequest,
    responses((status = 200, body = SessionAnswer), (status = 404, body = Problem)))]
pub(crate) async fn switch(
    person: Person,
    State(api): State<Api>,
    extract::Json(request): extract::Json<SwitchRequest>,
) -> Result<Response, Problem> {
    let (caller, origin) = (context::caller(), context::origin());
    let own = (person.user_id, person.session_id);
    let session = api.identity.switch(own, request.business_id, &caller, &origin).await;
    let refused = |error: CommandError<MemberRefused>| members::refused(error);
    // A script on a page must not get out of the cookies what it cannot read there.
    Ok(api.signed_in(session.map_err(refused)?, request.cookies || person.by_cookie))
}
