use domain::{
    AppointmentId, BusinessId, CustomerId,
    appointment::{Appointment, Status, Visit},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use sqlx::{PgConnection, Row, types::Json};
use streams::log::{self, Loaded, StreamKey};
use uuid::Uuid;

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
    /// Whose it is: who was booked for, or who stands for them now.
    pub customer_id: CustomerId,
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
    /// To what the service asked, by key.
    pub answers: Map<String, Value>,
    /// Who or what it is for, when that is not the guest alone.
    pub subjects: Vec<Subject>,
    /// Why it was called off.
    pub cancel_reason: Option<String>,
}

/// Who or what a visit is for. Read as far as it is known: a newer build may keep more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Subject {
    /// How to call them.
    pub name: String,
    /// In the guest's words.
    pub notes: Option<String>,
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
        self.get_as_of(business_id, appointment_id, None).await
    }

    /// One appointment as it was known at an instant, or now; `None` when it is another tenant's or was
    /// not booked by then. What was given with it is answered as it is today.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn get_as_of(
        &self,
        business_id: BusinessId,
        appointment_id: AppointmentId,
        at: Option<Timestamp>,
    ) -> Result<Option<AppointmentDetail>, ReadError> {
        let key = StreamKey::of::<Appointment>(appointment_id);
        let keys = std::slice::from_ref(&key);
        let histories = match at {
            None => self.log.load(business_id, keys).await?,
            Some(_) => {
                log::as_of(&mut *self.database.tenant(business_id).await?, business_id, keys, at)
                    .await?
            }
        };
        let appointment: Loaded<Appointment> = histories.fold(&key)?;
        let Some((visit, status)) = appointment.state.known() else { return Ok(None) };
        let mut contact = self.contact(business_id, appointment_id).await?;
        if let Some(contact) =
            contact.as_mut().filter(|_| at.is_some() && status != Status::Cancelled)
        {
            contact.cancel_reason = None;
        }
        let customer_id = self.stands_for(business_id, visit.customer_id).await?;
        Ok(Some(AppointmentDetail {
            visit: visit.clone(),
            status,
            version: appointment.sequence,
            customer_id,
            expires_at: appointment.state.expires_at(),
            contact,
        }))
    }

    async fn stands_for(
        &self,
        business_id: BusinessId,
        customer_id: CustomerId,
    ) -> Result<CustomerId, ReadError> {
        let now: Option<Uuid> = sqlx::query_scalar(
            "SELECT merged_into FROM customer
              WHERE customer_id = $1 AND business_id = $2 AND merged_into IS NOT NULL",
        )
        .bind(customer_id.uuid())
        .bind(business_id.uuid())
        .fetch_optional(&mut *self.database.tenant(business_id).await?)
        .await?;
        Ok(now.map_or(customer_id, CustomerId::new))
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
        let connection = &mut *self.database.tenant(business_id).await?;
        Ok(Contact::read(connection, business_id, appointment_id).await?)
    }
}

impl Contact {
    /// What was given with an appointment, by a connection that sees it; `None` once erased.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn read(
        connection: &mut PgConnection,
        business_id: BusinessId,
        appointment_id: AppointmentId,
    ) -> Result<Option<Self>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT name, email, phone, timezone, notes, answers, subjects, cancel_reason
               FROM appointment_private
              WHERE appointment_id = $1 AND business_id = $2",
        )
        .bind(appointment_id.uuid())
        .bind(business_id.uuid())
        .fetch_optional(connection)
        .await?;
        let contact = |row: sqlx::postgres::PgRow| -> Result<Self, sqlx::Error> {
            let answers: Option<Json<Map<String, Value>>> = row.try_get("answers")?;
            let subjects: Option<Json<Vec<Subject>>> = row.try_get("subjects")?;
            Ok(Self {
                name: row.try_get("name")?,
                email: row.try_get("email")?,
                phone: row.try_get("phone")?,
                timezone: row.try_get("timezone")?,
                notes: row.try_get("notes")?,
                answers: answers.map(|Json(answers)| answers).unwrap_or_default(),
                subjects: subjects.map(|Json(subjects)| subjects).unwrap_or_default(),
                cancel_reason: row.try_get("cancel_reason")?,
            })
        };
        row.map(contact).transpose()
    }
}
