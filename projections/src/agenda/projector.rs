use sqlx::PgConnection;
use streams::{
    consumer::{Failure, Projector},
    log::Recorded,
};

use super::changes::AgendaChanges;
use crate::changes::project;

/// Builds `agenda`.
#[derive(Debug, Clone, Copy)]
pub struct AgendaProjector;

impl Projector for AgendaProjector {
    const NAME: &'static str = "project-agenda";
    const SCHEMA: &'static str = "agenda";

    async fn project(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        project::<AgendaChanges>(connection, batch).await
    }
}
