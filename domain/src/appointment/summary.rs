//! What happened to a visit, in one sentence for people.

use jiff::Timestamp;

use super::{AppointmentEvent, Visit};
use crate::{StaffId, Zone};

/// Who did it, as far as people need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doer {
    /// Whoever holds the manage link, or booked without signing in.
    Guest,
    /// The owner of the business.
    Owner,
    /// Somebody who manages it beside the owner.
    Admin,
    /// Somebody who works there.
    Staff,
    /// A program of the business, by a key.
    Program,
    /// Nobody: it followed from a rule.
    System,
    /// Somebody who was signed in, and is not of the business any more.
    Former,
}

impl Doer {
    /// The name in the API; nothing for somebody of whom no role is known.
    #[must_use]
    pub const fn role(self) -> Option<&'static str> {
        match self {
            Self::Guest => Some("guest"),
            Self::Owner => Some("owner"),
            Self::Admin => Some("admin"),
            Self::Staff => Some("staff"),
            Self::Program => Some("program"),
            Self::System => Some("system"),
            Self::Former => None,
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::Guest => "the guest",
            Self::Owner => "the owner",
            Self::Admin => "an admin",
            Self::Staff => "a staff member",
            Self::Program => "a program",
            Self::System => "the system",
            Self::Former => "somebody who has left",
        }
    }
}

/// What sentences about visits need to know of the business.
pub struct Teller<'a> {
    /// Whose clock times are told by.
    pub zone: &'a Zone,
    /// What a staff member is called; nothing for one who has left.
    pub name: &'a dyn Fn(StaffId) -> Option<String>,
}

impl Teller<'_> {
    /// One sentence, without a full stop. `before` is what was agreed before the event, if anything was.
    #[must_use]
    pub fn tell(&self, event: &AppointmentEvent, before: Option<&Visit>, by: Doer) -> String {
        let by = by.in_words();
        match event {
            AppointmentEvent::Booked { visit, .. } => {
                format!("Booked by {by} for {}{}", self.at(visit), self.end(visit))
            }
            AppointmentEvent::Requested { visit, .. } => {
                format!("Asked for by {by} for {}{}", self.at(visit), self.end(visit))
            }
            AppointmentEvent::Confirmed {} => format!("Confirmed by {by}"),
            AppointmentEvent::Declined {} => format!("Declined by {by}"),
            AppointmentEvent::Expired {} => {
                "Not answered in time, so the time was given back".into()
            }
            AppointmentEvent::Reinstated { visit, .. } => {
                format!("Booked again by {by} for {}{}", self.at(visit), self.end(visit))
            }
            AppointmentEvent::Rescheduled { visit, previous, .. } => {
                let mut said = format!("Moved by {by}");
                if previous.start() == visit.slot.start() {
                    said += &format!(" at {}", self.at(visit));
                } else {
                    said +=
                        &format!(" from {} to {}", self.local(previous.start()), self.at(visit));
                }
                let other = before.filter(|before| before.staff_id != visit.staff_id);
                let names = other.map(|before| (self.name)(before.staff_id));
                match (names, (self.name)(visit.staff_id)) {
                    (Some(Some(old)), Some(new)) => said += &format!(", from {old} to {new}"),
                    (Some(None), Some(new)) => said += &format!(", to {new}"),
                    (Some(_), None) => said += ", to another staff member",
                    (None, _) => {}
                }
                said + &self.zone_in_words()
            }
            AppointmentEvent::Cancelled {} => format!("Cancelled by {by}"),
            AppointmentEvent::Completed {} => format!("Marked as completed by {by}"),
            AppointmentEvent::MissedByGuest {} => format!("Marked as a no-show by {by}"),
        }
    }

    fn at(&self, visit: &Visit) -> String {
        self.local(visit.slot.start())
    }

    fn end(&self, visit: &Visit) -> String {
        let with = (self.name)(visit.staff_id).map(|name| format!(" with {name}"));
        with.unwrap_or_default() + &self.zone_in_words()
    }

    fn local(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.tz().clone()).strftime("%a %-d %b %Y %H:%M").to_string()
    }

    fn zone_in_words(&self) -> String {
        format!(" ({})", self.zone.name())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{Currency, CustomerId, Money, ServiceId, TimeSlot};

    fn staff(n: u128) -> StaffId {
        StaffId::new(Uuid::from_u128(n))
    }

    fn visit(start: &str, by: u128) -> Visit {
        Visit {
            staff_id: staff(by),
            service_id: ServiceId::new(Uuid::nil()),
            customer_id: CustomerId::new(Uuid::nil()),
            slot: TimeSlot::lasting(start.parse().unwrap(), 30).unwrap(),
            buffer_before_minutes: 0,
            buffer_after_minutes: 0,
            price: Money { amount: 0, currency: Currency::USD },
            reminder_offsets_minutes: vec![],
            offset_seconds: None,
            parts: vec![],
            resources: vec![],
            class: None,
            subjects: 1,
            series: None,
        }
    }

    fn told(event: &AppointmentEvent, before: Option<&Visit>, by: Doer) -> String {
        let zone = "Europe/London".parse().unwrap();
        let name = |id| {
            let names = [(staff(1), "Dana"), (staff(2), "Eve")];
            names.iter().find(|(known, _)| *known == id).map(|(_, name)| (*name).to_owned())
        };
        Teller { zone: &zone, name: &name }.tell(event, before, by)
    }

    fn moved(from: &Visit, to: Visit) -> AppointmentEvent {
        AppointmentEvent::Rescheduled { visit: to, previous: from.slot, revision: 1 }
    }

    #[test]
    fn a_booking_says_when_with_whom_and_by_whom() {
        let booked = |by| AppointmentEvent::Booked {
            visit: visit("2026-03-02T14:00:00Z", by),
            choice: None,
        };
        assert_eq!(
            told(&booked(1), None, Doer::Guest),
            "Booked by the guest for Mon 2 Mar 2026 14:00 with Dana (Europe/London)"
        );
        // In summer the clock of the business is an hour ahead.
        let summer =
            AppointmentEvent::Booked { visit: visit("2026-07-06T14:00:00Z", 3), choice: None };
        assert_eq!(
            told(&summer, None, Doer::Owner),
            "Booked by the owner for Mon 6 Jul 2026 15:00 (Europe/London)"
        );
    }

    #[test]
    fn a_move_says_from_when_to_when_and_from_whom_to_whom() {
        let old = visit("2026-03-02T14:00:00Z", 1);
        let later = "2026-03-03T09:30:00Z";
        assert_eq!(
            told(&moved(&old, visit(later, 1)), Some(&old), Doer::Guest),
            "Moved by the guest from Mon 2 Mar 2026 14:00 to Tue 3 Mar 2026 09:30 (Europe/London)"
        );
        assert_eq!(
            told(&moved(&old, visit(later, 2)), Some(&old), Doer::Staff),
            "Moved by a staff member from Mon 2 Mar 2026 14:00 to Tue 3 Mar 2026 09:30, from Dana to Eve \
             (Europe/London)"
        );
        assert_eq!(
            told(&moved(&old, visit("2026-03-02T14:00:00Z", 2)), Some(&old), Doer::Owner),
            "Moved by the owner at Mon 2 Mar 2026 14:00, from Dana to Eve (Europe/London)"
        );
        let gone = visit("2026-03-02T14:00:00Z", 3);
        assert_eq!(
            told(&moved(&gone, visit(later, 1)), Some(&gone), Doer::Owner),
            "Moved by the owner from Mon 2 Mar 2026 14:00 to Tue 3 Mar 2026 09:30, to Dana (Europe/London)"
        );
        assert_eq!(
            told(&moved(&old, visit(later, 3)), Some(&old), Doer::System),
            "Moved by the system from Mon 2 Mar 2026 14:00 to Tue 3 Mar 2026 09:30, to another staff member \
             (Europe/London)"
        );
    }

    #[test]
    fn every_end_and_every_return_says_by_whom() {
        let again =
            AppointmentEvent::Reinstated { visit: visit("2026-03-02T14:00:00Z", 2), revision: 1 };
        for (event, by, sentence) in [
            (AppointmentEvent::Cancelled {}, Doer::Guest, "Cancelled by the guest"),
            (AppointmentEvent::Cancelled {}, Doer::Former, "Cancelled by somebody who has left"),
            (AppointmentEvent::Completed {}, Doer::Staff, "Marked as completed by a staff member"),
            (AppointmentEvent::MissedByGuest {}, Doer::Owner, "Marked as a no-show by the owner"),
            (
                again,
                Doer::Owner,
                "Booked again by the owner for Mon 2 Mar 2026 14:00 with Eve (Europe/London)",
            ),
        ] {
            assert_eq!(told(&event, None, by), sentence);
        }
    }
}
