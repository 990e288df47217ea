use domain::{
    AppointmentId, BusinessId, Zone,
    appointment::{Appointment, Status, Visit},
    business::{Business, BusinessState},
};
use jiff::Timestamp;
use streams::log::{Loaded, StreamKey};

use super::Agenda;
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
        let timezone = contact.and_then(|contact| contact.timezone?.parse().ok());
        Ok(Some(GuestView {
            visit: visit.clone(),
            status,
            version: appointment.sequence,
            expires_at: appointment.state.expires_at(),
            offered: appointment.state.is_offered(),
            moves: appointment.state.moves(),
            business: *business,
            timezone,
        }))
    }
}
