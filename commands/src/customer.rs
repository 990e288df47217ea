//! What the owner changes about customers. What is known of them is personal: it stands in the table of
//! customers, which is written in the same transaction as the events that say only that it changed.

use domain::{
    CustomerId, Decide, FieldError, Fields,
    business::check_each_once,
    customer::{Customer, CustomerCommand, CustomerError, CustomerField},
    notification::Channel,
};
use sqlx::{PgConnection, Row};
use streams::{
    CommandContext,
    log::{CommitError, Loaded, StreamKey, UnitOfWork},
};
use uuid::Uuid;

use crate::{
    CommandError, Commands, Done,
    again::until_decided,
    email::is_email,
    error::Attempt,
    phone::{self, is_phone},
};

/// What is to be known of a customer; `None` leaves a part as it is, `Some(None)` removes it.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ChangeCustomer {
    pub name: Option<String>,
    pub email: Option<Option<String>>,
    pub phone: Option<Option<String>>,
    pub notes: Option<Option<String>>,
    /// By what they want to be reminded, of what the business uses; by whatever it uses when removed.
    pub reminder_channels: Option<Option<Vec<Channel>>>,
    /// Refuses when the customer is no longer in this version; `None` takes any.
    pub expected: Option<u64>,
}

/// Why a customer was not changed or merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustomerRefused {
    /// The business knows no such customer.
    #[error("not found")]
    NotFound,
    /// A field breaks a rule.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// Another customer of the business is found by the e-mail address.
    #[error("the e-mail address is that of another customer")]
    EmailTaken {
        /// Who that is.
        customer_id: CustomerId,
    },
    /// The customer's own rule.
    #[error(transparent)]
    Customer(#[from] CustomerError),
}

pub(crate) type Tried<T> = Result<T, Attempt<CustomerRefused>>;

impl ChangeCustomer {
    fn validate(&self) -> Result<(), Vec<FieldError>> {
        let mut fields = Fields::default();
        if let Some(name) = &self.name {
            fields.line("name", name, 120);
        }
        if let Some(Some(email)) = &self.email {
            fields.check(is_email(email), "email", "must be an e-mail address");
        }
        if let Some(Some(phone)) = &self.phone {
            fields.check(is_phone(phone), "phone", phone::RULE);
        }
        if let Some(Some(notes)) = &self.notes {
            fields.note("notes", notes, 10_000);
        }
        if let Some(Some(channels)) = &self.reminder_channels {
            check_each_once(&mut fields, "reminder_channels", channels);
        }
        fields.done()
    }

    fn fields(&self) -> Vec<CustomerField> {
        let said = [
            (self.name.is_some(), CustomerField::Name),
            (self.email.is_some(), CustomerField::Email),
            (self.phone.is_some(), CustomerField::Phone),
            (self.notes.is_some(), CustomerField::Notes),
        ];
        said.into_iter().filter_map(|(said, field)| said.then_some(field)).collect()
    }
}

impl Commands {
    /// Changes what the business knows of a customer. Visits keep the contact that was given with them.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(customer.id = %customer_id))]
    pub async fn change_customer(
        &self,
        customer_id: CustomerId,
        change: &ChangeCustomer,
        context: &CommandContext,
    ) -> Result<Done<()>, CommandError<CustomerRefused>> {
        let invalid = |errors| CommandError::Refused(CustomerRefused::Invalid(errors));
        change.validate().map_err(invalid)?;
        // Whoever books meanwhile is told of them anew: guests are forgotten when the turn ends.
        let _turn = self.turn(context.business_id).await?;
        let attempt = || self.try_change_customer(customer_id, change, context);
        let done = until_decided("change_customer", attempt, |_| None).await?;
        note("changed");
        Ok(done)
    }

    async fn try_change_customer(
        &self,
        customer_id: CustomerId,
        change: &ChangeCustomer,
        context: &CommandContext,
    ) -> Tried<Done<()>> {
        match self.customer_row(customer_id, context).await? {
            None => return Err(Attempt::Refused(CustomerRefused::NotFound)),
            // The stream names the first who stood for them; here is who does now.
            Some(Some(into)) => {
                return Err(Attempt::Refused(CustomerError::Merged { into }.into()));
            }
            Some(None) => {}
        }
        if let Some(Some(email)) = &change.email {
            self.email_is_free(customer_id, email, context).await?;
        }
        let key = StreamKey::of::<Customer>(customer_id);
        let histories = self.log.load(context.business_id, std::slice::from_ref(&key)).await?;
        let customer: Loaded<Customer> = histories.fold(&key)?;
        let command =
            CustomerCommand::ChangeDetails { fields: change.fields(), expected: change.expected };
        let wish = change.reminder_channels.clone();
        let wish = wish.map(|reminder_channels| CustomerCommand::Prefer { reminder_channels });
        let mut unit = UnitOfWork::new(context.clone());
        let version = append(&mut unit, &customer, [command].into_iter().chain(wish))?;
        if unit.is_empty() {
            let position = self.last_position(&histories, &key).await?;
            return Ok(Done::new((), position));
        }
        let mut writing = self.log.begin(context.business_id).await?;
        let position = writing.append(&unit).await?;
        write(writing.connection(), customer_id, change, version, context).await?;
        if let Some(wish) = &change.reminder_channels {
            store_wish(writing.connection(), customer_id, wish.as_deref(), context).await?;
        }
        writing.commit().await?;
        Ok(Done::new((), position))
    }

    /// Lets the customer `into` stand for another one from now on: visits, addresses and what is known.
    /// Merging again is already so.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(customer.id = %customer_id, into.id = %into))]
    pub async fn merge_customer(
        &self,
        customer_id: CustomerId,
        into: CustomerId,
        context: &CommandContext,
    ) -> Result<Done<()>, CommandError<CustomerRefused>> {
        if customer_id == into {
            let message = "must be another customer";
            return Err(CommandError::Refused(CustomerRefused::Invalid(vec![field(message)])));
        }
        let _turn = self.turn(context.business_id).await?;
        let attempt = || self.try_merge(customer_id, into, context);
        let done = until_decided("merge_customer", attempt, |_| None).await?;
        note("merged");
        Ok(done)
    }

    async fn try_merge(
        &self,
        customer_id: CustomerId,
        into: CustomerId,
        context: &CommandContext,
    ) -> Tried<Done<()>> {
        let refuse = |refused| Err(Attempt::Refused(refused));
        let Some(stands) = self.customer_row(customer_id, context).await? else {
            return refuse(CustomerRefused::NotFound);
        };
        let keys = [customer_id, into].map(StreamKey::of::<Customer>);
        let histories = self.log.load(context.business_id, &keys).await?;
        match stands {
            // By way of others, perhaps: the stream names the first of them.
            Some(now) if now == into => {
                let position = self.last_position(&histories, &keys[0]).await?;
                return Ok(Done::new((), position));
            }
            Some(now) => return refuse(CustomerError::Merged { into: now }.into()),
            None => {}
        }
        match self.customer_row(into, context).await? {
            None => {
                let message = "must be a customer of the business";
                return refuse(CustomerRefused::Invalid(vec![field(message)]));
            }
            Some(Some(now)) => return refuse(CustomerError::Merged { into: now }.into()),
            Some(None) => {}
        }
        let [gone, kept] = keys;
        let gone: Loaded<Customer> = histories.fold(&gone)?;
        let kept: Loaded<Customer> = histories.fold(&kept)?;
        // Who wanted to be left alone is left alone still.
        let reminder_channels =
            both(gone.state.reminder_channels(), kept.state.reminder_channels());
        let absorb = [
            CustomerCommand::Absorb { customer_id },
            CustomerCommand::Prefer { reminder_channels: reminder_channels.clone() },
        ];
        let mut unit = UnitOfWork::new(context.clone());
        let versions = [
            append(&mut unit, &gone, [CustomerCommand::Merge { into }])?,
            append(&mut unit, &kept, absorb)?,
        ];
        let mut writing = self.log.begin(context.business_id).await?;
        let position = writing.append(&unit).await?;
        join(writing.connection(), [customer_id, into], versions, context).await?;
        store_wish(writing.connection(), into, reminder_channels.as_deref(), context).await?;
        writing.commit().await?;
        Ok(Done::new((), position))
    }

    /// Who stands for the customer, if it is another one; `None` when there is no such customer.
    pub(crate) async fn customer_row(
        &self,
        customer_id: CustomerId,
        context: &CommandContext,
    ) -> Tried<Option<Option<CustomerId>>> {
        let row = sqlx::query(
            "SELECT merged_into FROM customer WHERE customer_id = $1 AND business_id = $2",
        )
        .bind(customer_id.uuid())
        .bind(context.business_id.uuid())
        .fetch_optional(&mut *self.log.database().tenant(context.business_id).await?)
        .await?;
        let into = |row: sqlx::postgres::PgRow| row.try_get::<Option<Uuid>, _>("merged_into");
        Ok(row.map(into).transpose()?.map(|into| into.map(CustomerId::new)))
    }

    /// That nobody else is found by the address. The unique index says so too, but not who it is.
    async fn email_is_free(
        &self,
        customer_id: CustomerId,
        email: &str,
        context: &CommandContext,
    ) -> Tried<()> {
        let other: Option<Uuid> = sqlx::query_scalar(
            "SELECT coalesce(merged_into, customer_id) FROM customer
              WHERE business_id = $1 AND lower(email) = lower($2) AND email IS NOT NULL
                AND coalesce(merged_into, customer_id) <> $3",
        )
        .bind(context.business_id.uuid())
        .bind(email)
        .bind(customer_id.uuid())
        .fetch_optional(&mut *self.log.database().tenant(context.business_id).await?)
        .await?;
        match other.map(CustomerId::new) {
            None => Ok(()),
            Some(customer_id) => Err(Attempt::Refused(CustomerRefused::EmailTaken { customer_id })),
        }
    }
}

fn note(outcome: &'static str) {
    metrics::counter!("apptremind_customers_total", "outcome" => outcome).increment(1);
}

fn field(message: &str) -> FieldError {
    FieldError { field: "into".to_owned(), message: message.to_owned() }
}

/// What both leave open.
fn both(one: Option<&[Channel]>, other: Option<&[Channel]>) -> Option<Vec<Channel>> {
    match (one, other) {
        (Some(one), Some(other)) => {
            Some(one.iter().copied().filter(|channel| other.contains(channel)).collect())
        }
        (only, None) | (None, only) => only.map(<[Channel]>::to_vec),
    }
}

/// Decides and appends; answers the version in which the customer is then.
pub(crate) fn append(
    unit: &mut UnitOfWork,
    customer: &Loaded<Customer>,
    commands: impl IntoIterator<Item = CustomerCommand>,
) -> Tried<i64> {
    // No command is decided by what another of them did.
    let mut events = Vec::new();
    for command in commands {
        let decided = customer.state.decide(command);
        events.extend(decided.map_err(|error| Attempt::Refused(error.into()))?);
    }
    let version = customer.sequence.saturating_add(events.len() as u64);
    unit.append(customer, events)?;
    Ok(i64::try_from(version).unwrap_or(i64::MAX))
}

/// In the table, by which reminders are planned.
pub(crate) async fn store_wish(
    connection: &mut PgConnection,
    customer_id: CustomerId,
    reminder_channels: Option<&[Channel]>,
    context: &CommandContext,
) -> Result<(), CommitError> {
    let names = reminder_channels.map(|all| all.iter().map(|c| c.as_str()).collect::<Vec<_>>());
    sqlx::query(
        "UPDATE customer SET reminder_channels = $3 WHERE business_id = $1 AND customer_id = $2",
    )
    .bind(context.business_id.uuid())
    .bind(customer_id.uuid())
    .bind(names)
    .execute(connection)
    .await?;
    Ok(())
}

async fn write(
    connection: &mut PgConnection,
    customer_id: CustomerId,
    change: &ChangeCustomer,
    version: i64,
    context: &CommandContext,
) -> Result<(), CommitError> {
    // An address of somebody whom the customer stands for becomes their own.
    if let Some(Some(email)) = &change.email {
        sqlx::query(
            "UPDATE customer SET email = NULL
              WHERE business_id = $1 AND merged_into = $2 AND lower(email) = lower($3)",
        )
        .bind(context.business_id.uuid())
        .bind(customer_id.uuid())
        .bind(email)
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query(
        "UPDATE customer
            SET name = coalesce($3, name), version = $4,
                email = CASE WHEN $5 THEN $6 ELSE email END,
                phone = CASE WHEN $7 THEN $8 ELSE phone END,
                notes = CASE WHEN $9 THEN $10 ELSE notes END
          WHERE business_id = $1 AND customer_id = $2",
    )
    .bind(context.business_id.uuid())
    .bind(customer_id.uuid())
    .bind(change.name.as_deref())
    .bind(version)
    .bind(change.email.is_some())
    .bind(change.email.as_ref().and_then(Option::as_deref))
    .bind(change.phone.is_some())
    .bind(change.phone.as_ref().and_then(Option::as_deref))
    .bind(change.notes.is_some())
    .bind(change.notes.as_ref().and_then(Option::as_deref))
    .execute(connection)
    .await?;
    Ok(())
}

/// Points to who stands for the customer now, also from those whom the customer stood for, and takes
/// over what is not known of the other. The e-mail address moves: only one row may have it.
async fn join(
    connection: &mut PgConnection,
    [gone, kept]: [CustomerId; 2],
    [gone_version, kept_version]: [i64; 2],
    context: &CommandContext,
) -> Result<(), CommitError> {
    let business = context.business_id.uuid();
    let known: (Option<String>, Option<String>, Option<String>) = sqlx::query_as(
        "SELECT email, phone, notes FROM customer WHERE business_id = $1 AND customer_id = $2",
    )
    .bind(business)
    .bind(gone.uuid())
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE customer c
            SET merged_into = $3,
                version = CASE WHEN customer_id = $2 THEN $4 ELSE version END,
                email = CASE WHEN customer_id = $2
                              AND (SELECT email FROM customer WHERE customer_id = $3) IS NULL
                             THEN NULL ELSE email END
          WHERE business_id = $1 AND (customer_id = $2 OR merged_into = $2)",
    )
    .bind(business)
    .bind(gone.uuid())
    .bind(kept.uuid())
    .bind(gone_version)
    .execute(&mut *connection)
    .await?;
    let (email, phone, notes) = known;
    sqlx::query(
        "UPDATE customer
            SET version = $3, email = coalesce(email, $4), phone = coalesce(phone, $5),
                notes = nullif(concat_ws(E'\\n\\n', notes, $6), '')
          WHERE business_id = $1 AND customer_id = $2",
    )
    .bind(business)
    .bind(kept.uuid())
    .bind(kept_version)
    .bind(email)
    .bind(phone)
    .bind(notes)
    .execute(connection)
    .await?;
    Ok(())
}
