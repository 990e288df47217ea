//! How the guests of visits are reached: what they gave, not who they are, and by what they want to be reminded.

use std::collections::HashMap;

use domain::{
    AppointmentId, CustomerId, Zone,
    business::ReminderPolicy,
    notification::{Channel, Reach},
};
use sqlx::PgConnection;
use uuid::Uuid;

/// By visit, and by customer.
pub(crate) struct Guests {
    reached: HashMap<Uuid, Reached>,
    /// Of those who said so.
    wishes: HashMap<Uuid, Vec<Channel>>,
}

#[derive(Debug, Clone, Default)]
struct Reached {
    email: bool,
    phone: bool,
    zone: Option<Zone>,
}

impl Guests {
    pub(crate) async fn read(
        connection: &mut PgConnection,
        appointments: &[Uuid],
        customers: &[Uuid],
    ) -> Result<Self, sqlx::Error> {
        let rows: Vec<(Uuid, bool, bool, Option<String>)> = sqlx::query_as(
            "SELECT appointment_id, email IS NOT NULL, phone IS NOT NULL, timezone
               FROM appointment_private WHERE appointment_id = ANY($1)",
        )
        .bind(appointments)
        .fetch_all(&mut *connection)
        .await?;
        let reached = |(id, email, phone, zone): (Uuid, bool, bool, Option<String>)| {
            (id, Reached { email, phone, zone: zone.and_then(|name| name.parse().ok()) })
        };
        let reached = rows.into_iter().map(reached).collect();
        Ok(Self { reached, wishes: wishes(connection, customers).await? })
    }

    /// Whoever is not known any more, since they were erased, is not reached.
    pub(crate) fn of<'a>(
        &'a self,
        id: AppointmentId,
        customer_id: CustomerId,
        policy: &'a ReminderPolicy,
        zone_of_business: &'a Zone,
    ) -> Reach<'a> {
        let guest = self.reached.get(&id.uuid());
        Reach {
            policy,
            zone: guest.and_then(|guest| guest.zone.as_ref()).unwrap_or(zone_of_business),
            email: guest.is_some_and(|guest| guest.email),
            phone: guest.is_some_and(|guest| guest.phone),
            wished: self.wishes.get(&customer_id.uuid()).map(Vec::as_slice),
        }
    }
}

/// By what these customers, or who stands for them, want to be reminded; who did not say is left out.
pub(crate) async fn wishes(
    connection: &mut PgConnection,
    customers: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Channel>>, sqlx::Error> {
    let rows: Vec<(Uuid, Vec<String>)> = sqlx::query_as(
        "SELECT asked.customer_id, c.reminder_channels
           FROM customer asked
           JOIN customer c ON c.customer_id = coalesce(asked.merged_into, asked.customer_id)
          WHERE asked.customer_id = ANY($1) AND c.reminder_channels IS NOT NULL",
    )
    .bind(customers)
    .fetch_all(connection)
    .await?;
    let channels = |names: Vec<String>| names.iter().filter_map(|n| Channel::named(n)).collect();
    Ok(rows.into_iter().map(|(id, names)| (id, channels(names))).collect())
}
