use std::{fmt, str::FromStr};

use domain::{AppointmentId, BusinessId, NotificationId, notification::Notification};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{Row, postgres::PgRow};
use streams::{
    Database,
    log::{Recorded, StreamKey, as_of},
};

use crate::ReadError;

/// Answers from the notifications model.
#[derive(Debug, Clone)]
pub struct Notifications {
    pub(super) database: Database,
}

/// One message and what became of it.
#[derive(Debug, Clone)]
pub struct NotificationRow {
    /// Which.
    pub notification_id: NotificationId,
    /// What it is about; `None` when that is an account.
    pub appointment_id: Option<AppointmentId>,
    /// What it is for, such as `reminder`.
    pub kind: String,
    /// `email` or `sms`.
    pub channel: String,
    /// Elapsed minutes before the start.
    pub offset_minutes: i32,
    /// When it was to go out.
    pub due_at: Timestamp,
    /// Where it stands.
    pub status: String,
    /// How often a provider was asked.
    pub attempts: i32,
    /// Why it was not sent, as a code.
    pub reason: Option<String>,
    /// When it would have been due, had that not been in a quiet hour.
    pub moved_from: Option<Timestamp>,
    /// When a provider took it.
    pub sent_at: Option<Timestamp>,
    /// When it arrived, where the provider says so.
    pub delivered_at: Option<Timestamp>,
    /// Who took it.
    pub provider: Option<String>,
    /// What they call it.
    pub provider_id: Option<String>,
}

/// One try.
#[derive(Debug, Clone)]
pub struct AttemptRow {
    /// From 1.
    pub attempt: i32,
    /// When a sender took it.
    pub taken_at: Timestamp,
    /// When it left this system; `None` when nothing did.
    pub handed_over_at: Option<Timestamp>,
    /// When it was known what came of it; `None` while it is under way.
    pub ended_at: Option<Timestamp>,
    /// `sent`, `deferred`, `failed`, `uncertain`, `cancelled` or `lost`.
    pub outcome: Option<String>,
    /// Why, as a code.
    pub reason: Option<String>,
    /// Who was asked.
    pub provider: Option<String>,
    /// What they call it.
    pub provider_id: Option<String>,
    /// In their words.
    pub answer: Option<String>,
}

/// All that is known of one message.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Where it stands.
    pub message: NotificationRow,
    /// Each try.
    pub attempts: Vec<AttemptRow>,
    /// Each event, from the log.
    pub steps: Vec<Recorded>,
}

/// Which messages.
#[derive(Debug, Clone, Default)]
pub struct NotificationFilter {
    /// Due from this instant on.
    pub from: Option<Timestamp>,
    /// Due before this instant.
    pub to: Option<Timestamp>,
    /// Where they stand.
    pub status: Option<String>,
    /// By what they travel.
    pub channel: Option<String>,
    /// What they are for.
    pub kind: Option<String>,
    /// Behind this one.
    pub after: Option<NotificationCursor>,
    /// At most so many.
    pub limit: u32,
}

/// Where a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationCursor {
    due_at: Timestamp,
    id: NotificationId,
}

impl fmt::Display for NotificationCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.due_at.as_microsecond(), self.id.uuid().simple())
    }
}

impl FromStr for NotificationCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (due_at, id) = text.split_once('-').ok_or(())?;
        let due_at =
            due_at.parse().ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
        let id = id.parse().map_err(|_odd: uuid::Error| ())?;
        Ok(Self { due_at: due_at.ok_or(())?, id: NotificationId::new(id) })
    }
}

/// Messages about one visit at most: more than hundred changes of it make.
const MOST: i64 = 1_000;

impl Notifications {
    /// Over this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// The messages of an appointment, by due time.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn of_appointment(
        &self,
        business_id: BusinessId,
        appointment_id: AppointmentId,
    ) -> Result<Vec<NotificationRow>, ReadError> {
        let sql = format!(
            "{SHOWN} WHERE n.business_id = $1 AND n.appointment_id = $2
              ORDER BY n.due_at, n.notification_id LIMIT {MOST}"
        );
        let rows = sqlx::query(&sql)
            .bind(business_id.uuid())
            .bind(appointment_id.uuid())
            .fetch_all(&mut *self.database.tenant(business_id).await?)
            .await?;
        rows.iter().map(from_row).collect()
    }

    /// Messages of the business, those that are due last first, and where the next page begins.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn list(
        &self,
        business_id: BusinessId,
        filter: &NotificationFilter,
    ) -> Result<(Vec<NotificationRow>, Option<NotificationCursor>), ReadError> {
        let sql = format!(
            "SELECT * FROM ({SHOWN} WHERE n.business_id = $1 AND {OWN}
                AND ($2::timestamptz IS NULL OR n.due_at >= $2)
                AND ($3::timestamptz IS NULL OR n.due_at < $3)
                AND ($4::text IS NULL OR n.channel = $4)
                AND ($5::text IS NULL OR n.kind = $5)
                AND ($6::timestamptz IS NULL OR (n.due_at, n.notification_id) < ($6, $7))) AS all_of_them
              WHERE $8::text IS NULL OR shown = $8
              ORDER BY due_at DESC, notification_id DESC LIMIT $9"
        );
        let rows = sqlx::query(&sql)
            .bind(business_id.uuid())
            .bind(filter.from.map(ToSqlx::to_sqlx))
            .bind(filter.to.map(ToSqlx::to_sqlx))
            .bind(filter.channel.as_deref())
            .bind(filter.kind.as_deref())
            .bind(filter.after.map(|after| after.due_at.to_sqlx()))
            .bind(filter.after.map(|after| after.id.uuid()))
            .bind(filter.status.as_deref())
            .bind(i64::from(filter.limit) + 1)
            .fetch_all(&mut *self.database.tenant(business_id).await?)
            .await?;
        let mut items = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
        let more = items.len() > filter.limit as usize;
        items.truncate(filter.limit as usize);
        let last = items.last().filter(|_| more);
        let next =
            last.map(|last| NotificationCursor { due_at: last.due_at, id: last.notification_id });
        Ok((items, next))
    }

    /// All that is known of one message; `None` when the business has no such message.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn evidence(
        &self,
        business_id: BusinessId,
        id: NotificationId,
    ) -> Result<Option<Evidence>, ReadError> {
        let connection = &mut *self.database.tenant(business_id).await?;
        let sql = format!("{SHOWN} WHERE n.business_id = $1 AND n.notification_id = $2 AND {OWN}");
        let row = sqlx::query(&sql)
            .bind(business_id.uuid())
            .bind(id.uuid())
            .fetch_optional(&mut *connection)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let tries = sqlx::query(
            "SELECT * FROM (
               SELECT attempt, taken_at, handed_over_at, ended_at, outcome, reason, provider,
                      provider_id, answer
                 FROM notification_attempt
                WHERE notification_id = $1 AND business_id = $2 ORDER BY attempt DESC LIMIT 100
             ) AS latest ORDER BY attempt",
        )
        .bind(id.uuid())
        .bind(business_id.uuid())
        .fetch_all(&mut *connection)
        .await?;
        let key = StreamKey::of::<Notification>(id);
        let histories =
            as_of(&mut *connection, business_id, std::slice::from_ref(&key), None).await?;
        Ok(Some(Evidence {
            message: from_row(&row)?,
            attempts: tries.iter().map(attempt).collect::<Result<_, _>>()?,
            steps: histories.events(&key).to_vec(),
        }))
    }
}

/// What somebody does about their own account is no matter of the business: they may work elsewhere, too.
pub(super) const OWN: &str = "n.kind <> 'password_reset'";

/// The model knows what became facts; that a send is under way now only the work table knows.
const SHOWN: &str = "SELECT n.*, CASE WHEN n.status = 'offered' AND w.state = 'sending' THEN 'sending' \
    ELSE n.status END AS shown \
    FROM notifications.notification n LEFT JOIN notification w USING (notification_id)";

fn attempt(row: &PgRow) -> Result<AttemptRow, sqlx::Error> {
    let maybe = |column| -> Result<Option<Timestamp>, sqlx::Error> {
        let at: Option<jiff_sqlx::Timestamp> = row.try_get(column)?;
        Ok(at.map(jiff_sqlx::Timestamp::to_jiff))
    };
    Ok(AttemptRow {
        attempt: row.try_get("attempt")?,
        taken_at: row.try_get::<jiff_sqlx::Timestamp, _>("taken_at")?.to_jiff(),
        handed_over_at: maybe("handed_over_at")?,
        ended_at: maybe("ended_at")?,
        outcome: row.try_get("outcome")?,
        reason: row.try_get("reason")?,
        provider: row.try_get("provider")?,
        provider_id: row.try_get("provider_id")?,
        answer: row.try_get("answer")?,
    })
}

fn from_row(row: &PgRow) -> Result<NotificationRow, ReadError> {
    let maybe = |column| -> Result<Option<Timestamp>, sqlx::Error> {
        let at: Option<jiff_sqlx::Timestamp> = row.try_get(column)?;
        Ok(at.map(jiff_sqlx::Timestamp::to_jiff))
    };
    Ok(NotificationRow {
        notification_id: NotificationId::new(row.try_get("notification_id")?),
        appointment_id: row.try_get::<Option<_>, _>("appointment_id")?.map(AppointmentId::new),
        kind: row.try_get("kind")?,
        channel: row.try_get("channel")?,
        offset_minutes: row.try_get("offset_minutes")?,
        due_at: row.try_get::<jiff_sqlx::Timestamp, _>("due_at")?.to_jiff(),
        status: row.try_get("shown")?,
        attempts: row.try_get("attempts")?,
        reason: row.try_get("reason")?,
        moved_from: maybe("moved_from")?,
        sent_at: maybe("sent_at")?,
        delivered_at: maybe("delivered_at")?,
        provider: row.try_get("provider")?,
        provider_id: row.try_get("provider_id")?,
    })
}
