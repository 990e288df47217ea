//! What a guest changes by their link.

use domain::{
    AppointmentId, Decide, FieldError,
    appointment::{Appointment, AppointmentCommand, AppointmentError},
    business::Business,
};
use streams::{
    CommandContext,
    log::{Loaded, StreamKey, UnitOfWork},
};

use super::end::check_reason;
use crate::{CommandError, Commands, Done, again::until_decided, error::Attempt};

/// A guest calls their visit off.
#[derive(Debug, Clone)]
pub struct CancelByGuest {
    /// Which.
    pub appointment_id: AppointmentId,
    /// The version that the guest saw. The change is made on it or not at all, so it can be made once.
    pub version: u64,
    /// In the guest's words: personal, so not in events.
    pub reason: Option<String>,
}

/// A guest takes what was offered to them.
#[derive(Debug, Clone, Copy)]
pub struct AcceptByGuest {
    /// Which.
    pub appointment_id: AppointmentId,
    /// The version that the guest saw. The change is made on it or not at all, so it can be made once.
    pub version: u64,
}

/// Why a guest's change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuestRefused {
    /// A field breaks a rule.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// The appointment has changed since, perhaps by this very request.
    #[error("the appointment has changed since it was looked at")]
    Spent,
    /// The appointment's own rule.
    #[error(transparent)]
    Appointment(#[from] AppointmentError),
}

/// The appointment at the version that the guest saw, and what decides about changes of it.
struct Seen {
    appointment: Loaded<Appointment>,
    /// Its policy was read, so it is guarded.
    business: Loaded<Business>,
}

impl Commands {
    /// Calls a visit off on behalf of its guest, once.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(appointment.id = %cancel.appointment_id))]
    pub async fn cancel_by_guest(
        &self,
        cancel: &CancelByGuest,
        context: &CommandContext,
    ) -> Result<Done<()>, CommandError<GuestRefused>> {
        let refused = |errors| CommandError::Refused(GuestRefused::Invalid(errors));
        check_reason(cancel.reason.as_deref()).map_err(refused)?;
        let _turn = self.turn(context.business_id).await?;
        let attempt = || self.try_cancel_by_guest(cancel, context);
        until_decided("cancel_by_guest", attempt, |_| None).await
    }

    async fn try_cancel_by_guest(
        &self,
        cancel: &CancelByGuest,
        context: &CommandContext,
    ) -> Result<Done<()>, Attempt<GuestRefused>> {
        let id = cancel.appointment_id;
        let Seen { appointment, business } = self.seen(id, cancel.version, context).await?;
        let policy = business.state.registered().map(|known| &known.profile.value.booking_policy);
        let notice_minutes = policy.map_or(0, |policy| policy.cancel_notice_minutes);
        let command = AppointmentCommand::CancelByGuest { notice_minutes, now: context.now };
        let refused = |error: AppointmentError| Attempt::Refused(GuestRefused::from(error));
        let events = appointment.state.decide(command).map_err(refused)?;
        let (visit, _) = appointment.state.known().ok_or(refused(AppointmentError::NotFound))?;
        let mut unit = UnitOfWork::new(context.clone());
        unit.append(&appointment, events)?;
        unit.guard(&business);
        self.release(&mut unit, id, visit, context).await?;
        let reason = cancel.reason.as_deref();
        let position = self.commit_with_reason(&unit, id, reason, context).await?;
        Ok(Done::new((), position))
    }

    /// Agrees to an offer on behalf of the guest who waited for it, once.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(appointment.id = %accept.appointment_id))]
    pub async fn accept_by_guest(
        &self,
        accept: &AcceptByGuest,
        context: &CommandContext,
    ) -> Result<Done<()>, CommandError<GuestRefused>> {
        let _turn = self.turn(context.business_id).await?;
        let attempt = || self.try_accept(accept, context);
        until_decided("accept_by_guest", attempt, |_| None).await
    }

    async fn try_accept(
        &self,
        accept: &AcceptByGuest,
        context: &CommandContext,
    ) -> Result<Done<()>, Attempt<GuestRefused>> {
        let id = accept.appointment_id;
        let Seen { appointment, .. } = self.seen(id, accept.version, context).await?;
        let refused = |error: AppointmentError| Attempt::Refused(GuestRefused::from(error));
        let events = appointment.state.decide(AppointmentCommand::Accept).map_err(refused)?;
        let mut unit = UnitOfWork::new(context.clone());
        unit.append(&appointment, events)?;
        unit.answer_request(id);
        Ok(Done::new((), self.log.commit(&unit).await?))
    }

    /// Reads what the guest's change is decided on. Whoever was faster made another version: that the
    /// sequence is the one seen is checked here, and by the primary key of the log.
    async fn seen(
        &self,
        appointment_id: AppointmentId,
        version: u64,
        context: &CommandContext,
    ) -> Result<Seen, Attempt<GuestRefused>> {
        let key = StreamKey::of::<Appointment>(appointment_id);
        let business_key = StreamKey::of::<Business>(context.business_id);
        let keys = [key.clone(), business_key.clone()];
        let histories = self.log.load(context.business_id, &keys).await?;
        let appointment: Loaded<Appointment> = histories.fold(&key)?;
        if appointment.state.known().is_none() {
            return Err(Attempt::Refused(AppointmentError::NotFound.into()));
        }
        if appointment.sequence != version {
            return Err(Attempt::Refused(GuestRefused::Spent));
        }
        Ok(Seen { appointment, business: histories.fold(&business_key)? })
    }
}
