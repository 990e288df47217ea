use sqlx::PgConnection;
use streams::{
    consumer::{Failure, Projector},
    log::Recorded,
};

use super::changes::AvailabilityChanges;
use crate::changes::project;

/// Builds `availability`.
#[derive(Debug, Clone, Copy)]
pub struct AvailabilityProjector;

impl Projector for AvailabilityProjector {
    const NAME: &'static str = "project-availability";
    const SCHEMA: &'static str = "availability";

    async fn project(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        project::<AvailabilityChanges>(connection, batch).await
    }
}
