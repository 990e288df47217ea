//! Who stands for whom. Events of visits name the customer as they were booked for; lists name whoever
//! stands for them now. It does not matter which of the two the log has first: a booking that was decided
//! while somebody merged its customer may come behind.

use std::collections::HashMap;

use sqlx::PgConnection;
use streams::consumer::Failure;
use uuid::Uuid;

/// A customer for whom another one stands.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) business_id: Uuid,
    pub(super) customer_id: Uuid,
    pub(super) into: Uuid,
}

impl Merged {
    /// Moves the visits that are there, and those who stood for others.
    pub(super) async fn write(&self, connection: &mut PgConnection) -> Result<(), Failure> {
        let into: Uuid = sqlx::query_scalar(
            "INSERT INTO merged_customer (customer_id, business_id, into_id)
             SELECT $1, $2, coalesce((SELECT into_id FROM merged_customer WHERE customer_id = $3), $3)
             ON CONFLICT (customer_id) DO UPDATE SET into_id = excluded.into_id
             RETURNING into_id",
        )
        .bind(self.customer_id)
        .bind(self.business_id)
        .bind(self.into)
        .fetch_one(&mut *connection)
        .await?;
        sqlx::query("UPDATE merged_customer SET into_id = $2 WHERE into_id = $1")
            .bind(self.customer_id)
            .bind(into)
            .execute(&mut *connection)
            .await?;
        sqlx::query(
            "UPDATE appointment SET customer_id = $2 WHERE business_id = $3 AND customer_id = $1",
        )
        .bind(self.customer_id)
        .bind(into)
        .bind(self.business_id)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Who stands for which of these customers.
pub(super) async fn of(
    connection: &mut PgConnection,
    customers: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, Uuid>, Failure> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "SELECT customer_id, into_id FROM merged_customer WHERE customer_id = ANY($1)",
    )
    .bind(customers.collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().collect())
}
