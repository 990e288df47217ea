//! Asking somebody to belong to a business, by mail.

use domain::{
    BusinessId, Decide, FieldError, Fields, InvitationId, StaffId, UserId,
    business::Business,
    invitation::{Invitation, InvitationCommand, InvitationError},
    login::Means,
    team::{Place, Team, TeamCommand, TeamError},
    user::{User, UserCommand},
};
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use sqlx::{Row, postgres::PgRow};
use streams::{
    Actor, CommandContext, Origin, clock,
    log::{CommitError, Loaded, StreamKey, UnitOfWork, Writing},
};
use uuid::Uuid;

use super::{
    Caller, Identity, Session,
    password::Checked,
    reset::check_password,
    session::{self, Entrant, Proof, hash, place},
};
use crate::{
    CommandError, Done, UsedUp,
    again::until_decided,
    email::is_email,
    error::Attempt,
    quota::{self, subject},
};

/// How long an invitation can be accepted.
const LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Whom to ask, and to be what.
#[derive(Clone)]
pub struct Invite {
    /// Where they are reached; the account that accepts has this address.
    pub email: String,
    /// What they are to be.
    pub place: Place,
}

/// An invitation that was sent.
#[derive(Debug, Clone)]
pub struct Invited {
    /// Names it.
    pub invitation_id: InvitationId,
    /// Until when it can be accepted.
    pub expires_at: Timestamp,
}

/// An invitation that can still be accepted.
#[derive(Debug, Clone)]
pub struct InvitationRow {
    /// Names it.
    pub invitation_id: InvitationId,
    /// Whom it was sent to.
    pub email: String,
    /// What they are to be.
    pub place: Place,
    /// When.
    pub sent_at: Timestamp,
    /// Until when it can be accepted.
    pub expires_at: Timestamp,
}

/// Somebody who belongs to the business now.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Who.
    pub user_id: UserId,
    /// How they sign in.
    pub email: String,
    /// What they are.
    pub place: Place,
    /// Which business.
    pub business_id: BusinessId,
    /// Its name in the public address.
    pub handle: String,
    /// They are signed in at once.
    pub session: Session,
}

/// Why nobody was invited, or did not join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvitationRefused {
    /// A field breaks a rule.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// The invitation's own rule.
    #[error(transparent)]
    Invitation(#[from] InvitationError),
    /// Whoever asks does not manage the business any more.
    #[error("your role does not allow this")]
    NotAllowed,
    /// Whoever has the address belongs to the business already.
    #[error("they belong to the business already")]
    AlreadyMember,
    /// The calendar is somebody else's.
    #[error("somebody else has this calendar")]
    StaffTaken,
    /// There is an account with the address, and that is not its password.
    #[error("there is an account with this address: its password is needed")]
    InvalidCredentials,
    /// Too often tried.
    #[error("too many attempts; try again later")]
    TooMany(UsedUp),
}

type Tried<T> = Result<T, Attempt<InvitationRefused>>;

fn refuse<T>(refused: impl Into<InvitationRefused>) -> Tried<T> {
    Err(Attempt::Refused(refused.into()))
}

/// What the tables refuse as a rule.
pub(super) fn is_taken(error: &CommitError, index: &str) -> bool {
    matches!(error, CommitError::Taken { constraint } if constraint == index)
}

fn taken(error: &CommitError) -> Option<InvitationRefused> {
    is_taken(error, "membership_staff").then_some(InvitationRefused::StaffTaken)
}

impl Identity {
    /// Asks somebody, by mail.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(business.id = %context.business_id))]
    pub async fn invite(
        &self,
        invite: &Invite,
        context: &CommandContext,
    ) -> Result<Done<Invited>, CommandError<InvitationRefused>> {
        let mut fields = Fields::default();
        fields.check(is_email(invite.email.trim()), "email", "must be an e-mail address");
        let invalid = |errors| CommandError::Refused(InvitationRefused::Invalid(errors));
        fields.done().map_err(invalid)?;
        let database = self.commands.log().database();
        let sent = (self.policy.invitations, subject(&[&context.business_id.to_string()]));
        if let Some(used_up) = quota::take(database, &[sent]).await? {
            return Err(CommandError::Refused(InvitationRefused::TooMany(used_up)));
        }
        let attempt = || self.try_invite(invite, context);
        until_decided("invite", attempt, taken).await
    }

    async fn try_invite(&self, invite: &Invite, context: &CommandContext) -> Tried<Done<Invited>> {
        let business_id = context.business_id;
        if let Some(staff_id) = invite.place.staff_id {
            self.calendar_is_there(business_id, staff_id).await?;
        }
        let email = invite.email.trim();
        let known: (bool, bool) = sqlx::query_as(
            "SELECT EXISTS (SELECT FROM membership m JOIN app_user u USING (user_id)
                             WHERE m.business_id = $1 AND lower(u.email) = lower($2)),
                    EXISTS (SELECT FROM membership WHERE business_id = $1 AND staff_id = $3)",
        )
        .bind(business_id.uuid())
        .bind(email)
        .bind(invite.place.staff_id.map(StaffId::uuid))
        .fetch_one(self.commands.log().database().system())
        .await?;
        match known {
            (true, _) => return refuse(InvitationRefused::AlreadyMember),
            (_, true) => return refuse(InvitationRefused::StaffTaken),
            (false, false) => {}
        }
        let invitation_id = InvitationId::new(clock::new_id());
        let expires_at = context.now + LIFETIME;
        let key = StreamKey::of::<Invitation>(invitation_id);
        let new: Loaded<Invitation> = Loaded { key, state: Invitation::default(), sequence: 0 };
        let mut unit = UnitOfWork::new(context.clone());
        let by = self.manager(&mut unit, context).await?;
        let by = by.ok_or(Attempt::Refused(InvitationRefused::NotAllowed))?;
        let send = InvitationCommand::Send { place: invite.place, by, expires_at };
        unit.append(&new, new.state.decide(send).or_else(refuse)?)?;
        let mut writing = self.commands.log().begin(business_id).await?;
        let position = writing.append(&unit).await?;
        sqlx::query(
            "INSERT INTO invitation (invitation_id, business_id, email, role, staff_id, token_hash,
                                     expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(invitation_id.uuid())
        .bind(business_id.uuid())
        .bind(email)
        .bind(invite.place.role.as_str())
        .bind(invite.place.staff_id.map(StaffId::uuid))
        .bind(hash(&self.links.invitation(invitation_id)))
        .bind(expires_at.to_sqlx())
        .execute(writing.connection())
        .await?;
        writing.commit().await?;
        Ok(Done::new(Invited { invitation_id, expires_at }, position))
    }

    /// That the roster has somebody with this calendar.
    pub(super) async fn calendar_is_there<E: From<NoCalendar>>(
        &self,
        business_id: BusinessId,
        staff_id: StaffId,
    ) -> Result<(), Attempt<E>> {
        let key = StreamKey::of::<Business>(business_id);
        let histories = self.commands.log().load(business_id, std::slice::from_ref(&key)).await?;
        let business: Loaded<Business> = histories.fold(&key)?;
        let there = business.state.registered().is_some_and(|b| b.staff.contains_key(&staff_id));
        if there { Ok(()) } else { Err(Attempt::Refused(NoCalendar.into())) }
    }

    /// The invitations of a business that can still be accepted, the newest first.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn invitations<E>(
        &self,
        business_id: BusinessId,
    ) -> Result<Vec<InvitationRow>, CommandError<E>> {
        let mut tenant = self.commands.log().database().tenant(business_id).await?;
        let rows = sqlx::query(
            "SELECT invitation_id, email, role, staff_id, sent_at, expires_at FROM invitation
              WHERE business_id = $1 AND spent_at IS NULL AND expires_at > now()
              ORDER BY sent_at DESC, invitation_id LIMIT 500",
        )
        .bind(business_id.uuid())
        .fetch_all(&mut *tenant)
        .await?;
        let row = |row: &PgRow| -> Result<InvitationRow, CommandError<E>> {
            let at = |column| -> Result<Timestamp, sqlx::Error> {
                Ok(row.try_get::<jiff_sqlx::Timestamp, _>(column)?.to_jiff())
            };
            Ok(InvitationRow {
                invitation_id: InvitationId::new(row.try_get("invitation_id")?),
                email: row.try_get("email")?,
                place: place(row)?,
                sent_at: at("sent_at")?,
                expires_at: at("expires_at")?,
            })
        };
        rows.iter().map(row).collect()
    }

    /// Takes an invitation back. One that was taken back before is already so.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(invitation.id = %invitation_id))]
    pub async fn withdraw_invitation(
        &self,
        invitation_id: InvitationId,
        context: &CommandContext,
    ) -> Result<Done<()>, CommandError<InvitationRefused>> {
        let attempt = || async {
            let key = StreamKey::of::<Invitation>(invitation_id);
            let keys = std::slice::from_ref(&key);
            let histories = self.commands.log().load(context.business_id, keys).await?;
            let invitation: Loaded<Invitation> = histories.fold(&key)?;
            let events = invitation.state.decide(InvitationCommand::Withdraw);
            let events = events.or_else(refuse)?;
            let mut unit = UnitOfWork::new(context.clone());
            unit.append(&invitation, events)?;
            if unit.is_empty() {
                let position = self.commands.last_position(&histories, &key).await?;
                return Ok(Done::new((), position));
            }
            let mut writing = self.commands.log().begin(context.business_id).await?;
            let position = writing.append(&unit).await?;
            spend(&mut writing, invitation_id).await?;
            writing.commit().await?;
            Ok(Done::new((), position))
        };
        until_decided("withdraw_invitation", attempt, |_| None).await
    }

    /// Joins the business by the mailed link: with a new account, or with the one that has the address, whose
    /// password that must be then.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    pub async fn accept_invitation(
        &self,
        token: &str,
        password: String,
        caller: &Caller,
        origin: &Origin,
    ) -> Result<Done<Accepted>, CommandError<InvitationRefused>> {
        let spent = || CommandError::Refused(InvitationError::Spent.into());
        let invitation_id = self.links.invited(token).ok_or_else(spent)?;
        let open = self.open_invitation(invitation_id, token).await?.ok_or_else(spent)?;
        let joining = match open.account.clone() {
            Some((user_id, known)) => {
                let database = self.commands.log().database();
                let account = open.email.to_ascii_lowercase();
                let tries = (self.policy.tries_to_account, subject(&[&account]));
                if let Some(used_up) = quota::take(database, &[tries]).await? {
                    return Err(CommandError::Refused(InvitationRefused::TooMany(used_up)));
                }
                if self.passwords.verify(password, Some(known)).await? == Checked::Wrong {
                    return Err(CommandError::Refused(InvitationRefused::InvalidCredentials));
                }
                Joining { user_id, new_hash: None, open: &open, invitation_id }
            }
            None => {
                let mut fields = Fields::default();
                check_password(&mut fields, "password", &password);
                let invalid = |errors| CommandError::Refused(InvitationRefused::Invalid(errors));
                fields.done().map_err(invalid)?;
                let new_hash = Some(self.passwords.hash(password).await?);
                let user_id = UserId::new(clock::new_id());
                Joining { user_id, new_hash, open: &open, invitation_id }
            }
        };
        let attempt = || self.try_accept(&joining, caller, origin);
        let rule = |error: &CommitError| {
            // Somebody registered with the address meanwhile.
            let registered = is_taken(error, "app_user_email");
            taken(error).or(registered.then_some(InvitationRefused::InvalidCredentials))
        };
        until_decided("accept_invitation", attempt, rule).await
    }

    async fn open_invitation(
        &self,
        invitation_id: InvitationId,
        token: &str,
    ) -> Result<Option<Open>, sqlx::Error> {
        let database = self.commands.log().database();
        let query = sqlx::query(
            "SELECT i.business_id, i.email, i.role, i.staff_id, u.user_id, u.password_hash
               FROM invitation i LEFT JOIN app_user u ON lower(u.email) = lower(i.email)
              WHERE i.invitation_id = $1 AND i.token_hash = $2 AND i.spent_at IS NULL
                AND i.expires_at > now()",
        )
        .bind(invitation_id.uuid())
        .bind(hash(token));
        let row = database.within(query.fetch_optional(database.system())).await?;
        let open = |row: PgRow| -> Result<Open, sqlx::Error> {
            let user: Option<Uuid> = row.try_get("user_id")?;
            let known: Option<String> = row.try_get("password_hash")?;
            Ok(Open {
                business_id: BusinessId::new(row.try_get("business_id")?),
                email: row.try_get("email")?,
                place: place(&row)?,
                account: user.map(UserId::new).zip(known),
            })
        };
        row.map(open).transpose()
    }

    async fn try_accept(
        &self,
        joining: &Joining<'_>,
        caller: &Caller,
        origin: &Origin,
    ) -> Tried<Done<Accepted>> {
        let Joining { user_id, new_hash, open, invitation_id } = joining;
        let (user_id, Open { business_id, place, .. }) = (*user_id, open);
        let keys = [
            StreamKey::of::<Invitation>(invitation_id),
            StreamKey::of::<Team>(business_id),
            StreamKey::of::<Business>(business_id),
        ];
        let histories = self.commands.log().load(*business_id, &keys).await?;
        let [invitation, team, business] = &keys;
        let invitation: Loaded<Invitation> = histories.fold(invitation)?;
        let team: Loaded<Team> = histories.fold(team)?;
        let business: Loaded<Business> = histories.fold(business)?;
        let Some(business) = business.state.registered() else {
            return refuse(InvitationError::Spent);
        };
        let member: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM membership WHERE user_id = $1 AND business_id = $2)",
        )
        .bind(user_id.uuid())
        .bind(business_id.uuid())
        .fetch_one(self.commands.log().database().system())
        .await?;
        if member {
            return refuse(InvitationRefused::AlreadyMember);
        }
        let mut unit = UnitOfWork::new(CommandContext {
            business_id: *business_id,
            actor: Actor::User(user_id),
            now: clock::now(),
            origin: origin.clone(),
        });
        let accept = invitation.state.decide(InvitationCommand::Accept { user_id });
        unit.append(&invitation, accept.or_else(refuse)?)?;
        let join = team.state.decide(TeamCommand::Join { user_id, place: *place });
        unit.append(&team, join.or_else(|error| refuse(InvitationError::from(error)))?)?;
        if new_hash.is_some() {
            let key = StreamKey::of::<User>(user_id);
            let user: Loaded<User> = Loaded { key, state: User::default(), sequence: 0 };
            let create = UserCommand::Create { business_id: *business_id, role: place.role };
            let created = user.state.decide(create);
            unit.append(&user, created.map_err(|error| CommitError::Store(error.into()))?)?;
        }
        let entrant = Entrant { user_id, business_id: *business_id, place: *place };
        let opening = session::open(&mut unit, entrant, Means::Invitation)?;
        let mut writing = self.commands.log().begin_system().await?;
        let position = writing.append(&unit).await?;
        spend(&mut writing, *invitation_id).await?;
        if let Some(new_hash) = new_hash {
            add_user(&mut writing, user_id, &open.email, new_hash).await?;
        }
        add_member(&mut writing, entrant).await?;
        let proof = match (new_hash, &open.account) {
            (None, Some((_, known))) => Proof::Password(known),
            (Some(_), _) | (None, None) => Proof::Here,
        };
        let session = self.write_session(writing.connection(), opening, proof, caller);
        let session = session.await.map_err(Attempt::from)?;
        writing.commit().await?;
        let (email, handle) = (open.email.clone(), business.profile.value.handle.clone());
        let (place, business_id) = (*place, *business_id);
        let accepted = Accepted { user_id, email, place, business_id, handle, session };
        Ok(Done::new(accepted, position))
    }
}

/// An invitation that is being accepted.
struct Open {
    business_id: BusinessId,
    email: String,
    place: Place,
    /// Who has the address, and the hash of their password.
    account: Option<(UserId, String)>,
}

struct Joining<'a> {
    user_id: UserId,
    /// Of a new account.
    new_hash: Option<String>,
    open: &'a Open,
    invitation_id: InvitationId,
}

/// The roster has nobody with this calendar.
pub(super) struct NoCalendar;

impl NoCalendar {
    pub(super) fn errors(&self) -> Vec<FieldError> {
        let message = "must be somebody on the roster".to_owned();
        vec![FieldError { field: "staff_id".to_owned(), message }]
    }
}

impl From<NoCalendar> for InvitationRefused {
    fn from(no: NoCalendar) -> Self {
        Self::Invalid(no.errors())
    }
}

impl From<TeamError> for InvitationRefused {
    fn from(error: TeamError) -> Self {
        Self::Invitation(error.into())
    }
}

async fn spend(writing: &mut Writing, invitation_id: InvitationId) -> Result<(), CommitError> {
    sqlx::query("UPDATE invitation SET spent_at = now() WHERE invitation_id = $1")
        .bind(invitation_id.uuid())
        .execute(writing.connection())
        .await?;
    Ok(())
}

pub(super) async fn add_user(
    writing: &mut Writing,
    user_id: UserId,
    email: &str,
    password_hash: &str,
) -> Result<(), CommitError> {
    sqlx::query("INSERT INTO app_user (user_id, email, password_hash) VALUES ($1, $2, $3)")
        .bind(user_id.uuid())
        .bind(email)
        .bind(password_hash)
        .execute(writing.connection())
        .await?;
    Ok(())
}

pub(super) async fn add_member(writing: &mut Writing, member: Entrant) -> Result<(), CommitError> {
    sqlx::query(
        "INSERT INTO membership (user_id, business_id, role, staff_id) VALUES ($1, $2, $3, $4)",
    )
    .bind(member.user_id.uuid())
    .bind(member.business_id.uuid())
    .bind(member.place.role.as_str())
    .bind(member.place.staff_id.map(StaffId::uuid))
    .execute(writing.connection())
    .await?;
    sqlx::query("UPDATE app_user SET last_business_id = $2 WHERE user_id = $1")
        .bind(member.user_id.uuid())
        .bind(member.business_id.uuid())
        .execute(writing.connection())
        .await?;
    Ok(())
}
