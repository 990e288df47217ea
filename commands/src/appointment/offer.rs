//! A time that became free, kept for a guest who waits.

use domain::{
    AppointmentId, BusinessId, Decide, FieldError, StaffId, WaitlistId,
    availability::Waived,
    business::Answers,
    waitlist::{Offer, WaitlistCommand, WaitlistEntry, WaitlistError},
};
use jiff::Timestamp;
use sqlx::Row;
use streams::{
    CommandContext,
    log::{CommitError, Loaded, StreamKey},
};

use super::{
    BookAppointment, BookingRefused, Guest, Start,
    decide::{self, Decision},
};
use crate::{
    CommandError, Commands, Done,
    again::until_decided,
    error::Attempt,
    mailbox::{Guests, State, Wanted},
};

/// A time for a guest who waits.
#[derive(Debug, Clone, Copy)]
pub struct OfferTime {
    /// Who waits.
    pub waitlist_id: WaitlistId,
    /// The request that keeps the time, should it be free.
    pub appointment_id: AppointmentId,
    /// With whom.
    pub staff_id: StaffId,
    /// When.
    pub start: Timestamp,
}

/// A time that is kept.
#[derive(Debug, Clone, Copy)]
pub struct OfferedTime {
    /// Until when the guest may take it.
    pub expires_at: Timestamp,
}

/// Why a time was not offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferRefused {
    /// What is known of the guest breaks a rule, or was erased.
    #[error("the guest cannot be reached")]
    NoContact(Vec<FieldError>),
    /// The business wants to agree to each visit: the offer would do that in its place.
    #[error("the service needs approval")]
    NeedsApproval,
    /// The entry's own rule.
    #[error(transparent)]
    Waitlist(#[from] WaitlistError),
    /// The time, or who is to serve.
    #[error(transparent)]
    Booking(#[from] BookingRefused),
}

impl Commands {
    /// Keeps a time for a guest who waits, by the rules of a booking, until they take it or it expires.
    /// The entry learns of it in the same transaction, so nobody is offered a second time, and the
    /// calendar takes a time once, so no time is offered to two.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(waitlist.id = %offer.waitlist_id))]
    pub async fn offer_time(
        &self,
        offer: &OfferTime,
        context: &CommandContext,
    ) -> Result<Done<OfferedTime>, CommandError<OfferRefused>> {
        let _turn = self.turn(context.business_id).await?;
        let capped = |error: &CommitError| {
            matches!(error, CommitError::Limit { .. })
                .then_some(OfferRefused::Booking(BookingRefused::AppointmentCapReached))
        };
        until_decided("offer_time", || self.try_offer(offer, context), capped).await
    }

    async fn try_offer(
        &self,
        offer: &OfferTime,
        context: &CommandContext,
    ) -> Result<Done<OfferedTime>, Attempt<OfferRefused>> {
        let key = StreamKey::of::<WaitlistEntry>(offer.waitlist_id);
        let histories = self.log.load(context.business_id, std::slice::from_ref(&key)).await?;
        let mut entry: Loaded<WaitlistEntry> = histories.fold(&key)?;
        let refused = |error| Attempt::Refused(OfferRefused::Waitlist(error));
        let (wish, _) = entry.state.known().ok_or(refused(WaitlistError::NotFound))?;
        let contact = self.waiting_guest(context.business_id, offer.waitlist_id).await?;
        let no_contact = || Attempt::Refused(OfferRefused::NoContact(vec![]));
        let WaitingGuest { guest, timezone, notes } = contact.ok_or_else(no_contact)?;
        let book = BookAppointment {
            appointment_id: offer.appointment_id,
            service_id: wish.service_id,
            staff_id: Some(offer.staff_id),
            start: Start::At(offer.start),
            guest,
            timezone: timezone.and_then(|name| name.parse().ok()),
            notes,
            waived: Waived::default(),
            // Whoever waits was asked nothing; the owner can ask at the visit.
            also: vec![],
            answers: Answers::default(),
            subjects: vec![],
            series: None,
            waitlist_id: Some(offer.waitlist_id),
        };
        let Decision { mut unit, booked, .. } = self.decide_alone(&book, context).await?;
        let (slot, expires_at) = (
            domain::TimeSlot::try_new(booked.start, booked.end)
                .map_err(|error| CommitError::Store(error.into()))?,
            booked.expires_at.unwrap_or(booked.start),
        );
        let (appointment_id, staff_id) = (offer.appointment_id, booked.staff_id);
        let made = Offer { appointment_id, staff_id, slot, expires_at };
        let events = entry.state.decide(WaitlistCommand::Offer(made)).map_err(refused)?;
        unit.append(&entry, events.clone())?;
        events.into_iter().for_each(|event| entry.state.evolve(event));
        let position = self.save_entry(&unit, offer.waitlist_id, &entry.state).await?;
        Ok(Done::new(OfferedTime { expires_at }, position))
    }

    /// One booking, decided on what the log has now.
    async fn decide_alone(
        &self,
        book: &BookAppointment,
        context: &CommandContext,
    ) -> Result<Decision, Attempt<OfferRefused>> {
        let (mut state, guests) = (State::default(), Guests::default());
        self.meet(&guests, context.business_id, book.guest.address()).await?;
        state.load(&self.log, context.business_id, &Wanted::default()).await?;
        let business = state.business.as_ref().and_then(|business| business.state.registered());
        let service = business.and_then(|business| business.services.get(&book.service_id));
        if service.is_some_and(|service| service.value.requires_approval) {
            return Err(Attempt::Refused(OfferRefused::NeedsApproval));
        }
        let mut wanted = Wanted::default();
        decide::wants(&state, book, &mut wanted);
        state.load(&self.log, context.business_id, &wanted).await?;
        decide::decide(&state, &guests, self.policy, book, None, context).map_err(|attempt| {
            match attempt {
                Attempt::Refused(refused) => Attempt::Refused(refused.into()),
                Attempt::Commit(error) => Attempt::Commit(error),
            }
        })
    }

    /// Who waits, unless erased.
    async fn waiting_guest(
        &self,
        business_id: BusinessId,
        waitlist_id: WaitlistId,
    ) -> Result<Option<WaitingGuest>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT name, email, phone, timezone, notes FROM waitlist_private
              WHERE waitlist_id = $1 AND business_id = $2",
        )
        .bind(waitlist_id.uuid())
        .bind(business_id.uuid())
        .fetch_optional(&mut *self.log.database().tenant(business_id).await?)
        .await?;
        let guest = |row: sqlx::postgres::PgRow| {
            let (name, email) = (row.try_get("name")?, row.try_get("email")?);
            Ok(WaitingGuest {
                guest: Guest { name, email: Some(email), phone: row.try_get("phone")? },
                timezone: row.try_get("timezone")?,
                notes: row.try_get("notes")?,
            })
        };
        row.map(guest).transpose()
    }
}

/// What was given when the guest joined.
struct WaitingGuest {
    guest: Guest,
    timezone: Option<String>,
    notes: Option<String>,
}
