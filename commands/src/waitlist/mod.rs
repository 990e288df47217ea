//! Guests who wait for a time to become free.

mod end;
mod join;

use domain::{
    FieldError, WaitlistId,
    waitlist::{WaitlistEntry, WaitlistError},
};
use streams::{
    Cursor,
    log::{CommitError, UnitOfWork},
};

pub use end::{EndWaiting, WaitingEnd};
pub use join::{JoinWaitlist, Joined, WaitRange};

use crate::Commands;

/// Why an entry of the waitlist was not made or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitlistRefused {
    /// A field breaks a rule.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// No such service, or not any more.
    #[error("no such service")]
    UnknownService,
    /// No such staff member, or not any more.
    #[error("no such staff member")]
    UnknownStaff,
    /// The staff member does not offer the service, or nobody does.
    #[error("the staff member does not offer this service")]
    NotOffered,
    /// The business wants to agree to each visit, so nothing can be offered without it.
    #[error("this service needs approval; it has no waitlist")]
    NeedsApproval,
    /// As many wait as the list takes.
    #[error("{most} guests wait already")]
    Full {
        /// So many.
        most: i64,
    },
    /// The guest waits as often as one may.
    #[error("this guest waits {most} times already")]
    WaitsTooOften {
        /// So often.
        most: i64,
    },
    /// The entry's own rule.
    #[error(transparent)]
    Entry(#[from] WaitlistError),
}

impl Commands {
    /// Commits what was decided of an entry, with its row.
    pub(crate) async fn save_entry(
        &self,
        unit: &UnitOfWork,
        waitlist_id: WaitlistId,
        entry: &WaitlistEntry,
    ) -> Result<Cursor, CommitError> {
        let mut writing = self.log.begin(unit.business_id()).await?;
        let position = writing.append(unit).await?;
        sqlx::query(
            "UPDATE waitlist_entry SET status = $2, appointment_id = $3 WHERE waitlist_id = $1",
        )
        .bind(waitlist_id.uuid())
        .bind(entry.known().map(|(_, status)| status.as_str()))
        .bind(entry.offer().map(|offer| offer.appointment_id.uuid()))
        .execute(writing.connection())
        .await?;
        writing.commit().await?;
        Ok(position)
    }
}
