//! Visits as calendar files (RFC 5545, RFC 5546). Times are UTC instants: a visit happens once, so no
//! calendar has to know the rules of a time zone to show it at the right moment.

use chrono::{DateTime, Utc};
use domain::{
    AppointmentId,
    appointment::{Status, Visit},
    business::BusinessState,
};
use icalendar::{
    Attendee, Calendar, Component, Event, EventLike, EventStatus, PartStat, Property, Role,
};
use jiff::Timestamp;
use projections::agenda::AgendaRow;

/// For the guest's mail: what their calendar is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invitation {
    /// `REQUEST` enters the visit, `CANCEL` takes it out. The mail has to say it beside the file, too.
    pub(crate) method: &'static str,
    pub(crate) file: String,
}

/// A visit in its guest's calendar.
#[derive(Debug, Clone, Copy)]
pub struct GuestCalendar<'a> {
    /// Makes the name of the entry, the same in every file about this visit.
    pub appointment_id: AppointmentId,
    /// Sequence of the appointment's last event: a calendar keeps what came with the highest.
    pub version: u64,
    /// What was agreed.
    pub visit: &'a Visit,
    /// Where it stands.
    pub status: Status,
    /// Where it is.
    pub business: &'a BusinessState,
    /// The address that our mails come from: clients take an invitation only from its organizer.
    pub organizer: &'a str,
    /// When the file is made.
    pub now: Timestamp,
}

impl GuestCalendar<'_> {
    /// For whoever opens it: to be added to a calendar, or taken out when it is called off.
    #[must_use]
    pub fn published(&self) -> String {
        calendar(self.method("PUBLISH")).push(self.event()).done().to_string()
    }

    /// For a mail to the guest, whose client enters it by itself, or takes it out when it is called off.
    /// Nobody is asked to reply: it is agreed.
    pub(crate) fn invitation(&self, guest: &str, address: &str) -> Invitation {
        let mut event = self.event();
        event.attendee(
            Attendee::new(format!("mailto:{address}"))
                .cn(parameter(guest))
                .role(Role::ReqParticipant)
                .partstat(PartStat::Accepted)
                .rsvp(false),
        );
        let method = self.method("REQUEST");
        Invitation { method, file: calendar(method).push(event).done().to_string() }
    }

    fn method(&self, while_it_stands: &'static str) -> &'static str {
        if self.status.holds_time() { while_it_stands } else { "CANCEL" }
    }

    fn event(&self) -> Event {
        let profile = &self.business.profile.value;
        let service = self.business.services.get(&self.visit.service_id);
        let what = service.map_or("Appointment", |service| service.value.name.as_str());
        let status = match self.status {
            Status::Booked | Status::Completed | Status::NoShow => EventStatus::Confirmed,
            Status::Requested => EventStatus::Tentative,
            Status::Cancelled | Status::Declined | Status::Expired => EventStatus::Cancelled,
        };
        let organizer = Property::new("ORGANIZER", format!("mailto:{}", self.organizer))
            .add_parameter("CN", &parameter(&profile.name))
            .done();
        let mut event = entry(self.appointment_id, self.version, self.now);
        event
            .starts(utc(self.visit.slot.start()))
            .ends(utc(self.visit.slot.end()))
            .summary(&text(&format!("{what} at {}", profile.name)))
            .append_property(organizer);
        event.status(status);
        if let Some(address) = &profile.address {
            event.location(&text(address));
        }
        event
    }
}

/// How often calendars should look for news.
const REFRESH: chrono::Duration = chrono::Duration::hours(1);

/// The visits of a staff member, for a calendar that subscribes to them.
#[must_use]
pub fn staff_calendar<'a>(
    staff: &str,
    business: &BusinessState,
    visits: impl IntoIterator<Item = &'a AgendaRow>,
    now: Timestamp,
) -> String {
    let profile = &business.profile.value;
    let name = text(&format!("{staff} at {}", profile.name));
    let mut calendar = calendar("PUBLISH");
    calendar.append_property(("X-WR-CALNAME", name.as_str())).ttl(&REFRESH);
    for visit in visits {
        let service = business.services.get(&visit.service_id);
        let what = service.map_or("Appointment", |service| service.value.name.as_str());
        let summary = match &visit.customer_name {
            Some(guest) => text(&format!("{what}: {guest}")),
            None => text(what),
        };
        let mut event = entry(visit.appointment_id, visit.version, now);
        event.starts(utc(visit.start)).ends(utc(visit.end)).summary(&summary);
        let asked = visit.status == Status::Requested.as_str();
        event.status(if asked { EventStatus::Tentative } else { EventStatus::Confirmed });
        if let Some(address) = &profile.address {
            event.location(&text(address));
        }
        calendar.push(event);
    }
    calendar.to_string()
}

fn calendar(method: &str) -> Calendar {
    let mut calendar = Calendar::empty();
    for (name, value) in [
        ("VERSION", "2.0"),
        ("PRODID", "-//ApptRemind//ApptRemind//EN"),
        ("CALSCALE", "GREGORIAN"),
        ("METHOD", method),
    ] {
        calendar.append_property((name, value));
    }
    calendar
}

/// What names a visit in all calendars, and which word about it is the last.
fn entry(appointment_id: AppointmentId, version: u64, now: Timestamp) -> Event {
    Event::with_uid(&format!("{appointment_id}@apptremind"))
        .sequence(u32::try_from(version.saturating_sub(1)).unwrap_or(u32::MAX))
        .timestamp(utc(now))
        .done()
}

/// Whole seconds, as calendars have them; years that nobody books are the epoch.
fn utc(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp(at.as_second(), 0).unwrap_or_default()
}

/// The crate escapes line feeds, and leaves other control characters: some readers end a line at each.
fn text(words: &str) -> String {
    let words = words.replace("\r\n", "\n").replace('\r', "\n");
    words.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

/// A parameter knows no escapes: what would end it is put in another way.
fn parameter(words: &str) -> String {
    let plain = |c: char| if c == '"' { '\'' } else { c };
    words.chars().filter(|c| !c.is_control()).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use domain::{
        Aggregate, Currency, CustomerId, Money, ServiceId, StaffId, TimeSlot,
        business::{Business, BusinessEvent, Profile, Service},
    };
    use uuid::Uuid;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Unfolded lines.
    fn lines(file: &str) -> Vec<String> {
        assert!(file.ends_with("END:VCALENDAR\r\n"), "{file}");
        // RFC 5545 asks for 75; the crate makes the last line of a folded value one longer at most.
        assert!(file.split("\r\n").all(|line| line.len() <= 76), "{file}");
        let unfolded = file.replace("\r\n ", "");
        assert!(!unfolded.replace("\r\n", "").contains(['\r', '\n']), "{unfolded:?}");
        unfolded.split("\r\n").map(str::to_owned).collect()
    }

    fn file(name: &str, address: &str, status: Status, version: u64) -> (Vec<String>, Vec<String>) {
        let mut profile = Profile::new(name.into(), "salon".into(), domain::Zone::UTC);
        profile.address = Some(address.into());
        let mut business = Business::default();
        business.apply(BusinessEvent::Registered { profile });
        let service_id = ServiceId::new(Uuid::nil());
        let price = Money { amount: 4500, currency: Currency::USD };
        let service = Service {
            buffer_before_minutes: 15,
            buffer_after_minutes: 15,
            ..Service::new("Cut, wash; dry", 30, price)
        };
        business.apply(BusinessEvent::ServiceAdded { service_id, service });
        let visit = Visit {
            staff_id: StaffId::new(Uuid::nil()),
            service_id,
            customer_id: CustomerId::new(Uuid::nil()),
            slot: TimeSlot::lasting(at("2026-07-06T13:00:00Z"), 30).unwrap(),
            buffer_before_minutes: 15,
            buffer_after_minutes: 15,
            price,
            reminder_offsets_minutes: vec![],
            parts: vec![],
            resources: vec![],
            class: None,
            subjects: 1,
            series: None,
            offset_seconds: None,
        };
        let calendar = GuestCalendar {
            appointment_id: AppointmentId::new(Uuid::from_u128(1)),
            version,
            visit: &visit,
            status,
            business: business.registered().unwrap(),
            organizer: "reminders@example.com",
            now: at("2026-07-01T08:00:00.5Z"),
        };
        let guest = calendar.invitation("Ada \"The Guest\"", "ada@example.com");
        let method = format!("METHOD:{}\r\n", guest.method);
        assert!(guest.file.contains(&method), "{guest:?}");
        (lines(&calendar.published()), lines(&guest.file))
    }

    fn has(lines: &[String], line: &str) {
        assert!(lines.iter().any(|l| l == line), "{line} in {lines:#?}");
    }

    #[test]
    fn a_visit_is_an_entry_at_its_instant_without_buffers() {
        let (published, invitation) = file("Salon", "1 Main St", Status::Booked, 1);
        for lines in [&published, &invitation] {
            for line in [
                "UID:appt_00000000000000000000000000000001@apptremind",
                "SEQUENCE:0",
                "DTSTAMP:20260701T080000Z",
                "DTSTART:20260706T130000Z",
                "DTEND:20260706T133000Z",
                "SUMMARY:Cut\\, wash\\; dry at Salon",
                "LOCATION:1 Main St",
                "STATUS:CONFIRMED",
                "ORGANIZER;CN=Salon:mailto:reminders@example.com",
            ] {
                has(lines, line);
            }
        }
        has(&published, "METHOD:PUBLISH");
        assert!(!published.iter().any(|line| line.starts_with("ATTENDEE")), "{published:#?}");
        has(&invitation, "METHOD:REQUEST");
        let guest = invitation.iter().find(|line| line.starts_with("ATTENDEE")).unwrap();
        assert!(guest.ends_with(":mailto:ada@example.com"), "{guest}");
        assert!(guest.contains("CN=Ada 'The Guest'"), "{guest}");
        assert!(guest.contains("PARTSTAT=ACCEPTED") && guest.contains("RSVP=FALSE"), "{guest}");
    }

    #[test]
    fn a_visit_that_is_called_off_takes_the_entry_out() {
        for lines in <[_; 2]>::from(file("Salon", "1 Main St", Status::Cancelled, 2)) {
            for line in [
                "METHOD:CANCEL",
                "STATUS:CANCELLED",
                "SEQUENCE:1",
                "UID:appt_00000000000000000000000000000001@apptremind",
            ] {
                has(&lines, line);
            }
        }
    }

    #[test]
    fn long_words_of_any_script_are_folded_and_come_out_whole() {
        for words in ["é😀 ", "老虎", " ", "\t", "a\u{2003}ö", "👩‍👩‍👧‍👦"] {
            for more in 0..80 {
                let address = format!("{}{}", "x".repeat(more), words.repeat(90));
                let (published, _) = file("Salon", &address, Status::Booked, 1);
                has(&published, &format!("LOCATION:{}", text(&address)));
            }
        }
    }

    #[test]
    fn what_people_type_stays_inside_its_own_line() {
        let name = r#"A";X-EVIL=1:x, "B\C""#;
        let address = "1 Main St\r\nEND:VEVENT\rX-EVIL:1\n\u{85}\u{0}Etage 2";
        let (published, invitation) = file(name, address, Status::Booked, 1);
        for lines in [&published, &invitation] {
            assert!(!lines.iter().any(|line| line.starts_with("X-EVIL")), "{lines:#?}");
            assert_eq!(lines.iter().filter(|line| *line == "END:VEVENT").count(), 1);
            has(lines, r"LOCATION:1 Main St\nEND:VEVENT\nX-EVIL:1\nEtage 2");
            let organizer = r#"ORGANIZER;CN="A';X-EVIL=1:x, 'B\C'":mailto:reminders@example.com"#;
            has(lines, organizer);
        }
    }
}
