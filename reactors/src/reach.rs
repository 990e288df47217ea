//! How the guests of visits are reached: what they gave, not who they are.

use std::collections::HashMap;

use domain::{AppointmentId, Zone, business::ReminderPolicy, notification::Reach};
use sqlx::PgConnection;
use uuid::Uuid;

/// By visit.
pub(crate) struct Guests(HashMap<Uuid, Reached>);

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
    ) -> Result<Self, sqlx::Error> {
        let rows: Vec<(Uuid, bool, bool, Option<String>)> = sqlx::query_as(
            "SELECT appointment_id, email IS NOT NULL, phone IS NOT NULL, timezone
               FROM appointment_private WHERE appointment_id = ANY($1)",
        )
        .bind(appointments)
        .fetch_all(connection)
        .await?;
        let reached = |(id, email, phone, zone): (Uuid, bool, bool, Option<String>)| {
            (id, Reached { email, phone, zone: zone.and_then(|name| name.parse().ok()) })
        };
        Ok(Self(rows.into_iter().map(reached).collect()))
    }

    /// Whoever is not known any more, since they were erased, is not reached.
    pub(crate) fn of<'a>(
        &'a self,
        id: AppointmentId,
        policy: &'a ReminderPolicy,
        zone_of_business: &'a Zone,
    ) -> Reach<'a> {
        let guest = self.0.get(&id.uuid());
        Reach {
            policy,
            zone: guest.and_then(|guest| guest.zone.as_ref()).unwrap_or(zone_of_business),
            email: guest.is_some_and(|guest| guest.email),
            phone: guest.is_some_and(|guest| guest.phone),
        }
    }
}
