use sqlx::PgConnection;
use streams::{
    consumer::{Failure, Projector},
    log::Recorded,
};

use super::changes::NotificationsChanges;
use crate::changes::project;

/// Builds `notifications`.
#[derive(Debug, Clone, Copy)]
pub struct NotificationsProjector;

impl Projector for NotificationsProjector {
    const NAME: &'static str = "project-notifications";
    const SCHEMA: &'static str = "notifications";

    async fn project(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        project::<NotificationsChanges>(connection, batch).await
    }
}
