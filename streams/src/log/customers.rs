//! Customers found by their addresses, for many bookings in one query.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{BusinessId, CustomerId};
use sqlx::{PgConnection, Row};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::is_unavailable;
use crate::Database;

/// Addresses that may wait for an answer; more are refused, as from a Postgres that is away.
const MOST_WAITING: usize = 8_192;
/// Addresses in one query.
const MOST: usize = 512;

type Found = Result<Option<KnownCustomer>, sqlx::Error>;

/// By what a business finds a guest again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GuestAddress {
    /// An e-mail address. Capital and small letters are the same.
    Email(String),
    /// The digits of a phone number, and the leading `+` where there is one. No country is guessed: with
    /// and without its code are two numbers.
    Phone(String),
}

impl GuestAddress {
    /// That of an e-mail address.
    #[must_use]
    pub fn email(email: &str) -> Self {
        Self::Email(email.to_ascii_lowercase())
    }

    /// That of a phone number as people write it. The column `phone_digits` has the same.
    #[must_use]
    pub fn phone(phone: &str) -> Self {
        let plus = phone.trim_start_matches(['-', '(', ')', '.', ' ']).starts_with('+');
        let digits = phone.chars().filter(char::is_ascii_digit);
        Self::Phone(plus.then_some('+').into_iter().chain(digits).collect())
    }

    fn parts(&self) -> (&str, bool) {
        match self {
            Self::Email(email) => (email, false),
            Self::Phone(digits) => (digits, true),
        }
    }
}

/// A guest whom the business knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownCustomer {
    /// Who stands for them.
    pub customer_id: CustomerId,
    /// Sequence of the last event in the stream of that customer.
    pub version: u64,
}

/// One query at a time on a connection of its own: whoever asks meanwhile shares the next one.
#[derive(Debug)]
pub(super) struct Customers {
    database: Database,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    waiting: Vec<Asked>,
    at_work: bool,
    connection: Option<PgConnection>,
}

#[derive(Debug)]
struct Asked {
    business_id: BusinessId,
    address: GuestAddress,
    reply: oneshot::Sender<Found>,
}

impl Customers {
    pub(super) fn new(database: Database) -> Self {
        Self { database, inside: Mutex::default() }
    }

    /// Those of one business, in the order of the addresses.
    pub(super) async fn find(
        customers: &Arc<Self>,
        business_id: BusinessId,
        addresses: impl IntoIterator<Item = GuestAddress>,
    ) -> Result<Vec<Option<KnownCustomer>>, sqlx::Error> {
        let mut answers = Vec::new();
        {
            let mut inside = customers.inside();
            for address in addresses {
                if inside.waiting.len() >= MOST_WAITING {
                    return Err(sqlx::Error::PoolTimedOut);
                }
                let (reply, answer) = oneshot::channel();
                inside.waiting.push(Asked { business_id, address, reply });
                answers.push(answer);
            }
            if !inside.waiting.is_empty() && !mem::replace(&mut inside.at_work, true) {
                tokio::spawn(work(Working(Arc::clone(customers))));
            }
        }
        let mut found = Vec::with_capacity(answers.len());
        for answer in answers {
            found.push(answer.await.map_err(|_gone| sqlx::Error::WorkerCrashed)??);
        }
        Ok(found)
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is asked next, without those who went away; nothing ends the work.
    fn take(&self) -> Vec<Asked> {
        let mut inside = self.inside();
        inside.waiting.retain(|asked| !asked.reply.is_closed());
        let most = inside.waiting.len().min(MOST);
        let taken: Vec<Asked> = inside.waiting.drain(..most).collect();
        inside.at_work = !taken.is_empty();
        taken
    }

    async fn answer(&self, asked: Vec<Asked>) {
        let found = match self.look_up(&asked, self.kept()).await {
            // A connection that was left idle may have died meanwhile.
            Err((error, true)) if is_unavailable(&error) => self.look_up(&asked, None).await,
            found => found,
        };
        match found {
            Ok(found) => {
                for (asked, found) in asked.into_iter().zip(found) {
                    drop(asked.reply.send(Ok(found)));
                }
            }
            Err((error, _)) => {
                let why = error.to_string();
                let away = is_unavailable(&error);
                for asked in asked {
                    let error = if away {
                        sqlx::Error::Io(std::io::Error::other(why.clone()))
                    } else {
                        sqlx::Error::Protocol(why.clone())
                    };
                    drop(asked.reply.send(Err(error)));
                }
            }
        }
    }

    fn kept(&self) -> Option<PgConnection> {
        self.inside().connection.take()
    }

    /// One for each that is asked; with an error, whether the connection had been kept.
    async fn look_up(
        &self,
        asked: &[Asked],
        kept: Option<PgConnection>,
    ) -> Result<Vec<Option<KnownCustomer>>, (sqlx::Error, bool)> {
        let old = kept.is_some();
        let reading = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.database.steady().await?,
            };
            let found = query(&mut connection, asked).await?;
            self.inside().connection = Some(connection);
            Ok(found)
        };
        self.database.within(reading).await.map_err(|error| (error, old))
    }
}

async fn query(
    connection: &mut PgConnection,
    asked: &[Asked],
) -> Result<Vec<Option<KnownCustomer>>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT asked.nr, coalesce(now.customer_id, c.customer_id) AS customer_id,
                coalesce(now.version, c.version) AS version
           FROM unnest($1::uuid[], $2::text[], $3::boolean[])
                  WITH ORDINALITY AS asked (business, address, is_phone, nr)
          CROSS JOIN LATERAL (
                SELECT c.customer_id, c.version, c.merged_into FROM customer c
                 WHERE NOT asked.is_phone AND c.business_id = asked.business
                   AND lower(c.email) = lower(asked.address) AND c.email IS NOT NULL
                UNION ALL
                -- Families share one: it is that of whoever had it first.
                (SELECT c.customer_id, c.version, c.merged_into FROM customer c
                  WHERE asked.is_phone AND c.business_id = asked.business
                    AND c.phone_digits = asked.address
                  ORDER BY c.customer_id LIMIT 1)
                ) c
           LEFT JOIN customer now ON now.customer_id = c.merged_into",
    )
    .bind(asked.iter().map(|asked| asked.business_id.uuid()).collect::<Vec<Uuid>>())
    .bind(asked.iter().map(|asked| asked.address.parts().0).collect::<Vec<_>>())
    .bind(asked.iter().map(|asked| asked.address.parts().1).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut found = vec![None; asked.len()];
    for row in rows {
        let nr: i64 = row.try_get("nr")?;
        let place = usize::try_from(nr - 1).ok().and_then(|index| found.get_mut(index));
        if let Some(place) = place {
            let customer_id = CustomerId::new(row.try_get("customer_id")?);
            let version = row.try_get::<i64, _>("version")?.unsigned_abs();
            *place = Some(KnownCustomer { customer_id, version });
        }
    }
    Ok(found)
}

/// The right to work, given back when it fails.
struct Working(Arc<Customers>);

impl Drop for Working {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut inside = self.0.inside();
            inside.waiting.clear();
            inside.at_work = false;
        }
    }
}

async fn work(working: Working) {
    let customers = &working.0;
    loop {
        // Whoever is about to ask gets into this query and not into the next.
        tokio::task::yield_now().await;
        let asked = customers.take();
        if asked.is_empty() {
            return;
        }
        customers.answer(asked).await;
    }
}
