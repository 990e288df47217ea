use std::collections::BTreeSet;

use domain::{
    Aggregate, AppointmentId, Decide, FieldError, Fields,
    appointment::{Appointment, AppointmentCommand, AppointmentError, Status, Visit},
};
use streams::{
    CommandContext,
    log::{CommitError, Loaded, StreamKey, UnitOfWork},
};

use super::holding::{Holding, NotKept};
use crate::{
    CommandError, Commands, Done,
    again::until_decided,
    error::Attempt,
    mailbox::{State, Wanted},
};

/// How a visit ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Called off.
    Cancel {
        /// In somebody's words: personal, so not in events.
        reason: Option<String>,
    },
    /// Kept.
    Complete,
    /// Missed by the guest.
    NoShow,
}

/// A visit to end.
#[derive(Debug, Clone)]
pub struct EndAppointment {
    /// Which.
    pub appointment_id: AppointmentId,
    /// How.
    pub ending: Ending,
}

/// The visit as it is afterwards.
#[derive(Debug, Clone)]
pub struct Ended {
    /// What was agreed.
    pub visit: Visit,
    /// Where it stands.
    pub status: Status,
    /// Sequence of its last event.
    pub version: u64,
}

impl Commands {
    /// Ends a visit; ending it the same way again is already so.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(appointment.id = %end.appointment_id))]
    pub async fn end_appointment(
        &self,
        end: &EndAppointment,
        context: &CommandContext,
    ) -> Result<Done<Ended>, CommandError<EndingRefused>> {
        if let Ending::Cancel { reason } = &end.ending {
            let refused = |errors| CommandError::Refused(EndingRefused::Invalid(errors));
            check_reason(reason.as_deref()).map_err(refused)?;
        }
        let _turn = self.turn(context.business_id).await?;
        until_decided("end_appointment", || self.try_end(end, context), |_| None).await
    }

    async fn try_end(
        &self,
        end: &EndAppointment,
        context: &CommandContext,
    ) -> Result<Done<Ended>, Attempt<EndingRefused>> {
        let key = StreamKey::of::<Appointment>(end.appointment_id);
        let histories = self.log.load(context.business_id, std::slice::from_ref(&key)).await?;
        let mut appointment: Loaded<Appointment> = histories.fold(&key)?;
        let now = context.now;
        let command = match end.ending {
            Ending::Cancel { .. } => AppointmentCommand::Cancel,
            Ending::Complete => AppointmentCommand::Complete { now },
            Ending::NoShow => AppointmentCommand::MarkNoShow { now },
        };
        let events =
            appointment.state.decide(command).map_err(|error| Attempt::Refused(error.into()))?;
        let mut unit = UnitOfWork::new(context.clone());
        unit.append(&appointment, events.clone())?;
        let version = appointment.sequence + events.len() as u64;
        for event in events {
            appointment.state.apply(event);
        }
        let Some((visit, status)) = appointment.state.known() else {
            return Err(Attempt::Refused(AppointmentError::NotFound.into()));
        };
        let ended = Ended { visit: visit.clone(), status, version };
        if unit.is_empty() {
            let position = self.last_position(&histories, &key).await?;
            return Ok(Done::new(ended, position));
        }
        let Ending::Cancel { reason } = &end.ending else {
            return Ok(Done::new(ended, self.log.commit(&unit).await?));
        };
        self.release(&mut unit, end.appointment_id, visit, context).await?;
        let reason = reason.as_deref();
        let id = end.appointment_id;
        let position = self.commit_with_reason(&unit, id, reason, context).await?;
        Ok(Done::new(ended, position))
    }

    /// Gives the time back in the calendars and in the second wall, and what was used besides; also what
    /// was only asked for.
    pub(super) async fn release(
        &self,
        unit: &mut UnitOfWork,
        appointment_id: AppointmentId,
        visit: &Visit,
        context: &CommandContext,
    ) -> Result<(), CommitError> {
        let meeting = self.meeting(visit, context).await?;
        let holding =
            Holding { id: appointment_id, from: Some(visit), to: None, meeting: &meeting };
        let (mut state, mut wanted) = (State::default(), Wanted::default());
        holding.wants(&mut wanted);
        state.load(&self.log, context.business_id, &wanted).await?;
        holding.keep(unit, &state, &BTreeSet::new()).map_err(NotKept::given_back)?;
        unit.answer_request(appointment_id);
        Ok(())
    }

    /// The reason is personal: it stands beside the events, in the same transaction.
    pub(super) async fn commit_with_reason(
        &self,
        unit: &UnitOfWork,
        appointment_id: AppointmentId,
        reason: Option<&str>,
        context: &CommandContext,
    ) -> Result<streams::Cursor, CommitError> {
        let Some(reason) = reason else { return self.log.commit(unit).await };
        let mut writing = self.log.begin(context.business_id).await?;
        let position = writing.append(unit).await?;
        sqlx::query(
            "UPDATE appointment_private SET cancel_reason = $3
              WHERE appointment_id = $1 AND business_id = $2",
        )
        .bind(appointment_id.uuid())
        .bind(context.business_id.uuid())
        .bind(reason)
        .execute(writing.connection())
        .await?;
        writing.commit().await?;
        Ok(position)
    }
}

pub(super) fn check_reason(reason: Option<&str>) -> Result<(), Vec<FieldError>> {
    let mut fields = Fields::default();
    if let Some(reason) = reason {
        fields.note("reason", reason, 500);
    }
    fields.done()
}

/// Why a visit was not ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndingRefused {
    /// A field breaks a rule.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// The appointment's own rule.
    #[error(transparent)]
    Appointment(#[from] AppointmentError),
}
