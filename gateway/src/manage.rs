//! Where guests manage their appointments.

use commands::identity::{Link, Links};
use domain::AppointmentId;
use reactors::GuestLinks;

/// Makes the addresses that guests are given, and knows its own links again.
#[derive(Debug, Clone)]
pub(crate) struct ManageUrls {
    links: Links,
    public_url: String,
}

impl ManageUrls {
    pub(crate) const fn new(links: Links, public_url: String) -> Self {
        Self { links, public_url }
    }

    pub(crate) const fn links(&self) -> &Links {
        &self.links
    }

    /// A secret: whoever has it may see and change the appointment.
    pub(crate) fn url(&self, appointment_id: AppointmentId) -> String {
        let link = self.links.manage(Link::of(appointment_id));
        format!("{}/api/v1/public/appointments/{link}", self.public_url)
    }
}

impl GuestLinks for ManageUrls {
    fn manage_url(&self, appointment_id: AppointmentId) -> String {
        self.url(appointment_id)
    }
}
