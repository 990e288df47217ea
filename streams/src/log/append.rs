use std::sync::Arc;

use domain::{BusinessId, ResourceId, SessionId, TimeSlot, resource_calendar::Use};
use jiff::civil::Date;
use sqlx::{PgConnection, Postgres, Transaction};

use super::{
    CommitError, GuestAddress, Histories, KnownCustomer, Standing, StreamKey, UnitOfWork, as_of,
    customers::Customers, group::Group, places, statement::execute,
};
use crate::{Cursor, Database, Nudge};

/// Appends and loads.
#[derive(Debug, Clone)]
pub struct Log {
    database: Database,
    nudge: Nudge,
    group: Arc<Group>,
    customers: Arc<Customers>,
}

/// An open transaction: for the few commands that write tables of their own beside their events.
#[derive(Debug)]
pub struct Writing {
    transaction: Transaction<'static, Postgres>,
    nudge: Nudge,
}

impl Log {
    /// A log that nudges the relay after each commit.
    #[must_use]
    pub fn new(database: Database, nudge: Nudge) -> Self {
        let group = Arc::new(Group::new(database.clone(), nudge.clone()));
        let customers = Arc::new(Customers::new(database.clone()));
        Self { database, nudge, group, customers }
    }

    /// Where the log lies.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// Reads all the streams of a command in one query. Another tenant's stream is not found.
    ///
    /// # Errors
    /// When Postgres does not answer: nothing is then known, least of all "not found".
    pub async fn load(
        &self,
        business_id: BusinessId,
        keys: &[StreamKey],
    ) -> Result<Histories, CommitError> {
        let loading = async {
            as_of(&mut *self.database.tenant(business_id).await?, business_id, keys, None).await
        };
        self.database.within(loading).await.map_err(store)
    }

    /// What the limits of a business are held against: the visits that begin in the span, and the
    /// places that are taken of the dates `first` to `last`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn standing(
        &self,
        business_id: BusinessId,
        span: &TimeSlot,
        [first, last]: [Date; 2],
    ) -> Result<Standing, CommitError> {
        // Not as the tenant: Postgres does not look into an index by a function of a range before it has
        // checked whose row it is, and would read all visits of the business.
        let reading = places::standing(self.database.system(), business_id, span, [first, last]);
        self.database.within(reading).await.map_err(store)
    }

    /// What is used of resources for a meeting of a class: whoever leaves it last gives that back.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn resources_of(
        &self,
        business_id: BusinessId,
        session_id: SessionId,
    ) -> Result<Vec<(ResourceId, Use)>, CommitError> {
        let reading = async {
            let mut connection = self.database.tenant(business_id).await?;
            places::resources_of(&mut connection, business_id, session_id).await
        };
        self.database.within(reading).await.map_err(store)
    }

    /// The customers of a business with these addresses, one for each address; `None` for one
    /// that the business does not know. Shares a query with everybody who asks at this moment.
    ///
    /// # Errors
    /// When Postgres does not answer, or too many wait for an answer.
    pub async fn customers(
        &self,
        business_id: BusinessId,
        addresses: impl IntoIterator<Item = GuestAddress>,
    ) -> Result<Vec<Option<KnownCustomer>>, CommitError> {
        Customers::find(&self.customers, business_id, addresses).await.map_err(store)
    }

    /// Commits the unit in one statement and wakes the relay.
    ///
    /// # Errors
    /// When a stream changed meanwhile, a rule of the tables refused, or Postgres failed. Nothing
    /// was written then.
    pub async fn commit(&self, unit: &UnitOfWork) -> Result<Cursor, CommitError> {
        let mut connection = self.database.tenant(unit.business_id()).await?;
        let cursor = execute(&mut *connection, &[unit]).await?;
        self.nudge.send();
        Ok(cursor)
    }

    /// Commits the units of one business, all or none, in one statement with those of other
    /// businesses that wait at this moment; a unit that fails never fails another business's. The
    /// cursor is that of the statement's last event. Wakes the relay.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn commit_together(&self, units: Arc<[UnitOfWork]>) -> Result<Cursor, CommitError> {
        Group::commit(&self.group, units).await
    }

    /// Opens a transaction for a unit that comes with rows of its command's own. It sees and writes the
    /// rows of this business alone.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn begin(&self, business_id: BusinessId) -> Result<Writing, CommitError> {
        let transaction = self.database.begin(business_id).await.map_err(store)?;
        Ok(Writing { transaction, nudge: self.nudge.clone() })
    }

    /// The same for the work of our own roles, and for who signs in: they belong to no business yet, or to
    /// several.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn begin_system(&self) -> Result<Writing, CommitError> {
        let transaction = self.database.system().begin().await.map_err(store)?;
        Ok(Writing { transaction, nudge: self.nudge.clone() })
    }

    /// Appends within a transaction that the caller holds and commits, all units or none, in one statement;
    /// [`Self::nudge`] afterwards.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn append(
        connection: &mut PgConnection,
        units: &[&UnitOfWork],
    ) -> Result<Cursor, CommitError> {
        execute(connection, units).await
    }

    /// Wakes the relay.
    pub fn nudge(&self) {
        self.nudge.send();
    }
}

impl Writing {
    /// Appends the events first: the feed relies on it that loading came before any write.
    ///
    /// # Errors
    /// As [`Log::commit`].
    pub async fn append(&mut self, unit: &UnitOfWork) -> Result<Cursor, CommitError> {
        execute(&mut *self.transaction, &[unit]).await
    }

    /// The same for units that belong together: all of them, or none.
    ///
    /// # Errors
    /// As [`Log::commit`].
    pub async fn append_all(&mut self, units: &[UnitOfWork]) -> Result<Cursor, CommitError> {
        execute(&mut *self.transaction, &units.iter().collect::<Vec<_>>()).await
    }

    /// For the command's own rows.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Makes it all true and wakes the relay.
    ///
    /// # Errors
    /// As [`Log::commit`].
    pub async fn commit(self) -> Result<(), CommitError> {
        self.transaction.commit().await?;
        self.nudge.send();
        Ok(())
    }
}

fn store(error: sqlx::Error) -> CommitError {
    CommitError::Store(error.into())
}
