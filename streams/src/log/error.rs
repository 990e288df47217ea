use sqlx::postgres::PgDatabaseError;

use super::Unreadable;
use crate::BoxError;

/// Why nothing was appended. Whatever it is, the whole unit of work was undone.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else changed a stream meanwhile: load again, decide again.
    #[error("a stream changed meanwhile")]
    Conflict,
    /// The exclusion constraint refused a time that our own rules allowed. Seen once, it is a race;
    /// if it persists after a reload, the rules are at fault.
    #[error("the time is reserved already")]
    TimeReserved,
    /// The request with this idempotency key has succeeded already.
    #[error("the idempotency key was used meanwhile")]
    Repeat,
    /// A counter reached its limit.
    #[error("the limit {constraint} is reached")]
    Limit {
        /// The name of the CHECK.
        constraint: String,
    },
    /// A unique index that is a rule.
    #[error("{constraint} is taken")]
    Taken {
        /// The name of the index.
        constraint: String,
    },
    /// Anything else: our fault, or Postgres is away.
    #[error("the store failed: {0}")]
    Store(#[source] BoxError),
}

/// Unique indexes that are rules of the business, and not a race for a stream.
const RULES: &[&str] = &["app_user_email", "directory_pkey", "membership_staff"];

impl From<sqlx::Error> for CommitError {
    fn from(error: sqlx::Error) -> Self {
        let Some(refused) = error.as_database_error() else { return Self::Store(error.into()) };
        let constraint = refused.constraint().unwrap_or_default();
        match refused.code().as_deref() {
            Some("23505") if constraint == "idempotency_key_pkey" => Self::Repeat,
            Some("23505") if RULES.contains(&constraint) => {
                Self::Taken { constraint: constraint.to_owned() }
            }
            Some("23P01") => Self::TimeReserved,
            // So does the constraint on the seats of a class.
            Some("23514") if constraint == "reserved_time_seats" => Self::TimeReserved,
            // AR001 is raised by guard_reads.
            Some("23505" | "40P01" | "40001" | "AR001") => Self::Conflict,
            Some("23514") if constraint == "monthly_usage_within_cap" => {
                Self::Limit { constraint: constraint.to_owned() }
            }
            _ => Self::Store(error.into()),
        }
    }
}

impl From<Unreadable> for CommitError {
    fn from(error: Unreadable) -> Self {
        Self::Store(error.into())
    }
}

/// Whether the error says that Postgres is away or full, and not that we asked something wrong.
#[must_use]
pub fn is_unavailable(error: &(dyn std::error::Error + 'static)) -> bool {
    let Some(error) = error.downcast_ref::<sqlx::Error>() else { return false };
    if let sqlx::Error::Database(refused) = error {
        let code = refused.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::code);
        // 08 connection, 53 resources, 57P shutdown, 57014 statement timeout, 25006 read-only,
        // 25P03 idle in transaction.
        return code.is_some_and(|code| {
            ["08", "53", "57P", "57014", "25006", "25P03"]
                .iter()
                .any(|class| code.starts_with(class))
        });
    }
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
    )
}
