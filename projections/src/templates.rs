//! The words that businesses have of their own, from the table that is written with their events: an answer here
//! is never older than any write.

use domain::{
    BusinessId, Locale, StaffId, UserId,
    message_template::{TemplateParts, TestRecipient, template_id},
    notification::Kind,
};
use sqlx::{Row, postgres::PgRow};
use streams::{BoxError, Database};
use uuid::Uuid;

use crate::ReadError;

/// Answers from the table of templates.
#[derive(Debug, Clone)]
pub struct Templates {
    database: Database,
}

/// The words of a business for one kind of message in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateRow {
    /// Of which kind of message.
    pub kind: Kind,
    /// In which language.
    pub locale: Locale,
    /// The words; none when they were removed.
    pub parts: TemplateParts,
    /// Sequence of the event that they are from.
    pub version: u64,
}

const COLUMNS: &str = "template_id, kind, locale, subject, text, html, sms, version";

impl Templates {
    /// Over this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// All that a business has, by kind and language.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn list(&self, business_id: BusinessId) -> Result<Vec<TemplateRow>, ReadError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM message_template
              WHERE business_id = $1 AND num_nonnulls(subject, text, html, sms) > 0
              ORDER BY kind, lower(locale) COLLATE \"C\""
        );
        let rows = sqlx::query(&sql)
            .bind(business_id.uuid())
            .fetch_all(&mut *self.database.tenant(business_id).await?)
            .await?;
        rows.iter().map(from_row).collect()
    }

    /// What a business has, or has removed, for a kind of message in these languages; in their order.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn of_kind(
        &self,
        business_id: BusinessId,
        kind: Kind,
        locales: &[Locale],
    ) -> Result<Vec<TemplateRow>, ReadError> {
        let id = |locale| template_id(business_id, kind, locale).uuid();
        let ids: Vec<Uuid> = locales.iter().map(id).collect();
        let sql = format!(
            "SELECT {COLUMNS} FROM message_template
              WHERE template_id = ANY($1) AND business_id = $2
              ORDER BY array_position($1, template_id)"
        );
        let rows = sqlx::query(&sql)
            .bind(ids)
            .bind(business_id.uuid())
            .fetch_all(&mut *self.database.tenant(business_id).await?)
            .await?;
        rows.iter().map(from_row).collect()
    }

    /// Somebody of the business by their address: who signs in, or one of these of the staff. `own` is whoever
    /// asks, who is meant when no address is named.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn recipient(
        &self,
        business_id: BusinessId,
        own: Option<UserId>,
        address: Option<&str>,
        staff: &[StaffId],
    ) -> Result<Option<(TestRecipient, String)>, ReadError> {
        let found: Option<(bool, Uuid, String)> = sqlx::query_as(
            "SELECT true, u.user_id, u.email FROM membership m JOIN app_user u USING (user_id)
              WHERE m.business_id = $1
                AND CASE WHEN $2::text IS NULL THEN u.user_id = $3
                         ELSE lower(u.email) = lower($2) END
             UNION ALL
             SELECT false, staff_id, email FROM staff_private
              WHERE business_id = $1 AND staff_id = ANY($4) AND lower(email) = lower($2)
             LIMIT 1",
        )
        .bind(business_id.uuid())
        .bind(address)
        .bind(own.map(UserId::uuid))
        .bind(staff.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        // Who signs in belongs to no business alone.
        .fetch_optional(self.database.system())
        .await?;
        let who = |(signs_in, id, email)| {
            let who = if signs_in {
                TestRecipient::User(UserId::new(id))
            } else {
                TestRecipient::Staff(StaffId::new(id))
            };
            (who, email)
        };
        Ok(found.map(who))
    }
}

fn from_row(row: &PgRow) -> Result<TemplateRow, ReadError> {
    let odd = |what: &str| -> BoxError { format!("a template has an odd {what}").into() };
    let kind: &str = row.try_get("kind")?;
    let locale: &str = row.try_get("locale")?;
    let version: i64 = row.try_get("version")?;
    Ok(TemplateRow {
        kind: Kind::named(kind).ok_or_else(|| odd("kind"))?,
        locale: locale.parse().map_err(|_odd| odd("language"))?,
        parts: TemplateParts {
            subject: row.try_get("subject")?,
            text: row.try_get("text")?,
            html: row.try_get("html")?,
            sms: row.try_get("sms")?,
        },
        version: version.unsigned_abs(),
    })
}
