//! Who is sending a message now.

use std::{collections::HashMap, time::Duration};

use domain::NotificationId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Notifier;
use crate::work::{self, Work};

/// Between two tries to give back what is not sent.
const PAUSE: Duration = Duration::from_millis(500);
/// What is sent away for a while returns later than it may by no more than this.
const SPREAD: Duration = Duration::from_secs(5);
/// Why a try ends that never asked the provider, since nobody wants to be reminded at this hour.
pub(super) const QUIET_HOURS: &str = "quiet_hours";

/// Taken for sending, under a lease that nobody else holds.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) work: Work,
    pub(super) token: Uuid,
}

/// A message that is about to be handed over.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) taken: Taken,
    /// The last event of the appointment that it was written after.
    pub(super) event: Option<u64>,
}

impl Notifier {
    /// The provider is not asked now. That is no try.
    pub(super) async fn postpone(
        &self,
        id: NotificationId,
        wait: Duration,
    ) -> Result<(), sqlx::Error> {
        // A little longer, so that they do not return together.
        let wait = wait + (wait / 10).min(SPREAD).mul_f64(rand::random());
        sqlx::query(
            "UPDATE notification
                SET state = 'pending', lease_until = NULL,
                    next_at = least(now() + $2 * interval '1 second', expires_at)
              WHERE notification_id = $1 AND state = 'offered'",
        )
        .bind(id.uuid())
        .bind(wait.as_secs_f64())
        .execute(self.log.database().system())
        .await?;
        metrics::counter!("apptremind_notifications_postponed_total").increment(1);
        Ok(())
    }

    /// Compare-and-set: an offered message becomes ours.
    pub(super) async fn take(&self, id: NotificationId) -> Result<Option<Taken>, sqlx::Error> {
        let wanted = (id, work::token());
        let shared = self.takes.ask(wanted, async |kept, wanted| {
            let mut connection = self.steady(kept).await?;
            let taken = self.take_all(&mut connection, wanted).await?;
            Ok::<_, sqlx::Error>((connection, taken))
        });
        if let Some(taken) = shared.await {
            return Ok(taken);
        }
        // One of the others may be what took so long.
        let mut connection = self.log.database().system().acquire().await?;
        if let Some(taken) = self.take_all(&mut connection, vec![wanted]).await?.pop().flatten() {
            return Ok(Some(taken));
        }
        drop(connection);
        // What was given up may have been done all the same: then it is ours, and nobody said so.
        let row = work::find(self.log.database().system(), id).await?;
        let (_, token) = wanted;
        let ours = row.filter(|row| row.state == "sending" && row.lease_token == Some(token));
        Ok(ours.map(|work| Taken { work, token }))
    }

    async fn take_all(
        &self,
        connection: &mut PgConnection,
        wanted: Vec<(NotificationId, Uuid)>,
    ) -> Result<Vec<Option<Taken>>, sqlx::Error> {
        // In one order, so that two who want the same do not wait for each other. Each by its key: by `=` Postgres
        // would take the index of all that is under way, and read the whole of it each time.
        let mut sorted = wanted.clone();
        sorted.sort_unstable();
        let sql = format!(
            "WITH taken AS (
               UPDATE notification
                  SET state = 'sending', attempts = attempts + 1, lease_token = o.token,
                      lease_until = now() + $3 * interval '1 second', handed_over_at = NULL
                 FROM unnest($1::uuid[], $2::uuid[]) AS o (id, token)
                WHERE notification_id = o.id AND state IS NOT DISTINCT FROM 'offered'
                  AND expires_at > now()
               RETURNING {}),
             noted AS (
               INSERT INTO notification_attempt (notification_id, attempt, business_id, taken_at)
               SELECT notification_id, attempts, business_id, now() FROM taken
               ON CONFLICT (notification_id, attempt) DO NOTHING)
             SELECT * FROM taken",
            work::COLUMNS
        );
        let rows = sqlx::query(&sql)
            .bind(sorted.iter().map(|(id, _)| id.uuid()).collect::<Vec<_>>())
            .bind(sorted.iter().map(|(_, token)| *token).collect::<Vec<_>>())
            .bind(self.timing.send_lease.as_secs_f64())
            .fetch_all(connection)
            .await?;
        let mut taken = HashMap::with_capacity(rows.len());
        for row in rows {
            let work = work::from_row(&row)?;
            let token = work.lease_token.unwrap_or_default();
            taken.insert(work.notification_id, Taken { work, token });
        }
        Ok(wanted.iter().map(|(id, _)| taken.remove(id)).collect())
    }

    /// From now on nobody else may send it. The lease begins anew, so that a hand-over has all of it. False
    /// when the lease was lost, or when the visit was changed since the message was written: whatever happened
    /// before this is known to it.
    pub(super) async fn mark_handed_over(&self, seen: Seen) -> Result<bool, sqlx::Error> {
        let shared = self.marks.ask(seen.clone(), async |kept, seen| {
            let mut connection = self.steady(kept).await?;
            let marked = self.mark_all(&mut connection, seen).await?;
            Ok::<_, sqlx::Error>((connection, marked))
        });
        if let Some(marked) = shared.await {
            return Ok(marked);
        }
        // One of the others may be what took so long. Whoever holds the lease may mark it twice.
        let mut connection = self.log.database().system().acquire().await?;
        Ok(self.mark_all(&mut connection, vec![seen]).await?.contains(&true))
    }

    async fn mark_all(
        &self,
        connection: &mut PgConnection,
        seen: Vec<Seen>,
    ) -> Result<Vec<bool>, sqlx::Error> {
        let event = |event: u64| i64::try_from(event).unwrap_or(i64::MAX);
        let works = || seen.iter().map(|seen| &seen.taken.work);
        // By its key, as when it was taken.
        let marked: Vec<Uuid> = sqlx::query_scalar(
            "WITH marked AS (
               UPDATE notification n
                  SET handed_over_at = now(), lease_until = now() + $3 * interval '1 second'
                 FROM unnest($1::uuid[], $2::uuid[], $4::text[], $5::uuid[], $6::bigint[])
                   AS s (id, token, appointment, business, event)
                WHERE n.notification_id = s.id AND n.lease_token = s.token
                  AND n.state IS NOT DISTINCT FROM 'sending'
                  AND n.lease_until > now()
                  AND NOT EXISTS (SELECT FROM events e
                                   WHERE e.aggregate_type = 'appointment'
                                     AND e.aggregate_id = s.appointment
                                     AND e.business_id = s.business AND e.sequence > s.event)
               RETURNING n.notification_id, n.attempts, n.lease_token),
             noted AS (
               UPDATE notification_attempt a SET handed_over_at = now() FROM marked m
                WHERE a.notification_id = m.notification_id AND a.attempt = m.attempts)
             SELECT lease_token FROM marked",
        )
        .bind(works().map(|work| work.notification_id.uuid()).collect::<Vec<_>>())
        .bind(seen.iter().map(|seen| seen.taken.token).collect::<Vec<_>>())
        .bind(self.timing.send_lease.as_secs_f64())
        .bind(works().map(|work| work.appointment_id.to_string()).collect::<Vec<_>>())
        .bind(works().map(|work| work.business_id.uuid()).collect::<Vec<_>>())
        .bind(seen.iter().map(|seen| seen.event.map(event)).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
        Ok(seen.iter().map(|seen| marked.contains(&seen.taken.token)).collect())
    }

    /// Ends the lease of what was not handed over after a pause, so that the next try need not wait for all of
    /// it, even if nobody knows whether it was marked.
    pub(super) async fn give_back(&self, taken: &Taken, pause: Duration) {
        let giving = async {
            while let Err(error) = self.try_give_back(taken, pause).await {
                tracing::debug!(%error, "a lease is not given back yet");
                tokio::time::sleep(PAUSE).await;
            }
        };
        // After that it has ended anyway.
        drop(tokio::time::timeout(self.timing.send_lease, giving).await);
    }

    async fn try_give_back(&self, taken: &Taken, pause: Duration) -> Result<(), sqlx::Error> {
        // Without the token a mark that is still under way finds nothing to mark.
        sqlx::query(
            "WITH given AS (
               UPDATE notification
                  SET lease_until = least(lease_until, now() + $3 * interval '1 second'),
                      lease_token = NULL, handed_over_at = NULL
                WHERE notification_id = $1 AND lease_token = $2 AND state = 'sending'
               RETURNING notification_id, attempts)
             UPDATE notification_attempt a SET handed_over_at = NULL FROM given g
              WHERE a.notification_id = g.notification_id AND a.attempt = g.attempts",
        )
        .bind(taken.work.notification_id.uuid())
        .bind(taken.token)
        .bind(pause.as_secs_f64())
        .execute(self.log.database().system())
        .await?;
        Ok(())
    }

    /// How often the provider has said that it may be tried again: what never reached it does not count.
    pub(super) async fn deferred(&self, taken: &Taken) -> Result<usize, sqlx::Error> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM notification_attempt
              WHERE notification_id = $1 AND outcome = 'deferred' AND reason <> $2",
        )
        .bind(taken.work.notification_id.uuid())
        .bind(QUIET_HOURS)
        .fetch_one(self.log.database().system())
        .await?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }
}
