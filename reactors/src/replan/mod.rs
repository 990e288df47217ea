//! Plans reminders again, when the business wants its guests reminded otherwise than when they booked, or a guest
//! does.

mod difference;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use domain::{
    AppointmentId, BusinessId, CustomerId, ServiceId,
    appointment::{Appointment, Status, Visit},
    business::{Business, BusinessState},
    notification::reminders_for,
};
use sqlx::{PgConnection, Row};
use streams::{
    BoxError, Cursor, Origin, clock,
    consumer::Failure,
    leader,
    log::{Loaded, Log, StreamKey},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    reach::Guests,
    scheduler::{GUEST_PREFERENCE, agreeing, complete, known, write},
};

/// Why a reminder is called off.
const OTHER_POLICY: &str = "other_policy";
const JOB: &str = "replan-reminders";
const TICK: Duration = Duration::from_secs(1);
/// A round that takes longer has lost its server.
const PATIENCE: Duration = Duration::from_secs(120);
/// What could not be done is tried again after this: it must not hold up the others meanwhile.
const AGAIN: Duration = Duration::from_secs(3);
/// Visits in one transaction.
const PAGE: i64 = 100;
/// Where upcoming visits are looked up.
const AGENDA: &str = projections::CONSUMERS[1];

/// One process at a time plans again; the others wait for its connection to end. When two think that they
/// do, the streams decide: each message is planned once.
pub(crate) struct Replanner {
    log: Log,
}

/// What is to be done, and how far it is.
struct Task {
    replan_id: i64,
    business_id: BusinessId,
    service_id: Option<ServiceId>,
    customer_id: Option<CustomerId>,
    after: (jiff_sqlx::Timestamp, Uuid),
    origin: Origin,
}

/// Whose turn it is: a page of each task in turn, so that the many visits of one business do not hold up the few
/// of another.
#[derive(Default)]
struct Turns {
    last: i64,
    /// These are left alone for a while.
    failed: HashMap<i64, Instant>,
}

/// An upcoming visit.
struct Upcoming {
    id: AppointmentId,
    visit: Visit,
    revision: u32,
}

impl Replanner {
    pub(crate) const fn new(log: Log) -> Self {
        Self { log }
    }

    /// Runs until stopped.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        leader::until_stopped(JOB, TICK, &stop, || self.work(&stop)).await;
    }

    async fn work(&self, stop: &CancellationToken) -> Result<(), BoxError> {
        let lead = leader::lead(self.log.database(), JOB, stop).await?;
        let Some(mut connection) = lead else { return Ok(()) };
        let mut turns = Turns::default();
        loop {
            let tick = tokio::time::timeout(PATIENCE, self.tick(&mut connection, &mut turns));
            let more = tick.await.map_err(|_elapsed| "Postgres does not answer")??;
            if !more {
                tokio::time::sleep(TICK).await;
            }
        }
    }

    /// One page of the task whose turn it is; true when there may be more to do.
    async fn tick(
        &self,
        connection: &mut PgConnection,
        turns: &mut Turns,
    ) -> Result<bool, BoxError> {
        turns.failed.retain(|_, since| since.elapsed() < AGAIN);
        let Some(task) = next(connection, turns).await? else { return Ok(false) };
        turns.last = task.replan_id;
        let page = page(connection, &task).await?;
        let Some(last) = page.last().copied() else {
            done(connection, task.replan_id).await?;
            return Ok(true);
        };
        match self.plan_again(connection, &task, &page, last).await {
            Ok(()) => Ok(true),
            // A sender or the scheduler was faster with one of them: the page is looked at again, behind
            // those of others.
            Err(Failure::Transient(error)) => {
                let business = task.business_id;
                tracing::warn!(%business, %error, "reminders are planned again a little later");
                turns.failed.insert(task.replan_id, Instant::now());
                Ok(true)
            }
            Err(error @ (Failure::Poison(_) | Failure::Unreadable(_))) => {
                let business = task.business_id;
                tracing::error!(%business, ?error, "reminders could not be planned again; it is tried later");
                metrics::counter!("apptremind_replan_failures_total").increment(1);
                turns.failed.insert(task.replan_id, Instant::now());
                Ok(true)
            }
        }
    }

    async fn plan_again(
        &self,
        connection: &mut PgConnection,
        task: &Task,
        page: &[(jiff_sqlx::Timestamp, Uuid)],
        last: (jiff_sqlx::Timestamp, Uuid),
    ) -> Result<(), Failure> {
        let business_key = StreamKey::of::<Business>(task.business_id);
        let ids: Vec<AppointmentId> = page.iter().map(|(_, id)| AppointmentId::new(*id)).collect();
        let keys = ids.iter().map(|id| StreamKey::of::<Appointment>(*id));
        let keys: Vec<StreamKey> = keys.chain([business_key.clone()]).collect();
        let transient = |error: streams::log::CommitError| Failure::Transient(error.into());
        let histories = self.log.load(task.business_id, &keys).await.map_err(transient)?;
        let business: Loaded<Business> = histories.fold(&business_key).map_err(transient)?;
        let Some(business) = business.state.registered() else {
            return Err(Failure::Poison("a business that nobody registered".into()));
        };
        let mut upcoming = Vec::with_capacity(ids.len());
        for id in ids {
            let key = StreamKey::of::<Appointment>(id);
            let loaded: Loaded<Appointment> = histories.fold(&key).map_err(transient)?;
            if let Some((visit, Status::Booked)) = loaded.state.known() {
                let revision = loaded.state.revision();
                upcoming.push(Upcoming { id, visit: visit.clone(), revision });
            }
        }
        self.write(connection, task, business, &upcoming, last).await
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        task: &Task,
        business: &BusinessState,
        upcoming: &[Upcoming],
        last: (jiff_sqlx::Timestamp, Uuid),
    ) -> Result<(), Failure> {
        use sqlx::Connection;
        let ids: Vec<Uuid> = upcoming.iter().map(|one| one.id.uuid()).collect();
        let mut transaction = connection.begin().await?;
        // All reading comes before the first write, as the feed needs it.
        let known = known(&mut transaction, &ids).await?;
        let customers = upcoming.iter().map(|one| one.visit.customer_id.uuid());
        let customers: Vec<Uuid> = customers.collect();
        let guests = Guests::read(&mut transaction, &ids, &customers).await?;
        let (now, zone) = (clock::now(), &business.profile.value.timezone);
        let (mut planned, mut called_off) = (Vec::new(), Vec::new());
        for Upcoming { id, visit, revision } in upcoming {
            let policy = business.reminders(visit.service_id);
            let reach = guests.of(*id, visit.customer_id, &policy, zone);
            let (wanted, reason) = if reach.is_declined() {
                (vec![], GUEST_PREFERENCE)
            } else {
                (reminders_for(*id, visit, *revision, reach), OTHER_POLICY)
            };
            let there = known.values().filter(|work| work.appointment_id == *id);
            let difference = difference::between(wanted, there, revision + 1, (now, reason));
            for (plan, late) in difference.plan {
                planned.push(difference::planned(task.business_id, &task.origin, plan, late)?);
            }
            called_off.extend(difference.call_off);
        }
        complete(&mut transaction, &mut planned).await?;
        agreeing(&mut transaction, &mut called_off).await?;
        write(&mut transaction, &planned, &called_off).await?;
        sqlx::query("UPDATE replan SET after_start = $2, after_id = $3 WHERE replan_id = $1")
            .bind(task.replan_id)
            .bind(last.0)
            .bind(last.1)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.log.nudge();
        Ok(())
    }
}

/// Visits that were booked before the change must be in the model; those that come later are planned with it anyway.
async fn next(connection: &mut PgConnection, turns: &Turns) -> Result<Option<Task>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT replan_id, business_id, service_id, customer_id, after_start, after_id, correlation_id,
                traceparent
           FROM replan
          WHERE replan_id <> ALL($1)
            AND (transaction_id, position) <=
                (SELECT transaction_id, position FROM consumer_checkpoint WHERE consumer = $3)
          ORDER BY replan_id <= $2, replan_id LIMIT 1",
    )
    .bind(turns.failed.keys().copied().collect::<Vec<_>>())
    .bind(turns.last)
    .bind(AGENDA)
    .fetch_optional(connection)
    .await?;
    let task = |row: sqlx::postgres::PgRow| -> Result<Task, sqlx::Error> {
        let service_id: Option<Uuid> = row.try_get("service_id")?;
        let customer_id: Option<Uuid> = row.try_get("customer_id")?;
        Ok(Task {
            replan_id: row.try_get("replan_id")?,
            business_id: BusinessId::new(row.try_get("business_id")?),
            service_id: service_id.map(ServiceId::new),
            customer_id: customer_id.map(CustomerId::new),
            after: (row.try_get("after_start")?, row.try_get("after_id")?),
            origin: Origin {
                correlation_id: row.try_get("correlation_id")?,
                causation_id: None,
                traceparent: row.try_get("traceparent")?,
            },
        })
    };
    row.map(task).transpose()
}

/// Whether the model of visits knows all that had happened up to this place.
pub(crate) async fn has_passed(
    connection: &mut PgConnection,
    place: Cursor,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM consumer_checkpoint
                         WHERE consumer = $1 AND (transaction_id, position) >= ($2::text::xid8, $3))",
    )
    .bind(AGENDA)
    .bind(place.xid())
    .bind(place.position)
    .fetch_one(connection)
    .await
}

/// The next visits that the change concerns, by their start.
async fn page(
    connection: &mut PgConnection,
    task: &Task,
) -> Result<Vec<(jiff_sqlx::Timestamp, Uuid)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT starts_at, appointment_id FROM agenda.appointment
          WHERE business_id = $1 AND starts_at > now() AND status = 'booked'
            AND ($2::uuid IS NULL OR service_id = $2)
            AND ($6::uuid IS NULL OR customer_id = $6) AND (starts_at, appointment_id) > ($3, $4)
          ORDER BY starts_at, appointment_id LIMIT $5",
    )
    .bind(task.business_id.uuid())
    .bind(task.service_id.map(|id| id.uuid()))
    .bind(task.after.0)
    .bind(task.after.1)
    .bind(PAGE)
    .bind(task.customer_id.map(|id| id.uuid()))
    .fetch_all(connection)
    .await
}

async fn done(connection: &mut PgConnection, replan_id: i64) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM replan WHERE replan_id = $1")
        .bind(replan_id)
        .execute(connection)
        .await?;
    Ok(())
}
