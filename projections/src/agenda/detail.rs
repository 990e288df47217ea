use domain::{
    AppointmentId, BusinessId,
    appointment::{Appointment, Status, Visit},
};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::Row;
use streams::{
    Cursor,
    log::{Loaded, StreamKey},
};

use super::Agenda;
use crate::ReadError;

/// One appointment with all that is known of it. Read from the log, so it is never late.
#[derive(Debug, Clone)]
pub struct AppointmentDetail {
    /// What was agreed.
    pub visit: Visit,
    /// Where it stands.
    pub status: Status,
    /// Sequence of its last event.
    pub version: u64,
    /// Until when the business may answer a request.
    pub expires_at: Option<Timestamp>,
    /// What was given with it, unless erased.
    pub contact: Option<Contact>,
}

/// What was given with one appointment.
#[derive(Debug, Clone)]
pub struct Contact {
    /// Who comes.
    pub name: String,
    /// Where mails go.
    pub email: Option<String>,
    /// Where calls go.
    pub phone: Option<String>,
    /// The guest's own zone.
    pub timezone: Option<String>,
    /// In the guest's words.
    pub notes: Option<String>,
    /// Why it was called off.
    pub cancel_reason: Option<String>,
}

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
    /// The event.
    pub data: Value,
}

impl Agenda {
    /// One appointment; `None` when it is another tenant's or was never booked.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn get(
        &self,
        business_id: BusinessId,
        appointment_id: AppointmentId,
    ) -> Result<Option<AppointmentDetail>, ReadError> {
        let key = StreamKey::of::<Appointment>(appointment_id);
        let histories = self.log.load(business_id, std::slice::from_ref(&key)).await?;
        let appointment: Loaded<Appointment> = histories.fold(&key)?;
        let Some((visit, status)) = appointment.state.known() else { return Ok(None) };
        let contact = self.contact(business_id, appointment_id).await?;
        Ok(Some(AppointmentDetail {
            visit: visit.clone(),
            status,
            version: appointment.sequence,
            expires_at: appointment.state.expires_at(),
            contact,
        }))
    }

    /// What was given with the appointment; `None` once erased.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn contact(
        &self,
        business_id: BusinessId,
        appointment_id: AppointmentId,
    ) -> Result<Option<Contact>, ReadError> {
        let row = sqlx::query(
            "SELECT name, email, phone, timezone, notes, cancel_reason FROM appointment_private
              WHERE appointment_id = $1 AND business_id = $2",
        )
        .bind(appointment_id.uuid())
        .bind(business_id.uuid())
        .fetch_optional(self.database.pool())
        .await?;
        let contact = |row: sqlx::postgres::PgRow| {
            Ok(Contact {
                name: row.try_get("name")?,
                email: row.try_get("email")?,
                phone: row.try_get("phone")?,
                timezone: row.try_get("timezone")?,
                notes: row.try_get("notes")?,
                cancel_reason: row.try_get("cancel_reason")?,
            })
        };
        row.map(contact).transpose()
    }

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
        let histories = self.log.load(business_id, std::slice::from_ref(&key)).await?;
        let entry = |event: &streams::log::Recorded| HistoryEntry {
            position: event.cursor,
            kind: event.event_type.clone(),
            at: event.occurred_at,
            actor: event.actor.clone(),
            data: event.payload.clone(),
        };
        let entries: Vec<_> = histories.events(&key).iter().map(entry).collect();
        Ok((!entries.is_empty()).then_some(entries))
    }
}
