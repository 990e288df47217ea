//! Passwords that are changed: by whoever knows the old one, or by a mailed link.

use domain::{
    Aggregate, BusinessId, Decide, FieldError, Fields, LoginId, ResetId, UserId,
    login::EndReason,
    user::{User, UserCommand},
};
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, Row};
use streams::{
    Actor, BoxError, CommandContext, Origin, clock,
    log::{CommitError, Loaded, StreamKey, UnitOfWork},
};
use uuid::Uuid;

use super::{
    Caller, Identity, Links,
    ending::{Which, lock_user},
    password::Checked,
    session::hash,
};
use crate::{
    CommandError, Commands, Done, Quota, UsedUp,
    again::until_decided,
    error::Attempt,
    quota::{self, subject},
};

/// How long a mailed link is good.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// Wishes of one round.
const BATCH: i64 = 100;

/// Why a password was not changed, or nobody was mailed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefused {
    /// A field breaks a rule.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// The link was used, is too old, or is none of ours.
    #[error("the link is spent: ask for another one")]
    Spent,
    /// That is not the password.
    #[error("the password is wrong")]
    WrongPassword,
    /// Too often tried.
    #[error("too many attempts; try again later")]
    TooMany(UsedUp),
}

/// Says what a password must be.
pub(super) fn check_password(fields: &mut Fields, name: &str, password: &str) {
    let length = password.chars().count();
    fields.check((8..=200).contains(&length), name, "must be 8 to 200 characters");
}

fn valid(name: &str, password: &str) -> Result<(), CommandError<PasswordRefused>> {
    let mut fields = Fields::default();
    check_password(&mut fields, name, password);
    fields.done().map_err(|errors| CommandError::Refused(PasswordRefused::Invalid(errors)))
}

/// A password that is to be replaced.
struct Replacing {
    user_id: UserId,
    hash: String,
    by: By,
}

enum By {
    Link(ResetId),
    /// That session goes on; with the hash that the old password was checked against.
    Holder(LoginId, String),
}

impl Identity {
    /// Writes down that somebody says that they forgot the password of this address. Whether there is such
    /// an account makes no difference here, to nobody: [`Resets`] looks.
    ///
    /// # Errors
    /// When somebody asks too often, or the store fails.
    pub async fn ask_for_reset(
        &self,
        email: &str,
        caller: &Caller,
        origin: &Origin,
    ) -> Result<(), CommandError<PasswordRefused>> {
        let database = self.commands.log().database();
        let email = email.trim();
        let network = (self.policy.resets_from_network, subject(&[&caller.network()]));
        if let Some(used_up) = quota::take(database, &[network]).await? {
            return Err(CommandError::Refused(PasswordRefused::TooMany(used_up)));
        }
        // Nobody is told that an address is asked about too often: it is nobody's business but the owner's.
        let account = (self.policy.resets_to_account, subject(&[&email.to_ascii_lowercase()]));
        if quota::take(database, &[account]).await?.is_some() {
            return Ok(());
        }
        let query = sqlx::query(
            "INSERT INTO reset_wish (wish_id, email, correlation_id, traceparent)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(clock::new_id())
        .bind(email)
        .bind(origin.correlation_id)
        .bind(origin.traceparent.as_deref());
        database.within(query.execute(database.system())).await?;
        Ok(())
    }

    /// Replaces the password by a mailed link, and ends all sessions.
    ///
    /// # Errors
    /// When the link is spent, the password breaks a rule, or the store fails.
    pub async fn reset_password(
        &self,
        token: &str,
        password: String,
        origin: &Origin,
    ) -> Result<Done<()>, CommandError<PasswordRefused>> {
        valid("password", &password)?;
        let spent = || CommandError::Refused(PasswordRefused::Spent);
        // What is not ours costs nothing: no hash is computed, and Postgres is not asked.
        let reset_id = self.links.resetting(token).ok_or_else(spent)?;
        let database = self.commands.log().database();
        let query = sqlx::query_scalar(
            "SELECT user_id FROM password_reset
              WHERE reset_id = $1 AND token_hash = $2 AND spent_at IS NULL AND expires_at > now()",
        )
        .bind(reset_id.uuid())
        .bind(hash(token));
        let user: Option<Uuid> = database.within(query.fetch_optional(database.system())).await?;
        let user_id = UserId::new(user.ok_or_else(spent)?);
        let hash = self.passwords.hash(password).await?;
        self.replace(Replacing { user_id, hash, by: By::Link(reset_id) }, origin).await
    }

    /// Replaces the password of whoever is signed in, and ends their other sessions.
    ///
    /// # Errors
    /// When the old password is wrong, the new one breaks a rule, or the store fails.
    pub async fn change_password(
        &self,
        (user_id, session_id): (UserId, LoginId),
        current: String,
        password: String,
        origin: &Origin,
    ) -> Result<Done<()>, CommandError<PasswordRefused>> {
        valid("new_password", &password)?;
        let database = self.commands.log().database();
        let tries = Quota { scope: "password_change", ..self.policy.tries_to_account };
        let tries = (tries, subject(&[&user_id.to_string()]));
        if let Some(used_up) = quota::take(database, std::slice::from_ref(&tries)).await? {
            return Err(CommandError::Refused(PasswordRefused::TooMany(used_up)));
        }
        let query = sqlx::query_scalar("SELECT password_hash FROM app_user WHERE user_id = $1")
            .bind(user_id.uuid());
        let known: Option<String> =
            database.within(query.fetch_optional(database.system())).await?;
        let wrong = CommandError::Refused(PasswordRefused::WrongPassword);
        let Some(known) = known else { return Err(wrong) };
        if self.passwords.verify(current, Some(known.clone())).await? == Checked::Wrong {
            return Err(wrong);
        }
        quota::clear(database, &[tries]).await?;
        let hash = self.passwords.hash(password).await?;
        self.replace(Replacing { user_id, hash, by: By::Holder(session_id, known) }, origin).await
    }

    async fn replace(
        &self,
        replacing: Replacing,
        origin: &Origin,
    ) -> Result<Done<()>, CommandError<PasswordRefused>> {
        let attempt = || self.try_replace(&replacing, origin);
        let done = until_decided("change_password", attempt, |_| None).await?;
        let by = if matches!(replacing.by, By::Link(_)) { "link" } else { "holder" };
        metrics::counter!("apptremind_passwords_changed_total", "by" => by).increment(1);
        Ok(done)
    }

    async fn try_replace(
        &self,
        replacing: &Replacing,
        origin: &Origin,
    ) -> Result<Done<()>, Attempt<PasswordRefused>> {
        let Replacing { user_id, hash, by } = replacing;
        let spent = || Attempt::Refused(PasswordRefused::Spent);
        let business_id = home(&self.commands, *user_id).await?.ok_or_else(spent)?;
        let user = load(&self.commands, business_id, *user_id).await?;
        let (by_reset, but) = match by {
            By::Link(_) => (true, None),
            By::Holder(session_id, _) => (false, Some(*session_id)),
        };
        let (actor, now) = (Actor::User(*user_id), clock::now());
        let context = CommandContext { business_id, actor, now, origin: origin.clone() };
        let mut unit = UnitOfWork::new(context);
        let changed = user.state.decide(UserCommand::ChangePassword { by_reset });
        unit.append(&user, changed.map_err(|error| CommitError::Store(error.into()))?)?;
        let mut units = vec![unit];
        let which = Which::OfUser(*user_id, but);
        let reason = EndReason::PasswordChanged;
        let ending = self.ending(&mut units, which, reason, origin, actor).await?;
        let mut writing = self.commands.log().begin_system().await?;
        let position = writing.append_all(&units).await?;
        if let By::Link(reset_id) = by {
            let used = sqlx::query(
                "UPDATE password_reset SET spent_at = now()
                  WHERE reset_id = $1 AND spent_at IS NULL AND expires_at > now()",
            )
            .bind(reset_id.uuid())
            .execute(writing.connection())
            .await?;
            if used.rows_affected() == 0 {
                return Err(spent());
            }
        }
        if !still(writing.connection(), *user_id, by).await? {
            return Err(Attempt::Refused(PasswordRefused::WrongPassword));
        }
        sqlx::query("UPDATE app_user SET password_hash = $2 WHERE user_id = $1")
            .bind(user_id.uuid())
            .bind(hash)
            .execute(writing.connection())
            .await?;
        // Other links that were mailed are for the password that is no more.
        sqlx::query(
            "UPDATE password_reset SET spent_at = now() WHERE user_id = $1 AND spent_at IS NULL",
        )
        .bind(user_id.uuid())
        .execute(writing.connection())
        .await?;
        self.close(writing.connection(), &ending).await?;
        let late = self.sweep(writing.connection(), which).await?;
        writing.commit().await?;
        self.forget(&ending);
        self.forget(&late);
        Ok(Done::new((), position))
    }
}

/// Whether what was checked still holds, under [`lock_user`]: whoever replaced the password meanwhile, or ended
/// the session that asks, was first.
async fn still(
    connection: &mut PgConnection,
    user_id: UserId,
    by: &By,
) -> Result<bool, sqlx::Error> {
    let (session_id, known) = match by {
        By::Link(_) => return lock_user(connection, user_id, None).await,
        By::Holder(session_id, known) => (session_id, known),
    };
    if !lock_user(connection, user_id, Some(known)).await? {
        return Ok(false);
    }
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM session WHERE session_id = $1 AND ended_at IS NULL)",
    )
    .bind(session_id.uuid())
    .fetch_one(connection)
    .await
}

/// The business in which the stream of a user lies: the first that they belonged to.
async fn home(commands: &Commands, user_id: UserId) -> Result<Option<BusinessId>, sqlx::Error> {
    let database = commands.log().database();
    let query = sqlx::query_scalar(
        "SELECT business_id FROM events
          WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = 1",
    )
    .bind(User::TYPE)
    .bind(user_id.to_string());
    let found: Option<Uuid> = database.within(query.fetch_optional(database.system())).await?;
    Ok(found.map(BusinessId::new))
}

async fn load(
    commands: &Commands,
    business_id: BusinessId,
    user_id: UserId,
) -> Result<Loaded<User>, CommitError> {
    let key = StreamKey::of::<User>(user_id);
    commands.log().load(business_id, std::slice::from_ref(&key)).await?.fold(&key)
}

/// Turns wishes for another password into links, where there is an account.
#[derive(Debug, Clone)]
pub struct Resets {
    commands: Commands,
    links: Links,
}

/// No rule refuses.
type Never = std::convert::Infallible;

/// Somebody says that they forgot the password.
struct Wish {
    wish_id: Uuid,
    email: String,
    origin: Origin,
}

impl Resets {
    /// With the links of the gateway.
    #[must_use]
    pub const fn new(commands: Commands, links: Links) -> Self {
        Self { commands, links }
    }

    /// Looks at the oldest wishes; true when there may be more. What cannot be granted now is tried again.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn grant(&self) -> Result<bool, BoxError> {
        let rows = sqlx::query(
            "SELECT wish_id, email, correlation_id, traceparent FROM reset_wish
              ORDER BY asked_at, wish_id LIMIT $1",
        )
        .bind(BATCH)
        .fetch_all(self.commands.log().database().system())
        .await?;
        let more = rows.len() as i64 == BATCH;
        for row in rows {
            let wish = Wish {
                wish_id: row.try_get("wish_id")?,
                email: row.try_get("email")?,
                origin: Origin {
                    correlation_id: row.try_get("correlation_id")?,
                    causation_id: None,
                    traceparent: row.try_get("traceparent")?,
                },
            };
            let attempt = || self.try_grant(&wish);
            let granted = until_decided("grant_reset", attempt, |_| None::<Never>).await;
            match granted {
                Ok(()) => {}
                Err(CommandError::Unavailable(error)) => return Err(error),
                // The others need not wait for it; it is looked at again, for a day.
                Err(error) => tracing::warn!(%error, "a forgotten password could not be granted"),
            }
        }
        Ok(more)
    }

    async fn try_grant(&self, wish: &Wish) -> Result<(), Attempt<Never>> {
        let database = self.commands.log().database();
        let found: Option<Uuid> =
            sqlx::query_scalar("SELECT user_id FROM app_user WHERE lower(email) = $1")
                .bind(wish.email.to_ascii_lowercase())
                .fetch_optional(database.system())
                .await?;
        let user_id = found.map(UserId::new);
        let business_id = match user_id {
            Some(user_id) => home(&self.commands, user_id).await?,
            None => None,
        };
        let (Some(user_id), Some(business_id)) = (user_id, business_id) else {
            return Ok(forget(self, wish.wish_id).await?);
        };
        let user = load(&self.commands, business_id, user_id).await?;
        let (reset_id, now) = (ResetId::new(clock::new_id()), clock::now());
        let expires_at: Timestamp = now + LIFETIME;
        let context = CommandContext {
            business_id,
            actor: Actor::System("identity"),
            now,
            origin: wish.origin.clone(),
        };
        let mut unit = UnitOfWork::new(context);
        let asked = user.state.decide(UserCommand::AskForReset { reset_id, expires_at });
        unit.append(&user, asked.map_err(|error| CommitError::Store(error.into()))?)?;
        let mut writing = self.commands.log().begin_system().await?;
        writing.append(&unit).await?;
        let gone = sqlx::query("DELETE FROM reset_wish WHERE wish_id = $1")
            .bind(wish.wish_id)
            .execute(writing.connection())
            .await?;
        if gone.rows_affected() == 0 {
            // Another process was faster.
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO password_reset (reset_id, user_id, token_hash, expires_at)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(reset_id.uuid())
        .bind(user_id.uuid())
        .bind(hash(&self.links.reset(reset_id)))
        .bind(expires_at.to_sqlx())
        .execute(writing.connection())
        .await?;
        writing.commit().await?;
        Ok(())
    }
}

async fn forget(resets: &Resets, wish_id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM reset_wish WHERE wish_id = $1")
        .bind(wish_id)
        .execute(resets.commands.log().database().system())
        .await?;
    Ok(())
}
