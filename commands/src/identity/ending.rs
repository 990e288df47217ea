//! How sessions end: by whoever has them, or because of something else that happens; and whose access tokens are
//! good no more.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use domain::{
    BusinessId, Decide, LoginId, UserId,
    login::{EndReason, Login, LoginCommand, LoginError},
};
use sqlx::PgConnection;
use streams::{
    Actor, CommandContext, Origin, clock,
    log::{Loaded, StreamKey, UnitOfWork},
};
use uuid::Uuid;

use super::{
    Claims, Identity, LoginRefused,
    session::{Entrant, hash},
    token::{LEEWAY, LIFETIME},
};
use crate::CommandError;

/// Of a session that has ended no token is good.
pub(super) const FOR_EVER: i64 = i64::MAX;
/// The sessions of one user in one business; the oldest ends when there are more.
const MOST: i64 = 50;

/// Sessions whose access tokens are good no more, with the second up to which. Only the last quarter of an
/// hour matters: older tokens have expired.
#[derive(Debug, Clone, Default)]
pub(super) struct Voided(Arc<RwLock<HashMap<LoginId, Void>>>);

/// Until which second tokens are void, and since when this process knows by itself.
#[derive(Debug, Clone, Copy)]
struct Void {
    until: i64,
    noted: i64,
}

impl Voided {
    /// A token of the very second is void as well: who knows which came first.
    pub(super) fn covers(&self, claims: &Claims) -> bool {
        let voided = self.0.read().unwrap_or_else(PoisonError::into_inner);
        voided.get(&claims.sid).is_some_and(|void| claims.iat <= void.until)
    }

    fn note(&self, ids: impl IntoIterator<Item = LoginId>, until: i64) {
        let mut voided = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let noted = clock::now().as_second();
        voided.extend(ids.into_iter().map(|id| (id, Void { until, noted })));
    }

    fn replace(&self, all: impl IntoIterator<Item = (LoginId, i64)>) {
        let now = clock::now().as_second();
        let mut new: HashMap<LoginId, Void> =
            all.into_iter().map(|(id, until)| (id, Void { until, noted: 0 })).collect();
        let mut voided = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // What was noted here a moment ago may not have been committed when the others were read.
        for (id, void) in voided.iter().filter(|(_, void)| void.noted >= now - 5) {
            let known = new.entry(*id).or_insert(*void);
            known.until = known.until.max(void.until);
            known.noted = void.noted;
        }
        *voided = new;
    }

    pub(super) fn until(&self, id: LoginId) -> Option<i64> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).map(|void| void.until)
    }
}

/// A session that is to end.
struct Ending {
    session_id: LoginId,
    business_id: BusinessId,
}

/// Which sessions end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    /// This one, and all of the same sign-in.
    One(LoginId),
    /// This one, and those that came from it: whoever ends one of a list stays where they are.
    From(LoginId),
    /// All of a user, but perhaps one.
    OfUser(UserId, Option<LoginId>),
    /// All of a user in one business.
    OfMember(UserId, BusinessId),
    /// What was opened in a business from the same sign-in as this one, but not this one itself.
    Beside(LoginId, BusinessId),
}

impl Which {
    /// Those that go on so far.
    async fn find<'e>(
        self,
        executor: impl sqlx::PgExecutor<'e>,
    ) -> Result<Vec<Ending>, sqlx::Error> {
        let from = if let Self::From(id) = self { Some(id) } else { None };
        let (root, user, but, business) = match self {
            Self::One(id) => (Some(id), None, None, None),
            Self::From(_) => (None, None, None, None),
            Self::OfUser(user, but) => (None, Some(user), but, None),
            Self::OfMember(user, business) => (None, Some(user), None, Some(business)),
            Self::Beside(id, business) => (Some(id), None, Some(id), Some(business)),
        };
        let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "SELECT session_id, business_id FROM session
              WHERE ended_at IS NULL
                AND ($1::uuid IS NULL
                     OR coalesce(root_id, session_id)
                        = (SELECT coalesce(root_id, session_id) FROM session WHERE session_id = $1))
                AND ($2::uuid IS NULL OR user_id = $2) AND ($3::uuid IS NULL OR session_id <> $3)
                AND ($4::uuid IS NULL OR business_id = $4)
                AND ($5::uuid IS NULL OR session_id = $5 OR root_id = $5)
              ORDER BY business_id, session_id LIMIT 1000",
        )
        .bind(root.map(LoginId::uuid))
        .bind(user.map(UserId::uuid))
        .bind(but.map(LoginId::uuid))
        .bind(business.map(BusinessId::uuid))
        .bind(from.map(LoginId::uuid))
        .fetch_all(executor)
        .await?;
        let ending = rows.into_iter().map(|(session, business)| Ending {
            session_id: LoginId::new(session),
            business_id: BusinessId::new(business),
        });
        Ok(ending.collect())
    }

    /// [`lock_user`] of whose they are.
    async fn lock(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let id = match self {
            Self::OfUser(user, _) | Self::OfMember(user, _) => user,
            Self::One(id) | Self::From(id) | Self::Beside(id, _) => {
                let user = sqlx::query_scalar("SELECT user_id FROM session WHERE session_id = $1")
                    .bind(id.uuid())
                    .fetch_optional(&mut *connection)
                    .await?;
                let Some(user) = user else { return Ok(()) };
                UserId::new(user)
            }
        };
        lock_user(connection, id, None).await?;
        Ok(())
    }
}

/// Lets one transaction at a time open or end sessions of a user: nothing is opened unseen while something ends.
/// It comes after the events and before members, tokens and sessions, whoever locks. False when the user has
/// another password than this one by now.
pub(super) async fn lock_user(
    connection: &mut PgConnection,
    user_id: UserId,
    password_hash: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let there: Option<i32> = sqlx::query_scalar(
        "SELECT 1 FROM app_user
          WHERE user_id = $1 AND ($2::text IS NULL OR password_hash = $2) FOR NO KEY UPDATE",
    )
    .bind(user_id.uuid())
    .bind(password_hash)
    .fetch_optional(connection)
    .await?;
    Ok(there.is_some())
}

/// The sessions that end with what is being written.
#[derive(Debug)]
pub(super) struct Endings(Vec<LoginId>);

impl Identity {
    /// Ends the session that the refresh token belongs to; an unknown one is ended already.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn logout(
        &self,
        token: &str,
        origin: &Origin,
    ) -> Result<(), CommandError<LoginRefused>> {
        let found: Option<(Uuid, Uuid)> =
            sqlx::query_as("SELECT family, user_id FROM refresh_token WHERE token_hash = $1")
                .bind(hash(token))
                .fetch_optional(self.commands.log().database().system())
                .await?;
        let Some((family, user)) = found else { return Ok(()) };
        let which = Which::One(LoginId::new(family));
        self.end(which, EndReason::SignedOut, origin, Actor::User(UserId::new(user))).await
    }

    /// Ends a session of a user and those that came from it; false when they have no such session.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_session<E>(
        &self,
        user_id: UserId,
        session_id: LoginId,
        origin: &Origin,
    ) -> Result<bool, CommandError<E>> {
        let theirs: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM session WHERE session_id = $1 AND user_id = $2)",
        )
        .bind(session_id.uuid())
        .bind(user_id.uuid())
        .fetch_one(self.commands.log().database().system())
        .await?;
        if theirs {
            let reason = EndReason::EndedByUser;
            self.end(Which::From(session_id), reason, origin, Actor::User(user_id)).await?;
        }
        Ok(theirs)
    }

    /// Ends all sessions of a user but the one that asks.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_other_sessions<E>(
        &self,
        user_id: UserId,
        but: LoginId,
        origin: &Origin,
    ) -> Result<(), CommandError<E>> {
        let which = Which::OfUser(user_id, Some(but));
        self.end(which, EndReason::EndedByUser, origin, Actor::User(user_id)).await
    }

    /// Ends sessions, each once.
    pub(super) async fn end<E>(
        &self,
        which: Which,
        reason: EndReason,
        origin: &Origin,
        actor: Actor,
    ) -> Result<(), CommandError<E>> {
        let attempt = || async {
            let mut units = Vec::new();
            let ending = self.ending(&mut units, which, reason, origin, actor).await?;
            let mut writing = self.commands.log().begin_system().await?;
            if !units.is_empty() {
                writing.append_all(&units).await?;
            }
            which.lock(writing.connection()).await?;
            self.close(writing.connection(), &ending).await?;
            let late = self.sweep(writing.connection(), which).await?;
            writing.commit().await?;
            Ok([ending, late])
        };
        let ended = crate::again::until_decided("end_session", attempt, |_| None).await?;
        ended.iter().for_each(|ending| self.forget(ending));
        Ok(())
    }

    /// Puts the events of sessions that end into units, one a business; [`Self::close`] writes the rest.
    pub(super) async fn ending<E>(
        &self,
        units: &mut Vec<UnitOfWork>,
        which: Which,
        reason: EndReason,
        origin: &Origin,
        actor: Actor,
    ) -> Result<Endings, crate::error::Attempt<E>> {
        let log = self.commands.log();
        let ending = which.find(log.database().system()).await?;
        for theirs in ending.chunk_by(|a, b| a.business_id == b.business_id) {
            let Some(first) = theirs.first() else { continue };
            let business_id = first.business_id;
            let keys: Vec<StreamKey> =
                theirs.iter().map(|ending| StreamKey::of::<Login>(ending.session_id)).collect();
            let histories = log.load(business_id, &keys).await?;
            let place = units.iter().position(|unit| unit.business_id() == business_id);
            let place = place.unwrap_or_else(|| {
                let now = clock::now();
                let (actor, origin) = (actor, origin.clone());
                units.push(UnitOfWork::new(CommandContext { business_id, actor, now, origin }));
                units.len() - 1
            });
            let Some(unit) = units.get_mut(place) else { continue };
            for key in &keys {
                let login: Loaded<Login> = histories.fold(key)?;
                match login.state.decide(LoginCommand::End { reason }) {
                    Ok(events) => unit.append(&login, events)?,
                    // From before sign-ins had streams.
                    Err(LoginError::NotFound | LoginError::AlreadyThere) => {}
                }
            }
        }
        units.retain(|unit| !unit.is_empty());
        Ok(Endings(ending.into_iter().map(|ending| ending.session_id).collect()))
    }

    /// The rows of sessions that end.
    pub(super) async fn close(
        &self,
        connection: &mut PgConnection,
        Endings(ids): &Endings,
    ) -> Result<(), sqlx::Error> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        // Tokens before sessions, as a refresh locks them.
        sqlx::query("DELETE FROM refresh_token WHERE family = ANY($1)")
            .bind(&ids)
            .execute(&mut *connection)
            .await?;
        sqlx::query(
            "UPDATE session SET ended_at = clock_timestamp(), voided_at = clock_timestamp()
              WHERE session_id = ANY($1) AND ended_at IS NULL",
        )
        .bind(&ids)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Ends also what was opened since those that end were read; it has no event of its own, for it never was of
    /// use. In the transaction of those, which holds [`lock_user`].
    pub(super) async fn sweep(
        &self,
        connection: &mut PgConnection,
        which: Which,
    ) -> Result<Endings, sqlx::Error> {
        let late = which.find(&mut *connection).await?;
        let late = Endings(late.into_iter().map(|ending| ending.session_id).collect());
        self.close(connection, &late).await?;
        Ok(late)
    }

    /// Takes no more access tokens of sessions that ended; others learn of it within seconds.
    pub(super) fn forget(&self, Endings(ids): &Endings) {
        self.voided.note(ids.iter().copied(), FOR_EVER);
    }

    /// Takes no more access tokens from before this second.
    pub(super) fn void(&self, Endings(ids): &Endings) {
        self.voided.note(ids.iter().copied(), clock::now().as_second() + LEEWAY.as_secs());
    }

    /// Whoever is something else from now on needs other tokens; the sessions go on.
    pub(super) async fn void_tokens(
        &self,
        connection: &mut PgConnection,
        user_id: UserId,
        business_id: BusinessId,
    ) -> Result<Endings, sqlx::Error> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "UPDATE session SET voided_at = clock_timestamp()
              WHERE user_id = $1 AND business_id = $2 AND ended_at IS NULL RETURNING session_id",
        )
        .bind(user_id.uuid())
        .bind(business_id.uuid())
        .fetch_all(connection)
        .await?;
        Ok(Endings(ids.into_iter().map(LoginId::new).collect()))
    }

    /// Ends the oldest sessions of a user who has too many, but not the sign-in of the one that was just opened.
    pub(super) async fn end_surplus<E>(
        &self,
        entrant: Entrant,
        new: LoginId,
        origin: &Origin,
    ) -> Result<(), CommandError<E>> {
        let surplus: Vec<Uuid> = sqlx::query_scalar(
            "SELECT session_id FROM session
              WHERE user_id = $1 AND business_id = $2 AND ended_at IS NULL
                AND coalesce(root_id, session_id)
                    <> (SELECT coalesce(root_id, session_id) FROM session WHERE session_id = $4)
              ORDER BY opened_at DESC, session_id OFFSET $3 - 1 LIMIT 10",
        )
        .bind(entrant.user_id.uuid())
        .bind(entrant.business_id.uuid())
        .bind(MOST)
        .bind(new.uuid())
        .fetch_all(self.commands.log().database().system())
        .await?;
        for id in surplus {
            let which = Which::One(LoginId::new(id));
            let actor = Actor::System("identity");
            self.end(which, EndReason::EndedByUser, origin, actor).await?;
        }
        Ok(())
    }

    /// Learns which sessions ended elsewhere; to be asked every second.
    ///
    /// # Errors
    /// When Postgres does not answer: what was known goes on.
    pub async fn follow_sessions(&self) -> Result<(), sqlx::Error> {
        let database = self.commands.log().database();
        let query = sqlx::query_as(
            "SELECT session_id, CASE WHEN ended_at IS NULL
                                     THEN ceil(extract(epoch FROM voided_at))::bigint + $2
                                     ELSE 9223372036854775807 END
               FROM session
              WHERE voided_at > now() - $1 * interval '1 second'",
        )
        .bind((LIFETIME + LEEWAY * 2).as_secs_f64())
        .bind(LEEWAY.as_secs());
        let rows: Vec<(Uuid, i64)> = database.within(query.fetch_all(database.system())).await?;
        self.voided.replace(rows.into_iter().map(|(id, at)| (LoginId::new(id), at)));
        Ok(())
    }
}
