use domain::{
    BusinessId, Decide, LoginId, UserId,
    login::{Login, LoginCommand, Means},
    team::Place,
};
use sqlx::Row;
use streams::{
    Actor, CommandContext, Origin, clock,
    log::{CommitError, Loaded, StreamKey, UnitOfWork},
};
use uuid::Uuid;

use super::{
    Caller, Identity,
    password::Checked,
    session::{self, Entrant, Proof, place},
};
use crate::{
    CommandError, Quota, UsedUp,
    quota::{self, subject},
};

/// What a client holds after signing in.
#[derive(Clone)]
pub struct Session {
    /// For calling the API; short-lived.
    pub access_token: String,
    /// For a new pair; good once.
    pub refresh_token: String,
    /// Seconds that the access token is good for.
    pub expires_in: i64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// Who an account is in a business.
#[derive(Debug, Clone)]
pub struct Account {
    /// How they sign in.
    pub email: String,
    /// What they are.
    pub place: Place,
}

/// Why nobody was signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefused {
    /// Unknown address or wrong password: nobody is told which.
    #[error("e-mail address or password is wrong")]
    InvalidCredentials,
    /// Unknown, spent, expired or revoked: nobody is told which.
    #[error("the refresh token is not valid")]
    InvalidRefreshToken,
    /// The account is there, and its business is not, or not theirs any more.
    #[error("the account belongs to no business: ask to be invited again")]
    NoBusiness,
    /// Too often tried.
    #[error("too many attempts to sign in; try again later")]
    TooMany(UsedUp),
}

struct Known {
    user_id: UserId,
    hash: String,
    member: Option<(BusinessId, Place)>,
}

impl Identity {
    /// Signs in, to the business where the user was last.
    ///
    /// # Errors
    /// When address or password is wrong, somebody tries too often, or the store fails.
    pub async fn login(
        &self,
        email: &str,
        password: String,
        caller: &Caller,
        origin: &Origin,
    ) -> Result<Session, CommandError<LoginRefused>> {
        let email = email.trim();
        let tries = self.tries(email, caller);
        let database = self.commands.log().database();
        // Counted before the password is looked at: many at once are many.
        if let Some(used_up) = quota::take(database, &tries).await? {
            note("throttled");
            return Err(CommandError::Refused(LoginRefused::TooMany(used_up)));
        }
        // Once more when the password or what they are was changed meanwhile.
        for _ in 0..3 {
            match self.try_login(email, &password, &tries, (caller, origin)).await {
                Err(CommandError::Conflict) => {}
                done => return done,
            }
        }
        Err(CommandError::Conflict)
    }

    async fn try_login(
        &self,
        email: &str,
        password: &str,
        tries: &[(Quota, Vec<u8>); 3],
        (caller, origin): (&Caller, &Origin),
    ) -> Result<Session, CommandError<LoginRefused>> {
        let known = self.find_user(email).await?;
        let hash = known.as_ref().map(|known| known.hash.clone());
        let checked = self.passwords.verify(password.to_owned(), hash).await?;
        let Some(known) = known.filter(|_| checked != Checked::Wrong) else {
            note("refused");
            self.note_refusal(email, origin);
            return Err(CommandError::Refused(LoginRefused::InvalidCredentials));
        };
        let Some((business_id, place)) = known.member else {
            note("no_business");
            return Err(CommandError::Refused(LoginRefused::NoBusiness));
        };
        // Whoever knows the password has not been guessing. What came from the network stays counted.
        quota::clear(self.commands.log().database(), &tries[..2]).await?;
        let hash = match checked {
            Checked::Outdated => {
                self.rehash(known.user_id, password.to_owned(), known.hash).await?
            }
            Checked::Right | Checked::Wrong => known.hash,
        };
        let entrant = Entrant { user_id: known.user_id, business_id, place };
        let proof = Proof::Password(&hash);
        let session = self.sign_in(entrant, Means::Password, proof, caller, origin).await?;
        note("signed_in");
        Ok(session)
    }

    /// Opens a session of somebody who has proved who they are.
    pub(super) async fn sign_in<E>(
        &self,
        entrant: Entrant,
        means: Means,
        proof: Proof<'_>,
        caller: &Caller,
        origin: &Origin,
    ) -> Result<Session, CommandError<E>> {
        let mut unit = UnitOfWork::new(CommandContext {
            business_id: entrant.business_id,
            actor: Actor::User(entrant.user_id),
            now: clock::now(),
            origin: origin.clone(),
        });
        let opening = session::open(&mut unit, entrant, means)?;
        let new = opening.bearer.session_id;
        let mut writing = self.commands.log().begin_system().await?;
        writing.append(&unit).await?;
        let session = self.write_session(writing.connection(), opening, proof, caller).await?;
        sqlx::query("UPDATE app_user SET last_business_id = $2 WHERE user_id = $1")
            .bind(entrant.user_id.uuid())
            .bind(entrant.business_id.uuid())
            .execute(writing.connection())
            .await?;
        writing.commit().await?;
        self.end_surplus(entrant, new, origin).await?;
        Ok(session)
    }

    fn tries(&self, email: &str, caller: &Caller) -> [(Quota, Vec<u8>); 3] {
        let (account, network) = (email.to_ascii_lowercase(), caller.network());
        [
            (self.policy.tries_from_network_to_account, subject(&[&network, &account])),
            (self.policy.tries_to_account, subject(&[&account])),
            (self.policy.tries_from_network, subject(&[&network])),
        ]
    }

    async fn find_user(&self, email: &str) -> Result<Option<Known>, CommandError<LoginRefused>> {
        let database = self.commands.log().database();
        let query = sqlx::query(
            "SELECT u.user_id, u.password_hash, m.business_id, m.role, m.staff_id
               FROM app_user u LEFT JOIN membership m USING (user_id)
              WHERE lower(u.email) = $1
              ORDER BY m.business_id = u.last_business_id DESC NULLS LAST, m.business_id LIMIT 1",
        )
        // Folded here as the quota's subject is: other spellings of one address are one attempt.
        .bind(email.to_ascii_lowercase());
        let row = database.within(query.fetch_optional(database.system())).await?;
        let known = |row: sqlx::postgres::PgRow| -> Result<Known, CommandError<LoginRefused>> {
            let business: Option<Uuid> = row.try_get("business_id")?;
            let member = match business {
                Some(business) => Some((BusinessId::new(business), place(&row)?)),
                None => None,
            };
            let user_id = UserId::new(row.try_get("user_id")?);
            Ok(Known { user_id, hash: row.try_get("password_hash")?, member })
        };
        row.map(known).transpose()
    }

    /// Written after the answer, in any case as long after it: who has an account cannot be told by the
    /// clock. Of addresses that nobody has there is nobody to tell.
    fn note_refusal(&self, email: &str, origin: &Origin) {
        let (identity, email, origin) = (self.clone(), email.to_owned(), origin.clone());
        self.afterwards.spawn(async move {
            if let Err(error) = identity.record_refusal(&email, origin).await {
                tracing::warn!(%error, "a refused sign-in is not in the audit");
            }
        });
    }

    async fn record_refusal(&self, email: &str, origin: Origin) -> Result<(), CommitError> {
        let Ok(Some(Known { user_id, member: Some((business_id, _)), .. })) =
            self.find_user(email).await
        else {
            return Ok(());
        };
        let (actor, now) = (Actor::System("identity"), clock::now());
        let mut unit = UnitOfWork::new(CommandContext { business_id, actor, now, origin });
        let key = StreamKey::of::<Login>(LoginId::new(clock::new_id()));
        let login: Loaded<Login> = Loaded { key, state: Login::default(), sequence: 0 };
        let refused = login.state.decide(LoginCommand::Refuse { user_id });
        unit.append(&login, refused.map_err(|error| CommitError::Store(error.into()))?)?;
        self.commands.log().commit(&unit).await?;
        Ok(())
    }

    /// At today's cost, unless somebody has changed the password meanwhile.
    async fn rehash(
        &self,
        user_id: UserId,
        password: String,
        before: String,
    ) -> Result<String, CommandError<LoginRefused>> {
        let hash = self.passwords.hash(password).await?;
        sqlx::query(
            "UPDATE app_user SET password_hash = $2 WHERE user_id = $1 AND password_hash = $3",
        )
        .bind(user_id.uuid())
        .bind(&hash)
        .bind(before)
        .execute(self.commands.log().database().system())
        .await?;
        metrics::counter!("apptremind_rehashes_total").increment(1);
        Ok(hash)
    }

    /// The account of a user, while they belong to the business; `None` after they left.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn account<E>(
        &self,
        user_id: UserId,
        business_id: BusinessId,
    ) -> Result<Option<Account>, CommandError<E>> {
        let row = sqlx::query(
            "SELECT u.email, m.role, m.staff_id FROM app_user u JOIN membership m USING (user_id)
              WHERE u.user_id = $1 AND m.business_id = $2",
        )
        .bind(user_id.uuid())
        .bind(business_id.uuid())
        .fetch_optional(self.commands.log().database().system())
        .await?;
        let account = |row: sqlx::postgres::PgRow| {
            Ok(Account { email: row.try_get("email")?, place: place(&row)? })
        };
        row.map(account).transpose()
    }
}

fn note(outcome: &'static str) {
    metrics::counter!("apptremind_logins_total", "outcome" => outcome).increment(1);
}
