use std::{fmt, str::FromStr};

use domain::{BusinessId, UserId};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::Value;
use sqlx::Row;
use streams::{Cursor, Database};
use uuid::Uuid;

use crate::ReadError;

/// Answers who did what.
#[derive(Debug, Clone)]
pub struct Audit {
    database: Database,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// From this instant on.
    pub from: Option<Timestamp>,
    /// Before this instant.
    pub to: Option<Timestamp>,
    /// Events whose type begins so, such as `auth.session.`.
    pub action: Option<String>,
    /// By whom, as the log names them.
    pub actor: Option<String>,
    /// Behind this entry.
    pub after: Option<AuditCursor>,
    /// Entries at most.
    pub limit: u32,
}

/// Where a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditCursor {
    at: Timestamp,
    position: i64,
}

impl fmt::Display for AuditCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at.as_microsecond(), self.position)
    }
}

impl FromStr for AuditCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, position) = text.split_once('-').ok_or(())?;
        let at = at.parse().ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
        Ok(Self { at: at.ok_or(())?, position: position.parse().map_err(|_odd| ())? })
    }
}

/// Something that somebody did.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// Names the event.
    pub event_id: Uuid,
    /// Its place in the log.
    pub position: Cursor,
    /// When.
    pub at: Timestamp,
    /// Such as `auth.session.opened.v1`.
    pub action: String,
    /// The kind of thing that it was done to, and its id.
    pub subject: (String, String),
    /// A user, a key, `guest`, or a role of ours.
    pub actor: String,
    /// How the user signs in, when it was one who is still there.
    pub actor_email: Option<String>,
    /// Ties together all that one request did.
    pub correlation_id: Uuid,
    /// The event.
    pub data: Value,
}

impl Audit {
    /// Over this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Entries, the newest first, and where the next page begins. What somebody does about their account after
    /// they left is no matter of the business: they may go on with it elsewhere. Of mails that were worded anew
    /// only the short parts are told: a page of whole ones would be too large.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn list(
        &self,
        business_id: BusinessId,
        filter: &AuditFilter,
    ) -> Result<(Vec<AuditRow>, Option<AuditCursor>), ReadError> {
        let rows = sqlx::query(
            "SELECT a.event_id, a.at, a.position, a.event_type, a.aggregate_type, a.aggregate_id,
                    e.actor, e.correlation_id,
                    CASE WHEN a.aggregate_type = 'message_template'
                         THEN e.payload - 'text' - 'html' ELSE e.payload END AS payload,
                    e.transaction_id::text::bigint AS transaction_id
               FROM audit.entry a
               JOIN events e ON e.aggregate_type = a.aggregate_type
                            AND e.aggregate_id = a.aggregate_id AND e.sequence = a.sequence
              WHERE a.business_id = $1
                AND ($2::timestamptz IS NULL OR a.at >= $2)
                AND ($3::timestamptz IS NULL OR a.at < $3)
                AND ($4::text IS NULL OR starts_with(a.event_type, $4))
                AND ($5::text IS NULL OR e.actor = $5)
                AND (NOT starts_with(a.event_type, 'auth.user.password')
                     OR (SELECT m.event_type FROM events m
                          WHERE m.aggregate_type = 'team' AND m.aggregate_id = $9
                            AND m.event_type IN ('auth.member.joined.v1', 'auth.member.left.v1')
                            AND m.payload ->> 'user_id' = a.aggregate_id AND m.position < a.position
                          ORDER BY m.position DESC LIMIT 1)
                        IS DISTINCT FROM 'auth.member.left.v1')
                AND ($6::timestamptz IS NULL OR (a.at, a.position) < ($6, $7))
              ORDER BY a.at DESC, a.position DESC LIMIT $8",
        )
        .bind(business_id.uuid())
        .bind(filter.from.map(ToSqlx::to_sqlx))
        .bind(filter.to.map(ToSqlx::to_sqlx))
        .bind(filter.action.as_deref())
        .bind(filter.actor.as_deref())
        .bind(filter.after.map(|after| after.at.to_sqlx()))
        .bind(filter.after.map(|after| after.position))
        .bind(i64::from(filter.limit) + 1)
        .bind(business_id.to_string())
        .fetch_all(&mut *self.database.tenant(business_id).await?)
        .await?;
        let row = |row: &sqlx::postgres::PgRow| -> Result<AuditRow, ReadError> {
            let position: i64 = row.try_get("position")?;
            Ok(AuditRow {
                event_id: row.try_get("event_id")?,
                position: Cursor { transaction_id: row.try_get("transaction_id")?, position },
                at: row.try_get::<jiff_sqlx::Timestamp, _>("at")?.to_jiff(),
                action: row.try_get("event_type")?,
                subject: (row.try_get("aggregate_type")?, row.try_get("aggregate_id")?),
                actor: row.try_get("actor")?,
                actor_email: None,
                correlation_id: row.try_get("correlation_id")?,
                data: row.try_get("payload")?,
            })
        };
        let mut items = rows.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        let more = items.len() > filter.limit as usize;
        items.truncate(filter.limit as usize);
        let last = items.last().filter(|_| more);
        let next = last.map(|l| AuditCursor { at: l.at, position: l.position.position });
        self.name(business_id, &mut items).await?;
        Ok((items, next))
    }

    /// Who they are today: addresses are personal, and in no event. Only of those who belong to the business.
    async fn name(&self, business_id: BusinessId, items: &mut [AuditRow]) -> Result<(), ReadError> {
        let user = |row: &AuditRow| row.actor.parse::<UserId>().ok().map(UserId::uuid);
        let mut users: Vec<Uuid> = items.iter().filter_map(user).collect();
        users.sort_unstable();
        users.dedup();
        let found: Vec<(Uuid, String)> = sqlx::query_as(
            "SELECT u.user_id, u.email FROM app_user u JOIN membership m USING (user_id)
              WHERE m.business_id = $1 AND u.user_id = ANY($2)",
        )
        .bind(business_id.uuid())
        .bind(users)
        .fetch_all(self.database.system())
        .await?;
        for item in items {
            let id = user(item);
            item.actor_email =
                found.iter().find(|(own, _)| Some(*own) == id).map(|(_, email)| email.clone());
        }
        Ok(())
    }
}
