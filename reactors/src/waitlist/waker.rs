use std::collections::BTreeMap;

use domain::{
    Aggregate,
    appointment::{Appointment, AppointmentEvent},
    business::Business,
    staff_calendar::{StaffCalendar, StaffCalendarEvent},
    staff_schedule::StaffSchedule,
    waitlist::{WaitlistEntry, WaitlistEvent},
};
use sqlx::PgConnection;
use streams::{
    Cursor,
    consumer::{Failure, Reactor},
    log::{Recorded, Unreadable},
};
use uuid::Uuid;

/// Notes the businesses in which a guest who waits may be offered something, or has answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waker;

impl Reactor for Waker {
    const NAME: &'static str = "wake-waitlists";

    async fn react(
        &self,
        connection: &mut PgConnection,
        batch: &[Recorded],
    ) -> Result<(), Failure> {
        let mut woken: BTreeMap<Uuid, Cursor> = BTreeMap::new();
        for event in batch {
            if wakes(event)? {
                woken.insert(event.business_id.uuid(), event.cursor);
            }
        }
        if woken.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO waitlist_wake (business_id, transaction_id, position)
             SELECT w.business, w.transaction, w.position
               FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS w (business, transaction, position)
              WHERE EXISTS (SELECT FROM waitlist_entry e
                             WHERE e.business_id = w.business AND e.status IN ('waiting', 'offered'))
             ON CONFLICT (business_id)
             DO UPDATE SET transaction_id = excluded.transaction_id, position = excluded.position",
        )
        .bind(woken.keys().copied().collect::<Vec<_>>())
        .bind(woken.values().map(|cursor| cursor.transaction_id).collect::<Vec<_>>())
        .bind(woken.values().map(|cursor| cursor.position).collect::<Vec<_>>())
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Whether time may have become free, or an offer was answered. What is missing here is found by the
/// look that everybody gets from time to time.
fn wakes(event: &Recorded) -> Result<bool, Unreadable> {
    let kind = event.stream.kind.as_str();
    if kind == Business::TYPE || kind == StaffSchedule::TYPE {
        return Ok(true);
    }
    if let Some(fact) = event.of::<StaffCalendar>()? {
        return Ok(matches!(
            fact,
            // Resources come free with the staff member who used them.
            StaffCalendarEvent::Released { .. }
                | StaffCalendarEvent::SeatsGivenBack { .. }
                | StaffCalendarEvent::TimeOffRemoved { .. }
        ));
    }
    if let Some(fact) = event.of::<Appointment>()? {
        return Ok(matches!(
            fact,
            AppointmentEvent::Confirmed {}
                | AppointmentEvent::Declined {}
                | AppointmentEvent::Expired {}
                | AppointmentEvent::Cancelled {}
        ));
    }
    Ok(matches!(event.of::<WaitlistEntry>()?, Some(WaitlistEvent::Joined { .. })))
}
