use std::collections::BTreeMap;

use domain::{
    Aggregate, NotificationId,
    notification::{AccountPlan, Notification, NotificationEvent, Plan},
};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use streams::{consumer::Failure, log::Fact};
use uuid::Uuid;

use crate::{
    changes::{Changes, id_of, integer},
    rebuild::Rows,
};

/// What became of a message; `None` leaves a column.
#[derive(Debug, Default)]
struct Fate {
    status: &'static str,
    attempts: Option<u32>,
    reason: Option<String>,
    sent_at: Option<Timestamp>,
    delivered_at: Option<Timestamp>,
    provider: Option<String>,
    provider_id: Option<String>,
    /// Ends with the wait: what happens next clears it.
    next_at: Option<Timestamp>,
    sequence: i64,
}

impl Fate {
    /// What is left when one follows the other.
    fn then(&mut self, next: Self) {
        self.status = next.status;
        self.attempts = next.attempts.or(self.attempts);
        self.reason = next.reason.or(self.reason.take());
        self.sent_at = next.sent_at.or(self.sent_at);
        self.delivered_at = next.delivered_at.or(self.delivered_at);
        self.provider = next.provider.or(self.provider.take());
        self.provider_id = next.provider_id.or(self.provider_id.take());
        self.next_at = next.next_at;
        self.sequence = next.sequence;
    }
}

#[derive(Debug)]
struct Planned {
    business_id: Uuid,
    what: What,
    fate: Fate,
}

/// What is to be sent.
#[derive(Debug)]
struct What {
    /// `None` when it is about an account.
    appointment_id: Option<Uuid>,
    kind: &'static str,
    channel: &'static str,
    offset_minutes: u32,
    due_at: Timestamp,
    moved_from: Option<Timestamp>,
}

impl From<Plan> for What {
    fn from(plan: Plan) -> Self {
        Self {
            appointment_id: Some(plan.appointment_id.uuid()),
            kind: plan.kind.as_str(),
            channel: plan.channel.as_str(),
            offset_minutes: plan.offset_minutes,
            due_at: plan.due_at,
            moved_from: plan.moved_from,
        }
    }
}

impl From<AccountPlan> for What {
    fn from(plan: AccountPlan) -> Self {
        Self {
            appointment_id: None,
            kind: plan.mail.as_str(),
            channel: plan.channel.as_str(),
            offset_minutes: 0,
            due_at: plan.due_at,
            moved_from: None,
        }
    }
}

/// What a batch changes in `notifications`.
#[derive(Debug, Default)]
pub(crate) struct NotificationsChanges {
    planned: BTreeMap<Uuid, Planned>,
    /// Of messages that were planned before the batch.
    fates: BTreeMap<Uuid, Fate>,
}

const COLUMNS: &str = "notification_id, business_id, appointment_id, kind, channel, \
    offset_minutes, due_at, moved_from, status, attempts, reason, sent_at, delivered_at, provider, \
    provider_id, next_attempt_at, sequence";

impl Changes for NotificationsChanges {
    const KINDS: &'static [&'static str] = &[Notification::TYPE];

    fn take(&mut self, fact: &Fact<'_>) -> Result<(), Failure> {
        let Some(event) = fact.of::<Notification>()? else { return Ok(()) };
        let id = id_of::<NotificationId>(fact.stream_id)?.uuid();
        let status = |status| Fate { status, sequence: fact.sequence, ..Fate::default() };
        let tried =
            |name, attempt, reason| Fate { attempts: Some(attempt), reason, ..status(name) };
        let fate = match event {
            NotificationEvent::ReminderRequested { plan }
            | NotificationEvent::Requested { plan } => {
                return self.plan(id, fact, plan.into(), status("pending"));
            }
            NotificationEvent::AccountMailRequested { plan } => {
                return self.plan(id, fact, plan.into(), status("pending"));
            }
            NotificationEvent::Skipped { plan, reason } => {
                let fate = Fate { reason: Some(reason), ..status("skipped") };
                return self.plan(id, fact, plan.into(), fate);
            }
            NotificationEvent::FellDue {} => status("offered"),
            NotificationEvent::Retried {} => status("pending"),
            NotificationEvent::Sent { attempt, receipt } => {
                let (provider, provider_id) = receipt.map(|r| (r.provider, r.provider_id)).unzip();
                let sent_at = Some(fact.occurred_at);
                let provider_id = provider_id.flatten();
                Fate { sent_at, provider, provider_id, ..tried("sent", attempt, None) }
            }
            NotificationEvent::Delivered {} => {
                Fate { delivered_at: Some(fact.occurred_at), ..status("delivered") }
            }
            NotificationEvent::Undelivered { reason } => {
                Fate { reason: Some(reason), ..status("failed") }
            }
            NotificationEvent::Deferred { attempt, reason, next_at } => {
                Fate { next_at: Some(next_at), ..tried("pending", attempt, Some(reason)) }
            }
            NotificationEvent::Failed { attempt, reason } => tried("failed", attempt, Some(reason)),
            NotificationEvent::BecameUncertain { attempt, reason } => {
                tried("uncertain", attempt, Some(reason))
            }
            NotificationEvent::Cancelled { reason } => Fate { reason, ..status("cancelled") },
            NotificationEvent::Expired {} => status("expired"),
        };
        match self.planned.get_mut(&id) {
            Some(planned) => planned.fate.then(fate),
            None => self.fates.entry(id).or_default().then(fate),
        }
        Ok(())
    }

    async fn write(self, connection: &mut PgConnection) -> Result<(), Failure> {
        insert(connection, &self.planned).await?;
        update(connection, &self.fates).await
    }

    async fn copy(self, connection: &mut PgConnection) -> Result<(), Failure> {
        let mut rows = Rows::new(17);
        for (id, Planned { business_id, what, fate }) in &self.planned {
            rows.begin();
            rows.uuid(*id);
            rows.uuid(*business_id);
            rows.maybe(what.appointment_id, Rows::uuid);
            rows.text(what.kind);
            rows.text(what.channel);
            rows.integer(integer(what.offset_minutes));
            rows.instant(what.due_at);
            rows.maybe(what.moved_from, Rows::instant);
            rows.text(fate.status);
            rows.integer(integer(fate.attempts.unwrap_or(0)));
            rows.maybe(fate.reason.as_deref(), Rows::text);
            rows.maybe(fate.sent_at, Rows::instant);
            rows.maybe(fate.delivered_at, Rows::instant);
            rows.maybe(fate.provider.as_deref(), Rows::text);
            rows.maybe(fate.provider_id.as_deref(), Rows::text);
            rows.maybe(fate.next_at, Rows::instant);
            rows.bigint(fate.sequence);
        }
        rows.send(connection, "notification", COLUMNS).await?;
        update(connection, &self.fates).await
    }
}

impl NotificationsChanges {
    fn plan(&mut self, id: Uuid, fact: &Fact<'_>, what: What, fate: Fate) -> Result<(), Failure> {
        let planned = Planned { business_id: fact.business_id.uuid(), what, fate };
        match self.planned.insert(id, planned) {
            None => Ok(()),
            Some(_) => Err(Failure::Poison("the message is planned already".into())),
        }
    }
}

async fn insert(
    connection: &mut PgConnection,
    planned: &BTreeMap<Uuid, Planned>,
) -> Result<(), Failure> {
    if planned.is_empty() {
        return Ok(());
    }
    let rows = || planned.values();
    let sql = format!(
        "INSERT INTO notification ({COLUMNS})
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[],
                              $6::integer[], $7::timestamptz[], $8::timestamptz[], $9::text[],
                              $10::integer[], $11::text[], $12::timestamptz[], $13::timestamptz[],
                              $14::text[], $15::text[], $16::timestamptz[], $17::bigint[])"
    );
    sqlx::query(&sql)
        .bind(planned.keys().copied().collect::<Vec<_>>())
        .bind(rows().map(|row| row.business_id).collect::<Vec<_>>())
        .bind(rows().map(|row| row.what.appointment_id).collect::<Vec<_>>())
        .bind(rows().map(|row| row.what.kind).collect::<Vec<_>>())
        .bind(rows().map(|row| row.what.channel).collect::<Vec<_>>())
        .bind(rows().map(|row| integer(row.what.offset_minutes)).collect::<Vec<_>>())
        .bind(rows().map(|row| row.what.due_at.to_sqlx()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.what.moved_from.map(ToSqlx::to_sqlx)).collect::<Vec<_>>())
        .bind(rows().map(|row| row.fate.status).collect::<Vec<_>>())
        .bind(rows().map(|row| integer(row.fate.attempts.unwrap_or(0))).collect::<Vec<_>>())
        .bind(rows().map(|row| row.fate.reason.as_deref()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.fate.sent_at.map(ToSqlx::to_sqlx)).collect::<Vec<_>>())
        .bind(rows().map(|row| row.fate.delivered_at.map(ToSqlx::to_sqlx)).collect::<Vec<_>>())
        .bind(rows().map(|row| row.fate.provider.as_deref()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.fate.provider_id.as_deref()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.fate.next_at.map(ToSqlx::to_sqlx)).collect::<Vec<_>>())
        .bind(rows().map(|row| row.fate.sequence).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

async fn update(
    connection: &mut PgConnection,
    fates: &BTreeMap<Uuid, Fate>,
) -> Result<(), Failure> {
    if fates.is_empty() {
        return Ok(());
    }
    let all = || fates.values();
    sqlx::query(
        "UPDATE notification n
            SET status = new.status, attempts = coalesce(new.attempts, n.attempts),
                reason = coalesce(new.reason, n.reason),
                sent_at = coalesce(new.sent_at, n.sent_at),
                delivered_at = coalesce(new.delivered_at, n.delivered_at),
                provider = coalesce(new.provider, n.provider),
                provider_id = coalesce(new.provider_id, n.provider_id),
                next_attempt_at = new.next_at, sequence = new.sequence
           FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::text[], $5::timestamptz[],
                       $6::timestamptz[], $7::text[], $8::text[], $9::timestamptz[], $10::bigint[])
             AS new (id, status, attempts, reason, sent_at, delivered_at, provider, provider_id,
                     next_at, sequence)
          WHERE n.notification_id = new.id",
    )
    .bind(fates.keys().copied().collect::<Vec<_>>())
    .bind(all().map(|fate| fate.status).collect::<Vec<_>>())
    .bind(all().map(|fate| fate.attempts.map(integer)).collect::<Vec<_>>())
    .bind(all().map(|fate| fate.reason.as_deref()).collect::<Vec<_>>())
    .bind(all().map(|fate| fate.sent_at.map(ToSqlx::to_sqlx)).collect::<Vec<_>>())
    .bind(all().map(|fate| fate.delivered_at.map(ToSqlx::to_sqlx)).collect::<Vec<_>>())
    .bind(all().map(|fate| fate.provider.as_deref()).collect::<Vec<_>>())
    .bind(all().map(|fate| fate.provider_id.as_deref()).collect::<Vec<_>>())
    .bind(all().map(|fate| fate.next_at.map(ToSqlx::to_sqlx)).collect::<Vec<_>>())
    .bind(all().map(|fate| fate.sequence).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
