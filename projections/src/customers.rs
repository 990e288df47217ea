//! Customers as the business sees them: what is known of them from their table, and their visits from the
//! agenda model. A customer who was merged is answered as whoever stands for them now.

use std::collections::BTreeMap;

use domain::{BusinessId, CustomerId, notification::Channel};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{Row, postgres::PgRow};
use streams::{Database, log::GuestAddress};
use uuid::Uuid;

use crate::ReadError;

/// Answers from the table of customers and the agenda model.
#[derive(Debug, Clone)]
pub struct Customers {
    database: Database,
}

/// Which customers are asked for.
#[derive(Debug, Clone, Default)]
pub struct CustomerFilter {
    /// What a word of the name, the e-mail address or the phone number begins with.
    pub search: Option<String>,
    /// The last one of the page before.
    pub after: Option<CustomerId>,
    /// At most so many.
    pub limit: u32,
}

/// What a business knows of a customer.
#[derive(Debug, Clone)]
pub struct CustomerRow {
    /// Who.
    pub customer_id: CustomerId,
    /// How to call them.
    pub name: String,
    /// By what they are found again.
    pub email: Option<String>,
    /// By what they are found again when they give no e-mail address.
    pub phone: Option<String>,
    /// In the business's own words.
    pub notes: Option<String>,
    /// By what they want to be reminded, of what the business uses; `None` by whatever it uses.
    pub reminder_channels: Option<Vec<Channel>>,
    /// Since when they are known.
    pub created_at: Timestamp,
    /// Sequence of the last event in their stream; 0 when there is none.
    pub version: u64,
}

/// A page of customers.
#[derive(Debug, Clone)]
pub struct CustomerPage {
    /// By name.
    pub items: Vec<CustomerRow>,
    /// Where the next page begins, if there is one.
    pub next: Option<CustomerId>,
}

/// What became of the visits of a customer.
#[derive(Debug, Clone, Default)]
pub struct Visits {
    /// How many there are in each status that there is one in.
    pub by_status: BTreeMap<String, u64>,
    /// The start of the first one that was not called off or missed, and has begun.
    pub first: Option<Timestamp>,
    /// The start of the last such one.
    pub last: Option<Timestamp>,
    /// The start of the next one.
    pub next: Option<Timestamp>,
}

const COLUMNS: &str = "c.customer_id, c.name, c.email, c.phone, c.notes, c.reminder_channels, \
    c.created_at, c.version";

impl Customers {
    /// Over this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Customers by name; `None` when the business has no such customer as the page before ended with. A
    /// cursor names a customer by their id: names do not belong into addresses, which are logged.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn list(
        &self,
        business_id: BusinessId,
        filter: &CustomerFilter,
    ) -> Result<Option<CustomerPage>, ReadError> {
        let after = match filter.after {
            None => None,
            Some(id) => match self.name(business_id, id).await? {
                None => return Ok(None),
                Some(name) => Some((name, id.uuid())),
            },
        };
        let words = filter.search.as_deref().map(str::trim);
        let digits = words.and_then(number);
        let sql = format!(
            "SELECT {COLUMNS} FROM customer c
              WHERE c.business_id = $1 AND c.merged_into IS NULL
                AND ($2::text IS NULL OR strpos(' ' || lower(c.name), ' ' || lower($2)) > 0
                     OR starts_with(lower(c.email), lower($2))
                     OR starts_with(ltrim(c.phone_digits, '+'), ltrim($3, '+')))
                AND ($4::text IS NULL OR (lower(c.name) COLLATE \"C\", c.customer_id)
                                         > (lower($4) COLLATE \"C\", $5))
              ORDER BY lower(c.name) COLLATE \"C\", c.customer_id LIMIT $6"
        );
        let rows = sqlx::query(&sql)
            .bind(business_id.uuid())
            .bind(words)
            .bind(digits)
            .bind(after.as_ref().map(|(name, _)| name.as_str()))
            .bind(after.as_ref().map(|(_, id)| *id))
            .bind(i64::from(filter.limit) + 1)
            .fetch_all(&mut *self.database.tenant(business_id).await?)
            .await?;
        let mut items = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
        let more = items.len() > filter.limit as usize;
        items.truncate(filter.limit as usize);
        let next = items.last().filter(|_| more).map(|last| last.customer_id);
        Ok(Some(CustomerPage { items, next }))
    }

    async fn name(
        &self,
        business_id: BusinessId,
        customer_id: CustomerId,
    ) -> Result<Option<String>, ReadError> {
        let sql = "SELECT name FROM customer WHERE business_id = $1 AND customer_id = $2";
        let name = sqlx::query_scalar(sql).bind(business_id.uuid()).bind(customer_id.uuid());
        Ok(name.fetch_optional(&mut *self.database.tenant(business_id).await?).await?)
    }

    /// A customer, or who stands for them; `None` when the business knows no such customer.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn get(
        &self,
        business_id: BusinessId,
        customer_id: CustomerId,
    ) -> Result<Option<CustomerRow>, ReadError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM customer asked
               JOIN customer c ON c.customer_id = coalesce(asked.merged_into, asked.customer_id)
                              AND c.business_id = asked.business_id
              WHERE asked.business_id = $1 AND asked.customer_id = $2"
        );
        let row = sqlx::query(&sql)
            .bind(business_id.uuid())
            .bind(customer_id.uuid())
            .fetch_optional(&mut *self.database.tenant(business_id).await?)
            .await?;
        Ok(row.as_ref().map(from_row).transpose()?)
    }

    /// The visits of a customer, as the agenda model has them now.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn visits(
        &self,
        business_id: BusinessId,
        customer_id: CustomerId,
        now: Timestamp,
    ) -> Result<Visits, ReadError> {
        let rows = sqlx::query(
            "SELECT status, count(*) AS visits,
                    min(starts_at) FILTER (WHERE starts_at <= $3) AS first,
                    max(starts_at) FILTER (WHERE starts_at <= $3) AS last,
                    min(starts_at) FILTER (WHERE starts_at > $3) AS next
               FROM agenda.appointment WHERE business_id = $1 AND customer_id = $2
              GROUP BY status",
        )
        .bind(business_id.uuid())
        .bind(customer_id.uuid())
        .bind(now.to_sqlx())
        .fetch_all(&mut *self.database.tenant(business_id).await?)
        .await?;
        let mut visits = Visits::default();
        for row in rows {
            let status: String = row.try_get("status")?;
            let count = row.try_get::<i64, _>("visits")?.unsigned_abs();
            if matches!(status.as_str(), "booked" | "completed") {
                let at = |column| -> Result<Option<Timestamp>, sqlx::Error> {
                    let at = row.try_get::<Option<jiff_sqlx::Timestamp>, _>(column)?;
                    Ok(at.map(jiff_sqlx::Timestamp::to_jiff))
                };
                visits.first = visits.first.into_iter().chain(at("first")?).min();
                visits.last = visits.last.max(at("last")?);
                visits.next = visits.next.into_iter().chain(at("next")?).min();
            }
            visits.by_status.insert(status, count);
        }
        Ok(visits)
    }
}

/// The digits, when the text can be the beginning of a phone number.
fn number(text: &str) -> Option<String> {
    let clean = text.bytes().all(|b| b.is_ascii_digit() || b"+-() .".contains(&b));
    let GuestAddress::Phone(digits) = GuestAddress::phone(text) else { return None };
    (clean && digits.bytes().any(|b| b.is_ascii_digit())).then_some(digits)
}

fn from_row(row: &PgRow) -> Result<CustomerRow, sqlx::Error> {
    Ok(CustomerRow {
        customer_id: CustomerId::new(row.try_get::<Uuid, _>("customer_id")?),
        name: row.try_get("name")?,
        email: row.try_get("email")?,
        phone: row.try_get("phone")?,
        notes: row.try_get("notes")?,
        reminder_channels: channels(row.try_get("reminder_channels")?),
        created_at: row.try_get::<jiff_sqlx::Timestamp, _>("created_at")?.to_jiff(),
        version: row.try_get::<i64, _>("version")?.unsigned_abs(),
    })
}

fn channels(names: Option<Vec<String>>) -> Option<Vec<Channel>> {
    names.map(|names| names.iter().filter_map(|name| Channel::named(name)).collect())
}
