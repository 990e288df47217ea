use sqlx::PgConnection;
use streams::{
    consumer::{Failure, Projector},
    log::Recorded,
};

use super::changes::AuditChanges;
use crate::changes::project;

/// Builds `audit`.
#[derive(Debug, Clone, Copy)]
pub struct AuditProjector;

impl Projector for AuditProjector {
    const NAME: &'static str = "project-audit";
    const SCHEMA: &'static str = "audit";

    async fn project(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        project::<AuditChanges>(connection, batch).await
    }
}
