//! Who belongs to a business, and to which businesses somebody belongs.

use domain::{
    BusinessId, Decide, FieldError, LoginId, StaffId, UserId,
    business::Business,
    login::{EndReason, Means},
    team::{Place, Team, TeamCommand, TeamError},
    user::Role,
};
use jiff::Timestamp;
use sqlx::{Row, postgres::PgRow};
use streams::{
    Actor, CommandContext, Origin,
    log::{CommitError, Loaded, StreamKey, UnitOfWork},
};

use super::{
    Caller, Identity, Session,
    ending::{Which, lock_user},
    invitation::{NoCalendar, is_taken},
    session::{Entrant, Proof, place},
};
use crate::{CommandError, Done, again::until_decided, error::Attempt};

/// A member, as others of the business see them.
#[derive(Debug, Clone)]
pub struct MemberRow {
    /// Who.
    pub user_id: UserId,
    /// How they sign in.
    pub email: String,
    /// What they are.
    pub place: Place,
    /// Since when.
    pub joined_at: Timestamp,
}

/// A business that somebody belongs to.
#[derive(Debug, Clone)]
pub struct Membership {
    /// Which.
    pub business_id: BusinessId,
    /// Its name.
    pub name: String,
    /// Its name in the public address.
    pub handle: String,
    /// What they are there.
    pub place: Place,
}

/// What a member is to be; `None` leaves a part, `Some(None)` takes it away.
#[derive(Debug, Clone)]
pub struct ChangeMember {
    /// Who.
    pub user_id: UserId,
    /// What they may do.
    pub role: Option<Role>,
    /// Whose calendar is theirs.
    pub staff_id: Option<Option<StaffId>>,
}

/// Why a member was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberRefused {
    /// The business has no such member, or the user no such business.
    #[error("not found")]
    NotFound,
    /// A field breaks a rule.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// Whoever asks does not manage the business any more.
    #[error("your role does not allow this")]
    NotAllowed,
    /// The calendar is somebody else's.
    #[error("somebody else has this calendar")]
    StaffTaken,
    /// The team's own rule.
    #[error(transparent)]
    Team(#[from] TeamError),
}

impl From<NoCalendar> for MemberRefused {
    fn from(no: NoCalendar) -> Self {
        Self::Invalid(no.errors())
    }
}

type Tried<T> = Result<T, Attempt<MemberRefused>>;

/// The table, read after the stream that guards it.
struct TeamNow {
    team: Loaded<Team>,
    place: Place,
    other_owners: usize,
}

impl Identity {
    /// Who belongs to a business, by when they joined.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn members<E>(
        &self,
        business_id: BusinessId,
    ) -> Result<Vec<MemberRow>, CommandError<E>> {
        self.members_of(business_id, None).await
    }

    async fn members_of<E>(
        &self,
        business_id: BusinessId,
        only: Option<UserId>,
    ) -> Result<Vec<MemberRow>, CommandError<E>> {
        let rows = sqlx::query(
            "SELECT m.user_id, u.email, m.role, m.staff_id, m.joined_at
               FROM membership m JOIN app_user u USING (user_id)
              WHERE m.business_id = $1 AND ($2::uuid IS NULL OR m.user_id = $2)
              ORDER BY m.joined_at, m.user_id LIMIT 500",
        )
        .bind(business_id.uuid())
        .bind(only.map(UserId::uuid))
        .fetch_all(self.commands.log().database().system())
        .await?;
        let row = |row: &PgRow| -> Result<MemberRow, CommandError<E>> {
            Ok(MemberRow {
                user_id: UserId::new(row.try_get("user_id")?),
                email: row.try_get("email")?,
                place: place(row)?,
                joined_at: row.try_get::<jiff_sqlx::Timestamp, _>("joined_at")?.to_jiff(),
            })
        };
        rows.iter().map(row).collect()
    }

    /// Lets a member be something else. Their sessions go on, and their tokens say so from the next refresh
    /// on; those that they have are good no more.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(user.id = %change.user_id))]
    pub async fn change_member(
        &self,
        change: &ChangeMember,
        context: &CommandContext,
    ) -> Result<Done<MemberRow>, CommandError<MemberRefused>> {
        let attempt = || self.try_change_member(change, context);
        let taken = |error: &CommitError| {
            is_taken(error, "membership_staff").then_some(MemberRefused::StaffTaken)
        };
        let done = until_decided("change_member", attempt, taken).await?;
        let members = self.members_of(context.business_id, Some(change.user_id)).await?;
        let row =
            members.into_iter().next().ok_or(CommandError::Refused(MemberRefused::NotFound))?;
        Ok(Done::new(row, done.position))
    }

    async fn try_change_member(
        &self,
        change: &ChangeMember,
        context: &CommandContext,
    ) -> Tried<Done<()>> {
        let business_id = context.business_id;
        let TeamNow { team, place: from, other_owners } =
            self.team(business_id, change.user_id).await?;
        let by =
            self.role_now(context).await?.ok_or(Attempt::Refused(MemberRefused::NotAllowed))?;
        let to = Place {
            role: change.role.unwrap_or(from.role),
            staff_id: change.staff_id.unwrap_or(from.staff_id),
        };
        if let Some(staff_id) = to.staff_id.filter(|id| Some(*id) != from.staff_id) {
            self.calendar_is_there(business_id, staff_id).await?;
        }
        let user_id = change.user_id;
        let command = TeamCommand::ChangePlace { user_id, from, to, by, other_owners };
        let mut unit = UnitOfWork::new(context.clone());
        let events = team.state.decide(command);
        unit.append(&team, events.map_err(|error| Attempt::Refused(error.into()))?)?;
        if unit.is_empty() {
            return Ok(Done::new((), streams::Cursor::START));
        }
        let mut writing = self.commands.log().begin_system().await?;
        let position = writing.append(&unit).await?;
        sqlx::query(
            "UPDATE membership SET role = $3, staff_id = $4
              WHERE user_id = $1 AND business_id = $2",
        )
        .bind(user_id.uuid())
        .bind(business_id.uuid())
        .bind(to.role.as_str())
        .bind(to.staff_id.map(StaffId::uuid))
        .execute(writing.connection())
        .await?;
        let void = self.void_tokens(writing.connection(), user_id, business_id).await?;
        writing.commit().await?;
        self.void(&void);
        Ok(Done::new((), position))
    }

    /// Lets somebody belong to the business no more, and ends their sessions there. Whoever manages the
    /// business may, and everybody for themselves.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(user.id = %user_id))]
    pub async fn remove_member(
        &self,
        user_id: UserId,
        context: &CommandContext,
    ) -> Result<Done<()>, CommandError<MemberRefused>> {
        let attempt = || self.try_remove_member(user_id, context);
        until_decided("remove_member", attempt, |_| None).await
    }

    async fn try_remove_member(
        &self,
        user_id: UserId,
        context: &CommandContext,
    ) -> Tried<Done<()>> {
        let business_id = context.business_id;
        let TeamNow { team, place: from, other_owners } = self.team(business_id, user_id).await?;
        let by = if context.actor == Actor::User(user_id) {
            None
        } else {
            let by = self.role_now(context).await?;
            Some(by.ok_or(Attempt::Refused(MemberRefused::NotAllowed))?)
        };
        let mut unit = UnitOfWork::new(context.clone());
        let leave = TeamCommand::Leave { user_id, from, by, other_owners };
        let events = team.state.decide(leave);
        unit.append(&team, events.map_err(|error| Attempt::Refused(error.into()))?)?;
        let mut units = vec![unit];
        let which = Which::OfMember(user_id, business_id);
        let (reason, actor) = (EndReason::MemberLeft, context.actor);
        let ending = self.ending(&mut units, which, reason, &context.origin, actor).await?;
        let mut writing = self.commands.log().begin_system().await?;
        let position = writing.append_all(&units).await?;
        lock_user(writing.connection(), user_id, None).await?;
        sqlx::query("DELETE FROM membership WHERE user_id = $1 AND business_id = $2")
            .bind(user_id.uuid())
            .bind(business_id.uuid())
            .execute(writing.connection())
            .await?;
        self.close(writing.connection(), &ending).await?;
        let late = self.sweep(writing.connection(), which).await?;
        writing.commit().await?;
        self.forget(&ending);
        self.forget(&late);
        Ok(Done::new((), position))
    }

    /// What whoever asks is at this moment, if they manage the business: their token may be of yesterday. To be
    /// read after the team's stream, which every change of a role is written to.
    async fn role_now(&self, context: &CommandContext) -> Result<Option<Role>, sqlx::Error> {
        let Actor::User(user_id) = context.actor else { return Ok(None) };
        let row = sqlx::query(
            "SELECT role, staff_id FROM membership WHERE user_id = $1 AND business_id = $2",
        )
        .bind(user_id.uuid())
        .bind(context.business_id.uuid())
        .fetch_optional(self.commands.log().database().system())
        .await?;
        let role = row.as_ref().map(place).transpose()?.map(|place| place.role);
        Ok(role.filter(|role| matches!(role, Role::Owner | Role::Admin)))
    }

    /// The same for what is written to other streams: the unit is committed only while they are that.
    pub(super) async fn manager<E>(
        &self,
        unit: &mut UnitOfWork,
        context: &CommandContext,
    ) -> Result<Option<Role>, Attempt<E>> {
        let key = StreamKey::of::<Team>(context.business_id);
        let keys = std::slice::from_ref(&key);
        let histories = self.commands.log().load(context.business_id, keys).await?;
        let team: Loaded<Team> = histories.fold(&key)?;
        unit.guard(&team);
        Ok(self.role_now(context).await?)
    }

    async fn team(&self, business_id: BusinessId, user_id: UserId) -> Tried<TeamNow> {
        let key = StreamKey::of::<Team>(business_id);
        // The stream first: whoever changes the table after that also changes the stream.
        let histories = self.commands.log().load(business_id, std::slice::from_ref(&key)).await?;
        let team: Loaded<Team> = histories.fold(&key)?;
        let row = sqlx::query(
            "SELECT m.role, m.staff_id,
                    (SELECT count(*) FROM membership o
                      WHERE o.business_id = $2 AND o.role = 'owner' AND o.user_id <> $1) AS others
               FROM membership m WHERE m.user_id = $1 AND m.business_id = $2",
        )
        .bind(user_id.uuid())
        .bind(business_id.uuid())
        .fetch_optional(self.commands.log().database().system())
        .await?;
        let row = row.ok_or(Attempt::Refused(MemberRefused::NotFound))?;
        let others: i64 = row.try_get("others")?;
        let other_owners = usize::try_from(others).unwrap_or(usize::MAX);
        Ok(TeamNow { team, place: place(&row)?, other_owners })
    }

    /// The businesses that a user belongs to.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn memberships<E>(
        &self,
        user_id: UserId,
    ) -> Result<Vec<Membership>, CommandError<E>> {
        let rows = sqlx::query(
            "SELECT business_id, role, staff_id FROM membership WHERE user_id = $1
              ORDER BY joined_at, business_id LIMIT 200",
        )
        .bind(user_id.uuid())
        .fetch_all(self.commands.log().database().system())
        .await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            let business_id = BusinessId::new(row.try_get("business_id")?);
            let key = StreamKey::of::<Business>(business_id);
            let histories =
                self.commands.log().load(business_id, std::slice::from_ref(&key)).await?;
            let business: Loaded<Business> = histories.fold(&key)?;
            let Some(business) = business.state.registered() else { continue };
            let profile = &business.profile.value;
            let (name, handle) = (profile.name.clone(), profile.handle.clone());
            all.push(Membership { business_id, name, handle, place: place(&row)? });
        }
        Ok(all)
    }

    /// Signs a user in to another of their businesses. The session from which they come goes on; the new one
    /// lasts no longer than that, ends with it, and takes the place of others in that business that came from
    /// the same sign-in.
    ///
    /// # Errors
    /// When they do not belong to it, or the store fails.
    pub async fn switch(
        &self,
        (user_id, from): (UserId, LoginId),
        business_id: BusinessId,
        caller: &Caller,
        origin: &Origin,
    ) -> Result<Session, CommandError<MemberRefused>> {
        let beside = Which::Beside(from, business_id);
        self.end(beside, EndReason::EndedByUser, origin, Actor::User(user_id)).await?;
        // Once more when what they are was changed meanwhile.
        for _ in 0..3 {
            let account = self.account(user_id, business_id).await?;
            let place = account.ok_or(CommandError::Refused(MemberRefused::NotFound))?.place;
            let entrant = Entrant { user_id, business_id, place };
            let proof = Proof::Session(from);
            match self.sign_in(entrant, Means::Session, proof, caller, origin).await {
                Err(CommandError::Conflict) => {}
                done => return done,
            }
        }
        Err(CommandError::Conflict)
    }
}
