use domain::{AppointmentId, BusinessId, NotificationId};
use jiff::Timestamp;
use sqlx::{Row, postgres::PgRow};
use streams::Database;

use crate::ReadError;

/// Answers from the notifications model.
#[derive(Debug, Clone)]
pub struct Notifications {
    database: Database,
}

/// One message and what became of it.
#[derive(Debug, Clone)]
pub struct NotificationRow {
    /// Which.
    pub notification_id: NotificationId,
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
        // The model knows what became facts; that a send is under way now only the work table knows.
        let rows = sqlx::query(
            "SELECT n.*, CASE WHEN n.status = 'offered' AND w.state = 'sending' THEN 'sending'
                              ELSE n.status END AS shown
               FROM notifications.notification n
               LEFT JOIN notification w USING (notification_id)
              WHERE n.business_id = $1 AND n.appointment_id = $2
              ORDER BY n.due_at, n.notification_id LIMIT 100",
        )
        .bind(business_id.uuid())
        .bind(appointment_id.uuid())
        .fetch_all(&mut *self.database.tenant(business_id).await?)
        .await?;
        rows.iter().map(from_row).collect()
    }
}

fn from_row(row: &PgRow) -> Result<NotificationRow, ReadError> {
    let maybe = |column| -> Result<Option<Timestamp>, sqlx::Error> {
        let at: Option<jiff_sqlx::Timestamp> = row.try_get(column)?;
        Ok(at.map(jiff_sqlx::Timestamp::to_jiff))
    };
    Ok(NotificationRow {
        notification_id: NotificationId::new(row.try_get("notification_id")?),
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
