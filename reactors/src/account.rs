//! Mails about accounts: plans one when somebody is invited or forgot a password, and grants the wishes of
//! those who did. Also notes whose week may be told of at another time from now on.

use std::{collections::HashSet, time::Duration};

use commands::identity::Resets;
use domain::{
    BusinessId, Decide,
    business::{Business, BusinessEvent},
    invitation::{Invitation, InvitationEvent},
    notification::{AccountMail, AccountPlan, Channel, Notification, NotificationCommand},
    user::{User, UserEvent},
};
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use streams::{
    BoxError, Database, Origin,
    consumer::{Failure, Reactor},
    leader,
    log::{Recorded, StreamKey},
};
use tokio_util::sync::CancellationToken;

use crate::{
    scheduler::refused,
    weekly,
    work::{self, Append},
};

/// A mail to be planned.
pub(crate) struct Planned {
    pub(crate) business_id: BusinessId,
    pub(crate) origin: Origin,
    pub(crate) plan: AccountPlan,
}

/// Plans mails about accounts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccountMails;

impl Reactor for AccountMails {
    const NAME: &'static str = "plan-account-mails";

    async fn react(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        let (mut planned, mut changed) = (Vec::new(), Vec::new());
        for event in batch {
            if let Some(plan) = plan(event)? {
                let (business_id, origin) = (event.business_id, event.origin());
                planned.push(Planned { business_id, origin, plan });
            }
            if let Some(BusinessEvent::Registered { .. } | BusinessEvent::ProfileChanged { .. }) =
                event.of::<Business>()?
            {
                changed.push(event.business_id);
            }
        }
        write(connection, planned).await?;
        Ok(weekly::look_again(connection, &changed).await?)
    }
}

/// Plans each mail that was not planned before. Reads first, and appends before it writes anything else.
pub(crate) async fn write(
    connection: &mut PgConnection,
    mut planned: Vec<Planned>,
) -> Result<(), Failure> {
    let there = there(connection, &planned).await?;
    planned.retain(|new| !there.contains(&new.plan.notification_id().to_string()));
    let mut appends = Vec::with_capacity(planned.len());
    for Planned { business_id, origin, plan } in &planned {
        let command = NotificationCommand::RequestAccountMail { plan: plan.clone() };
        let events = Notification::default().decide(command);
        appends.push(Append {
            business_id: *business_id,
            origin: origin.clone(),
            stream: StreamKey::of::<Notification>(plan.notification_id()),
            sequence: 0,
            events: events.map_err(|error| Failure::Poison(error.into()))?,
        });
    }
    work::append(connection, "scheduler", appends.into_iter()).await.map_err(refused)?;
    Ok(insert(connection, &planned).await?)
}

fn plan(event: &Recorded) -> Result<Option<AccountPlan>, Failure> {
    let (mail, expires_at) = if let Some(fact) = event.of::<User>()? {
        let UserEvent::PasswordResetRequested { reset_id, expires_at } = fact else {
            return Ok(None);
        };
        (AccountMail::PasswordReset { reset_id }, expires_at)
    } else if let Some(fact) = event.of::<Invitation>()? {
        let InvitationEvent::Sent { expires_at, .. } = fact else { return Ok(None) };
        let id = event.stream.id.parse();
        let invitation_id = id.map_err(|error: domain::IdError| Failure::Poison(error.into()))?;
        (AccountMail::Invitation { invitation_id }, expires_at)
    } else {
        return Ok(None);
    };
    let (channel, due_at) = (Channel::Email, event.occurred_at);
    Ok(Some(AccountPlan { mail, channel, due_at, expires_at }))
}

/// What has a stream was planned before.
async fn there(
    connection: &mut PgConnection,
    planned: &[Planned],
) -> Result<HashSet<String>, sqlx::Error> {
    if planned.is_empty() {
        return Ok(HashSet::new());
    }
    let ids = planned.iter().map(|new| new.plan.notification_id().to_string());
    let there: Vec<String> = sqlx::query_scalar(
        "SELECT aggregate_id FROM events
          WHERE aggregate_type = 'notification' AND aggregate_id = ANY($1) AND sequence = 1",
    )
    .bind(ids.collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(there.into_iter().collect())
}

async fn insert(connection: &mut PgConnection, planned: &[Planned]) -> Result<(), sqlx::Error> {
    for Planned { business_id, origin, plan } in planned {
        sqlx::query(
            "INSERT INTO notification (notification_id, business_id, appointment_id, kind, channel,
                                       offset_minutes, version, state, due_at, next_at, expires_at,
                                       sequence, correlation_id, traceparent)
             VALUES ($1, $2, $3, $4, $5, 0, $10, 'pending', $6, $6, $7, 1, $8, $9)",
        )
        .bind(plan.notification_id().uuid())
        .bind(business_id.uuid())
        .bind(plan.mail.about())
        .bind(plan.mail.as_str())
        .bind(plan.channel.as_str())
        .bind(plan.due_at.to_sqlx())
        .bind(plan.expires_at.to_sqlx())
        .bind(origin.correlation_id)
        .bind(origin.traceparent.as_deref())
        .bind(i32::try_from(plan.mail.version()).unwrap_or(i32::MAX))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

const JOB: &str = "grant-resets";
const TICK: Duration = Duration::from_millis(500);
/// A round that takes longer has lost its server.
const PATIENCE: Duration = Duration::from_secs(60);

/// One process at a time turns wishes for another password into links, until stopped.
pub(crate) async fn grant_resets(database: Database, resets: Resets, stop: CancellationToken) {
    let work = async || -> Result<(), BoxError> {
        let lead = leader::lead(&database, JOB, &stop).await?;
        let Some(mut connection) = lead else { return Ok(()) };
        loop {
            let granting = leader::meanwhile(&mut connection, resets.grant());
            let granted = tokio::time::timeout(PATIENCE, granting).await;
            let more = granted.map_err(|_elapsed| "Postgres does not answer")???;
            if !more {
                tokio::time::sleep(TICK).await;
            }
        }
    };
    leader::until_stopped(JOB, TICK * 2, &stop, work).await;
}
