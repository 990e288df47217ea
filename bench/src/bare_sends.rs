//! The reference of the reminders: a loop that writes the same rows and sends as many mails of the same
//! size, and does nothing else. No broker, no reading, no rendering.

use std::time::Instant;

use anyhow::{Result, ensure};
use domain::NotificationId;
use futures::{StreamExt, TryStreamExt, stream};
use sqlx::{
    PgPool,
    postgres::PgPoolOptions,
    types::{Json, Uuid},
};
use streams::clock;

use crate::{
    mail_sink::{Conversation, Form},
    stats::Sample,
};

/// As many mails are under way as the product has.
const AT_ONCE: usize = 16;
/// As many are offered at a time as the product offers.
const BATCH: i64 = 1_000;
/// One for each mail that is under way, and some for those who offer.
const CONNECTIONS: u32 = 20;

const APPEND: &str = "
INSERT INTO events (business_id, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version,
                    payload, actor, correlation_id, occurred_at)
SELECT e.business, 'notification', e.stream, $4, gen_random_uuid(), $5, '1', $6, $7, e.request, now()
  FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS e (business, stream, request)";
const OFFER: &str = "
UPDATE notification n
   SET state = 'offered', sequence = 2, lease_token = NULL, offers = n.offers + 1,
       lease_until = now() + interval '20 seconds'
  FROM unnest($1::uuid[]) AS o (id)
 WHERE n.notification_id = o.id AND n.state = 'pending' AND n.sequence = 1";
const TAKE: &str = "
WITH taken AS (
  UPDATE notification
     SET state = 'sending', attempts = attempts + 1, lease_token = $2,
         lease_until = now() + interval '60 seconds', handed_over_at = NULL
   WHERE notification_id = $1 AND state = 'offered' AND expires_at > now()
  RETURNING notification_id, attempts, business_id)
INSERT INTO notification_attempt (notification_id, attempt, business_id, taken_at)
SELECT notification_id, attempts, business_id, now() FROM taken";
const MARK: &str = "
WITH marked AS (
  UPDATE notification SET handed_over_at = now(), lease_until = now() + interval '60 seconds'
   WHERE notification_id = $1 AND lease_token = $2 AND state = 'sending' AND lease_until > now()
  RETURNING notification_id, attempts)
UPDATE notification_attempt a SET handed_over_at = now() FROM marked m
 WHERE a.notification_id = m.notification_id AND a.attempt = m.attempts";
const SENT: &str = "
UPDATE notification
   SET state = 'sent', sequence = 3, last_answer = '250 taken', lease_token = NULL, provider = 'smtp'
 WHERE notification_id = $1 AND sequence = 2 AND state = 'sending' AND lease_token = $2";
const NOTED: &str = "
UPDATE notification_attempt
   SET ended_at = now(), outcome = 'sent', provider = 'smtp', answer = '250 taken'
 WHERE notification_id = $1 AND attempt = 1";

/// Sends what is due, as the only one.
#[derive(Clone)]
pub(crate) struct Bare {
    pool: PgPool,
    /// Of the mail server.
    address: String,
    form: Form,
}

/// A reminder that is to be sent.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Offer {
    notification_id: Uuid,
    business_id: Uuid,
    correlation_id: Uuid,
}

impl Offer {
    fn stream(&self) -> String {
        NotificationId::new(self.notification_id).to_string()
    }
}

impl Bare {
    /// `url` names a role that row-level security does not concern.
    pub(crate) async fn new(url: &str, address: String, form: Form) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(false)
            .connect(url)
            .await?;
        let connecting = (0..CONNECTIONS).map(|_| pool.acquire());
        drop(futures::future::try_join_all(connecting).await?);
        Ok(Self { pool, address, form })
    }

    /// Sends all that is due.
    pub(crate) async fn run(&self) -> Result<Sample> {
        let began = Instant::now();
        let batches = stream::try_unfold((), |()| async {
            let batch = self.offer().await?;
            anyhow::Ok((!batch.is_empty()).then_some((batch, ())))
        });
        let sent = batches
            .map_ok(|batch| stream::iter(batch).map(anyhow::Ok))
            .try_flatten()
            .map_ok(|offer| {
                let bare = self.clone();
                async move { tokio::spawn(async move { bare.send(&offer).await }).await? }
            })
            .try_buffer_unordered(AT_ONCE)
            .try_fold(0, |sent, ()| async move { Ok(sent + 1) })
            .await?;
        Ok(Sample::counted(sent, began.elapsed()))
    }

    /// The next that are due.
    async fn offer(&self) -> Result<Vec<Offer>> {
        let offers: Vec<Offer> = sqlx::query_as(
            "SELECT notification_id, business_id, correlation_id FROM notification
              WHERE state = 'pending' AND channel = 'email' AND next_at <= now()
              ORDER BY next_at LIMIT $1",
        )
        .bind(BATCH)
        .fetch_all(&self.pool)
        .await?;
        if offers.is_empty() {
            return Ok(offers);
        }
        let mut transaction = self.pool.begin().await?;
        append(&mut transaction, &offers, Fact::FellDue).await?;
        let ids: Vec<Uuid> = offers.iter().map(|offer| offer.notification_id).collect();
        let offered = sqlx::query(OFFER).bind(ids).execute(&mut *transaction).await?;
        ensure!(offered.rows_affected() == offers.len() as u64, "somebody else offered");
        transaction.commit().await?;
        Ok(offers)
    }

    async fn send(&self, offer: &Offer) -> Result<()> {
        let (id, token) = (offer.notification_id, clock::new_id());
        self.change(TAKE, id, token).await?;
        let conversation = Conversation::open(&self.address).await?;
        self.change(MARK, id, token).await?;
        conversation.hand_in(&self.form, &format!("{}.1", offer.stream())).await?;
        let mut transaction = self.pool.begin().await?;
        append(&mut transaction, std::slice::from_ref(offer), Fact::Sent).await?;
        let sent = sqlx::query(SENT).bind(id).bind(token).execute(&mut *transaction).await?;
        ensure!(sent.rows_affected() == 1, "somebody else sent");
        sqlx::query(NOTED).bind(id).execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    async fn change(&self, sql: &str, id: Uuid, token: Uuid) -> Result<()> {
        let changed = sqlx::query(sql).bind(id).bind(token).execute(&self.pool).await?;
        ensure!(changed.rows_affected() == 1, "somebody else is at it");
        Ok(())
    }
}

/// What the loop appends.
#[derive(Debug, Clone, Copy)]
enum Fact {
    FellDue,
    Sent,
}

async fn append(connection: &mut sqlx::PgConnection, offers: &[Offer], fact: Fact) -> Result<()> {
    let (sequence, name, payload, actor) = match fact {
        Fact::FellDue => (
            2_i64,
            "scheduler.reminder.due.v1",
            serde_json::json!({"type": "fell_due"}),
            "system:scheduler",
        ),
        Fact::Sent => (
            3,
            "notification.sent.v1",
            serde_json::json!({"type": "sent", "attempt": 1, "receipt": {"provider": "smtp"}}),
            "system:notifier",
        ),
    };
    sqlx::query(APPEND)
        .bind(offers.iter().map(|offer| offer.business_id).collect::<Vec<_>>())
        .bind(offers.iter().map(Offer::stream).collect::<Vec<_>>())
        .bind(offers.iter().map(|offer| offer.correlation_id).collect::<Vec<_>>())
        .bind(sequence)
        .bind(name)
        .bind(Json(payload))
        .bind(actor)
        .execute(connection)
        .await?;
    Ok(())
}
