use domain::{
    Decide, WaitlistId,
    appointment::{Appointment, AppointmentEvent, Status},
    waitlist::{EntryStatus, WaitlistCommand, WaitlistEntry, WaitlistError},
};
use streams::{
    CommandContext,
    log::{Loaded, StreamKey, UnitOfWork},
};

use super::WaitlistRefused;
use crate::{CommandError, Commands, Done, again::until_decided, error::Attempt};

/// Why somebody waits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingEnd {
    /// They, or the business, do not want to.
    Leave,
    /// Nothing became free in time.
    Expire,
    /// What was offered has been answered: the entry follows its appointment.
    Settle,
}

/// An entry to end.
#[derive(Debug, Clone, Copy)]
pub struct EndWaiting {
    /// Which.
    pub waitlist_id: WaitlistId,
    /// How.
    pub end: WaitingEnd,
}

impl Commands {
    /// Ends an entry; ending it the same way again is already so, and what is not answered yet stays.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(waitlist.id = %wish.waitlist_id))]
    pub async fn end_waiting(
        &self,
        wish: &EndWaiting,
        context: &CommandContext,
    ) -> Result<Done<EntryStatus>, CommandError<WaitlistRefused>> {
        let _turn = self.turn(context.business_id).await?;
        until_decided("end_waiting", || self.try_end_waiting(wish, context), |_| None).await
    }

    async fn try_end_waiting(
        &self,
        wish: &EndWaiting,
        context: &CommandContext,
    ) -> Result<Done<EntryStatus>, Attempt<WaitlistRefused>> {
        let key = StreamKey::of::<WaitlistEntry>(wish.waitlist_id);
        let histories = self.log.load(context.business_id, std::slice::from_ref(&key)).await?;
        let mut entry: Loaded<WaitlistEntry> = histories.fold(&key)?;
        let refused = |error: WaitlistError| Attempt::Refused(WaitlistRefused::from(error));
        let command = match wish.end {
            WaitingEnd::Leave => Some(WaitlistCommand::Leave),
            WaitingEnd::Expire => Some(WaitlistCommand::Expire { now: context.now }),
            WaitingEnd::Settle => self.answered_offer(&entry.state, context).await?,
        };
        let events = match command {
            Some(command) => entry.state.decide(command).map_err(refused)?,
            None => vec![],
        };
        let mut unit = UnitOfWork::new(context.clone());
        unit.append(&entry, events.clone())?;
        events.into_iter().for_each(|event| entry.state.evolve(event));
        let (_, status) = entry.state.known().ok_or(refused(WaitlistError::NotFound))?;
        if unit.is_empty() {
            return Ok(Done::new(status, self.last_position(&histories, &key).await?));
        }
        let position = self.save_entry(&unit, wish.waitlist_id, &entry.state).await?;
        Ok(Done::new(status, position))
    }

    /// What the answer to an offer means for its entry; nothing while there is none.
    async fn answered_offer(
        &self,
        entry: &WaitlistEntry,
        context: &CommandContext,
    ) -> Result<Option<WaitlistCommand>, Attempt<WaitlistRefused>> {
        let offered = entry.known().is_some_and(|(_, status)| status == EntryStatus::Offered);
        let (true, Some(offer)) = (offered, entry.offer()) else { return Ok(None) };
        let key = StreamKey::of::<Appointment>(offer.appointment_id);
        let histories = self.log.load(context.business_id, std::slice::from_ref(&key)).await?;
        let appointment: Loaded<Appointment> = histories.fold(&key)?;
        let Some((_, status)) = appointment.state.known() else { return Ok(None) };
        // Also a visit that was called off later on was taken first.
        let taken = histories.events(&key).iter().any(|event| {
            matches!(event.decode::<Appointment>(), Ok(AppointmentEvent::Confirmed {}))
        });
        Ok(match status {
            _ if taken => Some(WaitlistCommand::Accept),
            Status::Requested => None,
            Status::Booked | Status::Completed | Status::NoShow => Some(WaitlistCommand::Accept),
            Status::Cancelled | Status::Declined => Some(WaitlistCommand::Decline),
            Status::Expired => Some(WaitlistCommand::Lapse),
        })
    }
}
