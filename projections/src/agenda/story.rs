use std::collections::HashMap;

use domain::{
    ApiKeyId, AppointmentId, BusinessId, StaffId, UserId,
    appointment::{Appointment, AppointmentEvent, Doer, Teller, Visit},
    business::{Business, BusinessState},
    user::Role,
};
use jiff::Timestamp;
use serde_json::Value;
use streams::{
    Cursor,
    log::{Recorded, StreamKey},
};
use uuid::Uuid;

use super::Agenda;
use crate::ReadError;

/// One event of an appointment.
#[derive(Debug, Clone)]
pub struct HistoryEntry {
    /// Its place in the log.
    pub position: Cursor,
    /// Such as `booking.appointment.booked.v1`.
    pub kind: String,
    /// When it was decided.
    pub at: Timestamp,
    /// Who asked.
    pub actor: String,
    /// What they are to the business today.
    pub doer: Doer,
    /// What happened, in one sentence, on the clock of the business.
    pub summary: String,
    /// The event.
    pub data: Value,
}

impl Agenda {
    /// Every event of an appointment; `None` when it is another tenant's or was never booked.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn history(
        &self,
        business_id: BusinessId,
        appointment_id: AppointmentId,
    ) -> Result<Option<Vec<HistoryEntry>>, ReadError> {
        let key = StreamKey::of::<Appointment>(appointment_id);
        let business_key = StreamKey::of::<Business>(business_id);
        let keys = [key.clone(), business_key.clone()];
        let histories = self.log.load(business_id, &keys).await?;
        let business = histories.fold::<Business>(&business_key)?.state;
        let events = histories.events(&key);
        let Some(business) = business.registered().filter(|_| !events.is_empty()) else {
            return Ok(None);
        };
        let doers = self.doers(business_id, events).await?;
        let mut visit = None;
        let entries = events.iter().map(|event| entry(event, business, &doers, &mut visit));
        entries.collect::<Result<_, _>>().map(Some)
    }

    /// What whoever was signed in is to the business today, by user.
    async fn doers(
        &self,
        business_id: BusinessId,
        events: &[Recorded],
    ) -> Result<HashMap<Uuid, Doer>, ReadError> {
        let users = events.iter().filter_map(|event| event.actor.parse::<UserId>().ok());
        let rows: Vec<(Uuid, String)> = sqlx::query_as(
            "SELECT user_id, role FROM membership
              WHERE business_id = $1 AND user_id = ANY($2)",
        )
        .bind(business_id.uuid())
        .bind(users.map(UserId::uuid).collect::<Vec<_>>())
        .fetch_all(&mut *self.database.tenant(business_id).await?)
        .await?;
        let doer = |role: &str| match role.parse() {
            Ok(Role::Owner) => Doer::Owner,
            Ok(Role::Admin) => Doer::Admin,
            Ok(Role::Staff) | Err(_) => Doer::Staff,
        };
        Ok(rows.into_iter().map(|(user, role)| (user, doer(&role))).collect())
    }
}

/// `visit` is what is agreed, from one event to the next.
fn entry(
    event: &Recorded,
    business: &BusinessState,
    doers: &HashMap<Uuid, Doer>,
    visit: &mut Option<Visit>,
) -> Result<HistoryEntry, ReadError> {
    let told = event.decode::<Appointment>().map_err(|error| ReadError::Store(error.into()))?;
    let doer = match event.actor.parse::<UserId>() {
        Ok(user) => doers.get(&user.uuid()).copied().unwrap_or(Doer::Former),
        Err(_) if event.actor.starts_with("system:") => Doer::System,
        Err(_) if event.actor.parse::<ApiKeyId>().is_ok() => Doer::Program,
        Err(_) => Doer::Guest,
    };
    let name = |id: StaffId| business.staff.get(&id).map(|member| member.value.name.clone());
    let teller = Teller { zone: &business.profile.value.timezone, name: &name };
    let summary = teller.tell(&told, visit.as_ref(), doer);
    if let AppointmentEvent::Booked { visit: agreed, .. }
    | AppointmentEvent::Rescheduled { visit: agreed, .. }
    | AppointmentEvent::Reinstated { visit: agreed, .. } = told
    {
        *visit = Some(agreed);
    }
    Ok(HistoryEntry {
        position: event.cursor,
        kind: event.event_type.clone(),
        at: event.occurred_at,
        actor: event.actor.clone(),
        doer,
        summary,
        data: event.payload.clone(),
    })
}
