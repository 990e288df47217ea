//! Which business a public handle or id belongs to: the only look-ups that cross tenants.

use domain::{
    Aggregate, AppointmentId, BusinessId, ServiceId, StaffId, WaitlistId, appointment::Appointment,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{CommandError, Commands};

/// So many names are kept in mind.
const KEPT: u64 = 100_000;

/// The businesses of services and staff members, which never change. Handles do.
#[derive(Debug, Clone)]
pub(crate) struct Directory(moka::sync::Cache<String, BusinessId>);

impl Default for Directory {
    fn default() -> Self {
        Self(moka::sync::Cache::new(KEPT))
    }
}

/// How a guest names a business.
#[derive(Debug, Clone, Copy)]
pub enum Named<'a> {
    /// By its handle, in any case.
    Handle(&'a str),
    /// By something that it offers.
    Service(ServiceId),
    /// By somebody who works there.
    Staff(StaffId),
}

impl Named<'_> {
    fn key(self) -> String {
        match self {
            Self::Handle(handle) => format!("handle:{}", handle.to_ascii_lowercase()),
            Self::Service(id) => id.to_string(),
            Self::Staff(id) => id.to_string(),
        }
    }
}

impl Commands {
    /// # Errors
    /// When Postgres does not answer.
    pub async fn find_business<E>(
        &self,
        named: Named<'_>,
    ) -> Result<Option<BusinessId>, CommandError<E>> {
        let key = named.key();
        if let Some(known) = self.directory.0.get(&key) {
            return Ok(Some(known));
        }
        let database = self.log.database();
        let query =
            sqlx::query_scalar("SELECT business_id FROM directory WHERE key = $1").bind(&key);
        let found: Option<Uuid> = database.within(query.fetch_optional(database.system())).await?;
        let found = found.map(BusinessId::new);
        if let (Some(business_id), Named::Service(_) | Named::Staff(_)) = (found, named) {
            self.directory.0.insert(key, business_id);
        }
        Ok(found)
    }
}

impl Commands {
    /// The business that an appointment was booked at, for the holder of its link. Appointments are not
    /// listed in the directory: it would grow with each booking, and the log knows.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn business_of<E>(
        &self,
        appointment_id: AppointmentId,
    ) -> Result<Option<BusinessId>, CommandError<E>> {
        let database = self.log.database();
        let query = sqlx::query_scalar(
            "SELECT business_id FROM events
              WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = 1",
        )
        .bind(Appointment::TYPE)
        .bind(appointment_id.to_string());
        let found: Option<Uuid> = database.within(query.fetch_optional(database.system())).await?;
        Ok(found.map(BusinessId::new))
    }
}

impl Commands {
    /// The business at which somebody waits, for the holder of the entry's link.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn business_of_entry<E>(
        &self,
        waitlist_id: WaitlistId,
    ) -> Result<Option<BusinessId>, CommandError<E>> {
        let database = self.log.database();
        let query =
            sqlx::query_scalar("SELECT business_id FROM waitlist_entry WHERE waitlist_id = $1")
                .bind(waitlist_id.uuid());
        let found: Option<Uuid> = database.within(query.fetch_optional(database.system())).await?;
        Ok(found.map(BusinessId::new))
    }
}

/// Lists a name. Fails on the primary key when the handle is another business's.
pub(crate) async fn list(
    connection: &mut PgConnection,
    business_id: BusinessId,
    named: Named<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO directory (key, business_id) VALUES ($1, $2)")
        .bind(named.key())
        .bind(business_id.uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes a name out.
pub(crate) async fn unlist(
    connection: &mut PgConnection,
    business_id: BusinessId,
    named: Named<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM directory WHERE key = $1 AND business_id = $2")
        .bind(named.key())
        .bind(business_id.uuid())
        .execute(connection)
        .await?;
    Ok(())
}
