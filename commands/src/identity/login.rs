use domain::{BusinessId, UserId, user::Role};
use sqlx::Row;
use streams::clock;

use super::{
    Identity,
    session::{Member, role},
};
use crate::CommandError;

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

/// Why nobody was signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefused {
    /// Unknown address or wrong password: nobody is told which.
    #[error("e-mail address or password is wrong")]
    InvalidCredentials,
    /// Unknown, spent, expired or revoked: nobody is told which.
    #[error("the refresh token is not valid")]
    InvalidRefreshToken,
}

impl Identity {
    /// Signs in.
    ///
    /// # Errors
    /// When address or password is wrong, or the store fails.
    pub async fn login(
        &self,
        email: &str,
        password: String,
    ) -> Result<Session, CommandError<LoginRefused>> {
        let row = sqlx::query(
            "SELECT u.user_id, u.password_hash, m.business_id, m.role
               FROM app_user u JOIN membership m USING (user_id)
              WHERE lower(u.email) = lower($1) ORDER BY m.business_id LIMIT 1",
        )
        .bind(email.trim())
        .fetch_optional(self.commands.log().database().pool())
        .await?;
        let hash = row.as_ref().map(|row| row.try_get("password_hash")).transpose()?;
        let right = self.passwords.verify(password, hash).await?;
        let Some(row) = row.filter(|_| right) else {
            metrics::counter!("apptremind_logins_total", "outcome" => "refused").increment(1);
            return Err(CommandError::Refused(LoginRefused::InvalidCredentials));
        };
        metrics::counter!("apptremind_logins_total", "outcome" => "signed_in").increment(1);
        let member = Member {
            user_id: UserId::new(row.try_get("user_id")?),
            business_id: BusinessId::new(row.try_get("business_id")?),
            role: role(row.try_get("role")?)?,
        };
        let mut connection = self.commands.log().database().pool().acquire().await?;
        self.open_session(&mut connection, member, clock::new_id()).await
    }

    /// The account of a user, while they belong to the business; `None` after they left.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn account(
        &self,
        user_id: UserId,
        business_id: BusinessId,
    ) -> Result<Option<(String, Role)>, CommandError<LoginRefused>> {
        let row = sqlx::query(
            "SELECT u.email, m.role FROM app_user u JOIN membership m USING (user_id)
              WHERE u.user_id = $1 AND m.business_id = $2",
        )
        .bind(user_id.uuid())
        .bind(business_id.uuid())
        .fetch_optional(self.commands.log().database().pool())
        .await?;
        row.map(|row| Ok((row.try_get("email")?, role(row.try_get("role")?)?))).transpose()
    }
}
