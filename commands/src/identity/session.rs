//! Sign-ins that last: each is a family of refresh tokens, of which one at a time is good.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{
    BusinessId, Decide, LoginId, UserId,
    login::{EndReason, Login, LoginCommand, LoginError, Means},
    team::Place,
    user::Role,
};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Row, postgres::PgRow};
use streams::{
    Actor, CommandContext, Origin, clock,
    log::{CommitError, Loaded, StreamKey, UnitOfWork},
};
use uuid::Uuid;

use super::{
    Caller, Claims, Identity, LoginRefused, Session, Tokens,
    token::{Bearer, LEEWAY, LIFETIME},
};
use crate::CommandError;

/// A client whose connection broke before it read the answer may send the same token again for so long.
const GRACE_SECONDS: f64 = 10.0;
/// Of a session that has ended no token is good.
const FOR_EVER: i64 = i64::MAX;
/// The sessions of one user in one business; the oldest ends when there are more.
const MOST: i64 = 50;

/// A sign-in, as its owner sees it.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// Names it.
    pub session_id: LoginId,
    /// In which business.
    pub business_id: BusinessId,
    /// Since when.
    pub opened_at: Timestamp,
    /// When its tokens were refreshed last.
    pub used_at: Timestamp,
    /// Until when, whatever happens.
    pub expires_at: Timestamp,
    /// The program, in its own words.
    pub user_agent: Option<String>,
    /// The address without its last part.
    pub network: Option<String>,
}

/// Sessions whose access tokens are good no more, with the second up to which. Only the last quarter of an
/// hour matters: older tokens have expired.
#[derive(Debug, Clone, Default)]
pub(super) struct Voided(Arc<RwLock<HashMap<LoginId, i64>>>);

impl Voided {
    /// A token of the very second is void as well: who knows which came first.
    pub(super) fn covers(&self, claims: &Claims) -> bool {
        let voided = self.0.read().unwrap_or_else(PoisonError::into_inner);
        voided.get(&claims.sid).is_some_and(|until| claims.iat <= *until)
    }

    fn note(&self, ids: impl IntoIterator<Item = LoginId>, until: i64) {
        let mut voided = self.0.write().unwrap_or_else(PoisonError::into_inner);
        voided.extend(ids.into_iter().map(|id| (id, until)));
    }

    fn replace(&self, all: HashMap<LoginId, i64>) {
        let mut voided = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now().as_second();
        // What was noted here a moment ago may not have been committed when the others were read.
        let fresh: Vec<_> =
            voided.iter().filter(|(_, at)| **at >= now - 5).map(|(id, at)| (*id, *at)).collect();
        *voided = all;
        for (id, at) in fresh {
            let known = voided.entry(id).or_insert(at);
            *known = at.max(*known);
        }
    }

    fn until(&self, id: LoginId) -> Option<i64> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }
}

/// Somebody in a business who is about to be signed in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entrant {
    pub(super) user_id: UserId,
    pub(super) business_id: BusinessId,
    pub(super) place: Place,
}

/// A session that is about to be opened.
pub(super) struct Opening {
    pub(super) bearer: Bearer,
    refresh_token: String,
}

/// Puts the event of a new session into a unit; [`Identity::write_session`] writes the rest.
pub(super) fn open(
    unit: &mut UnitOfWork,
    entrant: Entrant,
    means: Means,
) -> Result<Opening, CommitError> {
    let session_id = LoginId::new(clock::new_id());
    let Entrant { user_id, business_id, place } = entrant;
    let login: Loaded<Login> =
        Loaded { key: StreamKey::of::<Login>(session_id), state: Login::default(), sequence: 0 };
    let events = login.state.decide(LoginCommand::Open { user_id, means });
    unit.append(&login, events.map_err(|error| CommitError::Store(error.into()))?)?;
    let bearer = Bearer { user_id, business_id, place, session_id };
    let refresh_token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    Ok(Opening { bearer, refresh_token })
}

/// The token that follows one that is spent. Whoever has the table alone has no token, and whoever has a
/// token alone has no salt.
fn successor(token: &str, salt: &[u8]) -> Option<String> {
    let mac = Hmac::<Sha256>::new_from_slice(token.as_bytes()).ok()?;
    let mac = mac.chain_update(b"apptremind refresh v1").chain_update(salt);
    Some(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// Only the hash is stored: who reads the table cannot sign in with it.
pub(super) fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

pub(super) fn place(row: &PgRow) -> Result<Place, sqlx::Error> {
    let role: &str = row.try_get("role")?;
    let role: Role = role.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    let staff_id = row.try_get::<Option<Uuid>, _>("staff_id")?.map(domain::StaffId::new);
    Ok(Place { role, staff_id })
}

/// A session that is to end.
struct Ending {
    session_id: LoginId,
    business_id: BusinessId,
}

/// Which sessions end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    /// This one.
    One(LoginId),
    /// All of a user, but perhaps one.
    OfUser(UserId, Option<LoginId>),
    /// All of a user in one business.
    OfMember(UserId, BusinessId),
}

impl Identity {
    /// The rows of a session whose event is in the log already, in the same transaction.
    pub(super) async fn write_session<E>(
        &self,
        connection: &mut PgConnection,
        opening: Opening,
        caller: &Caller,
    ) -> Result<Session, CommandError<E>> {
        let Opening { bearer, refresh_token } = opening;
        let now = clock::now();
        // Whoever is taken out of the business at this moment is not let in any more.
        let written = sqlx::query(
            "INSERT INTO session (session_id, user_id, business_id, opened_at, used_at, expires_at,
                                  user_agent, network)
             SELECT $1, m.user_id, m.business_id, $4, $4, $5, $6, $7 FROM membership m
              WHERE m.user_id = $2 AND m.business_id = $3 AND m.role = $8 FOR SHARE",
        )
        .bind(bearer.session_id.uuid())
        .bind(bearer.user_id.uuid())
        .bind(bearer.business_id.uuid())
        .bind(now.to_sqlx())
        .bind((now + self.policy.session_lifetime).to_sqlx())
        .bind(caller.shown_agent())
        .bind(caller.masked())
        .bind(bearer.place.role.as_str())
        .execute(&mut *connection)
        .await?;
        if written.rows_affected() == 0 {
            return Err(CommandError::Conflict);
        }
        self.add_token(connection, bearer, &refresh_token, now).await?;
        self.session(bearer, refresh_token, now)
    }

    fn session<E>(
        &self,
        bearer: Bearer,
        refresh_token: String,
        now: Timestamp,
    ) -> Result<Session, CommandError<E>> {
        // A token of the second in which others were made void would be void itself.
        let now = match self.voided.until(bearer.session_id) {
            Some(until) if until != FOR_EVER && now.as_second() <= until => {
                now + SignedDuration::from_secs(1)
            }
            Some(_) | None => now,
        };
        let access_token =
            self.tokens.issue(bearer, now).map_err(|error| CommandError::Store(error.into()))?;
        Ok(Session { access_token, refresh_token, expires_in: Tokens::lifetime_seconds() })
    }

    async fn add_token(
        &self,
        connection: &mut PgConnection,
        bearer: Bearer,
        token: &str,
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO refresh_token (token_hash, family, user_id, business_id, expires_at)
             SELECT $1, session_id, user_id, business_id, least($3, expires_at)
               FROM session WHERE session_id = $2",
        )
        .bind(hash(token))
        .bind(bearer.session_id.uuid())
        .bind((now + self.policy.session_idle).to_sqlx())
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Spends a refresh token for a new pair. One that was spent before has been stolen, from us or from
    /// its owner: the whole session ends. But for a client that asks again within ten seconds, because it
    /// did not get the answer or asked twice at once: it gets the same pair.
    ///
    /// # Errors
    /// When the token is not good, or the store fails.
    pub async fn refresh(
        &self,
        token: &str,
        caller: &Caller,
    ) -> Result<Session, CommandError<LoginRefused>> {
        let salt: [u8; 32] = rand::random();
        let mut transaction = self.commands.log().database().system().begin().await?;
        let spent = sqlx::query(
            "UPDATE refresh_token t SET spent_at = clock_timestamp(), spent_by = $2, next_salt = $3
               FROM session s, membership m
              WHERE t.token_hash = $1 AND t.spent_at IS NULL AND t.expires_at > now()
                AND s.session_id = t.family AND s.ended_at IS NULL AND s.expires_at > now()
                AND m.user_id = t.user_id AND m.business_id = t.business_id
             RETURNING t.family, t.user_id, t.business_id, m.role, m.staff_id",
        )
        .bind(hash(token))
        .bind(caller.fingerprint())
        .bind(&salt[..])
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = spent else {
            transaction.rollback().await?;
            return self.refresh_again(token, caller).await;
        };
        let bearer = bearer(&row)?;
        let next = successor(token, &salt)
            .ok_or_else(|| CommandError::Store("no token can be derived".into()))?;
        let now = clock::now();
        self.add_token(&mut transaction, bearer, &next, now).await?;
        sqlx::query("UPDATE session SET used_at = now() WHERE session_id = $1")
            .bind(bearer.session_id.uuid())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        metrics::counter!("apptremind_refreshes_total", "outcome" => "rotated").increment(1);
        self.session(bearer, next, now)
    }

    /// With a token that is not good any more, or never was.
    async fn refresh_again(
        &self,
        token: &str,
        caller: &Caller,
    ) -> Result<Session, CommandError<LoginRefused>> {
        let refused = CommandError::Refused(LoginRefused::InvalidRefreshToken);
        let note = |outcome: &'static str| {
            metrics::counter!("apptremind_refreshes_total", "outcome" => outcome).increment(1);
        };
        let pool = self.commands.log().database().system();
        let row = sqlx::query(
            "SELECT t.family, t.user_id, t.business_id, m.role, m.staff_id, t.spent_by, t.next_salt,
                    t.spent_at > now() - $2 * interval '1 second' AS recent
               FROM refresh_token t
               JOIN session s ON s.session_id = t.family AND s.ended_at IS NULL
                             AND s.expires_at > now()
               JOIN membership m ON m.user_id = t.user_id AND m.business_id = t.business_id
              WHERE t.token_hash = $1 AND t.spent_at IS NOT NULL",
        )
        .bind(hash(token))
        .bind(GRACE_SECONDS)
        .fetch_optional(pool)
        .await?;
        let Some(row) = row else {
            note("unknown");
            return Err(refused);
        };
        let bearer = bearer(&row)?;
        let same = row.try_get::<Option<Vec<u8>>, _>("spent_by")? == Some(caller.fingerprint());
        let salt: Option<Vec<u8>> = row.try_get("next_salt")?;
        let next = salt.and_then(|salt| successor(token, &salt));
        if let (true, true, Some(next)) = (row.try_get("recent")?, same, next) {
            // Whoever used it has read the answer, so this is not they who ask again.
            let unused: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM refresh_token WHERE token_hash = $1 AND spent_at IS NULL)",
            )
            .bind(hash(&next))
            .fetch_one(pool)
            .await?;
            if unused {
                note("repeated");
                return self.session(bearer, next, clock::now());
            }
        }
        note("reused");
        tracing::warn!(session = %bearer.session_id, user = %bearer.user_id, "a spent refresh token came back");
        self.end(
            Which::One(bearer.session_id),
            EndReason::TokenReused,
            &Origin::of_our_own(),
            Actor::System("identity"),
        )
        .await?;
        Err(refused)
    }

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

    /// The sessions of a user that go on, in all their businesses, the newest first.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn sessions<E>(&self, user_id: UserId) -> Result<Vec<SessionRow>, CommandError<E>> {
        let rows = sqlx::query(
            "SELECT session_id, business_id, opened_at, used_at, expires_at, user_agent, network
               FROM session s
              WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now()
                AND EXISTS (SELECT FROM refresh_token t WHERE t.family = s.session_id
                               AND t.spent_at IS NULL AND t.expires_at > now())
              ORDER BY opened_at DESC, session_id LIMIT 200",
        )
        .bind(user_id.uuid())
        .fetch_all(self.commands.log().database().system())
        .await?;
        let row = |row: &PgRow| -> Result<SessionRow, CommandError<E>> {
            let at = |column| -> Result<Timestamp, sqlx::Error> {
                Ok(row.try_get::<jiff_sqlx::Timestamp, _>(column)?.to_jiff())
            };
            Ok(SessionRow {
                session_id: LoginId::new(row.try_get("session_id")?),
                business_id: BusinessId::new(row.try_get("business_id")?),
                opened_at: at("opened_at")?,
                used_at: at("used_at")?,
                expires_at: at("expires_at")?,
                user_agent: row.try_get("user_agent")?,
                network: row.try_get("network")?,
            })
        };
        rows.iter().map(row).collect()
    }

    /// Ends a session of a user; false when they have no such session.
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
            self.end(Which::One(session_id), reason, origin, Actor::User(user_id)).await?;
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
            self.close(writing.connection(), &ending).await?;
            writing.commit().await?;
            Ok(ending)
        };
        let ending = crate::again::until_decided("end_session", attempt, |_| None).await?;
        self.forget(&ending);
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
        let (one, user, but, business) = match which {
            Which::One(id) => (Some(id), None, None, None),
            Which::OfUser(user, but) => (None, Some(user), but, None),
            Which::OfMember(user, business) => (None, Some(user), None, Some(business)),
        };
        let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "SELECT session_id, business_id FROM session
              WHERE ended_at IS NULL AND ($1::uuid IS NULL OR session_id = $1)
                AND ($2::uuid IS NULL OR user_id = $2) AND ($3::uuid IS NULL OR session_id <> $3)
                AND ($4::uuid IS NULL OR business_id = $4)
              ORDER BY business_id, session_id LIMIT 1000",
        )
        .bind(one.map(LoginId::uuid))
        .bind(user.map(UserId::uuid))
        .bind(but.map(LoginId::uuid))
        .bind(business.map(BusinessId::uuid))
        .fetch_all(log.database().system())
        .await?;
        let ending = rows.into_iter().map(|(session, business)| Ending {
            session_id: LoginId::new(session),
            business_id: BusinessId::new(business),
        });
        let ending: Vec<Ending> = ending.collect();
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

    /// Takes no more access tokens of sessions that ended; others learn of it within seconds.
    pub(super) fn forget(&self, Endings(ids): &Endings) {
        self.voided.note(ids.iter().copied(), FOR_EVER);
    }

    /// Takes no more access tokens from before this second.
    pub(super) fn void(&self, Endings(ids): &Endings) {
        self.voided.note(ids.iter().copied(), clock::now().as_second());
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

    /// Ends the oldest sessions of a user who has too many.
    pub(super) async fn end_surplus<E>(
        &self,
        entrant: Entrant,
        origin: &Origin,
    ) -> Result<(), CommandError<E>> {
        let surplus: Vec<Uuid> = sqlx::query_scalar(
            "SELECT session_id FROM session
              WHERE user_id = $1 AND business_id = $2 AND ended_at IS NULL
              ORDER BY opened_at DESC, session_id OFFSET $3 LIMIT 10",
        )
        .bind(entrant.user_id.uuid())
        .bind(entrant.business_id.uuid())
        .bind(MOST)
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
                                     THEN ceil(extract(epoch FROM voided_at))::bigint
                                     ELSE 9223372036854775807 END
               FROM session
              WHERE voided_at > now() - $1 * interval '1 second'",
        )
        .bind((LIFETIME + LEEWAY * 2).as_secs_f64());
        let rows: Vec<(Uuid, i64)> = database.within(query.fetch_all(database.system())).await?;
        self.voided.replace(rows.into_iter().map(|(id, at)| (LoginId::new(id), at)).collect());
        Ok(())
    }
}

/// The sessions that end with what is being written.
#[derive(Debug)]
pub(super) struct Endings(Vec<LoginId>);

fn bearer(row: &PgRow) -> Result<Bearer, sqlx::Error> {
    Ok(Bearer {
        user_id: UserId::new(row.try_get("user_id")?),
        business_id: BusinessId::new(row.try_get("business_id")?),
        place: place(row)?,
        session_id: LoginId::new(row.try_get("family")?),
    })
}
