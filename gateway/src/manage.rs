//! Addresses that are secrets: where guests manage their appointments, and where staff read theirs.

use commands::identity::{Link, Links};
use domain::{AppointmentId, InvitationId, ResetId, StaffId, WaitlistId};
use reactors::GuestLinks;

use crate::http::{INVITATION_PAGE, RESET_PAGE};

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

    /// A secret too: whoever has it may end the waiting.
    pub(crate) fn waitlist_url(&self, waitlist_id: WaitlistId) -> String {
        format!("{}/api/v1/public/waitlist/{}", self.public_url, self.links.wait(waitlist_id))
    }

    /// A secret too: it shows who comes to whom.
    pub(crate) fn feed_url(&self, staff_id: StaffId) -> String {
        format!("{}/api/v1/public/feeds/{}.ics", self.public_url, self.links.feed(staff_id))
    }
}

impl GuestLinks for ManageUrls {
    fn manage_url(&self, appointment_id: AppointmentId) -> String {
        self.url(appointment_id)
    }

    fn unsubscribe_url(&self, appointment_id: AppointmentId) -> String {
        let link = self.links.unsubscribe(appointment_id);
        format!("{}/api/v1/public/unsubscribe/{link}", self.public_url)
    }

    // Behind the `#`: browsers send that to nobody, so it is in no log.
    fn reset_url(&self, reset_id: ResetId) -> String {
        format!("{}{RESET_PAGE}#{}", self.public_url, self.links.reset(reset_id))
    }

    fn invitation_url(&self, invitation_id: InvitationId) -> String {
        format!("{}{INVITATION_PAGE}#{}", self.public_url, self.links.invitation(invitation_id))
    }
}
