use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{BusinessId, UserId, user::Role};
use jiff::SignedDuration;
use jiff_sqlx::ToSqlx;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Row};
use streams::clock;
use uuid::Uuid;

use super::{Identity, LoginRefused, Session, Tokens};
use crate::CommandError;

/// How long a refresh token is good for.
const LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Somebody in a business.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) user_id: UserId,
    pub(super) business_id: BusinessId,
    pub(super) role: Role,
}

impl Identity {
    /// Signs tokens and stores the refresh token's hash.
    pub(super) async fn open_session<E>(
        &self,
        connection: &mut PgConnection,
        member: Member,
        family: Uuid,
    ) -> Result<Session, CommandError<E>> {
        let now = clock::now();
        let refresh_token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        sqlx::query(
            "INSERT INTO refresh_token (token_hash, family, user_id, business_id, expires_at)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(hash(&refresh_token))
        .bind(family)
        .bind(member.user_id.uuid())
        .bind(member.business_id.uuid())
        .bind((now + LIFETIME).to_sqlx())
        .execute(connection)
        .await?;
        let access_token = self
            .tokens
            .issue(member.user_id, member.business_id, member.role, now)
            .map_err(|error| CommandError::Store(error.into()))?;
        Ok(Session { access_token, refresh_token, expires_in: Tokens::lifetime_seconds() })
    }

    /// Spends a refresh token for a new pair. One that was spent before has been stolen, from us or
    /// from its owner: the whole family ends.
    ///
    /// # Errors
    /// When the token is not good, or the store fails.
    pub async fn refresh(&self, token: &str) -> Result<Session, CommandError<LoginRefused>> {
        let mut transaction = self.commands.log().database().pool().begin().await?;
        let spent = sqlx::query(
            "UPDATE refresh_token t SET spent_at = now()
               FROM membership m
              WHERE t.token_hash = $1 AND t.spent_at IS NULL AND t.expires_at > now()
                AND m.user_id = t.user_id AND m.business_id = t.business_id
             RETURNING t.family, t.user_id, t.business_id, m.role",
        )
        .bind(hash(token))
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = spent else {
            sqlx::query(
                "DELETE FROM refresh_token WHERE family IN
                        (SELECT family FROM refresh_token WHERE token_hash = $1)",
            )
            .bind(hash(token))
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            return Err(CommandError::Refused(LoginRefused::InvalidRefreshToken));
        };
        let member = Member {
            user_id: UserId::new(row.try_get("user_id")?),
            business_id: BusinessId::new(row.try_get("business_id")?),
            role: role(row.try_get("role")?)?,
        };
        let session = self.open_session(&mut transaction, member, row.try_get("family")?).await?;
        transaction.commit().await?;
        Ok(session)
    }

    /// Ends the session that the refresh token belongs to; an unknown one is ended already.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn logout(&self, token: &str) -> Result<(), CommandError<LoginRefused>> {
        sqlx::query(
            "DELETE FROM refresh_token WHERE family IN
                    (SELECT family FROM refresh_token WHERE token_hash = $1)",
        )
        .bind(hash(token))
        .execute(self.commands.log().database().pool())
        .await?;
        Ok(())
    }
}

pub(super) fn role<E>(text: &str) -> Result<Role, CommandError<E>> {
    text.parse::<Role>().map_err(|error| CommandError::Store(error.into()))
}

/// Only the hash is stored: who reads the table cannot sign in with it.
fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}
