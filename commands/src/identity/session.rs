//! Sign-ins that last: each is a family of refresh tokens, of which one at a time is good.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{
    BusinessId, Decide, LoginId, UserId,
    login::{EndReason, Login, LoginCommand, Means},
    team::Place,
    user::Role,
};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Row, postgres::PgRow};
use streams::{
    Actor, Origin, clock,
    log::{CommitError, Loaded, StreamKey, UnitOfWork},
};
use uuid::Uuid;

use super::{
    Caller, Identity, LoginRefused, Session, Tokens,
    ending::{FOR_EVER, Which, lock_user},
    token::Bearer,
};
use crate::CommandError;

/// A client whose connection broke before it read the answer may send the same token again for so long.
const GRACE_SECONDS: f64 = 10.0;

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

/// Somebody in a business who is about to be signed in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entrant {
    pub(super) user_id: UserId,
    pub(super) business_id: BusinessId,
    pub(super) place: Place,
}

/// What must still be true when a session is opened.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proof<'a> {
    /// The account was made, or was found, in this very transaction.
    Here,
    /// The password is the one whose hash was checked.
    Password(&'a str),
    /// The session from which they come goes on.
    Session(LoginId),
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

impl Identity {
    /// The rows of a session whose event is in the log already, in the same transaction.
    pub(super) async fn write_session<E>(
        &self,
        connection: &mut PgConnection,
        opening: Opening,
        proof: Proof<'_>,
        caller: &Caller,
    ) -> Result<Session, CommandError<E>> {
        let Opening { bearer, refresh_token } = opening;
        let now = clock::now();
        let (root, expires) = self.proven(connection, bearer, proof, now).await?;
        // Whoever is taken out of the business at this moment is not let in any more.
        let written = sqlx::query(
            "INSERT INTO session (session_id, root_id, user_id, business_id, opened_at, used_at,
                                  expires_at, user_agent, network)
             SELECT $1, $9, m.user_id, m.business_id, $4, $4, $5, $6, $7 FROM membership m
              WHERE m.user_id = $2 AND m.business_id = $3 AND m.role = $8
                AND m.staff_id IS NOT DISTINCT FROM $10 FOR SHARE",
        )
        .bind(bearer.session_id.uuid())
        .bind(bearer.user_id.uuid())
        .bind(bearer.business_id.uuid())
        .bind(now.to_sqlx())
        .bind(expires.to_sqlx())
        .bind(caller.shown_agent())
        .bind(caller.masked())
        .bind(bearer.place.role.as_str())
        .bind(root.map(LoginId::uuid))
        .bind(bearer.place.staff_id.map(domain::StaffId::uuid))
        .execute(&mut *connection)
        .await?;
        if written.rows_affected() == 0 {
            return Err(CommandError::Conflict);
        }
        self.add_token(connection, bearer, &refresh_token, now).await?;
        self.session(bearer, refresh_token, now)
    }

    /// The sign-in that a new session comes from, unless it is one itself, and until when it lasts. What it
    /// rests on is looked at under [`lock_user`]: a new password, or the end of that session, comes before or
    /// after, and not between.
    async fn proven<E>(
        &self,
        connection: &mut PgConnection,
        bearer: Bearer,
        proof: Proof<'_>,
        now: Timestamp,
    ) -> Result<(Option<LoginId>, Timestamp), CommandError<E>> {
        let own = (None, now + self.policy.session_lifetime);
        match proof {
            Proof::Here => Ok(own),
            Proof::Password(hash) => {
                let same = lock_user(connection, bearer.user_id, Some(hash)).await?;
                if same { Ok(own) } else { Err(CommandError::Conflict) }
            }
            Proof::Session(from) => {
                lock_user(connection, bearer.user_id, None).await?;
                let row = sqlx::query(
                    "SELECT coalesce(root_id, session_id) AS root_id, expires_at FROM session
                      WHERE session_id = $1 AND user_id = $2 AND ended_at IS NULL
                        AND expires_at > now()",
                )
                .bind(from.uuid())
                .bind(bearer.user_id.uuid())
                .fetch_optional(connection)
                .await?;
                let row = row.ok_or(CommandError::Conflict)?;
                let expires = row.try_get::<jiff_sqlx::Timestamp, _>("expires_at")?.to_jiff();
                Ok((Some(LoginId::new(row.try_get("root_id")?)), expires))
            }
        }
    }

    fn session<E>(
        &self,
        bearer: Bearer,
        refresh_token: String,
        now: Timestamp,
    ) -> Result<Session, CommandError<E>> {
        // A token from before the others are void no more would be void itself.
        let now = match self.voided.until(bearer.session_id) {
            Some(until) if until != FOR_EVER => {
                let after = SignedDuration::from_secs((until + 1 - now.as_second()).max(0));
                now + after
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
        // Whoever changes what they are does so before this, or waits and voids the new token, too.
        let place_now = sqlx::query(
            "SELECT m.role, m.staff_id
               FROM refresh_token t
               JOIN membership m ON m.user_id = t.user_id AND m.business_id = t.business_id
              WHERE t.token_hash = $1 FOR SHARE OF m",
        )
        .bind(hash(token))
        .fetch_optional(&mut *transaction)
        .await?;
        let spent = sqlx::query(
            "UPDATE refresh_token t SET spent_at = clock_timestamp(), spent_by = $2, next_salt = $3
               FROM session s
              WHERE t.token_hash = $1 AND t.spent_at IS NULL AND t.expires_at > now()
                AND s.session_id = t.family AND s.ended_at IS NULL AND s.expires_at > now()
             RETURNING t.family, t.user_id, t.business_id",
        )
        .bind(hash(token))
        .bind(caller.fingerprint())
        .bind(&salt[..])
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((row, place_now)) = spent.zip(place_now) else {
            transaction.rollback().await?;
            return self.refresh_again(token, caller).await;
        };
        let bearer = bearer(&row, place(&place_now)?)?;
        let next = successor(token, &salt)
            .ok_or_else(|| CommandError::Store("no token can be derived".into()))?;
        self.add_token(&mut transaction, bearer, &next, clock::now()).await?;
        sqlx::query("UPDATE session SET used_at = now() WHERE session_id = $1")
            .bind(bearer.session_id.uuid())
            .execute(&mut *transaction)
            .await?;
        let now = clock::now();
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
        let bearer = bearer(&row, place(&row)?)?;
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
}

fn bearer(row: &PgRow, place: Place) -> Result<Bearer, sqlx::Error> {
    Ok(Bearer {
        user_id: UserId::new(row.try_get("user_id")?),
        business_id: BusinessId::new(row.try_get("business_id")?),
        place,
        session_id: LoginId::new(row.try_get("family")?),
    })
}
