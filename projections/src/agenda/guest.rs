use domain::{
    AppointmentId, BusinessId, Zone,
    appointment::{Appointment, Status, Visit},
    business::{Business, BusinessState},
};
use jiff::Timestamp;
use serde_json::{Map, Value};
use streams::log::{Loaded, StreamKey};

use super::{Agenda, Subject};
use crate::ReadError;

/// One appointment as its guest sees it. Read from the log, so it is never late: what the guest is told
/// can be done is decided on the same events.
#[derive(Debug, Clone)]
pub struct GuestView {
    /// What was agreed.
    pub visit: Visit,
    /// Where it stands.
    pub status: Status,
    /// Sequence of its last event.
    pub version: u64,
    /// Until when a request may be answered.
    pub expires_at: Option<Timestamp>,
    /// Whether the guest is the one who answers.
    pub offered: bool,
    /// How often it was moved.
    pub moves: u32,
    /// Where it is, as it is today.
    pub business: BusinessState,
    /// The guest's own zone, when they named one and it is not erased.
    pub timezone: Option<Zone>,
    /// To what the service asked, by key; none once erased.
    pub answers: Map<String, Value>,
    /// Who or what it is for, when that is not the guest alone; none once erased.
    pub subjects: Vec<Subject>,
}

impl Agenda {
    /// What the holder of a manage link sees; `None` when it is another tenant's or was never booked.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn seen_by_guest(
        &self,
        business_id: BusinessId,
        appointment_id: AppointmentId,
    ) -> Result<Option<GuestView>, ReadError> {
        let key = StreamKey::of::<Appointment>(appointment_id);
        let business_key = StreamKey::of::<Business>(business_id);
        let keys = [key.clone(), business_key.clone()];
        let histories = self.log.load(business_id, &keys).await?;
        let appointment: Loaded<Appointment> = histories.fold(&key)?;
        let business: Loaded<Business> = histories.fold(&business_key)?;
        let Some((visit, status)) = appointment.state.known() else { return Ok(None) };
        let Business::Registered(business) = business.state else { return Ok(None) };
        let contact = self.contact(business_id, appointment_id).await?;
        let timezone = contact.as_ref().and_then(|c| c.timezone.as_ref()?.parse().ok());
        let said = contact.map(|contact| (contact.answers, contact.subjects));
        let (answers, subjects) = said.unwrap_or_default();
        Ok(Some(GuestView {
            visit: visit.clone(),
            status,
            version: appointment.sequence,
            expires_at: appointment.state.expires_at(),
            offered: appointment.state.is_offered(),
            moves: appointment.state.moves(),
            business: *business,
            timezone,
            answers,
            subjects,
        }))
    }
}
