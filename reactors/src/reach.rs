//! How the guests of visits are reached: what they gave, not who they are, and by what they want to be reminded.

use std::collections::HashMap;

use domain::{
    AppointmentId, BusinessId, CustomerId, Zone,
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

/// What a message to one guest depends on besides the visit.
pub(crate) struct Asked {
    wished: Option<Vec<Channel>>,
    /// Whether the business has words of its own for anything.
    pub(crate) own_words: bool,
}

impl Asked {
    /// Whether the guest wants to be reminded by this channel.
    pub(crate) fn wishes(&self, channel: &str) -> bool {
        let all = self.wished.as_ref();
        all.is_none_or(|wished| wished.iter().any(|named| named.as_str() == channel))
    }
}

/// What this customer, or who stands for them, wants, and whether the business has words of its own. Whoever was
/// erased wants nothing else than others.
pub(crate) async fn asked(
    connection: &mut PgConnection,
    business_id: BusinessId,
    customer_id: CustomerId,
) -> Result<Asked, sqlx::Error> {
    let (names, own_words): (Option<Vec<String>>, bool) = sqlx::query_as(
        "SELECT (SELECT c.reminder_channels
                   FROM customer asked
                   JOIN customer c ON c.customer_id = coalesce(asked.merged_into, asked.customer_id)
                  WHERE asked.customer_id = $1),
                EXISTS (SELECT FROM message_template WHERE business_id = $2)",
    )
    .bind(customer_id.uuid())
    .bind(business_id.uuid())
    .fetch_one(connection)
    .await?;
    Ok(Asked { wished: names.map(|names| channels(&names)), own_words })
}

/// By what these customers, or who stands for them, want to be reminded; who did not say is left out.
async fn wishes(
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
    Ok(rows.into_iter().map(|(id, names)| (id, channels(&names))).collect())
}

fn channels(names: &[String]) -> Vec<Channel> {
    names.iter().filter_map(|name| Channel::named(name)).collect()
}
