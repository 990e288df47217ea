//! What was set aside, for a person to look at: messages that were given up, and events that a reactor could
//! not act on.

use domain::{
    BusinessId, Decide, NotificationId,
    notification::{NotificationCommand, NotificationError},
};
use jiff::Timestamp;
use sqlx::{Row, postgres::PgRow};
use streams::{
    BoxError, clock,
    consumer::{Failure, Reactor},
    log::{self, CommitError, Log, Recorded},
};
use uuid::Uuid;

use crate::{account::AccountMails, scheduler::Scheduler, waitlist::Waker, work};

/// Something that was set aside.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Which.
    pub id: Uuid,
    /// Whose.
    pub business_id: BusinessId,
    /// Who set it aside: `notify-email`, `notify-sms`, or a reactor.
    pub consumer: String,
    /// The message, or the event.
    pub subject_id: String,
    /// Why: in the provider's words, or the error.
    pub reason: String,
    /// When.
    pub created_at: Timestamp,
}

/// What became of a wish to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// It is tried again, or was acted on.
    Done,
    /// There is no such letter.
    NotThere,
    /// Its visit has begun, or its link is good no more.
    TooLate,
    /// It is not waiting for anybody: it was sent, or called off.
    Over,
}

/// Reads, retries and drops them.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    log: Log,
}

/// At most so many are listed.
const MOST: i64 = 1_000;

impl DeadLetters {
    /// Over this log.
    #[must_use]
    pub const fn new(log: Log) -> Self {
        Self { log }
    }

    /// All of them, the oldest first, a thousand at most.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn list(&self) -> Result<Vec<DeadLetter>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT id, business_id, consumer, subject_id, reason, created_at FROM dead_letter
              ORDER BY created_at, id LIMIT $1",
        )
        .bind(MOST)
        .fetch_all(self.log.database().system())
        .await?;
        rows.iter().map(letter).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn find(&self, id: Uuid) -> Result<Option<DeadLetter>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT id, business_id, consumer, subject_id, reason, created_at FROM dead_letter
              WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(self.log.database().system())
        .await?;
        row.as_ref().map(letter).transpose()
    }

    /// Forgets one; false when there is none.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn drop(&self, id: Uuid) -> Result<bool, sqlx::Error> {
        let dropped = sqlx::query("DELETE FROM dead_letter WHERE id = $1")
            .bind(id)
            .execute(self.log.database().system())
            .await?;
        Ok(dropped.rows_affected() == 1)
    }

    /// Sends a message once more, or acts on an event once more, and forgets the letter.
    ///
    /// # Errors
    /// When Postgres does not answer, or the event still cannot be acted on.
    pub async fn retry(&self, id: Uuid) -> Result<Retried, BoxError> {
        let Some(letter) = self.find(id).await? else { return Ok(Retried::NotThere) };
        match letter.subject_id.parse::<NotificationId>() {
            Ok(message) => Ok(self.send_again(id, message).await?),
            Err(_an_event) => self.act_again(&letter).await,
        }
    }

    async fn send_again(&self, id: Uuid, message: NotificationId) -> Result<Retried, CommitError> {
        let found = work::find(self.log.database().system(), message).await?;
        let Some(row) = found else { return Ok(Retried::NotThere) };
        if row.expires_at <= clock::now() {
            return Ok(Retried::TooLate);
        }
        let events = match row.notification().decide(NotificationCommand::Retry) {
            Ok(events) => events,
            Err(NotificationError::Ended { .. } | NotificationError::NotSent) => {
                return Ok(Retried::Over);
            }
            Err(error @ NotificationError::NotFound) => {
                return Err(CommitError::Store(error.into()));
            }
        };
        let is_new = !events.is_empty();
        let mut writing = self.log.begin_system().await?;
        let append = std::iter::once(row.append(events));
        work::append(writing.connection(), "operator", append).await?;
        if is_new {
            let updated = sqlx::query(
                "UPDATE notification SET state = 'pending', next_at = now(), sequence = sequence + 1
                  WHERE notification_id = $1 AND sequence = $2 AND state = 'failed'",
            )
            .bind(message.uuid())
            .bind(i64::try_from(row.sequence).unwrap_or(i64::MAX))
            .execute(writing.connection())
            .await?;
            if updated.rows_affected() != 1 {
                return Err(CommitError::Conflict);
            }
        }
        sqlx::query("DELETE FROM dead_letter WHERE id = $1")
            .bind(id)
            .execute(writing.connection())
            .await?;
        writing.commit().await?;
        Ok(Retried::Done)
    }

    async fn act_again(&self, letter: &DeadLetter) -> Result<Retried, BoxError> {
        let event_id: Uuid = letter.subject_id.parse()?;
        let mut writing = self.log.begin_system().await?;
        let event = log::event(writing.connection(), event_id).await?;
        let Some(event) = event else { return Ok(Retried::NotThere) };
        let batch = [event];
        let acted = match letter.consumer.as_str() {
            Scheduler::NAME => react(&Scheduler, &mut writing, &batch).await,
            Waker::NAME => react(&Waker, &mut writing, &batch).await,
            AccountMails::NAME => react(&AccountMails, &mut writing, &batch).await,
            other => return Err(format!("{other} is no reactor of this build").into()),
        };
        acted.map_err(|failure| match failure {
            Failure::Transient(error) | Failure::Poison(error) | Failure::Unreadable(error) => {
                error
            }
        })?;
        sqlx::query("DELETE FROM dead_letter WHERE id = $1")
            .bind(letter.id)
            .execute(writing.connection())
            .await?;
        writing.commit().await?;
        Ok(Retried::Done)
    }
}

async fn react(
    reactor: &impl Reactor,
    writing: &mut log::Writing,
    batch: &[Recorded],
) -> Result<(), Failure> {
    reactor.react(writing.connection(), batch).await
}

fn letter(row: &PgRow) -> Result<DeadLetter, sqlx::Error> {
    Ok(DeadLetter {
        id: row.try_get("id")?,
        business_id: BusinessId::new(row.try_get("business_id")?),
        consumer: row.try_get("consumer")?,
        subject_id: row.try_get("subject_id")?,
        reason: row.try_get("reason")?,
        created_at: row.try_get::<jiff_sqlx::Timestamp, _>("created_at")?.to_jiff(),
    })
}
