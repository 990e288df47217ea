//! Who belongs to a business, and who is asked to.

use axum::{Json, extract::State, http::StatusCode};
use commands::{
    CommandError,
    identity::{ChangeMember, InvitationRefused, InvitationRow, Invite, MemberRefused, MemberRow},
};
use domain::{
    BusinessId, InvitationId, StaffId, UserId,
    invitation::InvitationError,
    team::{Place, TeamError},
    user::Role,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::{Items, Written},
    context,
    extract::{self, Id, IfMatch, Person, present},
    identity::UserAnswer,
};

/// What somebody may do in a business.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Role)]
pub(crate) enum RoleBody {
    /// Everything.
    Owner,
    /// Everything but making and unmaking owners.
    Admin,
    /// What is on their own calendar.
    Staff,
}

impl From<RoleBody> for Role {
    fn from(role: RoleBody) -> Self {
        match role {
            RoleBody::Owner => Self::Owner,
            RoleBody::Admin => Self::Admin,
            RoleBody::Staff => Self::Staff,
        }
    }
}

impl From<Role> for RoleBody {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Staff => Self::Staff,
        }
    }
}

/// Somebody who belongs to the business.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
pub(crate) struct MemberItem {
    #[schema(value_type = String)]
    user_id: UserId,
    email: String,
    role: RoleBody,
    /// Whose calendar is theirs.
    #[schema(value_type = Option<String>)]
    staff_id: Option<StaffId>,
    #[schema(value_type = String, format = DateTime)]
    joined_at: Timestamp,
}

impl From<MemberRow> for MemberItem {
    fn from(row: MemberRow) -> Self {
        Self {
            user_id: row.user_id,
            email: row.email,
            role: row.place.role.into(),
            staff_id: row.place.staff_id,
            joined_at: row.joined_at,
        }
    }
}

fn of_team(error: TeamError) -> Problem {
    let detail = error.to_string();
    match error {
        TeamError::LastOwner => Problem::new(StatusCode::CONFLICT, "last_owner", detail),
        TeamError::OwnersOnly => Problem::new(StatusCode::FORBIDDEN, "owners_only", detail),
        TeamError::NoCalendar => Problem::invalid_field("staff_id", "is needed for the role staff"),
    }
}

fn calendar_taken() -> Problem {
    let detail = "the calendar of this staff member is somebody else's already";
    Problem::new(StatusCode::CONFLICT, "staff_taken", detail)
}

pub(super) fn refused(error: CommandError<MemberRefused>) -> Problem {
    Problem::of(error, |refused| match refused {
        MemberRefused::NotFound => Problem::not_found(),
        MemberRefused::Invalid(errors) => Problem::invalid(errors),
        MemberRefused::NotAllowed => Problem::forbidden(),
        MemberRefused::StaffTaken => calendar_taken(),
        MemberRefused::Team(error) => of_team(error),
    })
}

/// Who belongs to the business.
#[utoipa::path(get, path = "/api/v1/members", tag = "team", operation_id = "list_members",
    responses((status = 200, body = Items<MemberItem>)))]
pub(crate) async fn list(
    person: Person,
    State(api): State<Api>,
) -> Result<Json<Items<MemberItem>>, Problem> {
    let rows = api.identity.members(person.business_id).await.map_err(refused)?;
    Ok(Json(Items::all(rows.into_iter().map(Into::into).collect())))
}

/// What a member is to be; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"role": "admin"}))]
pub(crate) struct MemberPatch {
    role: Option<RoleBody>,
    /// Whose calendar is theirs; null for nobody's.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    staff_id: Option<Option<StaffId>>,
}

/// Let a member be something else. Their access tokens are good no more; they refresh them and go on.
///
/// The last owner stays one: 409 `last_owner`. Owners are made and unmade by owners: 403 `owners_only`.
/// Members have no version: send `If-Match: *`.
#[utoipa::path(patch, path = "/api/v1/members/{id}", tag = "team", operation_id = "change_member",
    params(("id" = String, Path), ("If-Match" = String, Header, description = "*")),
    request_body = MemberPatch,
    responses((status = 200, body = MemberItem), (status = 409, body = Problem)))]
pub(crate) async fn change(
    person: Person,
    State(api): State<Api>,
    Id(user_id): Id<UserId>,
    IfMatch(_any): IfMatch,
    extract::Json(request): extract::Json<MemberPatch>,
) -> Result<Written<MemberItem>, Problem> {
    let context = context::command(person.business_id, person.actor());
    let role = request.role.map(Into::into);
    let change = ChangeMember { user_id, role, staff_id: request.staff_id };
    let done = api.identity.change_member(&change, &context).await.map_err(refused)?;
    Ok(Written::new(StatusCode::OK, done.position, done.value.into()))
}

/// Let somebody belong to the business no more. Their sessions there end.
#[utoipa::path(delete, path = "/api/v1/members/{id}", tag = "team", operation_id = "remove_member",
    params(("id" = String, Path)),
    responses((status = 204), (status = 409, body = Problem)))]
pub(crate) async fn remove(
    person: Person,
    State(api): State<Api>,
    Id(user_id): Id<UserId>,
) -> Result<Written<()>, Problem> {
    let context = context::command(person.business_id, person.actor());
    let done = api.identity.remove_member(user_id, &context).await.map_err(refused)?;
    Ok(Written::empty(done.position))
}

/// Whom to ask.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "email": "robin@example.com", "role": "staff", "staff_id": "staff_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f",
}))]
pub(crate) struct InviteRequest {
    email: String,
    role: RoleBody,
    /// Whose calendar is theirs; needed for the role `staff`.
    #[schema(value_type = Option<String>)]
    staff_id: Option<StaffId>,
}

/// An invitation that can be accepted.
#[derive(Serialize, ToSchema)]
#[schema(as = Invitation)]
pub(crate) struct InvitationAnswer {
    #[schema(value_type = String)]
    id: InvitationId,
    email: String,
    role: RoleBody,
    #[schema(value_type = Option<String>)]
    staff_id: Option<StaffId>,
    #[schema(value_type = String, format = DateTime)]
    sent_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<InvitationRow> for InvitationAnswer {
    fn from(row: InvitationRow) -> Self {
        Self {
            id: row.invitation_id,
            email: row.email,
            role: row.place.role.into(),
            staff_id: row.place.staff_id,
            sent_at: row.sent_at,
            expires_at: row.expires_at,
        }
    }
}

fn not_invited(error: CommandError<InvitationRefused>) -> Problem {
    Problem::of(error, |refused| {
        let detail = refused.to_string();
        match refused {
            InvitationRefused::Invalid(errors) => Problem::invalid(errors),
            InvitationRefused::Invitation(InvitationError::NotFound) => Problem::not_found(),
            InvitationRefused::Invitation(InvitationError::Spent) => {
                Problem::new(StatusCode::GONE, "link_spent", detail)
            }
            InvitationRefused::Invitation(InvitationError::Place(error)) => of_team(error),
            InvitationRefused::NotAllowed => Problem::forbidden(),
            InvitationRefused::AlreadyMember => {
                Problem::new(StatusCode::CONFLICT, "already_member", detail)
            }
            InvitationRefused::StaffTaken => calendar_taken(),
            InvitationRefused::InvalidCredentials => {
                Problem::new(StatusCode::UNAUTHORIZED, "invalid_credentials", detail)
            }
            InvitationRefused::TooMany(used_up) => Problem::used_up(used_up),
        }
    })
}

/// Ask somebody to belong to the business. They are mailed a link that works once, for a week.
#[utoipa::path(post, path = "/api/v1/auth/invitations", tag = "team", operation_id = "invite",
    request_body = InviteRequest,
    responses((status = 201, body = InvitationAnswer), (status = 409, body = Problem),
              (status = 429, body = Problem)))]
pub(crate) async fn invite(
    person: Person,
    State(api): State<Api>,
    extract::Json(request): extract::Json<InviteRequest>,
) -> Result<Written<InvitationAnswer>, Problem> {
    let context = context::command(person.business_id, person.actor());
    let place = Place { role: request.role.into(), staff_id: request.staff_id };
    let invite = Invite { email: request.email, place };
    let done = api.identity.invite(&invite, &context).await.map_err(not_invited)?;
    let body = InvitationAnswer {
        id: done.value.invitation_id,
        email: invite.email.trim().to_owned(),
        role: request.role,
        staff_id: request.staff_id,
        sent_at: context.now,
        expires_at: done.value.expires_at,
    };
    let location = format!("/api/v1/auth/invitations/{}", body.id);
    Ok(Written::new(StatusCode::CREATED, done.position, body).at(location))
}

/// The invitations that can still be accepted, the newest first.
#[utoipa::path(get, path = "/api/v1/auth/invitations", tag = "team",
    operation_id = "list_invitations",
    responses((status = 200, body = Items<InvitationAnswer>)))]
pub(crate) async fn invitations(
    person: Person,
    State(api): State<Api>,
) -> Result<Json<Items<InvitationAnswer>>, Problem> {
    let rows = api.identity.invitations(person.business_id).await.map_err(not_invited)?;
    Ok(Json(Items::all(rows.into_iter().map(Into::into).collect())))
}

/// Take an invitation back. One that was accepted is 410 `link_spent`.
#[utoipa::path(delete, path = "/api/v1/auth/invitations/{id}", tag = "team",
    operation_id = "withdraw_invitation", params(("id" = String, Path)),
    responses((status = 204), (status = 410, body = Problem)))]
pub(crate) async fn withdraw(
    person: Person,
    State(api): State<Api>,
    Id(id): Id<InvitationId>,
) -> Result<Written<()>, Problem> {
    let context = context::command(person.business_id, person.actor());
    let done = api.identity.withdraw_invitation(id, &context).await.map_err(not_invited)?;
    Ok(Written::empty(done.position))
}

/// The answer to an invitation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "token": "AfQwRHgBmPIoOJN8PY5PWmt8jZ4PAAE_wJGJNNQsBkh9NZCf-p4i", "password": "correct horse battery",
}))]
pub(crate) struct AcceptRequest {
    /// What stands behind the `#` in the mailed link.
    token: String,
    /// 8 to 200 characters; that of the account, when there is one with the address.
    password: String,
}

/// Somebody who belongs to the business now, and is signed in.
#[derive(Serialize, ToSchema)]
pub(crate) struct AcceptAnswer {
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

/// Join the business by the mailed link: with a new account, or with the one that has the address.
#[utoipa::path(post, path = "/api/v1/auth/invitations/accept", tag = "team",
    operation_id = "accept_invitation", request_body = AcceptRequest,
    responses((status = 201, body = AcceptAnswer), (status = 401, body = Problem),
              (status = 409, body = Problem), (status = 410, body = Problem),
              (status = 429, body = Problem)))]
pub(crate) async fn accept(
    State(api): State<Api>,
    extract::Json(request): extract::Json<AcceptRequest>,
) -> Result<Written<AcceptAnswer>, Problem> {
    let (caller, origin) = (context::caller(), context::origin());
    let AcceptRequest { token, password } = request;
    let done = api.identity.accept_invitation(&token, password, &caller, &origin).await;
    let done = done.map_err(not_invited)?;
    let new = done.value;
    let body = AcceptAnswer {
        user: UserAnswer { id: new.user_id, email: new.email, role: new.place.role },
        business_id: new.business_id,
        handle: new.handle,
        access_token: new.session.access_token,
        refresh_token: new.session.refresh_token,
        expires_in: new.session.expires_in,
        position: done.position.to_string(),
    };
    Ok(Written::new(StatusCode::CREATED, done.position, body))
}
