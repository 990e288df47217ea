//! Follows the feed: from `JetStream` when it is there, from Postgres for what it lost.

mod checkpoint;
mod follow;
mod live;

use std::future::Future;

use sqlx::PgConnection;

pub use checkpoint::{Checkpoint, checkpoints};
pub use follow::run;

use crate::{
    BoxError,
    log::{Recorded, Unreadable},
};

/// Why a batch was not applied.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Worth another try later.
    #[error("{0}")]
    Transient(#[source] BoxError),
    /// Will never succeed: a reactor sets it aside, a projector stops.
    #[error("{0}")]
    Poison(#[source] BoxError),
    /// Written by a newer build: both stop, until they are of that build too.
    #[error("{0}")]
    Unreadable(#[source] BoxError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        // What Postgres refuses about the data itself it will refuse again.
        let code = error.as_database_error().and_then(|refused| refused.code());
        let refused = code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"));
        // Nor does a stored value that does not fit its type fit it later.
        let misfit = matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. });
        if refused || misfit { Self::Poison(error.into()) } else { Self::Transient(error.into()) }
    }
}

impl From<Unreadable> for Failure {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error.into())
    }
}

/// Builds a read model. Pure and replayable: no clock, no other model, no personal data.
pub trait Projector: Send {
    /// The consumer's name, such as `project-agenda`.
    const NAME: &'static str;
    /// The Postgres schema that its unqualified table names mean.
    const SCHEMA: &'static str;

    /// Applies a batch; the caller moves the checkpoint in the same transaction. What was seen
    /// before is skipped already: redelivery and rebuild are one path.
    fn project(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Causes effects. A rebuild never runs it.
pub trait Reactor: Send {
    /// The consumer's name, such as `schedule-reminders`.
    const NAME: &'static str;

    /// Reacts to a batch; the caller moves the checkpoint in the same transaction.
    fn react(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What to do with an event that cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPoison {
    /// Stop and raise an alarm: a read model with a hole is worse than a late one.
    Halt,
    /// Note it for a person and go on.
    SetAside,
}

/// Either kind of consumer, as the loop sees it.
pub trait Follower: Send {
    /// The consumer's name.
    const NAME: &'static str;
    /// What to do with an event that cannot be applied.
    const ON_POISON: OnPoison;
    /// Where unqualified table names are looked up.
    const SEARCH_PATH: &'static str;
    /// Whether a commit waits for the disk. A read model need not: when the server fails it loses
    /// its last batches and their checkpoint together, and they are applied again.
    const WAITS_FOR_DISK: bool;

    /// Applies a batch within the caller's transaction.
    fn apply(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A [`Projector`] in the loop.
#[derive(Debug)]
pub struct Projecting<P>(pub P);

impl<P: Projector + Sync> Follower for Projecting<P> {
    const NAME: &'static str = P::NAME;
    const ON_POISON: OnPoison = OnPoison::Halt;
    const SEARCH_PATH: &'static str = P::SCHEMA;
    const WAITS_FOR_DISK: bool = false;

    async fn apply(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        self.0.project(connection, batch).await
    }
}

/// A [`Reactor`] in the loop.
#[derive(Debug)]
pub struct Reacting<R>(pub R);

impl<R: Reactor + Sync> Follower for Reacting<R> {
    const NAME: &'static str = R::NAME;
    const ON_POISON: OnPoison = OnPoison::SetAside;
    const SEARCH_PATH: &'static str = "public";
    const WAITS_FOR_DISK: bool = true;

    async fn apply(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        self.0.react(connection, batch).await
    }
}
