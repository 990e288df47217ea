//! Builds a read model anew beside the live one, proves the two equal, and swaps it in.
//!
//! Live traffic goes on. Nothing here holds a writing transaction open for long: it would stall the
//! feed for everybody.

mod build;
mod compare;
mod copy;
mod error;
mod model;
mod read;
mod shadow;
mod since;
mod swap;
#[cfg(test)]
mod tests;

use std::time::Instant;

use serde::Serialize;
use serde_json::{Map, Value};
use streams::{Cursor, Database};

pub use error::RebuildError;
pub use model::ReadModel;

use self::{
    build::{Build, SIZES},
    model::Rebuilt,
    shadow::Shadow,
};
pub(crate) use copy::Rows;

/// What to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Only prove the live model right or wrong; it stays as it is.
    pub verify: bool,
    /// Trust what has no event behind this position: such rows are copied from the live model.
    pub from: Option<Cursor>,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The log is read and the new tables are filled.
    Build,
    /// The new tables are compared with the live ones, row by row.
    Compare,
    /// The new tables take the place of the live ones.
    Swap,
}

/// How far it has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// With what.
    pub phase: Phase,
    /// Steps done, of which there are about `total`.
    pub done: u64,
    /// How many steps there are.
    pub total: u64,
    /// Events applied so far.
    pub events: u64,
}

/// Is told how far it has come, often.
pub type Watcher<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// What a rebuild found and did.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Which model.
    pub model: ReadModel,
    /// Events applied, up to where both were compared.
    pub events: u64,
    /// How long reading and building took, without comparing and swapping.
    pub seconds: f64,
    /// Events applied a second while building.
    pub events_per_second: f64,
    /// Rows compared.
    pub rows: u64,
    /// Whether the live model was as the log says.
    pub equal: bool,
    /// Where it was not, first by table and key.
    pub first_difference: Option<Difference>,
    /// Whether the rebuilt model is the live one now.
    pub swapped: bool,
    /// The place in the feed at which both were compared.
    pub position: Cursor,
    /// False when the projector has never run: the model is then as empty as the log's start.
    pub ran: bool,
}

/// A row that is not as the log says.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// Of which table.
    pub table: &'static str,
    /// Its primary key.
    pub key: Map<String, Value>,
    /// As it is; `None` when it is missing.
    pub live: Option<Value>,
    /// As the log says; `None` when there should be none.
    pub rebuilt: Option<Value>,
    /// What happened to it, in order, the last hundred.
    pub events: Vec<KeyEvent>,
}

/// An event about a key.
#[derive(Debug, Clone, Serialize)]
pub struct KeyEvent {
    /// Its place in the feed.
    pub position: Cursor,
    /// Such as `booking.appointment.booked.v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was decided.
    pub time: jiff::Timestamp,
}

/// Rebuilds one read model. `database` signs in as the owner of the schema.
///
/// # Errors
/// When another rebuild of the model runs, an event cannot be applied, or Postgres fails. The live
/// model is untouched then.
pub async fn rebuild(
    database: &Database,
    model: ReadModel,
    options: Options,
    watcher: Watcher<'_>,
) -> Result<Outcome, RebuildError> {
    match model {
        ReadModel::Availability => {
            run::<crate::availability::AvailabilityProjector>(database, model, options, watcher)
                .await
        }
        ReadModel::Agenda => {
            run::<crate::agenda::AgendaProjector>(database, model, options, watcher).await
        }
        ReadModel::Audit => {
            run::<crate::audit::AuditProjector>(database, model, options, watcher).await
        }
        ReadModel::Notifications => {
            run::<crate::notifications::NotificationsProjector>(database, model, options, watcher)
                .await
        }
    }
}

async fn run<M: Rebuilt>(
    database: &Database,
    model: ReadModel,
    options: Options,
    watcher: Watcher<'_>,
) -> Result<Outcome, RebuildError> {
    let shadow = Shadow::create::<M>(database, options.verify).await?;
    let mut build = Build::<M>::begin(database, shadow, SIZES, watcher).await?;
    let outcome = prove(&mut build, database, model, options).await;
    // What is left behind is dropped by the next run, and must not hide what this one found.
    if let Err(error) = build.shadow.drop_leftovers::<M>().await {
        tracing::warn!(model = M::SCHEMA, %error, "tables were left behind");
    }
    outcome
}

async fn prove<M: Rebuilt>(
    build: &mut Build<'_, M>,
    database: &Database,
    model: ReadModel,
    options: Options,
) -> Result<Outcome, RebuildError> {
    let began = Instant::now();
    if let Some(position) = options.from {
        build.begin_behind(database, position).await?;
    }
    let ran = build.catch_up().await?;
    build.shadow.analyze::<M>().await?;
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let events_per_second = if seconds > 0.0 { build.events as f64 / seconds } else { 0.0 };
    let compared = compare::compare(build, database).await?;
    // With those that came in meanwhile: all up to the place of the comparison.
    let events = build.events;
    if !options.verify {
        swap::swap(build).await?;
    }
    Ok(Outcome {
        model,
        events,
        seconds,
        events_per_second,
        rows: compared.rows,
        equal: compared.difference.is_none(),
        first_difference: compared.difference,
        swapped: !options.verify,
        position: compared.position,
        ran,
    })
}
