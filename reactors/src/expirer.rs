//! Ends requests that nobody answered in time. A hold ends only by an event, and this is who writes it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use commands::{
    CommandError, Commands,
    appointment::{AnswerRequest, RequestAnswer},
};
use domain::{AppointmentId, BusinessId};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use streams::{Actor, BoxError, CommandContext, Database, Origin, clock, leader};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const JOB: &str = "expire-requests";
const TICK: Duration = Duration::from_millis(250);
/// A round that takes longer has lost its server.
const PATIENCE: Duration = Duration::from_secs(120);
const BATCH: i64 = 200;
/// What could not be ended is looked at again after this: it must not hold up the others.
const AGAIN: Duration = Duration::from_secs(30);

/// One process at a time ends requests; the others wait for its connection to end. When two think
/// that they do, the log decides: a request expires once.
pub(crate) struct Expirer {
    database: Database,
    commands: Commands,
}

/// A request whose time is over.
struct Lapsed {
    appointment_id: AppointmentId,
    business_id: BusinessId,
    expires_at: Timestamp,
}

impl Expirer {
    pub(crate) const fn new(database: Database, commands: Commands) -> Self {
        Self { database, commands }
    }

    /// Runs until stopped.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        leader::until_stopped(JOB, TICK * 2, &stop, || self.work(&stop)).await;
    }

    async fn work(&self, stop: &CancellationToken) -> Result<(), BoxError> {
        let lead = leader::lead(&self.database, JOB, stop).await?;
        let Some(mut connection) = lead else { return Ok(()) };
        let mut failed: HashMap<AppointmentId, Instant> = HashMap::new();
        loop {
            let tick = tokio::time::timeout(PATIENCE, self.tick(&mut connection, &mut failed));
            let more = tick.await.map_err(|_elapsed| "Postgres does not answer")??;
            if !more {
                tokio::time::sleep(TICK).await;
            }
        }
    }

    /// One round; true when there may be more.
    async fn tick(
        &self,
        connection: &mut PgConnection,
        failed: &mut HashMap<AppointmentId, Instant>,
    ) -> Result<bool, BoxError> {
        failed.retain(|_, since| since.elapsed() < AGAIN);
        let lapsed = lapsed(connection, clock::now(), failed.keys()).await?;
        let more = lapsed.len() as i64 == BATCH;
        for request in lapsed {
            if let Err(error) = leader::meanwhile(connection, self.end(&request)).await? {
                let id = request.appointment_id;
                tracing::warn!(appointment = %id, %error, "a request could not be ended; it is tried again");
                metrics::counter!("apptremind_request_expiry_failures_total").increment(1);
                failed.insert(id, Instant::now());
            }
        }
        Ok(more)
    }

    async fn end(&self, request: &Lapsed) -> Result<(), BoxError> {
        let context = CommandContext {
            business_id: request.business_id,
            actor: Actor::System("scheduler"),
            now: clock::now(),
            origin: Origin::of_our_own(),
        };
        let appointment_id = request.appointment_id;
        let expire = AnswerRequest { appointment_id, answer: RequestAnswer::Expire };
        let ended = self.commands.answer_request(&expire, &context).await;
        match ended {
            Ok(_) => {
                let late = context.now.duration_since(request.expires_at).as_secs_f64();
                metrics::histogram!("apptremind_request_expiry_lateness_seconds").record(late);
                Ok(())
            }
            // Answered this very moment, and the row is gone with it.
            Err(CommandError::Refused(_)) if !self.still_pending(request).await? => Ok(()),
            Err(error) => Err(error.to_string().into()),
        }
    }

    async fn still_pending(&self, request: &Lapsed) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pending_request WHERE appointment_id = $1)")
            .bind(request.appointment_id.uuid())
            .fetch_one(self.database.system())
            .await
    }
}

/// The requests whose time is over, the oldest first, without those that failed just now.
async fn lapsed(
    connection: &mut PgConnection,
    now: Timestamp,
    without: impl Iterator<Item = &AppointmentId>,
) -> Result<Vec<Lapsed>, sqlx::Error> {
    let rows: Vec<(Uuid, Uuid, jiff_sqlx::Timestamp)> = sqlx::query_as(
        "SELECT appointment_id, business_id, expires_at FROM pending_request
          WHERE expires_at <= $1 AND appointment_id <> ALL($2)
          ORDER BY expires_at LIMIT $3",
    )
    .bind(now.to_sqlx())
    .bind(without.map(|id| id.uuid()).collect::<Vec<_>>())
    .bind(BATCH)
    .fetch_all(connection)
    .await?;
    let lapsed = |(appointment, business, expires_at): (Uuid, Uuid, jiff_sqlx::Timestamp)| Lapsed {
        appointment_id: AppointmentId::new(appointment),
        business_id: BusinessId::new(business),
        expires_at: expires_at.to_jiff(),
    };
    Ok(rows.into_iter().map(lapsed).collect())
}
